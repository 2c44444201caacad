//! Recognises what only puts channels into another order or picks some of them: the channel shuffle in every spelling (Reshape,
//! Transpose, Reshape, and the Split, Slices or Gathers behind it), and a Flatten of an image whose channels were put last. Each becomes
//! one Gather of channels, through which constants and liveness pass channel by channel while every value in between is compacted
//! along axis 1.
//!
//! A DepthToSpace and a SpaceToDepth written so (Reshape, Transpose, Reshape) become that, of which slices are channels throughout, too.
//!
//! What such a chain of nodes does is found by doing it to a tensor whose elements are their own indices.

use crate::graph::{Graph, drop_unread};
use crate::onnx::tensor::{Data, Tensor};
use crate::operator::answers;
use crate::weights::Op;
use sslm_format::{DepthToSpace, Extent, Flatten, Gather, Link, Operator, SpaceToDepth, infer};
use std::collections::{BTreeMap, BTreeSet};

/// Tensors of more elements are not followed.
const MOST_ELEMENTS: usize = 1 << 22;

/// What symbols are taken for, in turn: extents that differ, so that they are told apart.
const STAND_INS: [usize; 4] = [2, 3, 5, 7];

/// Replaces every chain that picks channels.
pub fn fold_shuffles(g: &mut Graph) {
    let (producers, readers) = (g.producers(), g.readers());
    let moves: Vec<bool> = (0..g.graph.nodes.len()).map(|i| g.op(i).mover().is_some()).collect();
    for last in (0..g.graph.nodes.len()).filter(|&i| moves[i]) {
        let output = g.graph.nodes[last].output;
        let ends = g.graph.outputs.contains(&output) || readers[output.index()].iter().any(|&reader| !moves[reader]);
        let chain = if ends { chain(g, &producers, &moves, last) } else { Vec::new() };
        // The longest chain that begins with any of them.
        let found = (2..=chain.len()).rev().find_map(|len| Some((&chain[..len], picked(g, &chain[..len])?)));
        let Some((nodes, picked)) = found else {
            fold_blocks(g, &readers, &chain);
            continue;
        };
        let mut x = g.graph.nodes[nodes[nodes.len() - 1]].inputs[0];
        if picked.of_elements {
            let before = nodes[1];
            let flat = g.graph.nodes[before].output;
            // An index for each element is worth its room where weights meet the elements.
            let weights = readers[output.index()].iter().all(|&reader| g.layer(reader).is_some());
            let only_reader = readers[flat.index()].len() == 1 && !g.graph.outputs.contains(&flat);
            if !weights || !only_reader || g.graph.outputs.contains(&output) {
                continue;
            }
            let flatten = Op::from(Flatten { axis: 1 });
            let Ok(shape) = infer::of_node(&flatten, &[g.shape(x)]) else { continue };
            let node = &mut g.graph.nodes[before];
            (node.op, node.inputs) = (flatten, vec![x]);
            g.shapes[flat.index()] = shape;
            x = flat;
        }
        let node = &mut g.graph.nodes[last];
        (node.op, node.inputs) = (Gather { axis: 1, indices: picked.indices }.into(), vec![x]);
    }
    drop_unread(g);
}

/// Node `last` and the nodes before it that do nothing but move elements, backwards.
fn chain(g: &Graph, producers: &[Option<usize>], moves: &[bool], last: usize) -> Vec<usize> {
    let before = |&i: &usize| producers[g.graph.nodes[i].inputs[0].index()].filter(|&before| moves[before]);
    std::iter::successors(Some(last), before).collect()
}

/// What a chain of nodes picks.
struct Picked {
    /// The indices of channels, in order.
    indices: Vec<i64>,
    /// Whether channels are the elements of an image, flattened.
    of_elements: bool,
}

/// Whether node `i` picks indices of an axis whose extent is not known: that it picks all of them cannot be told then.
fn picks_of_unknown(g: &Graph, i: usize) -> bool {
    let node = &g.graph.nodes[i];
    let x = g.shape(node.inputs[0]);
    let maps = node.op.axes(&[x], g.shape(node.output));
    let links = maps.iter().flat_map(|map| map.links.iter().zip(x));
    // Indices counted from an end that is not known are some window.
    let picks = |link: &Link| matches!(link, Link::Picked { .. } | Link::Windowed { .. });
    links.into_iter().any(|(link, extent)| picks(link) && extent.known().is_none())
}

/// What the nodes, from the last one back to the first one, pick, if that is channels, or elements of flattened images, and if not all of
/// them are there in order.
fn picked(g: &Graph, nodes: &[usize]) -> Option<Picked> {
    let (dims, moved) = moved(g, nodes, 1)?;
    let len: usize = dims.iter().product();
    let (found, elements) = (&moved.dims, moved.ints().ok()?);
    if dims.len() < 2 || found.len() < 2 || found[0] != dims[0] || elements.is_empty() {
        return None;
    }
    let of_elements = found.len() == 2 && dims.len() > 2;
    if !of_elements && found[2..] != dims[2..] {
        return None;
    }
    let plane: usize = found[2..].iter().product();
    let channels = len / dims[0] / plane;
    let indices: Vec<i64> = (0..found[1]).map(|channel| elements[channel * plane] / plane as i64).collect();
    let element = |i: usize| {
        let (image, channel) = (i / (found[1] * plane), indices[i / plane % found[1]]);
        ((image * channels) as i64 + channel) * plane as i64 + (i % plane) as i64
    };
    let all_there = indices.len() == channels && indices.iter().enumerate().all(|(i, &index)| i as i64 == index);
    let picks = !all_there && elements.iter().enumerate().all(|(i, &found)| found == element(i));
    picks.then_some(Picked { indices, of_elements })
}

/// What the nodes, from the last one back to the first one, make of a tensor whose elements are their own indices, and that tensor's dims:
/// those of the value, where symbols are multiples of `factor`.
fn moved(g: &Graph, nodes: &[usize], factor: usize) -> Option<(Vec<usize>, Tensor)> {
    let first = g.graph.nodes[*nodes.last()?].inputs[0];
    let symbols: BTreeSet<&str> = g.shape(first).iter().flat_map(Extent::symbols).collect();
    let stand_ins: BTreeMap<&str, usize> = symbols.into_iter().zip(STAND_INS.map(|n| n * factor)).collect();
    let bind = |extent: &Extent| extent.bind(&|name| stand_ins.get(name).copied());
    let dims: Vec<usize> = g.shape(first).iter().map(|extent| bind(extent).known()).collect::<Option<_>>()?;
    // A Slice or a Gather alone is what it is.
    let is_view = |&i: &usize| g.graph.nodes[i].op.is_view();
    let len = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&len| len <= MOST_ELEMENTS && len > 0)?;
    let indices = Data::Ints((0..len as i64).collect());
    if nodes.iter().any(|&i| picks_of_unknown(g, i)) {
        return None;
    }
    let mut moved = Tensor::new(dims.clone(), indices).ok().filter(|_| nodes.iter().any(is_view))?;
    for &i in nodes.iter().rev() {
        let mut op = g.graph.nodes[i].op.clone();
        op.extents_mut().into_iter().for_each(|extent| *extent = bind(extent));
        moved = answers(&op).mover()?(&moved).ok()?;
    }
    Some((dims, moved))
}

/// Replaces the longest end of a chain that moves blocks of positions to channels or channels to blocks of positions.
fn fold_blocks(g: &mut Graph, readers: &[Vec<usize>], chain: &[usize]) {
    let found = (3..=chain.len()).rev().find_map(|len| Some((&chain[..len], blocks(g, &chain[..len])?)));
    let Some((nodes, blocks)) = found else { return };
    let (last, before, x) = (nodes[0], nodes[1], g.graph.nodes[nodes[nodes.len() - 1]].inputs[0]);
    let Some(order) = blocks.order else {
        let node = &mut g.graph.nodes[last];
        (node.op, node.inputs) = (blocks.op, vec![x]);
        return;
    };
    let between = g.graph.nodes[before].output;
    let Ok(shape) = infer::of_node(&blocks.op, &[g.shape(x)]) else { return };
    if readers[between.index()].len() > 1 || g.graph.outputs.contains(&between) {
        return;
    }
    let node = &mut g.graph.nodes[before];
    (node.op, node.inputs) = (blocks.op, vec![x]);
    g.shapes[between.index()] = shape;
    let node = &mut g.graph.nodes[last];
    (node.op, node.inputs) = (Gather { axis: 1, indices: order }.into(), vec![between]);
}

/// A DepthToSpace or a SpaceToDepth, and which of its channels follow each other then, if that is another order.
struct Blocks {
    op: Op,
    order: Option<Vec<i64>>,
}

/// What the nodes do with blocks of positions, if that is all they do.
fn blocks(g: &Graph, nodes: &[usize]) -> Option<Blocks> {
    let (x, y) = (g.shape(g.graph.nodes[*nodes.last()?].inputs[0]), g.shape(g.graph.nodes[nodes[0]].output));
    if [x.len(), y.len()] != [4, 4] {
        return None;
    }
    let [few, many] = [x[1].known()?.min(y[1].known()?), x[1].known()?.max(y[1].known()?)];
    let block = (2..=many).find(|block| block * block * few >= many).filter(|block| block * block * few == many)?;
    let (dims, moved) = moved(g, nodes, block)?;
    let to_positions = dims[1] == many;
    let [height, width] = if to_positions { [dims[2], dims[3]] } else { [dims[2] / block, dims[3] / block] };
    let [positions, channels] = [[few, height * block, width * block], [many, height, width]];
    let expected = if to_positions { [channels, positions] } else { [positions, channels] };
    if dims[1..] != expected[0] || moved.dims != [&dims[..1], &expected[1]].concat() {
        return None;
    }
    // Where element (row, column) of a block of a channel is, in either order of channels.
    let deep = |neighbours: bool, [image, channel, y, x]: [usize; 4]| {
        let place = y % block * block + x % block;
        let channel = if neighbours { channel * block * block + place } else { place * few + channel };
        ((image * many + channel) * height + y / block) * width + x / block
    };
    let elements = moved.ints().ok()?;
    let indices = || {
        (0..elements.len()).map(|i| {
            let [h, w] = [height * block, width * block];
            (i, [i / (few * h * w), i / (h * w) % few, i / w % h, i % w])
        })
    };
    // An element here is where it was, or where it was is an element here.
    let fits = |neighbours: bool| {
        indices().all(|(i, at)| {
            let deep = deep(neighbours, at);
            if to_positions { elements[i] == deep as i64 } else { elements[deep] == i as i64 }
        })
    };
    // Of one channel both orders are the same, and a SpaceToDepth in the first one is that alone.
    let neighbours = [false, true].into_iter().find(|&neighbours| fits(neighbours))?;
    let block = u32::try_from(block).ok()?;
    if to_positions {
        return Some(Blocks { op: DepthToSpace { block, neighbours }.into(), order: None });
    }
    let squared = many / few;
    let order = (0..many).map(|channel| (channel % squared * few + channel / squared) as i64).collect();
    Some(Blocks { op: SpaceToDepth { block }.into(), order: neighbours.then_some(order) })
}
