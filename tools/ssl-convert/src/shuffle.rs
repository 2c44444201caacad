//! Recognises the channel shuffle (Reshape, Transpose, Reshape) and makes it one Gather of channels, through which constants and
//! liveness pass channel by channel. As reshapes it would need every channel.

use crate::graph::{Graph, Weights, drop_unused_values, retain_nodes};
use sslm_format::{Gather, Op};

/// Replaces every shuffle whose parts nobody else reads.
pub fn fold_shuffles(g: &mut Graph) {
    let (producers, readers) = (g.producers(), g.readers());
    let mut gone = vec![false; g.graph.nodes.len()];
    for last in 0..g.graph.nodes.len() {
        let before = |i: usize| {
            let x = g.graph.nodes[i].inputs[0];
            let alone = readers[x.index()].len() == 1 && !g.graph.outputs.contains(&x);
            producers[x.index()].filter(|_| alone)
        };
        if !matches!(g.graph.nodes[last].op, Op::Reshape(_)) {
            continue;
        }
        let Some(transpose) = before(last) else { continue };
        let Op::Transpose(axes) = &g.graph.nodes[transpose].op else { continue };
        let axes = axes.axes.clone();
        let Some(first) = before(transpose).filter(|&f| matches!(g.graph.nodes[f].op, Op::Reshape(_))) else { continue };
        let x = g.graph.nodes[first].inputs[0];
        let (from, split, to) = (g.shape(x), g.shape(g.graph.nodes[first].output), g.shape(g.graph.nodes[last].output));
        // [N, C, ...] -> [N, a, b, ...] -> [N, b, a, ...] -> [N, C, ...]
        let (Some(&Some(channels)), Some(&Some(a)), Some(&Some(b))) = (from.get(1), split.get(1), split.get(2)) else { continue };
        let swapped = (0..split.len() as u32).map(|i| [0, 2, 1].get(i as usize).copied().unwrap_or(i));
        let rest_stays = from.len() + 1 == split.len() && from[2..] == split[3..] && from.iter().skip(2).all(Option::is_some);
        if a * b != channels || !axes.iter().copied().eq(swapped) || !rest_stays || from != to || from[0] != split[0] {
            continue;
        }
        let indices = (0..channels).map(|c| (c % a * b + c / a) as i64).collect();
        let node = &mut g.graph.nodes[last];
        node.op = Op::Gather(Gather { axis: 1, indices });
        node.inputs = vec![x];
        g.weights[last] = Weights::None;
        (gone[first], gone[transpose]) = (true, true);
    }
    retain_nodes(g, |i, _| !gone[i]);
    drop_unused_values(g);
}
