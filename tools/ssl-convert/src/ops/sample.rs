//! Planes that are looked at wherever another value says: GridSample, RoiAlign.

use super::index;
use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, float, int, text};
use crate::import::binding::Binding;
use crate::import::checks::positive;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::operator::{Convert, without_weights};
use anyhow::{Context, Result, bail, ensure};
use sslm_format::{Between, GridSample, Outside, RoiAlign};

pub(super) const IMPORTS: &[Import] =
    &[Import::computing("GridSample", grid_sample), Import::computing("RoiAlign", roi_align).of_integers()];

/// Opset 20 renamed bilinear and bicubic.
fn grid_sample(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let inputs = vec![node.value(0)?, node.value(1)?];
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

/// Before opset 16, coordinates were those of output_half_pixel. In which image a region lies may be computed: exporters take it from the
/// regions' own first column.
fn roi_align(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let operands = vec![node.value(0)?, node.value(1)?, index::indices(node, 2)?];
    let half_pixel = match node.text("coordinate_transformation_mode", "half_pixel")? {
        _ if node.opset() < 16 => false,
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => bail!("coordinate_transformation_mode: expected half_pixel or output_half_pixel, found {other}"),
    };
    let largest = match node.text("mode", "avg")? {
        "avg" => false,
        "max" => true,
        other => bail!("mode: expected avg or max, found {other}"),
    };
    let size =
        [positive(node.int("output_height", 1)?, "output_height")?, positive(node.int("output_width", 1)?, "output_width")?];
    let samples = node.int("sampling_ratio", 0)?;
    let known = u32::try_from(samples).ok().filter(|&samples| samples < 1 << 8);
    let samples = known.with_context(|| format!("sampling_ratio: expected at least 0 and below 256, found {samples}"))?;
    let scale = node.float("spatial_scale", 1.0)?;
    node.yields(0, node.input_type(0));
    let y = node.push_as(&node.outputs()[0], RoiAlign { size, samples, scale, half_pixel, largest }, operands)?;
    Ok(Binding::Value(y))
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

impl Convert for RoiAlign {
    without_weights!();

    fn why_lost(&self) -> &'static str {
        "what lies outside is zero"
    }
}

impl Write for RoiAlign {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let images = index::as_integers(w, call.inputs[2]);
        let coordinates = if self.half_pixel { "half_pixel" } else { "output_half_pixel" };
        let attributes = vec![
            text("mode", if self.largest { "max" } else { "avg" }),
            text("coordinate_transformation_mode", coordinates),
            int("output_height", self.size[0].into()),
            int("output_width", self.size[1].into()),
            int("sampling_ratio", self.samples.into()),
            float("spatial_scale", self.scale),
        ];
        w.push("RoiAlign", &[call.inputs[0], call.inputs[1], &images], call.output, attributes);
        Ok(())
    }
}
