//! Planes that are looked at wherever another value says: GridSample.

use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, int, text};
use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::operator::{Convert, without_weights};
use anyhow::{Result, bail, ensure};
use sslm_format::{Between, GridSample, Outside};

pub(super) const IMPORTS: &[Import] = &[Import::computing("GridSample", grid_sample)];

/// Opset 20 renamed bilinear and bicubic.
fn grid_sample(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let inputs = node.values()?;
    let rank = node.rank(inputs[0]);
    ensure!(rank == 4, "input: expected 4 axes, found {rank}");
    let between = match node.text("mode", "linear")? {
        "linear" | "bilinear" => Between::Linear,
        "nearest" => Between::Nearest,
        "cubic" | "bicubic" => Between::Cubic,
        other => bail!("mode: expected linear, nearest or cubic, found {other}"),
    };
    let outside = match node.text("padding_mode", "zeros")? {
        "zeros" => Outside::Zeros,
        "border" => Outside::Border,
        "reflection" => Outside::Reflection,
        other => bail!("padding_mode: expected zeros, border or reflection, found {other}"),
    };
    let align_corners = node.flag("align_corners", false)?;
    node.push(GridSample { between, outside, align_corners }, inputs)
}

impl Convert for GridSample {
    without_weights!();

    fn why_lost(&self) -> &'static str {
        "what lies outside is zero"
    }
}

impl Write for GridSample {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let mode = match self.between {
            Between::Linear => "bilinear",
            Between::Nearest => "nearest",
            Between::Cubic => "bicubic",
        };
        let outside = match self.outside {
            Outside::Zeros => "zeros",
            Outside::Border => "border",
            Outside::Reflection => "reflection",
        };
        let attributes = vec![text("mode", mode), text("padding_mode", outside), int("align_corners", self.align_corners.into())];
        w.push("GridSample", call.inputs, call.output, attributes);
        Ok(())
    }
}
