//! Normalisations: of channels by stored or measured statistics, over neighbouring channels, and to shares of a sum.

use crate::blobs::Blobs;
use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, float, int, ints};
use crate::import::binding::Binding;
use crate::import::checks::positive;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::onnx::tensor::{Floats, Tensor};
use crate::operator::{Affine, Convert, Reordering, without_weights};
use crate::slices::{Reads, Slices, reads};
use crate::weights::{Op, Unpacked};
use anyhow::{Context, Result, ensure};
use sslm_format::{BatchNorm, ChannelNorm, InstanceNorm, LayerNorm, Lrn, Softmax, Value};

pub(super) const IMPORTS: &[Import] = &[
    Import::computing("BatchNormalization", batch_norm),
    Import::computing("InstanceNormalization", instance_norm),
    Import::computing("LayerNormalization", layer_norm),
    Import::computing("LRN", |node| {
        let size = positive(node.int("size", 0)?, "size")?;
        let (alpha, beta, bias) = (node.float("alpha", 1e-4)?, node.float("beta", 0.75)?, node.float("bias", 1.0)?);
        node.unary(Lrn { size, alpha, beta, bias })
    }),
    Import::computing("Softmax", softmax),
];

fn batch_norm(node: &mut OnnxNode<'_>) -> Result<Binding> {
    ensure!(!node.flag("training_mode", false)?, "expected inference, found training_mode");
    ensure!(node.int("spatial", 1)? == 1, "spatial: expected 1, found 0");
    let x = node.value(0)?;
    let epsilon = f64::from(node.float("epsilon", 1e-5)?);
    let parameter =
        |i: usize, what: &str| -> Result<Vec<f64>> { Ok(node.needed_tensor(i, what)?.floats()?.iter().map(f64::from).collect()) };
    let (gamma, beta, mean, variance) = (parameter(1, "scale")?, parameter(2, "B")?, parameter(3, "mean")?, parameter(4, "var")?);
    ensure!(node.rank(x) >= 2, "input: expected at least 2 axes, found fewer");
    let expected = node.extent(x, 1).unwrap_or(gamma.len());
    for (what, found) in [("scale", &gamma), ("B", &beta), ("mean", &mean), ("var", &variance)] {
        ensure!(found.len() == expected, "{what}: expected {expected} elements, found {}", found.len());
    }
    // In f64, so that folding loses no more than the one rounding at its end.
    let factor: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
    let shift = factor.iter().zip(beta.iter().zip(&mean)).map(|(f, (b, m))| (b - m * f) as f32).collect();
    let scale: Vec<f32> = factor.iter().map(|&f| f as f32).collect();
    node.push(BatchNorm { scale, shift }, vec![x])
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
    node.one_output("Mean or InvStdDev")?;
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
    node.push(LayerNorm { axis: axis as u32, scale, shift, epsilon }, vec![x])
}

/// Over all axes from `axis` on before opset 13, over that one axis since.
fn softmax(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let (rank, of_one_axis) = (node.rank(x), node.opset() >= 13);
    let start = node.axis(if of_one_axis { -1 } else { 1 }, rank)?;
    let end = if of_one_axis { start + 1 } else { rank };
    node.push(Softmax { start: start as u32, end: end as u32 }, vec![x])
}

impl Convert for Lrn {
    without_weights!();

    fn reordered(&self, at: &Reordering<'_>) -> Option<Op> {
        (at.axis(1)? == 1).then(|| self.clone().into())
    }

    fn why_lost(&self) -> &'static str {
        "the windows of these constant channels reach channels that are not constant"
    }
}

impl Convert for BatchNorm<Unpacked> {
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
    fn is_finite(&self) -> bool {
        self.scale.is_finite() && self.shift.is_finite()
    }

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
        let dims: Vec<usize> = [channels.len()].into_iter().chain(vec![1; call.rank - 2]).collect();
        let scale = w.floats(&dims, channels.iter().map(|&c| self.scale[c]));
        let shift = w.floats(&dims, channels.iter().map(|&c| self.shift[c]));
        let scaled = w.make("Mul", &[call.inputs[0], &scale], vec![]);
        w.push("Add", &[&scaled, &shift], call.output, vec![]);
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
        let extents = w.make("Shape", &[x], vec![int("start", self.axis.into())]);
        let [scale, shift] = [&self.scale, &self.shift].map(|elements| {
            let flat = w.floats(&[elements.len()], elements.iter());
            w.make("Reshape", &[&flat, &extents], vec![])
        });
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
        let (x, axis) = (call.inputs[0], int("axis", self.start.into()));
        if self.end == self.start + 1 {
            w.push("Softmax", &[x], call.output, vec![axis]);
            return Ok(());
        }
        ensure!(self.end as usize == call.rank, "Softmax over axes in the middle");
        let (flat, shape) = (w.make("Flatten", &[x], vec![axis]), w.make("Shape", &[x], vec![]));
        let flat = w.make("Softmax", &[&flat], vec![int("axis", 1)]);
        w.push("Reshape", &[&flat, &shape], call.output, vec![]);
        Ok(())
    }
}
