//! Which nodes one step computes together: an operator, a sum that it is added to, an activation that is applied last.

use super::operators;
use sslm_format::{Binary, Graph, Node, Op, ValueId};
use sslm_kernels::Activation;
use sslm_kernels::elementwise::Function;

/// A node, with those behind it that it computes along with itself because nobody else reads what lies between them.
pub(crate) struct Fused<'g> {
    pub(crate) node: &'g Node,
    /// Its index in the graph.
    pub(crate) index: usize,
    /// Added to the node's sums, channel by channel.
    pub(crate) residual: Option<ValueId>,
    pub(crate) activation: Activation,
    /// What all of them together define.
    pub(crate) output: ValueId,
}

impl Fused<'_> {
    /// What is computed, in ONNX's words.
    pub(crate) fn op(&self) -> String {
        let activation = match self.activation {
            Activation::None => "",
            Activation::Relu => "+Relu",
            Activation::Clip { .. } => "+Clip",
            Activation::LeakyRelu { .. } => "+LeakyRelu",
        };
        format!("{}{}{activation}", self.node.op.name(), if self.residual.is_some() { "+Add" } else { "" })
    }
}

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

    /// If node `index` is an activation that the node before it can apply: that node and the activation.
    fn activated(&self, index: usize) -> Option<(usize, Activation)> {
        let node = &self.graph.nodes[index];
        let Op::Activation(function) = &node.op else { return None };
        let Function::Activation(function) = operators::function(function) else { return None };
        let producer = self.only_for(node.inputs[0], node.output)?;
        let can = match &self.graph.nodes[producer].op {
            Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_) | Op::MaxPool(_) | Op::AveragePool(_) => true,
            Op::Binary(_) => function == Activation::Relu || self.added_to(producer).is_some(),
            _ => false,
        };
        can.then_some((producer, function))
    }

    /// If node `index` is a sum that a convolution before it can add to: that convolution and the other operand.
    fn added_to(&self, index: usize) -> Option<(usize, ValueId)> {
        let node = &self.graph.nodes[index];
        let (Op::Binary(Binary::Add), &[a, b]) = (&node.op, &node.inputs[..]) else { return None };
        let convolution = |value: ValueId, other: ValueId| {
            let producer = self.only_for(value, node.output)?;
            let same_shape = self.shapes[other.index()] == self.shapes[value.index()];
            (self.graph.nodes[producer].op.conv().is_some() && same_shape).then_some((producer, other))
        };
        // Of two convolutions the later one: its input lives longer in any case.
        [convolution(a, b), convolution(b, a)].into_iter().flatten().max_by_key(|(producer, _)| *producer)
    }
}
