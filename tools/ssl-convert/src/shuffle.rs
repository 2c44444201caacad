//! Recognises the channel shuffle (Reshape, Transpose, Reshape) and makes it one Gather of channels, through which constants and
//! liveness pass channel by channel while every value in between is compacted along axis 1.

use crate::graph::{Graph, drop_unused_values, retain_nodes};
use sslm_format::{Gather, Link, Operator, SliceSpace};

/// Replaces every shuffle whose parts nobody else reads.
pub fn fold_shuffles(g: &mut Graph) {
    let (producers, readers) = (g.producers(), g.readers());
    let mut gone = vec![false; g.graph.nodes.len()];
    for last in 0..g.graph.nodes.len() {
        let before = |i: usize| {
            let x = *g.graph.nodes[i].inputs.first()?;
            let alone = readers[x.index()].len() == 1 && !g.graph.outputs.contains(&x);
            producers[x.index()].filter(|_| alone)
        };
        let is_view = |i: &usize| g.graph.nodes[*i].op.is_view();
        let Some(middle) = Some(last).filter(is_view).and_then(before) else { continue };
        let Some(first) = Some(middle).filter(|i| !is_view(i)).and_then(before).filter(is_view) else { continue };
        let Some(indices) = permutation(g, &[first, middle, last]) else { continue };
        let x = g.graph.nodes[first].inputs[0];
        let node = &mut g.graph.nodes[last];
        (node.op, node.inputs) = (Gather { axis: 1, indices }.into(), vec![x]);
        (gone[first], gone[middle]) = (true, true);
    }
    retain_nodes(g, |i, _| !gone[i]);
    drop_unused_values(g);
}

/// The channel of the first node's input that each channel of the last one's output is, if the nodes do nothing but put the channels of a
/// value into another order.
fn permutation(g: &Graph, nodes: &[usize]) -> Option<Vec<i64>> {
    let (first, last) = (nodes.first()?, nodes.last()?);
    let (from, to) = (g.shape(g.graph.nodes[*first].inputs[0]), g.shape(g.graph.nodes[*last].output));
    if from != to || from.iter().skip(2).any(|extent| extent.known().is_none()) {
        return None;
    }
    // The channels, and beside them where each other axis has gone.
    let mut space = SliceSpace::along(from, &[1])?;
    let mut channels: Vec<usize> = (0..space.len()).collect();
    let mut others: Vec<Option<usize>> = (0..from.len()).map(Some).collect();
    for &i in nodes {
        let node = &g.graph.nodes[i];
        let (x, output) = (g.shape(node.inputs[0]), g.shape(node.output));
        let [map] = &node.op.axes(&[x], output)[..] else { return None };
        if !node.op.only_moves() {
            return None;
        }
        let outer = SliceSpace::along(output, &map.image(space.axes())?)?;
        channels = map.origins(x, &space, &outer)?.into_iter().map(|slice| channels[slice]).collect();
        others.iter_mut().for_each(|axis| *axis = axis.and_then(|axis| map.links.get(axis)).and_then(Link::alike));
        space = outer;
    }
    let in_place = others.iter().enumerate().all(|(axis, now)| axis == 1 || *now == Some(axis));
    (space.axes() == [1] && in_place).then(|| channels.into_iter().map(|c| c as i64).collect())
}
