//! Planes of another size: Pad puts elements around a tensor, Resize changes its height and width.

use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, int, text};
use crate::import::binding::Binding;
use crate::import::checks::{self, positive};
use crate::import::extent::Extent;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::operator::{Convert, Reordering, without_weights};
use crate::weights::Op;
use anyhow::{Context, Result, anyhow, bail, ensure};
use sslm_format::{Coordinates, Fill, Interpolation, Pad, Resize2d, Target, ValueId};

pub(super) const IMPORTS: &[Import] = &[Import::computing("Pad", pad), Import::computing("Resize", resize)];

fn pad(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let rank = node.rank(x);
    let pads = node.integers("pads", 1)?.context("pads: expected constant integers, found none")?;
    let axes: Vec<usize> = match node.integers("axes", 3)? {
        Some(axes) => axes.iter().map(|&a| checks::axis(a, rank)).collect::<Result<_>>()?,
        None => (0..rank).collect(),
    };
    ensure!(pads.len() == 2 * axes.len(), "pads: expected {} elements, found {}", 2 * axes.len(), pads.len());
    let mut amounts = vec![[0; 2]; rank];
    for (i, &pad) in pads.iter().enumerate() {
        let amount = u32::try_from(pad).map_err(|_| anyhow!("pads: expected no negative amount, found {pad}"))?;
        amounts[axes[i % axes.len()]][i / axes.len()] = amount;
    }
    let fill = match node.text("mode", "constant")? {
        "constant" => {
            let value = match node.element(2, "constant_value")? {
                Some(value) => value,
                None => node.float("value", 0.0)?,
            };
            Fill::Constant { value }
        }
        "reflect" => Fill::Reflect,
        "edge" => Fill::Edge,
        other => bail!("mode: expected constant, reflect or edge, found {other}"),
    };
    node.push(Pad { amounts, fill }, vec![x])
}

fn resize(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let rank = node.rank(x);
    ensure!(rank == 4, "input: expected 4 axes, found {rank}");
    let target = target(node, x)?;
    let policy = node.text("keep_aspect_ratio_policy", "stretch")?;
    ensure!(policy == "stretch", "keep_aspect_ratio_policy: expected stretch, found {policy}");
    ensure!(!node.flag("antialias", false)?, "antialias: expected 0, found 1");
    let coordinates = coordinates(node)?;
    let interpolation = interpolation(node, &target)?;
    node.push(Resize2d { coordinates, interpolation, target }, vec![x])
}

/// The new height and width, as factors or as extents; batch and channels must stay as they are.
fn target(node: &OnnxNode<'_>, x: ValueId) -> Result<Target> {
    let own = node.extents_of(x);
    let axes: Vec<usize> = match node.ints("axes")? {
        [] => (0..own.len()).collect(),
        axes => axes.iter().map(|&a| checks::axis(a, own.len())).collect::<Result<_>>()?,
    };
    let position = |axis: usize| axes.iter().position(|&a| a == axis);
    // Opset 10 had no region of interest.
    let scales = node.tensor(if node.opset() < 11 { 1 } else { 2 }, "scales")?.filter(|t| t.dims != [0]);
    let sizes = if node.opset() < 11 { None } else { node.extents(3)? };
    if let Some(scales) = scales {
        let floats = scales.floats()?;
        ensure!(floats.len() == axes.len(), "scales: expected {} elements, found {}", axes.len(), floats.len());
        let factor = |axis: usize| position(axis).map_or(1.0, |i| floats.at(i));
        let (batch, channels) = (factor(0), factor(1));
        ensure!(batch == 1.0 && channels == 1.0, "scales: expected 1 for batch and channels, found {batch} and {channels}");
        return Ok(Target::Scales { factors: [factor(2), factor(3)] });
    }
    let sizes = sizes.context("expected scales or sizes, found neither")?;
    ensure!(sizes.len() == axes.len(), "sizes: expected {} elements, found {}", axes.len(), sizes.len());
    let size = |axis: usize| position(axis).map_or(own[axis], |i| sizes[i]);
    for (axis, own) in own.iter().enumerate().take(2) {
        let size = size(axis);
        ensure!(size == *own, "sizes: expected those of the input for batch and channels, found {size:?}");
    }
    let extent = |axis: usize| match size(axis) {
        Extent::Known(n) => positive(n, "sizes"),
        Extent::Axis(..) => bail!("sizes: expected known ones, found a symbolic extent"),
    };
    Ok(Target::Sizes { extents: [extent(2)?, extent(3)?] })
}

fn coordinates(node: &OnnxNode<'_>) -> Result<Coordinates> {
    let default = if node.opset() < 11 { "asymmetric" } else { "half_pixel" };
    Ok(match node.text("coordinate_transformation_mode", default)? {
        "half_pixel" => Coordinates::HalfPixel,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "asymmetric" => Coordinates::Asymmetric,
        "align_corners" => Coordinates::AlignCorners,
        other => bail!(
            "coordinate_transformation_mode: expected half_pixel, pytorch_half_pixel, asymmetric or align_corners, found {other}"
        ),
    })
}

fn interpolation(node: &OnnxNode<'_>, target: &Target) -> Result<Interpolation> {
    // Before opset 11, growing took the position before and shrinking the one behind.
    let shrinks = matches!(target, Target::Scales { factors } if factors.iter().all(|&f| f <= 1.0));
    let nearest = match (node.opset() < 11, shrinks) {
        (true, true) => "ceil",
        (true, false) => "floor",
        (false, _) => node.text("nearest_mode", "round_prefer_floor")?,
    };
    Ok(match (node.text("mode", "nearest")?, nearest) {
        ("linear", _) => Interpolation::Linear,
        ("nearest", "round_prefer_floor") => Interpolation::NearestPreferFloor,
        ("nearest", "round_prefer_ceil") => Interpolation::NearestPreferCeil,
        ("nearest", "floor") => Interpolation::Floor,
        ("nearest", "ceil") => Interpolation::Ceil,
        (mode, nearest) => bail!("mode: expected nearest or linear, found {mode} ({nearest})"),
    })
}

impl Convert for Pad {
    without_weights!();

    fn reordered(&self, at: &Reordering<'_>) -> Option<Op> {
        let amounts = at.x.axes().map(|axis| axis.map_or([0; 2], |axis| self.amounts[axis])).collect();
        Some(Pad { amounts, fill: self.fill.clone() }.into())
    }

    fn why_lost(&self) -> &'static str {
        "it pads with something else than the constant"
    }
}

impl Convert for Resize2d {
    without_weights!();
}

impl Write for Pad {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let amounts: Vec<i64> = (0..2).flat_map(|side| self.amounts.iter().map(move |a| i64::from(a[side]))).collect();
        let (mode, value) = match self.fill {
            Fill::Constant { value } => ("constant", value),
            Fill::Reflect => ("reflect", 0.0),
            Fill::Edge => ("edge", 0.0),
        };
        let (amounts, value) = (w.integers(&amounts), w.floats(&[], [value]));
        w.push("Pad", &[call.inputs[0], &amounts, &value], call.output, vec![text("mode", mode)]);
        Ok(())
    }
}

impl Write for Resize2d {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let (mode, nearest) = match self.interpolation {
            Interpolation::Linear => ("linear", "floor"),
            Interpolation::NearestPreferFloor => ("nearest", "round_prefer_floor"),
            Interpolation::NearestPreferCeil => ("nearest", "round_prefer_ceil"),
            Interpolation::Floor => ("nearest", "floor"),
            Interpolation::Ceil => ("nearest", "ceil"),
        };
        let coordinates = match self.coordinates {
            Coordinates::HalfPixel => "half_pixel",
            Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
            Coordinates::Asymmetric => "asymmetric",
            Coordinates::AlignCorners => "align_corners",
        };
        let x = call.inputs[0];
        let attributes =
            vec![text("mode", mode), text("nearest_mode", nearest), text("coordinate_transformation_mode", coordinates)];
        match self.target {
            Target::Scales { factors: [vertical, horizontal] } => {
                let scales = w.floats(&[4], [1.0, 1.0, vertical, horizontal]);
                w.push("Resize", &[x, "", &scales], call.output, attributes);
            }
            Target::Sizes { extents } => {
                let own = w.make("Shape", &[x], vec![int("start", 0), int("end", 2)]);
                let new = w.integers(&extents.map(i64::from));
                let sizes = w.make("Concat", &[&own, &new], vec![int("axis", 0)]);
                w.push("Resize", &[x, "", "", &sizes], call.output, attributes);
            }
        }
        Ok(())
    }
}
