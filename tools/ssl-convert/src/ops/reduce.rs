//! One element out of many along an axis: ReduceMean and ArgMax.

use crate::import::binding::Binding;
use crate::import::checks;
use crate::import::node::Node;
use crate::import::registry::Import;
use anyhow::Result;
use sslm_format::{ArgMax, Op, ReduceMean};

pub(super) const IMPORTS: &[Import] = &[Import::computing("ReduceMean", reduce_mean), Import::computing("ArgMax", arg_max)];

fn reduce_mean(node: &mut Node<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let rank = node.rank(x);
    let mut axes: Vec<u32> = match node.integers("axes", 1)? {
        Some(axes) if !axes.is_empty() => axes.iter().map(|&a| checks::axis(a, rank).map(|a| a as u32)).collect::<Result<_>>()?,
        _ if node.flag("noop_with_empty_axes", false)? => return Ok(node.computed(x)),
        _ => (0..rank as u32).collect(),
    };
    axes.sort_unstable();
    axes.dedup();
    let keep = node.flag("keepdims", true)?;
    node.push(Op::ReduceMean(ReduceMean { axes, keep }), vec![x])
}

/// Its output are integers in ONNX.
fn arg_max(node: &mut Node<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let axis = node.axis(0, node.rank(x))? as u32;
    let (keep, last) = (node.flag("keepdims", true)?, node.flag("select_last_index", false)?);
    let output = &node.outputs()[0];
    node.push_as(output, Op::ArgMax(ArgMax { axis, keep, last }), vec![x]).map(Binding::Integers)
}
