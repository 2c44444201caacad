//! Where a batch goes through the network image by image. What one image needs stays in the caches that way, memory does not grow
//! with the batch, and threads take images of their own instead of meeting in every step.
//!
//! That is so from the inputs up to the first node that is better off with the whole batch: a fully connected one, whose weights
//! are then read once for all images. Nor does it go past a node that may mix images, or to where more than one value would have
//! to be handed over.

use super::fuse::Fused;
use super::shapes;
use crate::model::Model;
use sslm_format::{Dim, Graph, Input, Node, Op, ValueId};
use std::collections::HashSet;

/// The beginning of a network that treats each image alone.
pub(crate) struct Beginning {
    /// Nodes, with what is fused into them, that belong to it: so many from the first one on.
    pub(crate) chains: usize,
    /// The one value that those behind it read of it.
    pub(crate) yields: ValueId,
}

/// The longest beginning of `chains`, if there is any. `shapes` are those of all values for one image and for the whole batch.
pub(crate) fn beginning(graph: &Graph, chains: &[Fused<'_>], shapes: [&[Vec<usize>]; 2]) -> Option<Beginning> {
    let [one, all] = shapes;
    let batch = all[graph.inputs.first()?.value.index()].first().copied()?;
    let by_image = |v: ValueId| {
        let (one, all) = (&one[v.index()], &all[v.index()]);
        one.len() == all.len() && one.first() == Some(&1) && all.first() == Some(&batch) && one[1..] == all[1..]
    };
    // Broadcast over the images.
    let constant =
        |v: ValueId, rank: usize| one[v.index()] == all[v.index()] && (one[v.index()].len() < rank || one[v.index()][0] == 1);
    if !graph.inputs.iter().all(|input| by_image(input.value)) {
        return None;
    }

    // The one that reads each value last; the network's outputs are read when all are done.
    let mut last = vec![None; graph.values.len()];
    for (i, chain) in chains.iter().enumerate() {
        inputs(chain).for_each(|v| last[v.index()] = Some(i));
    }
    graph.outputs.iter().for_each(|v| last[v.index()] = Some(chains.len()));

    // Values, other than constants, that are there and still to be read.
    let mut open = vec![false; graph.values.len()];
    let mut count = 0;
    let opens = |open: &mut [bool], v: ValueId, i: Option<usize>| {
        open[v.index()] = last[v.index()] > i;
        usize::from(open[v.index()])
    };
    count += graph.inputs.iter().map(|input| opens(&mut open, input.value, None)).sum::<usize>();
    let mut constants = HashSet::new();
    let mut found = None;
    for (i, chain) in chains.iter().enumerate() {
        let Fused { node, output, .. } = *chain;
        if node.inputs.is_empty() {
            constants.insert(output);
            continue;
        }
        let rank = one[output.index()].len();
        let fits = |v: ValueId| if constants.contains(&v) { broadcasts(node) && constant(v, rank) } else { by_image(v) };
        let some_image = inputs(chain).any(|v| !constants.contains(&v));
        if !(keeps_images_apart(&node.op) && some_image && inputs(chain).all(fits) && by_image(output)) {
            break;
        }
        for v in inputs(chain) {
            if last[v.index()] == Some(i) && std::mem::take(&mut open[v.index()]) {
                count -= 1;
            }
        }
        count += opens(&mut open, output, Some(i));
        if count == 1 && open[output.index()] {
            found = Some(Beginning { chains: i + 1, yields: output });
        }
    }
    found
}

/// Whether an image of the outputs may depend on other images of a batch of `inputs`.
pub(crate) fn mixes_images(model: &Model, mut inputs: Vec<Vec<usize>>) -> bool {
    let graph = model.graph();
    let fixes_one = |input: &Input| matches!(input.dims.first(), Some(Dim::Fixed { size: 1 }));
    if graph.inputs.iter().all(fixes_one) {
        return false;
    }
    let apart = |inputs: &[Vec<usize>]| shapes::of_all(model, inputs).map(|shapes| are_apart(graph, &shapes));
    let own = apart(&inputs);
    // Where the batch is one, so may be other axes: only two images show which of them is the batch.
    inputs.iter_mut().flat_map(|shape| shape.first_mut()).filter(|batch| **batch == 1).for_each(|batch| *batch = 2);
    !apart(&inputs).or(own).unwrap_or(false)
}

/// Whether image i of every output depends on no other image of the inputs, by operators and the shapes of all values.
fn are_apart(graph: &Graph, shapes: &[Vec<usize>]) -> bool {
    let shape = |v: ValueId| &shapes[v.index()][..];
    let Some(batch) = graph.inputs.first().and_then(|input| shape(input.value).first()) else { return false };
    let mut constants = HashSet::new();
    for node in &graph.nodes {
        if node.inputs.iter().all(|v| constants.contains(v)) {
            constants.insert(node.output);
            continue;
        }
        let rank = shape(node.output).len();
        // Axes are aligned from the last one on.
        let fits = |&v: &ValueId| match (constants.contains(&v), shape(v)) {
            (true, shape) => broadcasts(node) && (shape.len() < rank || shape[0] == 1),
            (false, shape) => shape.first() == Some(batch) && (shape.len() == rank || !broadcasts(node)),
        };
        let keeps_apart = match &node.op {
            // The last axis is that of features.
            Op::Gemm(_) => rank > 1,
            Op::Expand(_) => node.inputs.iter().all(|&v| shape(v).len() == rank),
            op => keeps_images_apart(op),
        };
        if !(keeps_apart && node.inputs.iter().all(fits) && shape(node.output).first() == Some(batch)) {
            return false;
        }
    }
    graph.inputs.iter().all(|input| shape(input.value).first() == Some(batch))
}

fn inputs(chain: &Fused<'_>) -> impl Iterator<Item = ValueId> {
    chain.node.inputs.iter().copied().chain(chain.residual)
}

/// Whether an input may be a constant without a batch.
fn broadcasts(node: &Node) -> bool {
    matches!(node.op, Op::Binary(_))
}

/// Whether image i of the output depends on no other image of the inputs, all of which have the batch on axis 0, and is as well
/// computed alone.
fn keeps_images_apart(op: &Op) -> bool {
    match op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::MaxPool(_) | Op::AveragePool(_) | Op::GlobalAveragePool | Op::GlobalMaxPool => {
            true
        }
        Op::Lrn(_) | Op::BatchNorm(_) | Op::InstanceNorm(_) | Op::Activation(_) | Op::Binary(_) | Op::Resize(_) => true,
        // Elements keep their order, and each image as many of them as before.
        Op::Flatten(_) | Op::Reshape(_) => true,
        Op::Softmax(softmax) => softmax.start > 0,
        Op::Concat(concat) => concat.axis > 0,
        Op::Transpose(transpose) => transpose.axes.first() == Some(&0),
        Op::Slice(slice) => slice.axis > 0,
        Op::Gather(gather) => gather.axis > 0,
        Op::Pad(pad) => pad.amounts.first() == Some(&[0, 0]),
        Op::ReduceMean(mean) => !mean.axes.contains(&0),
        Op::ArgMax(arg) => arg.axis > 0,
        _ => false,
    }
}
