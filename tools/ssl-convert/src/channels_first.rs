//! Networks that have channels on the last axis: Linear layers on three or four axes, LayerNormalization, islands in NHWC between
//! Transposes. Channels can be left out of a file on axis 1, and convolutions are the fastest layers, so such nodes are put into
//! another order of axes where that costs no more Transposes than there were.
//!
//! Transposes are not nodes here, but what lies between a value and a reader that wants its axes in another order. A node that can be
//! computed in the order in which its input lies gets that order, and so do its neighbours, until nothing can follow. If the network
//! needs no more Transposes than before then, the choice stays. What it becomes is written by `reorder`.

use crate::graph::Graph;
use crate::operator::Reordering;
use crate::order::Order;
use crate::weights::{Layer, Op};
use sslm_format::shape::Shape;
use sslm_format::{AxisMap, Operator, ValueId};
use std::collections::{HashSet, VecDeque};

/// What it counts that a value has to be put into another order.
const COST_OF_TRANSPOSE: usize = 8;

/// The same where only axes of one index move: no element does, but what is known of channels may be lost.
const COST_OF_RESHAPE: usize = 1;

/// What a layer counts that has zero rows or columns and cannot lose them where it is: at most two Transposes are around it.
const COST_OF_ZEROS: usize = 3 * COST_OF_TRANSPOSE;

/// The orders in which the nodes of `g` are better off, if any are.
pub(crate) fn channels_first(g: &Graph) -> Option<Orders<'_>> {
    let mut orders = Orders::new(g);
    orders.choose();
    let better = orders.chosen.iter().any(Option::is_some) || orders.conversions().len() < orders.transposes();
    better.then_some(orders)
}

/// In which order of axes each node is computed.
pub(crate) struct Orders<'g> {
    pub(crate) g: &'g Graph,
    /// Position of the node that defines each value.
    pub(crate) producers: Vec<Option<usize>>,
    /// What each value is a transposition of, maybe itself.
    pub(crate) roots: Vec<Root>,
    /// Positions of the nodes that read each root, by the root's value; Transposes are none.
    readers: Vec<Vec<usize>>,
    /// The order of each node's inputs and of its output; `None` where all are as they are.
    pub(crate) chosen: Vec<Option<[Order; 2]>>,
    /// Layers that have zero rows or columns, which they keep as long as they are computed as they are.
    wasteful: Vec<bool>,
}

/// A value that is no transposition of another, and which of its axes each axis of a transposition is.
#[derive(Clone)]
pub(crate) struct Root {
    pub(crate) value: ValueId,
    pub(crate) axes: Vec<usize>,
}

impl<'g> Orders<'g> {
    fn new(g: &'g Graph) -> Self {
        let own = |(i, shape): (usize, &Shape)| Root { value: ValueId(i as u32), axes: (0..shape.len()).collect() };
        let mut roots: Vec<Root> = g.shapes.iter().enumerate().map(own).collect();
        let mut readers = vec![Vec::new(); roots.len()];
        for (i, node) in g.graph.nodes.iter().enumerate() {
            if let Some(axes) = permutation(g, i) {
                let Root { value, axes: of_root } = &roots[node.inputs[0].index()];
                let axes = axes.into_iter().map(|axis| of_root[axis]).collect();
                roots[node.output.index()] = Root { value: *value, axes };
            } else {
                node.inputs.iter().for_each(|v| readers[roots[v.index()].value.index()].push(i));
            }
        }
        let wasteful = |i: usize| {
            let shape = g.graph.nodes[i].inputs.first().map(|&x| g.shape(x));
            shape.and_then(|x| g.op(i).favourite_order(x)).and_then(|_| g.layer(i)).is_some_and(|layer| has_zeros(&layer))
        };
        let nodes = g.graph.nodes.len();
        let wasteful = (0..nodes).map(wasteful).collect();
        Orders { g, producers: g.producers(), roots, readers, chosen: vec![None; nodes], wasteful }
    }

    /// How many nodes do nothing but put axes into another order.
    fn transposes(&self) -> usize {
        (0..self.chosen.len()).filter(|&i| self.is_transpose(i)).count()
    }

    pub(crate) fn is_transpose(&self, i: usize) -> bool {
        let output = self.g.graph.nodes[i].output;
        self.roots[output.index()].value != output
    }

    /// Tries every node that would rather be computed in another order, and every one whose input lies in another order.
    fn choose(&mut self) {
        let count = self.chosen.len();
        for i in 0..count {
            let Some(&x) = self.g.graph.nodes[i].inputs.first() else { continue };
            if let (Some(order), None) = (self.g.op(i).favourite_order(self.g.shape(x)), &self.chosen[i]) {
                self.attempt(i, self.by_input(i, x, order));
            }
        }
        for i in 0..count {
            if self.is_transpose(i) {
                continue;
            }
            let node = &self.g.graph.nodes[i];
            if let Some(&v) = node.inputs.iter().find(|&&v| !self.fits(i, v)) {
                self.attempt(i, self.by_input(i, v, self.lies_for(v)));
            }
        }
    }

    /// Computes node `i` in this order, and whatever is better off then in one that fits, unless that takes more Transposes.
    fn attempt(&mut self, i: usize, orders: Option<[Order; 2]>) {
        let Some(orders) = orders else { return };
        let (before, cost) = (self.chosen.clone(), self.cost());
        self.grow(i, orders);
        if self.cost() > cost {
            self.chosen = before;
        }
    }

    /// Gives node `i` an order, and then its neighbours those that fit, as far as they can be computed so.
    fn grow(&mut self, i: usize, orders: [Order; 2]) {
        let mut visited = HashSet::from([i]);
        let mut queue = VecDeque::from([i]);
        self.set(i, orders);
        while let Some(i) = queue.pop_front() {
            let node = &self.g.graph.nodes[i];
            let above = node.inputs.iter().filter(|&&v| !self.fits(i, v)).filter_map(|&v| {
                let j = self.producers[self.roots[v.index()].value.index()]?;
                Some((j, self.by_output(j, self.wanted(i, v))?))
            });
            let below = self.readers[node.output.index()].iter().filter_map(|&j| {
                let own = |v: &&ValueId| self.roots[v.index()].value == node.output && !self.fits(j, **v);
                let &v = self.g.graph.nodes[j].inputs.iter().find(own)?;
                Some((j, self.by_input(j, v, self.lies_for(v))?))
            });
            let neighbours: Vec<(usize, [Order; 2])> = above.chain(below).collect();
            for (j, orders) in neighbours {
                if visited.insert(j) {
                    self.set(j, orders);
                    queue.push_back(j);
                }
            }
        }
    }

    fn set(&mut self, i: usize, orders: [Order; 2]) {
        self.chosen[i] = (!orders.iter().all(Order::is_identity)).then_some(orders);
    }

    /// The orders of node `i`, if it can be computed where `v`, one of its inputs, comes in this order.
    fn by_input(&self, i: usize, v: ValueId, x: Order) -> Option<[Order; 2]> {
        let node = &self.g.graph.nodes[i];
        let at = node.inputs.iter().position(|&input| input == v)?;
        let y = x.behind(&self.maps(i)[at], self.g.shape(node.output))?;
        self.computable(i, [x, y])
    }

    /// As [`Self::by_input`], for the order of its output.
    fn by_output(&self, i: usize, y: Order) -> Option<[Order; 2]> {
        let node = &self.g.graph.nodes[i];
        let x = y.before(self.maps(i).first()?, self.g.shape(node.inputs[0]), self.g.shape(node.output).len())?;
        self.computable(i, [x, y])
    }

    fn maps(&self, i: usize) -> Vec<AxisMap> {
        let node = &self.g.graph.nodes[i];
        let shapes: Vec<&Shape> = node.inputs.iter().map(|&v| self.g.shape(v)).collect();
        node.op.axes(&shapes, self.g.shape(node.output))
    }

    /// These orders, if node `i` can be computed in them: all of its inputs have as many axes, and lead to the same one.
    fn computable(&self, i: usize, [x, y]: [Order; 2]) -> Option<[Order; 2]> {
        let node = &self.g.graph.nodes[i];
        let output = self.g.shape(node.output);
        let rank = self.g.shape(node.inputs[0]).len();
        let fits = |(map, &v): (&AxisMap, &ValueId)| self.g.shape(v).len() == rank && x.behind(map, output).as_ref() == Some(&y);
        if !self.maps(i).iter().zip(&node.inputs).all(fits) {
            return None;
        }
        let identity = x.is_identity() && y.is_identity();
        (identity || self.operator(i, &[x.clone(), y.clone()]).is_some()).then_some([x, y])
    }

    /// The operator of node `i` where its inputs and its output are stored in these orders.
    pub(crate) fn operator(&self, i: usize, [x, y]: &[Order; 2]) -> Option<Op> {
        let node = &self.g.graph.nodes[i];
        let at = Reordering { input: self.g.shape(node.inputs[0]), output: self.g.shape(node.output), x, y };
        self.g.op(i).reordered(&at)
    }

    /// The order in which a root lies.
    pub(crate) fn lies(&self, root: ValueId) -> Order {
        let chosen = self.producers[root.index()].and_then(|i| self.chosen[i].as_ref());
        chosen.map_or_else(|| Order::identity(self.g.shape(root).len()), |[_, y]| y.clone())
    }

    /// The order in which its root lies, said of `v`.
    fn lies_for(&self, v: ValueId) -> Order {
        let Root { value, axes } = &self.roots[v.index()];
        self.lies(*value).renamed(|axis| axes.iter().position(|&a| a == axis).unwrap_or(axis))
    }

    /// The order in which node `i` wants its input `v`, said of the root of that.
    pub(crate) fn wanted(&self, i: usize, v: ValueId) -> Order {
        let own = || Order::identity(self.g.shape(v).len());
        let x = self.chosen[i].as_ref().map_or_else(own, |[x, _]| x.clone());
        x.renamed(|axis| self.roots[v.index()].axes[axis])
    }

    /// Whether the elements of `v` lie as node `i` wants them. Those of stored tensors can be put anywhere.
    fn fits(&self, i: usize, v: ValueId) -> bool {
        self.is_constant(v) || self.lies(self.roots[v.index()].value) == self.wanted(i, v)
    }

    pub(crate) fn is_constant(&self, v: ValueId) -> bool {
        let root = self.roots[v.index()].value;
        self.producers[root.index()].is_some_and(|p| self.g.op(p).tensor().is_some())
    }

    /// The roots that are wanted in other orders than they lie in, and these orders.
    fn conversions(&self) -> HashSet<(ValueId, Order)> {
        let Graph { graph, .. } = self.g;
        let computed = (0..graph.nodes.len()).filter(|&i| !self.is_transpose(i));
        let reads = computed.flat_map(|i| graph.nodes[i].inputs.iter().map(move |&v| (v, self.wanted(i, v))));
        let as_it_is = |&v: &ValueId| (v, self.roots[v.index()].axes.iter().copied().map(Some).collect());
        let wanted = reads.chain(graph.outputs.iter().map(as_it_is)).filter(|(v, _)| !self.is_constant(*v));
        let of_roots = wanted.map(|(v, order)| (self.roots[v.index()].value, order));
        of_roots.filter(|(root, order)| self.lies(*root) != *order).collect()
    }

    /// What conversions cost, and zeros that could go.
    fn cost(&self) -> usize {
        let cost = |(root, wanted): (ValueId, Order)| {
            let shape = self.g.shape(root);
            let moves = self.lies(root).significant(shape) != wanted.significant(shape);
            if moves { COST_OF_TRANSPOSE } else { COST_OF_RESHAPE }
        };
        let kept = self.wasteful.iter().zip(&self.chosen).filter(|(wasteful, chosen)| **wasteful && chosen.is_none());
        self.conversions().into_iter().map(cost).sum::<usize>() + COST_OF_ZEROS * kept.count()
    }
}

/// The axis of its input that each axis of the output of node `i` is, if it does nothing but put them into another order.
fn permutation(g: &Graph, i: usize) -> Option<Vec<usize>> {
    let node = &g.graph.nodes[i];
    if !node.op.only_moves() || node.op.is_view() {
        return None;
    }
    let [map] = &node.op.axes(&[g.shape(node.inputs[0])], g.shape(node.output))[..] else { return None };
    let to: Vec<usize> = map.links.iter().map(|link| link.alike()).collect::<Option<_>>()?;
    (0..to.len()).map(|axis| to.iter().position(|&to| to == axis)).collect()
}

/// Whether a row or a column of a layer is zero.
fn has_zeros(layer: &Layer<'_>) -> bool {
    let matrix = layer.matrix;
    let mut columns = vec![false; matrix.columns];
    for row in 0..matrix.rows {
        let mut used = false;
        for (column, seen) in columns.iter_mut().enumerate() {
            let some = matrix.at(row, column) != 0.0;
            (used, *seen) = (used || some, *seen || some);
        }
        if !used {
            return true;
        }
    }
    columns.contains(&false)
}
