//! Which nodes one step computes together: an operator, a sum that it is added to, an activation that is applied last.

use super::lower::{Fused, Lower};
use sslm_format::{Graph, ValueId};
use sslm_kernels::Activation;

/// The nodes of `graph`, whose values have `shapes`, in an order in which they can be computed: those of a step where the last of
/// them stands, because only there a residual is sure to exist.
pub(crate) fn fuse<'g>(graph: &'g Graph, shapes: &[Vec<usize>]) -> Vec<Fused<'g>> {
    let links = Links::new(graph, shapes);
    let mut done = vec![false; graph.nodes.len()];
    let mut chains = Vec::new();
    for last in (0..graph.nodes.len()).rev() {
        if done[last] {
            continue;
        }
        let output = graph.nodes[last].output;
        let (mut index, mut activation, mut residual) = (last, Activation::None, None);
        if let Some((producer, function)) = links.activated(last) {
            (index, activation) = (producer, function);
            done[producer] = true;
        }
        if let Some((producer, other)) = links.added_to(index) {
            (index, residual) = (producer, Some(other));
            done[producer] = true;
        }
        chains.push(Fused { node: &graph.nodes[index], index, residual, activation, output });
    }
    chains.reverse();
    chains
}

/// Who defines and who reads each value.
struct Links<'g> {
    graph: &'g Graph,
    shapes: &'g [Vec<usize>],
    producers: Vec<Option<usize>>,
    /// How often a node reads the value or the network yields it.
    uses: Vec<usize>,
}

impl<'g> Links<'g> {
    fn new(graph: &'g Graph, shapes: &'g [Vec<usize>]) -> Self {
        let (mut producers, mut uses) = (vec![None; graph.values.len()], vec![0; graph.values.len()]);
        for (i, node) in graph.nodes.iter().enumerate() {
            producers[node.output.index()] = Some(i);
            node.inputs.iter().for_each(|v| uses[v.index()] += 1);
        }
        graph.outputs.iter().for_each(|v| uses[v.index()] += 1);
        Links { graph, shapes, producers, uses }
    }

    /// The node that defines `value` for just one reader, which yields `output` of the same shape and channels.
    fn only_for(&self, value: ValueId, output: ValueId) -> Option<usize> {
        let kept = |v: ValueId| self.graph.values[v.index()].compaction.as_ref().map(|c| &c.kept);
        let alike = self.shapes[value.index()] == self.shapes[output.index()] && kept(value) == kept(output);
        self.producers[value.index()].filter(|_| self.uses[value.index()] == 1 && alike)
    }

    /// If node `index` is an activation that the node before it can apply, or that one's before it to which it is added: the node
    /// before it, and the activation.
    fn activated(&self, index: usize) -> Option<(usize, Activation)> {
        let node = &self.graph.nodes[index];
        let activation = node.op.activation()?;
        let producer = self.only_for(node.inputs[0], node.output)?;
        let applies_it = self.added_to(producer).map_or(producer, |(adding, _)| adding);
        self.graph.nodes[applies_it].op.applies(activation).then_some((producer, activation))
    }

    /// If node `index` is a sum that the node before it can add to: that node and the other operand.
    fn added_to(&self, index: usize) -> Option<(usize, ValueId)> {
        let node = &self.graph.nodes[index];
        let &[a, b] = &node.inputs[..] else { return None };
        let adding = |value: ValueId, other: ValueId| {
            let producer = self.only_for(value, node.output)?;
            let same_shape = self.shapes[other.index()] == self.shapes[value.index()];
            (self.graph.nodes[producer].op.adds_to_sum() && same_shape).then_some((producer, other))
        };
        // Of two such nodes the later one: its input lives longer in any case.
        let both = || [adding(a, b), adding(b, a)].into_iter().flatten().max_by_key(|(producer, _)| *producer);
        node.op.is_sum().then(both).flatten()
    }
}
