//! Exact compaction: which channels of each value, which filters and which columns of each layer are needed to compute the same
//! function, and what the others contribute.
//!
//! Two passes reach the fixed point. Forward (`forward`), every channel is found to be *live* or *constant*: a zero filter
//! does not yield zero but its bias, and that constant flows on through the layers behind it. Backward (`backward`), the
//! channels, filters and columns that some output depends on are marked; since constants are known by then, one pass in reverse
//! order sees every consequence. What an operator does with constants, and what it reads, it answers itself ([`crate::operator`]).

use crate::graph::Graph;
use crate::operator::answers_mut;
use crate::slices::{self, Reads, Slices};
use sslm_format::shape::Shape;
use sslm_format::{Compaction, Operator, ValueId};

/// What is known of each channel of a value: `Some(x)` if it equals x at every position, `None` if it is live. Absent for
/// values without a fixed count of channels on an axis 1, which are always stored whole.
type Channels = Option<Vec<Option<f32>>>;

/// Removes from `g` whatever its outputs do not depend on.
pub fn compact(g: &mut Graph) {
    let channels = forward(g);
    let needed = backward(g, &channels);
    store(g, channels, &needed);
}

/// The slices of a value, as far as they are known.
fn slices_of<'a>(shapes: &'a [Shape], channels: &'a [Channels], value: ValueId) -> Slices<'a> {
    Slices::new(&shapes[value.index()], channels[value.index()].as_deref())
}

/// Finds constant channels, and moves what they contribute into biases and taps.
fn forward(g: &mut Graph) -> Vec<Channels> {
    let unknown = |shape: &Shape| Some(vec![None; slices::count(shape)?]);
    let mut channels: Vec<Channels> = g.shapes.iter().map(unknown).collect();
    for node in &g.graph.nodes {
        let shapes: Vec<&Shape> = node.inputs.iter().map(|v| g.shape(*v)).collect();
        if node.op.needs_whole(&shapes) {
            node.inputs.iter().chain([&node.output]).for_each(|v| channels[v.index()] = None);
        }
    }
    let Graph { graph, shapes, .. } = g;
    for node in &mut graph.nodes {
        let output = node.output;
        if channels[output.index()].is_none() && node.inputs.is_empty() {
            continue;
        }
        let inputs: Vec<Slices<'_>> = node.inputs.iter().map(|&v| slices_of(shapes, &channels, v)).collect();
        let found = answers_mut(&mut node.op).forward(&inputs, &slices_of(shapes, &channels, output));
        // What is stored whole only takes in what constants contribute. A constant must be an element that the file can hold.
        if let Some(channels) = &mut channels[output.index()] {
            *channels = found.into_iter().map(|c| c.filter(|x| x.is_finite())).collect();
        }
    }
    channels
}

/// Marks the channels of each value that some output depends on (all of a value without channels: one mark), constant ones among
/// them, and lists the columns that each layer keeps.
fn backward(g: &mut Graph, channels: &[Channels]) -> Vec<Vec<bool>> {
    let mut needed: Vec<Vec<bool>> = channels.iter().map(|c| vec![false; c.as_ref().map_or(1, Vec::len)]).collect();
    for output in &g.graph.outputs {
        needed[output.index()].fill(true);
    }
    let Graph { graph, shapes, .. } = g;
    for node in graph.nodes.iter_mut().rev() {
        // What must be computed: read by somebody, and not known already.
        let needs = &needed[node.output.index()];
        let wanted: Option<Vec<bool>> =
            channels[node.output.index()].as_ref().map(|c| c.iter().zip(needs).map(|(c, n)| *n && c.is_none()).collect());
        let op = answers_mut(&mut node.op);
        if !wanted.as_ref().unwrap_or(needs).contains(&true) {
            op.forget();
            continue;
        }
        let inputs: Vec<Slices<'_>> = node.inputs.iter().map(|&v| slices_of(shapes, channels, v)).collect();
        let reads = op.backward(&inputs, &slices_of(shapes, channels, node.output), wanted.as_deref());
        for (value, reads) in node.inputs.iter().zip(reads) {
            let is_whole = channels[value.index()].is_none();
            for (slice, needed) in needed[value.index()].iter_mut().enumerate() {
                *needed |= match &reads {
                    Reads::All => true,
                    Reads::Some(read) if is_whole => read.contains(&true),
                    Reads::Some(read) => read[slice],
                };
            }
        }
    }
    needed
}

/// Writes the kept lists. A view keeps just what its input keeps, so that it costs nothing.
fn store(g: &mut Graph, channels: Vec<Channels>, needed: &[Vec<bool>]) {
    for i in 0..g.graph.nodes.len() {
        let node = &g.graph.nodes[i];
        let (Some(&x), v) = (node.inputs.first(), node.output.index()) else { continue }; // stored tensors are whole
        let Some(channels) = &channels[v] else { continue };
        let origins = node.op.is_view().then(|| slices::origins(&node.op, g.shape(x), &g.shapes[v])).flatten();
        let keeps: Vec<bool> = match origins.map(|origins| (origins, &g.graph.values[x.index()].compaction)) {
            Some((origins, Some(c))) => origins.iter().map(|&from| c.keeps(from)).collect(),
            Some((_, None)) => continue,
            None => channels.iter().zip(&needed[v]).map(|(channel, needed)| *needed && channel.is_none()).collect(),
        };
        if keeps.contains(&false) {
            let kept = (0..).zip(&keeps).filter(|(_, keep)| **keep).map(|(channel, _)| channel).collect();
            let constants = channels.iter().zip(&keeps).filter(|(_, keep)| !**keep).map(|(x, _)| x.unwrap_or(0.0)).collect();
            g.graph.values[v].compaction = Some(Compaction { logical: channels.len() as u32, kept, constants });
        }
    }
}
