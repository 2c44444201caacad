//! Normalisations: of channels by stored or measured statistics, over neighbouring channels, and to shares of a sum.

use super::{layout, shapes};
use crate::blobs::Blobs;
use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, float, int, ints};
use crate::import::binding::Binding;
use crate::import::checks::{self, positive};
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::onnx::tensor::{Floats, Tensor};
use crate::operator::{Affine, Convert, Reordering, without_weights};
use crate::slices::{Reads, Slices, reads};
use crate::weights::{Op, Unpacked};
use anyhow::{Context, Result, bail, ensure};
use sslm_format::{
    Activation, ArgMax, BatchNorm, Binary, ChannelNorm, Constant, Extent, Flatten, GroupNorm, InstanceNorm, LayerNorm,
    LogSoftmax, Lrn, Reduce, ReduceMean, Reduction, Reshape, Softmax, Value, ValueId,
};
use std::ops::Range;

pub(super) const IMPORTS: &[Import] = &[
    Import::computing("BatchNormalization", batch_norm),
    Import::computing("InstanceNormalization", instance_norm),
    Import::computing("GroupNormalization", group_norm),
    Import::computing("LayerNormalization", layer_norm),
    Import::computing("RMSNormalization", rms_norm),
    Import::computing("LpNormalization", lp_norm),
    Import::computing("MeanVarianceNormalization", mean_variance_norm),
    Import::computing("LRN", |node| {
        let size = positive(node.int("size", 0)?, "size")?;
        let (alpha, beta, bias) = (node.float("alpha", 1e-4)?, node.float("beta", 0.75)?, node.float("bias", 1.0)?);
        node.unary(Lrn { size, alpha, beta, bias })
    }),
    Import::computing("Softmax", |node| softmax(node, |start, end| Softmax { start, end }.into())),
    Import::computing("LogSoftmax", |node| softmax(node, |start, end| LogSoftmax { start, end }.into())),
    Import::computing("Hardmax", hardmax),
];

/// By stored statistics, or, where the model is to be trained, by those of the batch.
fn batch_norm(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let further = node.outputs().iter().skip(1).any(|name| !name.is_empty());
    let trains = match node.opset() {
        ..7 => !node.flag("is_test", false)?,
        7..14 => further,
        _ => node.flag("training_mode", false)?,
    };
    let (x, epsilon) = (node.value(0)?, node.float("epsilon", 1e-5)?);
    let rank = node.rank(x);
    ensure!(rank >= 2, "input: expected at least 2 axes, found fewer");
    let by_channel = node.int("spatial", 1)? == 1;
    if trains {
        ensure!(by_channel, "spatial: expected 1 in training, found 0");
        return by_statistics_of_batch(node, x, epsilon);
    }
    let parameter =
        |i: usize, what: &str| -> Result<Vec<f64>> { Ok(node.needed_tensor(i, what)?.floats()?.iter().map(f64::from).collect()) };
    let (gamma, beta, mean, variance) = (parameter(1, "scale")?, parameter(2, "B")?, parameter(3, "mean")?, parameter(4, "var")?);
    let axes = 1..if by_channel { 2 } else { rank };
    let expected = axes.map(|axis| node.extent(x, axis)).product::<Option<usize>>().unwrap_or(gamma.len());
    for (what, found) in [("scale", &gamma), ("B", &beta), ("mean", &mean), ("var", &variance)] {
        ensure!(found.len() == expected, "{what}: expected {expected} elements, found {}", found.len());
    }
    // In f64, so that folding loses no more than the one rounding at its end.
    let factor: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + f64::from(epsilon)).sqrt()).collect();
    let shift: Vec<f32> = factor.iter().zip(beta.iter().zip(&mean)).map(|(f, (b, m))| (b - m * f) as f32).collect();
    let scale: Vec<f32> = factor.iter().map(|&f| f as f32).collect();
    if by_channel {
        return node.push(BatchNorm { scale, shift }, vec![x]);
    }
    // Each element of an image has its own.
    let mut dims: Vec<u64> = node.needed_tensor(1, "scale")?.dims.iter().map(|&d| d as u64).collect();
    dims.insert(0, 1);
    let [scale, shift] = [scale, shift].map(|data| node.inner(Constant { dims: dims.clone(), data: data.into() }, Vec::new()));
    let scaled = node.inner(Binary::Mul, vec![x, scale?])?;
    node.push(Binary::Add, vec![scaled, shift?])
}

/// As a BatchNormalization in training: mean and variance are those of the batch's channels.
fn by_statistics_of_batch(node: &mut OnnxNode<'_>, x: ValueId, epsilon: f32) -> Result<Binding> {
    let rank = node.rank(x);
    let axes = (0..rank as u32).filter(|&axis| axis != 1).collect();
    let Centred { distance, mean, variance } = centred(node, x, axes)?;
    let deviation = deviation(node, variance, epsilon)?;
    let y = node.inner(Binary::Div, vec![distance, deviation])?;
    let along_channels = |node: &mut OnnxNode<'_>, i: usize, what: &str| {
        let floats = node.needed_tensor(i, what)?.floats()?.clone();
        let dims = (0..rank).map(|axis| if axis == 1 { floats.len() as u64 } else { 1 }).collect();
        node.inner(Constant { dims, data: floats }, Vec::new())
    };
    let (scale, shift) = (along_channels(node, 1, "scale")?, along_channels(node, 2, "B")?);
    let scaled = node.inner(Binary::Mul, vec![y, scale])?;
    let result = node.push(Binary::Add, vec![scaled, shift])?;
    if node.opset() < 14 {
        // What is behind the first output is for training alone.
        return Ok(result);
    }
    let momentum = node.float("momentum", 0.9)?;
    let further: Vec<String> = node.outputs().iter().skip(1).cloned().collect();
    for (name, (i, of_batch, what)) in further.iter().zip([(3, mean, "mean"), (4, variance, "var")]) {
        let (before, [old, new]) = (along_channels(node, i, what)?, [momentum, 1.0 - momentum]);
        let (old, new) = (node.inner_constant(old, rank)?, node.inner_constant(new, rank)?);
        let (old, new) = (node.inner(Binary::Mul, vec![before, old])?, node.inner(Binary::Mul, vec![of_batch, new])?);
        let running = node.inner(Binary::Add, vec![old, new])?;
        let running = node.push_as(name, Reshape::to(&[-1]), vec![running])?;
        node.further_output(Binding::Value(running));
    }
    Ok(result)
}

/// What normalisations are made of.
struct Centred {
    /// How far each element is from the mean.
    distance: ValueId,
    mean: ValueId,
    variance: ValueId,
}

/// Mean and variance over axes, which stay.
fn centred(node: &mut OnnxNode<'_>, x: ValueId, axes: Vec<u32>) -> Result<Centred> {
    let over = ReduceMean { axes, keep: true };
    let mean = node.inner(over.clone(), vec![x])?;
    let distance = node.inner(Binary::Sub, vec![x, mean])?;
    let square = node.inner(Binary::Mul, vec![distance, distance])?;
    let variance = node.inner(over, vec![square])?;
    Ok(Centred { distance, mean, variance })
}

/// The root of a variance and epsilon.
fn deviation(node: &mut OnnxNode<'_>, variance: ValueId, epsilon: f32) -> Result<ValueId> {
    let epsilon = node.inner_constant(epsilon, node.rank(variance))?;
    let sum = node.inner(Binary::Add, vec![variance, epsilon])?;
    node.inner(Activation::Sqrt, vec![sum])
}

/// Before opset 21, scale and shift are those of groups.
fn group_norm(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let groups = positive(node.int("num_groups", 0)?, "num_groups")?;
    let channels = node.extent(x, 1).context("input: expected a known count of channels, found a symbolic one")?;
    ensure!(channels % groups as usize == 0, "num_groups: expected a divisor of {channels} channels, found {groups}");
    let count = if node.opset() < 21 { groups as usize } else { channels };
    let parameter = |i: usize, what: &str| -> Result<Vec<f32>> {
        let floats = node.needed_tensor(i, what)?.floats()?;
        ensure!(floats.len() == count, "{what}: expected {count} elements, found {}", floats.len());
        Ok((0..channels).map(|c| floats.at(c * count / channels)).collect())
    };
    let (scale, shift) = (parameter(1, "scale")?, parameter(2, "bias")?);
    let epsilon = node.float("epsilon", 1e-5)?;
    if groups as usize == channels {
        return node.push(InstanceNorm { scale, shift, epsilon }, vec![x]);
    }
    node.push(GroupNorm { groups, scale: scale.into(), shift: shift.into(), epsilon }, vec![x])
}

/// Divided by the root of the mean of squares over the axes from `axis` on, then scaled.
fn rms_norm(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let rank = node.rank(x);
    let axes = (node.axis(-1, rank)? as u32..rank as u32).collect();
    let square = node.inner(Binary::Mul, vec![x, x])?;
    let mean = node.inner(ReduceMean { axes, keep: true }, vec![square])?;
    let root = deviation(node, mean, node.float("epsilon", 1e-5)?)?;
    let y = node.inner(Binary::Div, vec![x, root])?;
    let scale = node.value_of_rank(1, rank)?;
    node.push(Binary::Mul, vec![y, scale])
}

/// Divided by the sum of magnitudes, or the root of that of squares, along an axis.
fn lp_norm(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let axes = vec![node.axis(-1, node.rank(x))? as u32];
    let norm = match node.int("p", 2)? {
        1 => node.inner(Reduce { reduction: Reduction::SumOfMagnitudes, axes, keep: true }, vec![x])?,
        2 => {
            let squares = node.inner(Reduce { reduction: Reduction::SumOfSquares, axes, keep: true }, vec![x])?;
            node.inner(Activation::Sqrt, vec![squares])?
        }
        other => bail!("p: expected 1 or 2, found {other}"),
    };
    // Where all are 0, they stay 0.
    let least = node.inner_constant(f32::MIN_POSITIVE, node.rank(x))?;
    let norm = node.inner(Binary::Max, vec![norm, least])?;
    node.push(Binary::Div, vec![x, norm])
}

fn mean_variance_norm(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let rank = node.rank(x);
    let listed = if node.attribute("axes").is_some() { node.ints("axes")? } else { &[0, 2, 3] };
    let mut axes: Vec<u32> = listed.iter().map(|&a| checks::axis(a, rank).map(|a| a as u32)).collect::<Result<_>>()?;
    axes.sort_unstable();
    axes.dedup();
    let Centred { distance, variance, .. } = centred(node, x, axes)?;
    let deviation = node.inner(Activation::Sqrt, vec![variance])?;
    let epsilon = node.inner_constant(1e-9, rank)?;
    let divisor = node.inner(Binary::Add, vec![deviation, epsilon])?;
    node.push(Binary::Div, vec![distance, divisor])
}

fn instance_norm(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let parameter = |i: usize, what: &str| -> Result<Vec<f32>> {
        let floats = node.needed_tensor(i, what)?.floats()?;
        let expected = node.extent(x, 1).unwrap_or(floats.len());
        ensure!(floats.len() == expected, "{what}: expected {expected} elements, found {}", floats.len());
        Ok(floats.iter().collect())
    };
    let (scale, shift) = (parameter(1, "scale")?, parameter(2, "B")?);
    let epsilon = node.float("epsilon", 1e-5)?;
    node.push(InstanceNorm { scale, shift, epsilon }, vec![x])
}

fn layer_norm(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let axis = node.axis(-1, node.rank(x))?;
    let count: Option<usize> = (axis..node.rank(x)).map(|axis| node.extent(x, axis)).product();
    let count = count.with_context(|| format!("input: expected known extents from axis {axis} on, found symbolic ones"))?;
    // One element is broadcast to all.
    let elements = |parameter: &Tensor, what: &str| -> Result<Floats> {
        let floats = parameter.floats()?;
        ensure!([1, count].contains(&floats.len()), "{what}: expected {count} elements, found {}", floats.len());
        Ok(if floats.len() == count { floats.clone() } else { Floats::Repeated { value: floats.at(0), len: count } })
    };
    let scale = elements(node.needed_tensor(1, "scale")?, "scale")?;
    let shift = match node.tensor(2, "B")? {
        Some(shift) => elements(shift, "B")?,
        None => Floats::Repeated { value: 0.0, len: count },
    };
    let epsilon = node.float("epsilon", 1e-5)?;
    let y = node.push(LayerNorm { axis: axis as u32, scale, shift, epsilon }, vec![x])?;
    if node.outputs().iter().skip(1).any(|name| !name.is_empty()) {
        statistics(node, x, axis, epsilon)?;
    }
    Ok(y)
}

/// What a LayerNormalization yields besides: the mean, and one over the root of the variance and epsilon.
fn statistics(node: &mut OnnxNode<'_>, x: ValueId, axis: usize, epsilon: f32) -> Result<()> {
    let axes = (axis as u32..node.rank(x) as u32).collect();
    let Centred { mean, variance, .. } = centred(node, x, axes)?;
    let (deviation, one) = (deviation(node, variance, epsilon)?, node.inner_constant(1.0, node.rank(x))?);
    let inverse = node.inner(Binary::Div, vec![one, deviation])?;
    node.further_output(Binding::Value(mean));
    node.further_output(Binding::Value(inverse));
    Ok(())
}

fn softmax(node: &mut OnnxNode<'_>, of_axes: impl Fn(u32, u32) -> Op) -> Result<Binding> {
    let x = node.value(0)?;
    let axes = exclusive_axes(node, node.rank(x))?;
    node.push(of_axes(axes.start as u32, axes.end as u32), vec![x])
}

/// The axes along which elements exclude each other: all from `axis` on before opset 13, that one axis since.
fn exclusive_axes(node: &OnnxNode<'_>, rank: usize) -> Result<Range<usize>> {
    let of_one_axis = node.opset() >= 13;
    let start = node.axis(if of_one_axis { -1 } else { 1 }, rank)?;
    Ok(start..if of_one_axis { start + 1 } else { rank })
}

/// 1 at the first one of the largest elements, else 0: the positions that are that element's.
fn hardmax(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let axes = exclusive_axes(node, node.rank(x))?;
    let together = axes.len() > 1;
    let count = node.extents_of(x)[axes.clone()].iter().fold(Extent::from(1usize), |product, extent| &product * extent);
    let line = if together { node.inner(Flatten { axis: axes.start as u32 }, vec![x])? } else { x };
    let axis = if together { 1 } else { axes.start };
    let largest = node.inner(ArgMax { axis: axis as u32, keep: true, last: false }, vec![line])?;
    let positions = shapes::indices(node, &count, node.rank(line) - axis - 1)?;
    if !together {
        return node.push(Binary::Equal, vec![positions, largest]);
    }
    let flat = node.inner(Binary::Equal, vec![positions, largest])?;
    let dims = node.extents_of(x).to_vec();
    layout::reshape_to(node, flat, &dims)
}

impl Convert for Lrn {
    without_weights!();

    /// With as many axes as it had: runtimes that read the export know it of four alone.
    fn reordered(&self, at: &Reordering<'_>) -> Option<Op> {
        (at.axis(1)? == 1 && at.x.axes().count() == at.input.len()).then(|| self.clone().into())
    }

    fn why_lost(&self) -> &'static str {
        "the windows of these constant channels reach channels that are not constant"
    }
}

impl Convert for BatchNorm<Unpacked> {
    fn ignores_rows(&self) -> bool {
        true
    }

    fn is_finite(&self) -> bool {
        self.scale.iter().chain(&self.shift).all(|x| x.is_finite())
    }

    fn reordered(&self, at: &Reordering<'_>) -> Option<Op> {
        (at.axis(1)? == 1).then(|| self.clone().into())
    }

    fn affine(&self, _: &[Option<Vec<f32>>]) -> Option<Affine> {
        Some(Affine { input: 0, scale: Some(self.scale.clone()), shift: self.shift.clone() })
    }

    fn forward(&mut self, inputs: &[Slices<'_>], output: &Slices<'_>) -> Vec<Option<f32>> {
        scaled(&self.scale, &self.shift, inputs, output, |x, scale, shift| scale * x + shift)
    }

    fn backward(&mut self, inputs: &[Slices<'_>], output: &Slices<'_>, wanted: Option<&[bool]>) -> Vec<Reads> {
        reads(self, inputs, output, scaling(&self.scale, wanted).as_deref())
    }

    fn stored<'g>(&'g self, output: &Value, blobs: &mut Blobs<'g>) -> sslm_format::Op {
        let (scale, shift) = (blobs.per_channel(&self.scale, 1, output), blobs.per_channel(&self.shift, 1, output));
        BatchNorm { scale, shift }.into()
    }
}

impl Convert for InstanceNorm<Unpacked> {
    fn ignores_rows(&self) -> bool {
        true
    }

    fn is_finite(&self) -> bool {
        self.scale.iter().chain(&self.shift).all(|x| x.is_finite())
    }

    fn reordered(&self, at: &Reordering<'_>) -> Option<Op> {
        ([at.axis(0)?, at.axis(1)?] == [0, 1]).then(|| self.clone().into())
    }

    /// What is constant everywhere is its mean, and what is left of it is the shift.
    fn forward(&mut self, inputs: &[Slices<'_>], output: &Slices<'_>) -> Vec<Option<f32>> {
        scaled(&self.scale, &self.shift, inputs, output, |_, _, shift| shift)
    }

    fn backward(&mut self, inputs: &[Slices<'_>], output: &Slices<'_>, wanted: Option<&[bool]>) -> Vec<Reads> {
        reads(self, inputs, output, scaling(&self.scale, wanted).as_deref())
    }

    fn stored<'g>(&'g self, output: &Value, blobs: &mut Blobs<'g>) -> sslm_format::Op {
        let (scale, shift) = (blobs.per_channel(&self.scale, 1, output), blobs.per_channel(&self.shift, 1, output));
        InstanceNorm { scale, shift, epsilon: self.epsilon }.into()
    }
}

impl Convert for GroupNorm<Unpacked> {
    fn is_finite(&self) -> bool {
        self.scale.is_finite() && self.shift.is_finite()
    }

    /// Where the scale is zero, the shift is left; so are other constants of a group of constants.
    fn forward(&mut self, inputs: &[Slices<'_>], output: &Slices<'_>) -> Vec<Option<f32>> {
        let count = output.constants().map_or(0, <[_]>::len);
        let group = count / self.groups as usize;
        let mut all = Vec::with_capacity(count);
        for first in (0..count).step_by(group.max(1)) {
            let constants =
                inputs[0].constants().and_then(|x| x[first..first + group].iter().copied().collect::<Option<Vec<f32>>>());
            let mean_of =
                |f: &dyn Fn(f64) -> f64| constants.as_ref().map(|x| x.iter().map(|&x| f(x.into())).sum::<f64>() / group as f64);
            let mean = mean_of(&|x| x).unwrap_or(0.0);
            let deviation = mean_of(&|x| (x - mean) * (x - mean)).map(|variance| (variance + f64::from(self.epsilon)).sqrt());
            all.extend((0..group).map(|c| match (self.scale.at(first + c), deviation, &constants) {
                (0.0, ..) => Some(self.shift.at(first + c)),
                (scale, Some(deviation), Some(x)) => {
                    let normal = (f64::from(x[c]) - mean) / deviation;
                    Some((normal * f64::from(scale) + f64::from(self.shift.at(first + c))) as f32)
                }
                _ => None,
            }));
        }
        all
    }

    fn why_lost(&self) -> &'static str {
        "it normalises over the channels of a group, of which others are not constant"
    }

    fn stored<'g>(&'g self, _: &Value, blobs: &mut Blobs<'g>) -> sslm_format::Op {
        let (scale, shift) = (blobs.tensor(&self.scale), blobs.tensor(&self.shift));
        GroupNorm { groups: self.groups, scale, shift, epsilon: self.epsilon }.into()
    }
}

impl Convert for LayerNorm<Unpacked> {
    fn is_finite(&self) -> bool {
        self.scale.is_finite() && self.shift.is_finite()
    }

    /// Over the last axis, which may come to lie on axis 1.
    fn reordered(&self, at: &Reordering<'_>) -> Option<Op> {
        let LayerNorm { axis, scale, shift, epsilon } = self.clone();
        let (of_one, place) = (axis as usize + 1 == at.input.len(), at.axis(axis)?);
        if of_one && place as usize + 1 == at.x.axes().len() {
            return Some(LayerNorm { axis: place, scale, shift, epsilon }.into());
        }
        (of_one && place == 1).then(|| ChannelNorm { scale, shift, epsilon }.into())
    }

    /// What is constant on the normalised axes is its mean, and what is left of it is the shift, if that is one element.
    fn forward(&mut self, inputs: &[Slices<'_>], output: &Slices<'_>) -> Vec<Option<f32>> {
        let first = self.shift.iter().next();
        let shift = first.filter(|first| self.axis > 1 && self.shift.iter().all(|x| x == *first));
        let count = output.constants().map_or(0, <[_]>::len);
        (0..count).map(|slice| shift.filter(|_| !inputs[0].is_live(slice))).collect()
    }

    fn why_lost(&self) -> &'static str {
        "it normalises over channels, or shifts the elements of a constant channel apart"
    }

    fn stored<'g>(&'g self, _: &Value, blobs: &mut Blobs<'g>) -> sslm_format::Op {
        let (scale, shift) = (blobs.tensor(&self.scale), blobs.tensor(&self.shift));
        LayerNorm { axis: self.axis, scale, shift, epsilon: self.epsilon }.into()
    }
}

impl Convert for ChannelNorm<Unpacked> {
    /// Where the scale is zero, the shift is what is left of a channel.
    fn forward(&mut self, _: &[Slices<'_>], output: &Slices<'_>) -> Vec<Option<f32>> {
        let count = output.constants().map_or(0, <[_]>::len);
        (0..count).map(|channel| (self.scale.at(channel) == 0.0).then(|| self.shift.at(channel))).collect()
    }

    fn why_lost(&self) -> &'static str {
        "it normalises over channels, so it needs all of them"
    }

    fn stored<'g>(&'g self, _: &Value, blobs: &mut Blobs<'g>) -> sslm_format::Op {
        let (scale, shift) = (blobs.tensor(&self.scale), blobs.tensor(&self.shift));
        ChannelNorm { scale, shift, epsilon: self.epsilon }.into()
    }
}

/// What a scale and a shift make of constant channels; where the scale is zero, the shift is what is left of any.
fn scaled(
    scale: &[f32],
    shift: &[f32],
    inputs: &[Slices<'_>],
    output: &Slices<'_>,
    of: impl Fn(f32, f32, f32) -> f32,
) -> Vec<Option<f32>> {
    let count = output.constants().map_or(0, <[_]>::len);
    let x = |channel: usize| inputs[0].constants().and_then(|x| x[channel]);
    let of_channel = |channel: usize| match (x(channel), scale[channel], shift[channel]) {
        (_, 0.0, shift) => Some(shift),
        (Some(x), scale, shift) => Some(of(x, scale, shift)),
        (None, ..) => None,
    };
    (0..count).map(of_channel).collect()
}

/// The wanted channels whose scale is not zero.
fn scaling(scale: &[f32], wanted: Option<&[bool]>) -> Option<Vec<bool>> {
    wanted.map(|wanted| wanted.iter().zip(scale).map(|(wanted, scale)| *wanted && *scale != 0.0).collect())
}

impl Convert for LogSoftmax {
    without_weights!();

    fn why_lost(&self) -> &'static str {
        "it needs every channel"
    }
}

impl Convert for Softmax {
    without_weights!();

    /// The axes must still lie beside each other.
    fn reordered(&self, at: &Reordering<'_>) -> Option<Op> {
        let places: Vec<u32> = (self.start..self.end).map(|axis| at.axis(axis)).collect::<Option<_>>()?;
        let (start, end) = (*places.iter().min()?, *places.iter().max()? + 1);
        (end - start == self.end - self.start).then(|| Softmax { start, end }.into())
    }

    fn why_lost(&self) -> &'static str {
        "it needs every channel"
    }
}

impl Write for BatchNorm<Unpacked> {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let channels = call.channels(self.scale.len());
        let dims = [channels.len()];
        let scale = w.floats(&dims, channels.iter().map(|&c| self.scale[c]));
        let shift = w.floats(&dims, channels.iter().map(|&c| self.shift[c]));
        // Of statistics that leave everything as it is.
        let [mean, variance] = [0.0, 1.0].map(|x| w.floats(&dims, vec![x; channels.len()]));
        let inputs = [call.inputs[0], &scale, &shift, &mean, &variance];
        w.push("BatchNormalization", &inputs, call.output, vec![float("epsilon", 0.0)]);
        Ok(())
    }
}

impl Write for InstanceNorm<Unpacked> {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let channels = call.channels(self.scale.len());
        let scale = w.floats(&[channels.len()], channels.iter().map(|&c| self.scale[c]));
        let shift = w.floats(&[channels.len()], channels.iter().map(|&c| self.shift[c]));
        let inputs = [call.inputs[0], &scale, &shift];
        w.push("InstanceNormalization", &inputs, call.output, vec![float("epsilon", self.epsilon)]);
        Ok(())
    }
}

impl Write for LayerNorm<Unpacked> {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let x = call.inputs[0];
        // Both have the extents of the normalised axes.
        let dims = sslm_format::shape::known(&call.input_shape[self.axis as usize..]);
        let dims = dims.context("its scale has the extents of axes whose extents are symbolic")?;
        let [scale, shift] = [&self.scale, &self.shift].map(|elements| w.stored(&dims, elements));
        let attributes = vec![int("axis", self.axis.into()), float("epsilon", self.epsilon)];
        w.push("LayerNormalization", &[x, &scale, &shift], call.output, attributes);
        Ok(())
    }
}

impl Write for ChannelNorm<Unpacked> {
    /// As LayerNormalization of the last axis.
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let last = call.rank as i64 - 1;
        let to_last: Vec<i64> = std::iter::once(0).chain(2..=last).chain([1]).collect();
        let back: Vec<i64> = [0, last].into_iter().chain(1..last).collect();
        let x = w.make("Transpose", &[call.inputs[0]], vec![ints("perm", &to_last)]);
        let [scale, shift] = [&self.scale, &self.shift].map(|elements| w.floats(&[elements.len()], elements.iter()));
        let attributes = vec![int("axis", -1), float("epsilon", self.epsilon)];
        let y = w.make("LayerNormalization", &[&x, &scale, &shift], attributes);
        w.push("Transpose", &[&y], call.output, vec![ints("perm", &back)]);
        Ok(())
    }
}

impl Write for Lrn {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let size = int("size", self.size.into());
        let attributes = vec![size, float("alpha", self.alpha), float("beta", self.beta), float("bias", self.bias)];
        w.push("LRN", call.inputs, call.output, attributes);
        Ok(())
    }
}

impl Write for Softmax {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        write_softmax(w, call, "Softmax", self.start..self.end)
    }
}

impl Write for LogSoftmax {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        write_softmax(w, call, "LogSoftmax", self.start..self.end)
    }
}

fn write_softmax(w: &mut Writer, call: &Call<'_>, name: &str, axes: Range<u32>) -> Result<()> {
    let (x, axis) = (call.inputs[0], int("axis", axes.start.into()));
    if axes.len() == 1 {
        w.push(name, &[x], call.output, vec![axis]);
        return Ok(());
    }
    ensure!(axes.end as usize == call.rank, "a {name} over several axes has to end at the last one");
    let (flat, shape) = (w.make("Flatten", &[x], vec![axis]), w.make("Shape", &[x], vec![]));
    let flat = w.make(name, &[&flat], vec![int("axis", 1)]);
    w.push("Reshape", &[&flat, &shape], call.output, vec![]);
    Ok(())
}

impl Write for GroupNorm<Unpacked> {
    /// As exporters said it before opset 18: groups become channels for a while.
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let (x, groups) = (call.inputs[0], self.groups as usize);
        let [ones, zeros] = [1.0, 0.0].map(|element| w.floats(&[groups], vec![element; groups]));
        let (grouped, shape) = (w.integers(&[0, groups as i64, -1]), w.make("Shape", &[x], vec![]));
        let grouped = w.make("Reshape", &[x, &grouped], vec![]);
        let normal = w.make("InstanceNormalization", &[&grouped, &ones, &zeros], vec![float("epsilon", self.epsilon)]);
        let normal = w.make("Reshape", &[&normal, &shape], vec![]);
        let dims: Vec<usize> = [self.scale.len()].into_iter().chain(vec![1; call.rank - 2]).collect();
        let [scale, shift] = [&self.scale, &self.shift].map(|elements| w.floats(&dims, elements.iter()));
        let scaled = w.make("Mul", &[&normal, &scale], vec![]);
        w.push("Add", &[&scaled, &shift], call.output, vec![]);
        Ok(())
    }
}
