//! Pools over windows, and over all of height and width.

use super::window;
use crate::export::exporter::{Call, Write};
use crate::export::writer::{OPSET, Writer, int};
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::onnx::proto::AttributeProto;
use crate::operator::{Convert, without_weights};
use anyhow::{Result, ensure};
use sslm_format::{AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool, Window};

pub(super) const IMPORTS: &[Import] = &[
    Import::computing("MaxPool", |node| {
        node.one_output("Indices")?;
        let (window, ceil_mode) = window_and_rounding(node)?;
        node.unary(MaxPool { window, ceil_mode })
    }),
    Import::computing("AveragePool", |node| {
        let (window, ceil_mode) = window_and_rounding(node)?;
        let count_include_pad = node.flag("count_include_pad", false)?;
        node.unary(AveragePool { window, ceil_mode, count_include_pad })
    }),
    Import::computing("GlobalAveragePool", |node| node.unary(GlobalAveragePool {})),
    Import::computing("GlobalMaxPool", |node| node.unary(GlobalMaxPool {})),
];

/// The window, and whether sizes are rounded up.
fn window_and_rounding(node: &OnnxNode<'_>) -> Result<(Window, bool)> {
    ensure!(!node.flag("storage_order", false)?, "storage_order: expected 0, found 1");
    Ok((window::of_attributes(node)?, node.flag("ceil_mode", false)?))
}

impl Convert for MaxPool {
    without_weights!();
}

impl Convert for AveragePool {
    without_weights!();

    fn why_lost(&self) -> &'static str {
        "it counts padding, so a constant channel is smaller at the border"
    }
}

impl Convert for GlobalAveragePool {
    without_weights!();
}

impl Convert for GlobalMaxPool {
    without_weights!();
}

/// An attribute that is left out where it is 0.
fn flag(name: &str, set: bool) -> Vec<AttributeProto> {
    if set { vec![int(name, 1)] } else { vec![] }
}

impl Write for MaxPool {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let attributes = [window::attributes(&self.window, true), flag("ceil_mode", self.ceil_mode)].concat();
        w.push("MaxPool", call.inputs, call.output, attributes);
        Ok(())
    }
}

impl Write for AveragePool {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        ensure!(self.window.dilations == [1, 1], "dilations of an AveragePool need opset 19, this is opset {OPSET}");
        let mut attributes = window::attributes(&self.window, true);
        attributes.extend([flag("ceil_mode", self.ceil_mode), flag("count_include_pad", self.count_include_pad)].concat());
        w.push("AveragePool", call.inputs, call.output, attributes);
        Ok(())
    }
}

impl Write for GlobalAveragePool {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        w.push("GlobalAveragePool", call.inputs, call.output, vec![]);
        Ok(())
    }
}

impl Write for GlobalMaxPool {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        w.push("GlobalMaxPool", call.inputs, call.output, vec![]);
        Ok(())
    }
}
