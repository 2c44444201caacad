//! Other extents: Pad puts elements around a tensor, Resize and Upsample find new elements between those that there are.

use crate::export::exporter::{Call, Write};
use crate::export::writer::{OPSET, Writer, float, int, text};
use crate::import::binding::Binding;
use crate::import::checks::{self, positive};
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::onnx::proto::AttributeProto;
use crate::operator::{Convert, Reordering, without_weights};
use crate::weights::Op;
use anyhow::{Context, Result, anyhow, bail, ensure};
use sslm_format::{
    AxisTarget, Coordinates, Extent, Fill, Interpolation, Pad, Resample, ResampledAxis, Resize2d, Slice, Target, ValueId,
};

pub(super) const IMPORTS: &[Import] =
    &[Import::computing("Pad", pad).of_integers(), Import::computing("Resize", resize), Import::computing("Upsample", upsample)];

/// Amounts of padding that depend on symbolic dims are below this, so that what is cut off again costs little.
const MOST_OPEN: i64 = 1 << 10;

fn pad(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let rank = node.rank(x);
    let name = if node.opset() < 2 { "paddings" } else { "pads" };
    let pads = node.sizes(name, 1)?.context("pads: expected constant integers or sizes, found none")?;
    let axes: Vec<usize> = match node.integers("axes", 3)? {
        Some(axes) => axes.iter().map(|&a| checks::axis(a, rank)).collect::<Result<_>>()?,
        None => (0..rank).collect(),
    };
    ensure!(pads.len() == 2 * axes.len(), "pads: expected {} elements, found {}", 2 * axes.len(), pads.len());
    let mut amounts = vec![[0i64; 2].map(Extent::from); rank];
    for (i, pad) in pads.into_iter().enumerate() {
        amounts[axes[i % axes.len()]][i / axes.len()] = pad;
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
        "wrap" => Fill::Wrap,
        other => bail!("mode: expected constant, reflect, edge or wrap, found {other}"),
    };
    padded(node, x, &amounts, fill)
}

/// Where amounts are negative, so much is cut off before the rest is padded. On axes whose amounts depend on symbolic dims, as much is put
/// there as they can be, and what is too much is cut off behind it.
fn padded(node: &mut OnnxNode<'_>, x: ValueId, amounts: &[[Extent; 2]], fill: Fill) -> Result<Binding> {
    let is_open = |pads: &[Extent; 2]| pads.iter().any(|pad| pad.integer().is_none());
    let added: Vec<[u32; 2]> = amounts.iter().map(|pads| most_padding(pads, &fill)).collect::<Result<_>>()?;
    let mut crops: Vec<Op> = Vec::new();
    let mut excesses: Vec<Op> = Vec::new();
    for (axis, (pads, added)) in (0..).zip(amounts.iter().zip(&added)) {
        let [before, after] = pads;
        if is_open(pads) {
            let inner = &node.extents_of(x)[axis as usize] + i64::from(added[0]);
            let start = &Extent::from(i64::from(added[0])) - before;
            excesses.push(Slice { axis, start, end: &inner + after, step: 1 }.into());
            continue;
        }
        let negative = |pad: &Extent| pad.integer().filter(|&pad| pad < 0);
        if negative(before).is_some() || negative(after).is_some() {
            let (start, end) = (negative(before).map_or(0, i64::saturating_neg), negative(after).unwrap_or(i64::MAX));
            crops.push(Slice::of(axis, start, end, 1).into());
        }
    }
    let pads = added.iter().any(|amounts| *amounts != [0, 0]).then(|| Op::from(Pad { amounts: added, fill }));
    chain(node, x, crops.into_iter().chain(pads).chain(excesses).collect())
}

/// The most that is put before and behind an axis.
fn most_padding(pads: &[Extent; 2], fill: &Fill) -> Result<[u32; 2]> {
    let [before, after] = pads;
    // The other one may be what is left of both together.
    let of_both = (before + after).bounds().1.saturating_sub(before.bounds().0);
    let most = [before.bounds().1, after.bounds().1.min(of_both)];
    for (pad, most) in pads.iter().zip(most) {
        let can_be_cut = matches!(fill, Fill::Constant { .. } | Fill::Edge);
        let bounded = pad.integer().is_some() || (can_be_cut && most < MOST_OPEN);
        ensure!(bounded, "pads (input 1): expected known integers, found '{pad}'");
    }
    let amount = |most: i64| u32::try_from(most.max(0)).map_err(|_| anyhow!("pads: expected less than 2^32, found {most}"));
    Ok([amount(most[0])?, amount(most[1])?])
}

/// Operators behind each other, of which the last one yields the first output.
fn chain(node: &mut OnnxNode<'_>, mut x: ValueId, parts: Vec<Op>) -> Result<Binding> {
    let count = parts.len();
    for (i, part) in parts.into_iter().enumerate() {
        x = node.push_as(&node.part_name(i, count), part, vec![x])?;
    }
    Ok(node.computed(x))
}

/// The predecessor of Resize, without its choices.
fn upsample(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let scales: Vec<f32> = match node.opset() {
        ..7 => vec![1.0, 1.0, node.float("height_scale", 1.0)?, node.float("width_scale", 1.0)?],
        7..9 => node.floats("scales")?.to_vec(),
        _ => node.needed_tensor(1, "scales")?.floats()?.iter().collect(),
    };
    let targets = factors(node.rank(x), &scales)?;
    let linear = match node.text("mode", "nearest")? {
        "nearest" => false,
        "linear" | "bilinear" => true,
        other => bail!("mode: expected nearest or linear, found {other}"),
    };
    let parts = Vec::from(interpolations_before_11(&targets, linear));
    resized(node, x, parts, Coordinates::Asymmetric, [false; 2])
}

fn resize(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let targets = targets(node, x)?;
    let axes: Vec<usize> = targets.iter().map(|target| target.axis as usize).collect();
    let coordinates = coordinates(node, x, &axes)?;
    let mode = node.text("mode", "nearest")?;
    let nearest = node.text("nearest_mode", "round_prefer_floor")?;
    let interpolation = match (mode, nearest) {
        ("linear", _) => Interpolation::Linear,
        ("cubic", _) => Interpolation::Cubic { coefficient: node.float("cubic_coeff_a", -0.75)? },
        ("nearest", "round_prefer_floor") => Interpolation::NearestPreferFloor,
        ("nearest", "round_prefer_ceil") => Interpolation::NearestPreferCeil,
        ("nearest", "floor") => Interpolation::Floor,
        ("nearest", "ceil") => Interpolation::Ceil,
        ("nearest", other) => {
            bail!("nearest_mode: expected round_prefer_floor, round_prefer_ceil, floor or ceil, found {other}")
        }
        (other, _) => bail!("mode: expected nearest, linear or cubic, found {other}"),
    };
    let parts = match node.opset() {
        ..11 => Vec::from(interpolations_before_11(&targets, mode == "linear")),
        _ => vec![(interpolation, targets)],
    };
    let windows = [node.flag("antialias", false)?, node.flag("exclude_outside", false)?];
    resized(node, x, parts, coordinates, windows)
}

/// Before opset 11, an axis that grows took the position before and one that shrinks the one behind.
fn interpolations_before_11(targets: &[ResampledAxis], linear: bool) -> [(Interpolation, Vec<ResampledAxis>); 2] {
    let shrinks = |target: &ResampledAxis| matches!(target.target, AxisTarget::Factor { factor } if factor < 1.0);
    let (shrinking, growing) = targets.iter().cloned().partition(|target| !linear && shrinks(target));
    [(Interpolation::Ceil, shrinking), (if linear { Interpolation::Linear } else { Interpolation::Floor }, growing)]
}

/// A node for each interpolation and the axes that it is for; `windows` are antialias and exclude_outside.
fn resized(
    node: &mut OnnxNode<'_>,
    x: ValueId,
    parts: Vec<(Interpolation, Vec<ResampledAxis>)>,
    coordinates: Coordinates,
    [antialias, exclude_outside]: [bool; 2],
) -> Result<Binding> {
    let own = node.extents_of(x).to_vec();
    let record = |(interpolation, axes): (Interpolation, Vec<ResampledAxis>)| {
        let resample = Resample { axes, coordinates: coordinates.clone(), interpolation, antialias, exclude_outside };
        in_2d(&resample, &own).map_or_else(|| Op::from(resample), Op::from)
    };
    let parts = parts.into_iter().filter(|(_, axes)| !axes.is_empty()).map(record).collect();
    chain(node, x, parts)
}

/// The same as the older record, which every reader knows, where that means the same: it computes positions in binary64, which matters to
/// nearest ones unless factors are whole, or those of halves.
fn in_2d(resample: &Resample, own: &[Extent]) -> Option<Resize2d> {
    let known = matches!(
        resample.coordinates,
        Coordinates::HalfPixel | Coordinates::PytorchHalfPixel | Coordinates::Asymmetric | Coordinates::AlignCorners
    );
    let linear = resample.interpolation == Interpolation::Linear;
    if own.len() != 4 || !known || resample.antialias || matches!(resample.interpolation, Interpolation::Cubic { .. }) {
        return None;
    }
    let exact = |factor: f32| linear || factor.fract() == 0.0 || (1.0 / f64::from(factor)).fract() == 0.0;
    let (mut factors, mut extents) = ([1.0; 2], [own[2].integer(), own[3].integer()]);
    let mut by_size = false;
    for ResampledAxis { axis, target } in &resample.axes {
        let place = (*axis as usize).checked_sub(2)?;
        match target {
            AxisTarget::Factor { factor } if exact(*factor) => factors[place] = *factor,
            AxisTarget::Extent { extent } => {
                let extent = extent.integer()?;
                let is_multiple = own[2 + place].integer().is_some_and(|old| old > 0 && extent % old == 0);
                (extents[place], by_size) = (Some(extent).filter(|_| linear || is_multiple), true);
            }
            AxisTarget::Factor { .. } | AxisTarget::Scaled { .. } => return None,
        }
    }
    let target = match by_size {
        false => Target::Scales { factors },
        true if factors == [1.0; 2] => {
            let extent = |place: usize| u32::try_from(extents[place]?).ok();
            Target::Sizes { extents: [extent(0)?, extent(1)?] }
        }
        true => return None,
    };
    Some(Resize2d { coordinates: resample.coordinates.clone(), interpolation: resample.interpolation.clone(), target })
}

/// What becomes of each axis that may change.
fn targets(node: &OnnxNode<'_>, x: ValueId) -> Result<Vec<ResampledAxis>> {
    let own = node.extents_of(x);
    let axes = resized_axes(node, own.len())?;
    // Opset 10 had no region of interest.
    let scales = node.tensor(if node.opset() < 11 { 1 } else { 2 }, "scales")?.filter(|t| t.dims != [0]);
    if let Some(scales) = scales {
        let given: Vec<f32> = scales.floats()?.iter().collect();
        ensure!(given.len() == axes.len(), "scales: expected {} elements, found {}", axes.len(), given.len());
        let mut scales = vec![1.0; own.len()];
        axes.iter().zip(given).for_each(|(&axis, scale)| scales[axis] = scale);
        return factors(own.len(), &scales);
    }
    let sizes = if node.opset() < 11 { None } else { node.extents(3)? };
    let sizes = sizes.context("expected constant scales or sizes, or sizes that follow from shapes, found neither")?;
    ensure!(sizes.len() == axes.len(), "sizes: expected {} elements, found {}", axes.len(), sizes.len());
    let policy = node.text("keep_aspect_ratio_policy", "stretch")?;
    if policy != "stretch" {
        return at_one_scale(policy, own, &axes, &sizes);
    }
    let mut targets = Vec::new();
    for (&axis, size) in axes.iter().zip(&sizes) {
        if *size == own[axis] {
            continue;
        }
        if let Some(size) = size.integer() {
            positive(size, "sizes")?;
        }
        let target = AxisTarget::Extent { extent: size.clone() };
        targets.push(ResampledAxis { axis: axis as u32, target });
    }
    targets.sort_by_key(|target| target.axis);
    Ok(targets)
}

/// The axes that scales, sizes and regions are for.
fn resized_axes(node: &OnnxNode<'_>, rank: usize) -> Result<Vec<usize>> {
    match node.ints("axes")? {
        [] => Ok((0..rank).collect()),
        axes => axes.iter().map(|&a| checks::axis(a, rank)).collect(),
    }
}

/// A factor for each of `rank` axes.
fn factors(rank: usize, scales: &[f32]) -> Result<Vec<ResampledAxis>> {
    ensure!(scales.len() == rank, "scales: expected {rank} elements, found {}", scales.len());
    let changing = (0..).zip(scales).filter(|(_, scale)| **scale != 1.0);
    let target = |(axis, &factor): (u32, &f32)| {
        ensure!(factor > 0.0 && factor.is_finite(), "scales: expected positive ones, found {factor}");
        Ok(ResampledAxis { axis, target: AxisTarget::Factor { factor } })
    };
    changing.map(target).collect()
}

/// All axes get one scale, by which none becomes larger, or none smaller, than its size.
fn at_one_scale(policy: &str, own: &[Extent], axes: &[usize], sizes: &[Extent]) -> Result<Vec<ResampledAxis>> {
    let pair = |(&axis, size): (&usize, &Extent)| Some((axis, own[axis].integer()?, size.integer()?));
    let pairs: Option<Vec<(usize, i64, i64)>> = axes.iter().zip(sizes).map(pair).collect();
    let pairs =
        pairs.with_context(|| format!("keep_aspect_ratio_policy {policy}: expected known extents, found symbolic ones"))?;
    let scales = pairs.iter().map(|&(_, old, new)| new as f32 / old as f32);
    let scale = match policy {
        "not_larger" => scales.reduce(f32::min),
        "not_smaller" => scales.reduce(f32::max),
        other => bail!("keep_aspect_ratio_policy: expected stretch, not_larger or not_smaller, found {other}"),
    };
    let scale = scale.context("sizes: expected one at least, found none")?;
    let target = |&(axis, old, _): &(usize, i64, i64)| {
        let extent = positive((scale * old as f32).round() as i64, "sizes")?;
        Ok(ResampledAxis { axis: axis as u32, target: AxisTarget::Scaled { extent, scale } })
    };
    let mut targets: Vec<ResampledAxis> = pairs.iter().map(target).collect::<Result<_>>()?;
    targets.sort_by_key(|target| target.axis);
    Ok(if scale == 1.0 { Vec::new() } else { targets })
}

/// How positions are mapped; `resized` are the axes for which that matters.
fn coordinates(node: &OnnxNode<'_>, x: ValueId, resized: &[usize]) -> Result<Coordinates> {
    let default = if node.opset() < 11 { "asymmetric" } else { "half_pixel" };
    Ok(match node.text("coordinate_transformation_mode", default)? {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "asymmetric" => Coordinates::Asymmetric,
        "align_corners" => Coordinates::AlignCorners,
        "tf_half_pixel_for_nn" => Coordinates::TfHalfPixelForNn,
        "tf_crop_and_resize" => {
            let axes = resized_axes(node, node.rank(x))?;
            let roi: Vec<f32> = node.needed_tensor(1, "roi")?.floats()?.iter().collect();
            ensure!(roi.len() == 2 * axes.len(), "roi: expected {} elements, found {}", 2 * axes.len(), roi.len());
            let region = |axis: &usize| {
                let place = axes.iter().position(|a| a == axis).unwrap_or(0);
                [roi[place], roi[axes.len() + place]]
            };
            let outside = node.float("extrapolation_value", 0.0)?;
            Coordinates::TfCropAndResize { regions: resized.iter().map(region).collect(), outside }
        }
        other => bail!("coordinate_transformation_mode: expected one of ONNX's Resize, found {other}"),
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

impl Convert for Resample {
    without_weights!();

    fn why_lost(&self) -> &'static str {
        "what lies outside of its region is another element"
    }
}

impl Write for Pad {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let (mode, value) = match self.fill {
            Fill::Constant { value } => ("constant", value),
            Fill::Reflect => ("reflect", 0.0),
            Fill::Edge => ("edge", 0.0),
            Fill::Wrap => {
                write_wrapped(&self.amounts, w, call);
                return Ok(());
            }
        };
        let amounts: Vec<i64> = (0..2).flat_map(|side| self.amounts.iter().map(move |a| i64::from(a[side]))).collect();
        let (amounts, value) = (w.integers(&amounts), w.floats(&[], [value]));
        w.push("Pad", &[call.inputs[0], &amounts, &value], call.output, vec![text("mode", mode)]);
        Ok(())
    }
}

/// Opset 17 knows no mode wrap: both ends are put beside the other ones.
fn write_wrapped(amounts: &[[u32; 2]], w: &mut Writer, call: &Call<'_>) {
    let mut x = call.inputs[0].to_owned();
    for (axis, &[before, after]) in (0..).zip(amounts).filter(|(_, amounts)| **amounts != [0, 0]) {
        let mut part = |start: i64, end: i64| {
            let [start, end, axes] = [start, end, axis].map(|n| w.integers(&[n]));
            w.make("Slice", &[&x, &start, &end, &axes], vec![])
        };
        let first = (before > 0).then(|| part(-i64::from(before), i64::MAX));
        let last = (after > 0).then(|| part(0, after.into()));
        let parts: Vec<&str> = first.iter().chain([&x]).chain(&last).map(String::as_str).collect();
        x = w.make("Concat", &parts, vec![int("axis", axis)]);
    }
    w.push("Identity", &[&x], call.output, vec![]);
}

impl Write for Resize2d {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let x = call.inputs[0];
        let attributes = attributes(&self.interpolation, &self.coordinates);
        match &self.target {
            Target::Scales { factors: [vertical, horizontal] } => {
                let scales = w.floats(&[4], [1.0, 1.0, *vertical, *horizontal]);
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

impl Write for Resample {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        ensure!(!self.antialias, "antialias needs opset 18, this is opset {OPSET}");
        let x = call.inputs[0];
        let target = |axis: usize| self.axes.iter().find(|resampled| resampled.axis as usize == axis).map(|a| &a.target);
        let mut attributes = attributes(&self.interpolation, &self.coordinates);
        if let Interpolation::Cubic { coefficient } = self.interpolation {
            attributes.extend([float("cubic_coeff_a", coefficient), int("exclude_outside", self.exclude_outside.into())]);
        }
        let mut roi = String::new();
        if let Coordinates::TfCropAndResize { regions, outside } = &self.coordinates {
            let place = |axis: usize| self.axes.iter().position(|resampled| resampled.axis as usize == axis);
            let bound = |side: usize| (0..call.rank).map(move |axis| place(axis).map_or(side as f32, |i| regions[i][side]));
            roi = w.floats(&[2 * call.rank], (0..2).flat_map(bound).collect::<Vec<f32>>());
            attributes.push(float("extrapolation_value", *outside));
        }
        let factor = |axis: usize| match target(axis) {
            None => Some(1.0),
            Some(AxisTarget::Factor { factor }) => Some(*factor),
            Some(AxisTarget::Extent { .. } | AxisTarget::Scaled { .. }) => None,
        };
        if let Some(factors) = (0..call.rank).map(factor).collect::<Option<Vec<f32>>>() {
            let scales = w.floats(&[factors.len()], factors);
            w.push("Resize", &[x, &roi, &scales], call.output, attributes);
            return Ok(());
        }
        let mut sizes = Vec::new();
        for axis in 0..call.rank {
            sizes.push(match target(axis) {
                None => w.make("Shape", &[x], vec![int("start", axis as i64), int("end", axis as i64 + 1)]),
                Some(AxisTarget::Extent { extent }) => w.sizes(std::slice::from_ref(extent)),
                Some(AxisTarget::Factor { .. } | AxisTarget::Scaled { .. }) => {
                    bail!("one scale for axes of given sizes needs opset 18, this is opset {OPSET}")
                }
            });
        }
        let sizes: Vec<&str> = sizes.iter().map(String::as_str).collect();
        let sizes = w.make("Concat", &sizes, vec![int("axis", 0)]);
        w.push("Resize", &[x, &roi, "", &sizes], call.output, attributes);
        Ok(())
    }
}

/// The attributes that name an interpolation and how positions are mapped.
fn attributes(interpolation: &Interpolation, coordinates: &Coordinates) -> Vec<AttributeProto> {
    let (mode, nearest) = match interpolation {
        Interpolation::Linear => ("linear", "floor"),
        Interpolation::Cubic { .. } => ("cubic", "floor"),
        Interpolation::NearestPreferFloor => ("nearest", "round_prefer_floor"),
        Interpolation::NearestPreferCeil => ("nearest", "round_prefer_ceil"),
        Interpolation::Floor => ("nearest", "floor"),
        Interpolation::Ceil => ("nearest", "ceil"),
    };
    let coordinates = match coordinates {
        Coordinates::HalfPixel => "half_pixel",
        Coordinates::HalfPixelSymmetric => "half_pixel_symmetric",
        Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
        Coordinates::Asymmetric => "asymmetric",
        Coordinates::AlignCorners => "align_corners",
        Coordinates::TfHalfPixelForNn => "tf_half_pixel_for_nn",
        Coordinates::TfCropAndResize { .. } => "tf_crop_and_resize",
    };
    vec![text("mode", mode), text("nearest_mode", nearest), text("coordinate_transformation_mode", coordinates)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(axes: Vec<ResampledAxis>, interpolation: Interpolation) -> Resample {
        Resample { axes, coordinates: Coordinates::HalfPixel, interpolation, antialias: false, exclude_outside: false }
    }

    fn factor(axis: u32, factor: f32) -> ResampledAxis {
        ResampledAxis { axis, target: AxisTarget::Factor { factor } }
    }

    fn extent(axis: u32, extent: usize) -> ResampledAxis {
        ResampledAxis { axis, target: AxisTarget::Extent { extent: Extent::from(extent) } }
    }

    /// By scales or by sizes, where both records mean the same.
    #[test]
    fn the_older_record_stands_for_what_it_means() {
        use Interpolation::{Floor, Linear};
        let own = |extents: &[usize]| extents.iter().map(|&extent| Extent::from(extent)).collect::<Vec<_>>();
        let plane = own(&[2, 3, 4, 5]);
        let open = [own(&[2, 3]), vec![Extent::symbol("h"), Extent::from(5usize)]].concat();
        let scales = |factors| Some(Target::Scales { factors });
        let sizes = |extents| Some(Target::Sizes { extents });
        let scaled = ResampledAxis { axis: 2, target: AxisTarget::Scaled { extent: 8, scale: 2.0 } };
        let cubic = Interpolation::Cubic { coefficient: -0.5 };
        let cases = [
            (of(vec![factor(2, 1.5), factor(3, 0.4)], Linear), &plane, scales([1.5, 0.4])),
            (of(vec![], Linear), &plane, scales([1.0, 1.0])),
            (of(vec![factor(2, 0.5), factor(3, 3.0)], Floor), &plane, scales([0.5, 3.0])),
            (of(vec![factor(2, 1.5)], Floor), &plane, None),
            (of(vec![factor(3, 0.4)], Floor), &plane, None),
            (of(vec![extent(2, 7)], Linear), &plane, sizes([7, 5])),
            (of(vec![extent(2, 7), extent(3, 9)], Linear), &plane, sizes([7, 9])),
            (of(vec![extent(2, 7)], Linear), &open, sizes([7, 5])),
            (of(vec![extent(3, 9)], Linear), &open, None),
            (of(vec![extent(3, 10)], Floor), &plane, sizes([4, 10])),
            (of(vec![extent(3, 12)], Floor), &plane, None),
            (of(vec![extent(2, 8)], Floor), &own(&[2, 3, 0, 5]), None),
            (of(vec![factor(2, 2.0), extent(3, 10)], Linear), &plane, None),
            (of(vec![factor(1, 2.0)], Linear), &plane, None),
            (of(vec![scaled], Linear), &plane, None),
            (of(vec![factor(2, 2.0)], Linear), &own(&[2, 3, 4]), None),
            (of(vec![factor(2, 2.0)], cubic), &plane, None),
            (Resample { antialias: true, ..of(vec![factor(2, 2.0)], Linear) }, &plane, None),
            (Resample { coordinates: Coordinates::HalfPixelSymmetric, ..of(vec![], Linear) }, &plane, None),
        ];
        for (resample, own, expected) in cases {
            let found = in_2d(&resample, own);
            let as_it_was =
                |found: &Resize2d| (&found.coordinates, &found.interpolation) == (&resample.coordinates, &resample.interpolation);
            assert!(found.as_ref().is_none_or(as_it_was), "{resample:?}");
            assert_eq!(found.map(|found| found.target), expected, "{resample:?} of {own:?}");
        }
    }
}
