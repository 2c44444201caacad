//! Where a batch goes through the network image by image. What one image needs stays in the caches that way, memory does not grow
//! with the batch, and threads take images of their own instead of meeting in every step.
//!
//! That is so from the inputs up to the first node that is better off with the whole batch: a fully connected one, whose weights
//! are then read once for all images. Nor does it go past a node that may mix images, or to where more than one value would have
//! to be handed over.

use super::lower::{Fused, Lower, axes_of};
use super::shapes;
use crate::error::Result;
use crate::model::Model;
use sslm_format::{AxisMap, Dim, Graph, Input, Link, Node, ValueId};
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
    let by_image = |v: ValueId| is_by_image(&one[v.index()], &all[v.index()], batch);
    let same = |v: ValueId| one[v.index()] == all[v.index()];
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
        let is_constant = |v: ValueId| constants.contains(&v);
        let some_image = inputs(chain).any(|v| !is_constant(v));
        let fits = node.inputs.iter().all(|&v| if is_constant(v) { same(v) } else { by_image(v) })
            && chain.residual.is_none_or(|v| !is_constant(v) && by_image(v))
            && by_image(output);
        if node.op.wants_batch() || !(some_image && fits && keeps_images_apart(node, all, &constants)) {
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

/// Whether a value has these shapes because axis 0 is that of images: for one of them, and for the whole batch.
fn is_by_image(one: &[usize], all: &[usize], batch: usize) -> bool {
    one.len() == all.len() && one.first() == Some(&1) && all.first() == Some(&batch) && one[1..] == all[1..]
}

/// Whether an image of the outputs may depend on other images of a batch of `inputs`.
pub(crate) fn mixes_images(model: &Model, mut inputs: Vec<Vec<usize>>) -> bool {
    let fixes_one = |input: &Input| matches!(input.dims.first(), Some(Dim::Fixed { size: 1 }));
    if model.graph().inputs.iter().all(fixes_one) {
        return false;
    }
    let apart = |inputs: &[Vec<usize>]| {
        let model = model.bind(inputs);
        shapes::of_all(&model, inputs).map(|shapes| are_apart(model.graph(), &shapes))
    };
    let own = apart(&inputs);
    // Where the batch is one, so may be other axes: only two images show which of them is the batch.
    inputs.iter_mut().flat_map(|shape| shape.first_mut()).filter(|batch| **batch == 1).for_each(|batch| *batch = 2);
    !apart(&inputs).or(own).unwrap_or(false)
}

/// The model for one image, and how many there are in `inputs`, to which `bound` is bound: where each of several images can be run alone.
pub(crate) fn one_of_batch(model: &Model, bound: &Model, inputs: &[Vec<usize>]) -> Result<Option<(Model, usize)>> {
    let Some(&batch) = inputs.first().and_then(|shape| shape.first()) else { return Ok(None) };
    let is_open = |input: &Input| matches!(input.dims.first(), Some(Dim::Symbolic { .. }));
    if batch < 2 || !model.graph().inputs.iter().all(is_open) || mixes_images(model, inputs.to_vec()) {
        return Ok(None);
    }
    let one: Vec<Vec<usize>> = inputs.iter().map(|shape| [&[1], &shape[1..]].concat()).collect();
    let of_one = model.bind(&one);
    let (all, one) = (shapes::of_all(bound, inputs)?, shapes::of_all(&of_one, &one)?);
    // A constant may have an axis of images, too, or none.
    let by_image = |v: &ValueId| is_by_image(&one[v.index()], &all[v.index()], batch);
    Ok(model.graph().outputs.iter().all(by_image).then_some((of_one, batch)))
}

/// Whether image i of every output depends on no other image of the inputs, for values of these shapes.
fn are_apart(graph: &Graph, shapes: &[Vec<usize>]) -> bool {
    let extent = |v: ValueId| shapes[v.index()].first();
    let Some(batch) = graph.inputs.first().and_then(|input| extent(input.value)) else { return false };
    let mut constants = HashSet::new();
    for node in &graph.nodes {
        if node.inputs.iter().all(|v| constants.contains(v)) {
            constants.insert(node.output);
            continue;
        }
        let with_batch = |v: &ValueId| constants.contains(v) || extent(*v) == Some(batch);
        let all_with_batch = node.inputs.iter().all(with_batch) && extent(node.output) == Some(batch);
        if !(all_with_batch && keeps_images_apart(node, shapes, &constants)) {
            return false;
        }
    }
    graph.inputs.iter().all(|input| extent(input.value) == Some(batch))
}

fn inputs(chain: &Fused<'_>) -> impl Iterator<Item = ValueId> {
    chain.node.inputs.iter().copied().chain(chain.residual)
}

/// Whether image i of the output depends on image i alone of each input that is no constant, and on no constant by its image. Axis 0 is
/// that of images.
fn keeps_images_apart(node: &Node, shapes: &[Vec<usize>], constants: &HashSet<ValueId>) -> bool {
    let apart = |(v, map): (&ValueId, &AxisMap)| {
        if constants.contains(v) {
            let mut axes = map.links.iter().zip(&shapes[v.index()]);
            axes.all(|(link, &extent)| extent == 1 || !link.targets().contains(&0))
        } else {
            map.links.first().and_then(Link::alike) == Some(0)
        }
    };
    node.inputs.iter().zip(&axes_of(node, shapes)).all(apart)
}
