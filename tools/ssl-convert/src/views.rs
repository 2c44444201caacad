//! Views that undo each other: axes that are split and then joined again, once the Transpose between both is gone.

use crate::graph::{Graph, drop_unread};
use sslm_format::shape::Shape;
use sslm_format::{Operator, ValueId};
use std::collections::HashMap;

/// Lets nodes read what a view was made of, directly or by other views, if that has the same shape.
pub fn drop_undone(g: &mut Graph) {
    // The value that a view has its elements of, which is no view.
    let mut origins: HashMap<ValueId, ValueId> = HashMap::new();
    // The first value of each shape among an origin and its views.
    let mut firsts: HashMap<(ValueId, Shape), ValueId> = HashMap::new();
    let mut instead: HashMap<ValueId, ValueId> = HashMap::new();
    for i in 0..g.graph.nodes.len() {
        let node = &mut g.graph.nodes[i];
        node.inputs.iter_mut().for_each(|v| *v = *instead.get(v).unwrap_or(v));
        if !node.op.is_view() {
            continue;
        }
        let (x, y) = (node.inputs[0], node.output);
        let origin = *origins.get(&x).unwrap_or(&x);
        origins.insert(y, origin);
        firsts.entry((origin, g.shape(origin).clone())).or_insert(origin);
        let first = *firsts.entry((origin, g.shape(y).clone())).or_insert(y);
        if first != y {
            instead.insert(y, first);
        }
    }
    drop_unread(g);
}
