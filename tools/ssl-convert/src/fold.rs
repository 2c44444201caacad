//! Takes BatchNormalization and arithmetic with constants into the weights of the layer before them, where that layer's output is read by
//! nothing else.

use crate::graph::{Graph, Weights, drop_unused_values, retain_nodes};
use crate::onnx::tensor::Floats;
use sslm_format::shape::Shape;
use sslm_format::{Binary, Op, ValueId};

/// Folds until nothing changes.
pub fn fold(g: &mut Graph) {
    let mut folded = vec![false; g.graph.nodes.len()];
    let producers = g.producers();
    let readers = g.readers();
    // In topological order one pass suffices: a chain folds front to back into the same layer.
    for i in 0..g.graph.nodes.len() {
        let Some((x, scale, shift)) = affine(g, &producers, i) else { continue };
        let Some(producer) = absorbing(g, &producers, &readers, &folded, x) else { continue };
        if let Weights::Matrix { matrix, bias, .. } = &mut g.weights[producer] {
            if let Some(scale) = scale {
                matrix.scale_rows(&scale);
                bias.iter_mut().zip(&scale).for_each(|(b, s)| *b *= s);
            }
            bias.iter_mut().zip(&shift).for_each(|(b, s)| *b += s);
        }
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
    producers[value.index()].is_some_and(|p| matches!(g.graph.nodes[p].op, Op::Constant(_)))
}

/// Per-channel factors (absent: 1) and terms.
type Affine = (ValueId, Option<Vec<f32>>, Vec<f32>);

/// Node `i` as `scale * x + shift` per channel of x, if it is that.
fn affine(g: &Graph, producers: &[Option<usize>], i: usize) -> Option<Affine> {
    let node = &g.graph.nodes[i];
    match (&node.op, &g.weights[i]) {
        (Op::BatchNorm(_), Weights::ScaleShift { scale, shift }) => Some((node.inputs[0], Some(scale.clone()), shift.clone())),
        (Op::Binary(function), _) => {
            let (a, b) = (node.inputs[0], node.inputs[1]);
            let (x, constant, constant_first) = if is_constant(g, producers, b) { (a, b, false) } else { (b, a, true) };
            let k = constant_per_channel(g, producers, constant, g.shape(x))?;
            let zeros = vec![0.0; k.len()];
            match (function, constant_first) {
                (Binary::Add, _) => Some((x, None, k)),
                (Binary::Sub, false) => Some((x, None, k.iter().map(|k| -k).collect())),
                (Binary::Sub, true) => Some((x, Some(vec![-1.0; k.len()]), k)),
                (Binary::Mul, _) => Some((x, Some(k), zeros)),
                (Binary::Div, false) if k.iter().all(|&k| (1.0 / k).is_finite()) => {
                    Some((x, Some(k.iter().map(|k| 1.0 / k).collect()), zeros))
                }
                (Binary::Div | Binary::Pow | Binary::PRelu, _) => None,
            }
        }
        _ => None,
    }
}

/// A stored tensor that meets all positions of a channel of a value of shape `x` with the same number: that number for each
/// channel.
fn constant_per_channel(g: &Graph, producers: &[Option<usize>], constant: ValueId, x: &Shape) -> Option<Vec<f32>> {
    let producer = producers[constant.index()]?;
    let (Op::Constant(tensor), Weights::Tensor(data)) = (&g.graph.nodes[producer].op, &g.weights[producer]) else { return None };
    let channels = (*x.get(1)?)?;
    let dims = &tensor.dims;
    // Aligned at the last axis, only axis 1 of x may be longer than 1.
    let missing = x.len().checked_sub(dims.len())?;
    let other_axes = dims.iter().enumerate().filter(|(i, _)| i + missing != 1);
    if !other_axes.map(|(_, d)| d).all(|&d| d == 1) {
        return None;
    }
    let repeated = |data: &Floats| data.len() == 1;
    (repeated(data) || data.len() == channels)
        .then(|| (0..channels).map(|c| data.at(if repeated(data) { 0 } else { c })).collect())
}

/// The layer whose output is `x`, if it can take an affine function per channel of it and nobody else reads it.
fn absorbing(g: &Graph, producers: &[Option<usize>], readers: &[Vec<usize>], folded: &[bool], x: ValueId) -> Option<usize> {
    if readers[x.index()].len() != 1 || g.graph.outputs.contains(&x) {
        return None;
    }
    let producer = producers[x.index()]?;
    let node = &g.graph.nodes[producer];
    match &node.op {
        Op::Conv(_) | Op::ConvTranspose(_) => Some(producer),
        // Of other ranks, the features are not axis 1.
        Op::Gemm(_) if g.shape(x).len() == 2 => Some(producer),
        Op::BatchNorm(_) | Op::Binary(_) if folded[producer] => {
            let source = node.inputs.iter().copied().find(|&v| !is_constant(g, producers, v))?;
            absorbing(g, producers, readers, folded, source)
        }
        _ => None,
    }
}

fn drop_unread_constants(g: &mut Graph) {
    let readers = g.readers();
    let outputs = g.graph.outputs.clone();
    retain_nodes(g, |_, node| {
        !matches!(node.op, Op::Constant(_)) || !readers[node.output.index()].is_empty() || outputs.contains(&node.output)
    });
}
