//! Takes normalisation and arithmetic with constants into the weights of the layer before them, where that layer's output is read by
//! nothing else.

use crate::graph::{Graph, drop_unused_values, retain_nodes};
use crate::operator::Affine;
use sslm_format::ValueId;
use sslm_format::shape::Shape;

/// Folds until nothing changes.
pub fn fold(g: &mut Graph) {
    let mut folded = vec![false; g.graph.nodes.len()];
    let producers = g.producers();
    let readers = g.readers();
    // In topological order one pass suffices: a chain folds front to back into the same layer.
    for i in 0..g.graph.nodes.len() {
        let Some(Affine { input, scale, shift }) = affine(g, &producers, i) else { continue };
        let x = g.graph.nodes[i].inputs[input];
        let Some(producer) = absorbing(g, &producers, &readers, &folded, x) else { continue };
        let shape = g.shape(x).clone();
        let Some((matrix, bias)) = g.op_mut(producer).rows_mut(&shape) else { continue };
        if let Some(scale) = scale {
            matrix.scale_rows(&scale);
            bias.iter_mut().zip(&scale).for_each(|(b, s)| *b *= s);
        }
        bias.iter_mut().zip(&shift).for_each(|(b, s)| *b += s);
        folded[i] = true;
    }
    // A folded node's readers read its input instead; that is the producer's output, or an earlier folded node's.
    let mut replacement: Vec<ValueId> = (0..g.graph.values.len() as u32).map(ValueId).collect();
    for (node, _) in g.graph.nodes.iter().zip(&folded).filter(|(_, folded)| **folded) {
        let x = node.inputs.iter().copied().find(|&v| !is_constant(g, &producers, v)).unwrap_or(node.inputs[0]);
        replacement[node.output.index()] = replacement[x.index()];
    }
    // The layer's output keeps the name of the last folded node's: it is what the layer now computes.
    for (node, _) in g.graph.nodes.iter().zip(&folded).filter(|(_, folded)| **folded) {
        let name = g.graph.values[node.output.index()].name.clone();
        g.graph.values[replacement[node.output.index()].index()].name = name;
    }
    for node in &mut g.graph.nodes {
        node.inputs.iter_mut().for_each(|v| *v = replacement[v.index()]);
    }
    g.graph.outputs.iter_mut().for_each(|v| *v = replacement[v.index()]);
    retain_nodes(g, |i, _| !folded[i]);
    drop_unread_constants(g);
    drop_unused_values(g);
}

fn is_constant(g: &Graph, producers: &[Option<usize>], value: ValueId) -> bool {
    producers[value.index()].is_some_and(|p| g.op(p).tensor().is_some())
}

/// Node `i` as a factor and a term for each channel of one input, if it is that.
pub(crate) fn affine(g: &Graph, producers: &[Option<usize>], i: usize) -> Option<Affine> {
    let constants: Vec<Option<Vec<f32>>> = match g.graph.nodes[i].inputs[..] {
        [a, b] => vec![constant_per_channel(g, producers, a, g.shape(b)), constant_per_channel(g, producers, b, g.shape(a))],
        _ => vec![None; g.graph.nodes[i].inputs.len()],
    };
    g.op(i).affine(&constants)
}

/// The element of a stored tensor that has one.
pub(crate) fn stored_element(g: &Graph, producers: &[Option<usize>], value: ValueId) -> Option<f32> {
    let data = g.op(producers[value.index()]?).tensor()?;
    (data.len() == 1).then(|| data.at(0))
}

/// A stored tensor that meets all positions of a channel of a value of shape `x` with the same element: that element for each
/// channel.
fn constant_per_channel(g: &Graph, producers: &[Option<usize>], constant: ValueId, x: &Shape) -> Option<Vec<f32>> {
    let data = g.op(producers[constant.index()]?).tensor()?;
    let channels = x.get(1)?.known()?;
    let dims = g.shape(constant);
    // Aligned at the last axis, only axis 1 of x may be longer than 1.
    let missing = x.len().checked_sub(dims.len())?;
    let other_axes = dims.iter().enumerate().filter(|(i, _)| i + missing != 1);
    if !other_axes.map(|(_, d)| d).all(|d| d.known() == Some(1)) {
        return None;
    }
    let repeated = data.len() == 1;
    (repeated || data.len() == channels).then(|| (0..channels).map(|c| data.at(if repeated { 0 } else { c })).collect())
}

/// The layer whose output is `x`, perhaps through folded nodes, if nobody else reads it. Whether it can take an affine function of each
/// channel it says itself.
fn absorbing(g: &Graph, producers: &[Option<usize>], readers: &[Vec<usize>], folded: &[bool], x: ValueId) -> Option<usize> {
    if readers[x.index()].len() != 1 || g.graph.outputs.contains(&x) {
        return None;
    }
    let producer = producers[x.index()]?;
    if !folded[producer] {
        return Some(producer);
    }
    let source = g.graph.nodes[producer].inputs.iter().copied().find(|&v| !is_constant(g, producers, v))?;
    absorbing(g, producers, readers, folded, source)
}

/// Drops stored tensors that nothing reads.
pub(crate) fn drop_unread_constants(g: &mut Graph) {
    let readers = g.readers();
    let outputs = g.graph.outputs.clone();
    let stored: Vec<bool> = (0..g.graph.nodes.len()).map(|i| g.op(i).tensor().is_some()).collect();
    retain_nodes(g, |i, node| !stored[i] || !readers[node.output.index()].is_empty() || outputs.contains(&node.output));
}
