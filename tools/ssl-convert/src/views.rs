//! Views that undo each other: axes that are split and then joined again, once the Transpose between both is gone.

use crate::graph::{Graph, drop_unread};
use sslm_format::{Operator, ValueId};
use std::collections::HashMap;

/// Lets nodes read what a view was made of, if that has the same shape.
pub fn drop_undone(g: &mut Graph) {
    // The values that each view has its elements of, the nearest first.
    let mut origins: HashMap<ValueId, Vec<ValueId>> = HashMap::new();
    let mut instead: HashMap<ValueId, ValueId> = HashMap::new();
    for i in 0..g.graph.nodes.len() {
        let node = &mut g.graph.nodes[i];
        node.inputs.iter_mut().for_each(|v| *v = *instead.get(v).unwrap_or(v));
        if !node.op.is_view() {
            continue;
        }
        let (x, y) = (node.inputs[0], node.output);
        let all: Vec<ValueId> = std::iter::once(x).chain(origins.get(&x).into_iter().flatten().copied()).collect();
        if let Some(&same) = all.iter().find(|v| g.shape(**v) == g.shape(y)) {
            instead.insert(y, same);
        }
        origins.insert(y, all);
    }
    drop_unread(g);
}
