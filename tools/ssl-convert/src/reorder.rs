//! Writes a network again with its nodes computed in the orders of axes that [`crate::channels_first`] chose, and with Transposes
//! where a value still has to be put into another order.

use crate::channels_first::Orders;
use crate::fold::drop_unread_constants;
use crate::graph::{Graph, drop_unused_values};
use crate::import::stored;
use crate::onnx::tensor::{Data, Tensor};
use crate::order::{Order, reshape_dims};
use crate::weights::{Node, Op};
use sslm_format::shape::{self, Shape, check_size};
use sslm_format::{self as format, Constant, Reshape, Transpose, Value, ValueId, infer};
use std::collections::{HashMap, HashSet};

/// The network in the chosen orders; `None` if unknown extents leave one of them unsaid.
pub(crate) fn rewritten(orders: &Orders<'_>) -> Option<Graph> {
    let g = orders.g;
    let (types, output_names) = (g.types.clone(), g.output_names.clone());
    let empty = Graph { graph: format::Graph::default(), types, shapes: Vec::new(), output_names };
    let mut w = Rewriting { orders, new: empty, stored: HashMap::new(), made: HashMap::new(), names: HashSet::new() };
    for input in &g.graph.inputs {
        let value = w.value(&g.graph.values[input.value.index()].name, g.shape(input.value).clone());
        w.stored.insert(input.value, value);
        w.new.graph.inputs.push(format::Input { value, dims: input.dims.clone() });
    }
    for (i, node) in g.graph.nodes.iter().enumerate().filter(|&(i, _)| !orders.is_transpose(i)) {
        let op = match &orders.chosen[i] {
            Some(chosen) => orders.operator(i, chosen)?,
            None => node.op.clone(),
        };
        let inputs = node.inputs.iter().map(|&v| w.read(v, &orders.wanted(i, v))).collect::<Option<_>>()?;
        let value = w.push(&node.name, &g.graph.values[node.output.index()].name, op, inputs)?;
        w.stored.insert(node.output, value);
    }
    for &v in &g.graph.outputs {
        let output = w.output(v)?;
        w.new.graph.outputs.push(output);
    }
    let mut new = w.new;
    drop_unread_constants(&mut new);
    drop_unused_values(&mut new);
    Some(new)
}

/// The new network in the making.
struct Rewriting<'o> {
    orders: &'o Orders<'o>,
    new: Graph,
    /// The new value of each root, as it lies.
    stored: HashMap<ValueId, ValueId>,
    /// The new value of each root in other orders.
    made: HashMap<(ValueId, Order), ValueId>,
    /// Names that values have.
    names: HashSet<String>,
}

impl Rewriting<'_> {
    fn value(&mut self, name: &str, shape: Shape) -> ValueId {
        let others = (2..).map(|n| format!("{name}.{n}"));
        let name = std::iter::once(name.to_owned()).chain(others).find(|name| !self.names.contains(name)).unwrap_or_default();
        self.names.insert(name.clone());
        self.new.graph.values.push(Value { name, compaction: None });
        self.new.shapes.push(shape);
        ValueId(self.new.shapes.len() as u32 - 1)
    }

    fn push(&mut self, name: &str, output: &str, op: Op, inputs: Vec<ValueId>) -> Option<ValueId> {
        let shapes: Vec<&Shape> = inputs.iter().map(|&v| self.new.shape(v)).collect();
        let shape = infer::of_node(&op, &shapes).ok().filter(|shape| check_size(shape).is_ok())?;
        let output = self.value(output, shape);
        self.new.graph.nodes.push(Node { name: name.to_owned(), inputs, output, op });
        Some(output)
    }

    /// The new value of `v` with the axes of its root in this order.
    fn read(&mut self, v: ValueId, wanted: &Order) -> Option<ValueId> {
        let root = self.orders.roots[v.index()].value;
        if self.orders.lies(root) == *wanted {
            return self.stored.get(&root).copied();
        }
        let key = (root, wanted.clone());
        if let Some(&made) = self.made.get(&key) {
            return Some(made);
        }
        let made = if self.orders.is_constant(v) { self.constant(root, wanted)? } else { self.converted(v, wanted)? };
        self.made.insert(key, made);
        Some(made)
    }

    /// A stored tensor in this order.
    fn constant(&mut self, root: ValueId, wanted: &Order) -> Option<ValueId> {
        let g = self.orders.g;
        let (name, data) = (&g.graph.values[root.index()].name, g.op(self.orders.producers[root.index()]?).tensor()?);
        let dims = shape::known(g.shape(root))?;
        let axes = wanted.axes().flatten().map(|axis| axis as u32).collect();
        let tensor = Tensor::new(dims, Data::Floats(data.clone())).ok()?;
        let data = stored::transposed(&tensor, Transpose { axes }).ok()?.floats().ok()?.clone();
        let dims: Vec<u64> = shape::known(&wanted.shape(g.shape(root)))?.into_iter().map(|e| e as u64).collect();
        self.push(name, name, Constant { dims, data }.into(), Vec::new())
    }

    /// The root of `v` put into this order: by a Transpose, unless all that changes is where axes of one index lie.
    fn converted(&mut self, v: ValueId, wanted: &Order) -> Option<ValueId> {
        let (orders, g) = (self.orders, self.orders.g);
        let root = orders.roots[v.index()].value;
        let shape = g.shape(root);
        let value_name = &g.graph.values[v.index()].name;
        let (name, output) = match orders.producers[v.index()].filter(|_| v != root) {
            Some(i) => (g.graph.nodes[i].name.clone(), value_name.clone()),
            None => (format!("{value_name}.reordered"), format!("{value_name}.reordered")),
        };
        let lies = orders.lies(root);
        let (from, to): (Order, Order) = match lies.significant(shape) == wanted.significant(shape) {
            true => (lies.clone(), lies.clone()),
            false => (lies.axes().flatten().map(Some).collect(), wanted.axes().flatten().map(Some).collect()),
        };
        let mut now = *self.stored.get(&root)?;
        now = self.viewed(&name, &output, now, &lies, &from, shape)?;
        if from != to {
            let axes = to.axes().flatten().map(|axis| from.place(axis).map(|place| place as u32)).collect::<Option<_>>()?;
            now = self.push(&name, &output, Transpose { axes }.into(), vec![now])?;
        }
        self.viewed(&name, &output, now, &to, wanted, shape)
    }

    /// The same elements under the axes of another order.
    fn viewed(&mut self, name: &str, output: &str, x: ValueId, from: &Order, to: &Order, shape: &Shape) -> Option<ValueId> {
        if from == to {
            return Some(x);
        }
        let dims = reshape_dims(&to.shape(shape), |at| to.axes().nth(at) == from.axes().nth(at))?;
        self.push(name, output, Reshape { dims }.into(), vec![x])
    }

    /// An output of the model, under its own name.
    fn output(&mut self, v: ValueId) -> Option<ValueId> {
        let (orders, g) = (self.orders, self.orders.g);
        let name = &g.graph.values[v.index()].name;
        let root = orders.roots[v.index()].value;
        let wanted: Order = orders.roots[v.index()].axes.iter().copied().map(Some).collect();
        let mut found = self.read(v, &wanted)?;
        // What has a name that the outside knows keeps it.
        if self.new.graph.outputs.contains(&found) || (found == self.stored[&root] && self.is_input(found) && v != root) {
            let rank = self.new.shape(found).len();
            let dims = reshape_dims(self.new.shape(found), |axis| axis < rank)?;
            found = self.push(name, name, Reshape { dims }.into(), vec![found])?;
        }
        if !self.is_input(found) {
            let other = self.new.graph.values.iter().position(|value| value.name == *name).filter(|&at| at != found.index());
            if let Some(at) = other {
                self.new.graph.values[at].name = format!("{name}.stored");
            }
            self.new.graph.values[found.index()].name.clone_from(name);
        }
        Some(found)
    }

    fn is_input(&self, value: ValueId) -> bool {
        self.new.graph.inputs.iter().any(|input| input.value == value)
    }
}
