//! One element out of many along an axis: ReduceMean and ArgMax.

use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, int, ints};
use crate::import::binding::Binding;
use crate::import::checks;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::operator::{Convert, MIXES_CHANNELS, Reordering, without_weights};
use crate::weights::Op;
use anyhow::Result;
use sslm_format::{ArgMax, ReduceMean};

pub(super) const IMPORTS: &[Import] = &[Import::computing("ReduceMean", reduce_mean), Import::computing("ArgMax", arg_max)];

fn reduce_mean(node: &mut OnnxNode<'_>) -> Result<Binding> {
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
    node.push(ReduceMean { axes, keep }, vec![x])
}

/// Its output are integers in ONNX.
fn arg_max(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let axis = node.axis(0, node.rank(x))? as u32;
    let (keep, last) = (node.flag("keepdims", true)?, node.flag("select_last_index", false)?);
    let output = &node.outputs()[0];
    node.push_as(output, ArgMax { axis, keep, last }, vec![x]).map(Binding::Integers)
}

impl Convert for ReduceMean {
    without_weights!();

    fn reordered(&self, at: &Reordering<'_>) -> Option<Op> {
        let mut axes: Vec<u32> = self.axes.iter().map(|&axis| at.axis(axis)).collect::<Option<_>>()?;
        axes.sort_unstable();
        Some(ReduceMean { axes, keep: self.keep }.into())
    }

    fn why_lost(&self) -> &'static str {
        MIXES_CHANNELS
    }
}

impl Convert for ArgMax {
    without_weights!();

    fn why_lost(&self) -> &'static str {
        "it needs every channel"
    }
}

impl Write for ReduceMean {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        w.push("ReduceMean", call.inputs, call.output, vec![ints("axes", &self.axes), int("keepdims", self.keep.into())]);
        Ok(())
    }
}

impl Write for ArgMax {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let [axis, keep, last] = [self.axis.into(), self.keep.into(), self.last.into()];
        let attributes = vec![int("axis", axis), int("keepdims", keep), int("select_last_index", last)];
        w.push("ArgMax", call.inputs, call.output, attributes);
        Ok(())
    }

    fn yields_integers(&self) -> bool {
        true
    }
}
