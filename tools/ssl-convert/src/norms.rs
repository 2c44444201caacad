//! Recognises layer normalisation, which exporters before opset 17 write as what it is made of: a difference from the mean, divided by
//! the root of the mean of its squares and epsilon, then mostly scaled and shifted by stored tensors.

use crate::fold::{drop_unread_constants, stored_element};
use crate::graph::{Graph, drop_unused_values, retain_nodes};
use crate::onnx::tensor::Floats;
use sslm_format::{Activation, Binary, LayerNorm, ValueId};

/// Replaces every such normalisation whose parts nobody else reads.
pub fn fold_norms(g: &mut Graph) {
    let links = Links { producers: g.producers(), readers: g.readers() };
    let mut gone = vec![false; g.graph.nodes.len()];
    for quotient in 0..g.graph.nodes.len() {
        let Some(Found { x, axis, epsilon, parts }) = links.recognise(g, quotient) else { continue };
        let Some(line) = g.shape(x)[axis..].iter().copied().product::<Option<usize>>() else { continue };
        parts.into_iter().for_each(|part| gone[part] = true);
        let (mut last, mut scale, mut shift) =
            (quotient, Floats::Repeated { value: 1.0, len: line }, Floats::Repeated { value: 0.0, len: line });
        for (function, parameter) in [(Binary::Mul, &mut scale), (Binary::Add, &mut shift)] {
            if let Some((next, elements)) = links.parameter(g, last, function, axis) {
                gone[last] = true;
                (last, *parameter) = (next, elements);
            }
        }
        let node = &mut g.graph.nodes[last];
        (node.op, node.inputs) = (LayerNorm { axis: axis as u32, scale, shift, epsilon }.into(), vec![x]);
    }
    retain_nodes(g, |i, _| !gone[i]);
    drop_unread_constants(g);
    drop_unused_values(g);
}

/// Nodes that are one normalisation.
struct Found {
    x: ValueId,
    /// The first of the axes.
    axis: usize,
    epsilon: f32,
    /// All nodes but the one that divides.
    parts: Vec<usize>,
}

/// Who defines and who reads each value.
struct Links {
    producers: Vec<Option<usize>>,
    readers: Vec<Vec<usize>>,
}

impl Links {
    fn recognise(&self, g: &Graph, quotient: usize) -> Option<Found> {
        let [distance, deviation] = inputs_of(g, quotient, Binary::Div)?;
        let root = self.part(g, deviation, &[quotient])?;
        let (Some(Activation::Sqrt), &[sum]) = (g.op(root).function(), &g.graph.nodes[root].inputs[..]) else { return None };
        let addition = self.part(g, sum, &[root])?;
        let [a, b] = inputs_of(g, addition, Binary::Add)?;
        let of = |variance, epsilon| Some((variance, stored_element(g, &self.producers, epsilon)?));
        let (variance, epsilon) = of(a, b).or_else(|| of(b, a))?;
        let variance_of = self.part(g, variance, &[addition])?;
        let (axes, &[squares]) = (g.op(variance_of).mean_over()?, &g.graph.nodes[variance_of].inputs[..]) else { return None };
        let square = self.part(g, squares, &[variance_of])?;
        if inputs_of(g, square, Binary::Mul)? != [distance; 2] {
            return None;
        }
        let difference = self.part(g, distance, &[square, quotient])?;
        let [x, mean] = inputs_of(g, difference, Binary::Sub)?;
        let mean_of = self.part(g, mean, &[difference])?;
        let rank = g.shape(x).len();
        let axis = rank.checked_sub(axes.len())?;
        let are_last = axes.iter().copied().eq(axis as u32..rank as u32);
        let same = g.op(mean_of).mean_over() == Some(axes) && g.graph.nodes[mean_of].inputs == [x];
        (are_last && same).then(|| Found {
            x,
            axis,
            epsilon,
            parts: vec![root, addition, variance_of, square, difference, mean_of],
        })
    }

    /// The node that yields `value`, if only `readers` read it.
    fn part(&self, g: &Graph, value: ValueId, readers: &[usize]) -> Option<usize> {
        let alone = self.readers[value.index()].iter().all(|reader| readers.contains(reader));
        self.producers[value.index()].filter(|_| alone && !g.graph.outputs.contains(&value))
    }

    /// The node that alone reads what `last` yields, and combines it with a stored element for each index of the axes from `axis` on.
    fn parameter(&self, g: &Graph, last: usize, function: Binary, axis: usize) -> Option<(usize, Floats)> {
        let value = g.graph.nodes[last].output;
        let &[next] = &self.readers[value.index()][..] else { return None };
        self.part(g, value, &[next])?;
        let [a, b] = inputs_of(g, next, function)?;
        let other = if a == value { b } else { a };
        let elements = g.op(self.producers[other.index()]?).tensor()?;
        let (dims, shape) = (g.shape(other), g.shape(value));
        let count = shape.len() - axis;
        let (ones, own) = dims.split_at(dims.len().checked_sub(count)?);
        let fits = ones.iter().all(|&extent| extent == Some(1)) && own == &shape[axis..] && dims.len() <= shape.len();
        fits.then(|| (next, elements.clone()))
    }
}

/// The two operands of node `i`, if it is this function of them.
fn inputs_of(g: &Graph, i: usize, function: Binary) -> Option<[ValueId; 2]> {
    let &[a, b] = &g.graph.nodes[i].inputs[..] else { return None };
    (g.op(i).function_of_two() == Some(function)).then_some([a, b])
}
