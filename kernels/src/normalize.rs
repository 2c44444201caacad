//! Normalisations: LRN across channels, softmax along an axis, group, instance and layer normalisation, and scale and shift of channels,
//! which is what batch normalisation has become by the time it is stored.

use crate::cpu::{Call, Kernel};
use crate::{Exec, Task, count_pieces, expect_len, math};
use get_size2::GetSize;
use sslm_basics::math::exp;
use sslm_basics::wide::log;
use std::ops::Range;

/// Elements of a plane that are handled at a time: what is known of them stays in L1.
const BLOCK: usize = 256;

/// Local response normalisation: `x / (bias + alpha / size * sum of squares)^beta` over `size` neighbouring channels.
#[derive(GetSize, Clone, Debug)]
pub struct LrnTask {
    /// Channels of an image.
    pub channels: usize,
    /// Elements of one channel.
    pub plane: usize,
    /// Channels in the window.
    pub size: usize,
    /// Scale of the sum, before division by `size`.
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// Added to the scaled sum.
    pub bias: f32,
}

impl Task for LrnTask {
    fn kind(&self) -> &'static str {
        "lrn"
    }

    fn operations(&self, written: usize) -> usize {
        written.saturating_mul(self.size.min(self.channels))
    }
}

impl Kernel for LrnTask {
    fn compute(&self, call: Call<'_>) {
        self.run(call.reads.get(0), call.out, call.exec);
    }
}

impl LrnTask {
    /// The channels that the sum at `channel` runs over (ONNX: half of `size - 1`, rounded down before and up after).
    pub fn window(channel: usize, size: usize, channels: usize) -> Range<usize> {
        let before = (size - 1) / 2;
        channel.saturating_sub(before)..(channel + (size - before)).min(channels)
    }

    /// `x` and `out` are `[batch][channels][plane]`.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, x: &[f32], out: &mut [f32], exec: Exec) {
        // Powers that are roots, by roots.
        if self.beta == 0.75 {
            self.run_by(x, out, exec, |base| base.sqrt() * base.sqrt().sqrt());
        } else if self.beta == 0.5 {
            self.run_by(x, out, exec, f32::sqrt);
        } else if self.beta == 1.0 {
            self.run_by(x, out, exec, |base| base);
        } else {
            self.run_by(x, out, exec, |base| sslm_basics::math::pow(base, self.beta));
        }
    }

    /// With a `power` that must be inlined.
    fn run_by(&self, x: &[f32], out: &mut [f32], exec: Exec, power: impl Fn(f32) -> f32 + Copy + Sync) {
        expect_len("input", x, out.len());
        count_pieces("output", out, self.channels * self.plane);
        let (bias, scale) = (self.bias, self.alpha / self.size as f32);
        let divide = move |x: f32, squares: f32| x / power(bias + scale * squares);
        exec.for_each_chunk(
            out,
            self.plane,
            #[inline(always)]
            |i, out| {
                let (image, channel) = (i / self.channels * self.channels, i % self.channels);
                let window = Self::window(channel, self.size, self.channels);
                let own = &x[i * self.plane..][..self.plane];
                let planes = &x[(image + window.start) * self.plane..(image + window.end) * self.plane];
                match window.len() {
                    3 => divide_by_squares::<3>(own, planes, out, divide),
                    4 => divide_by_squares::<4>(own, planes, out, divide),
                    5 => divide_by_squares::<5>(own, planes, out, divide),
                    _ => {
                        out.fill(0.0);
                        for plane in planes.chunks_exact(self.plane) {
                            for (o, x) in out.iter_mut().zip(plane) {
                                *o += x * x;
                            }
                        }
                        for (o, &x) in out.iter_mut().zip(own) {
                            *o = divide(x, *o);
                        }
                    }
                }
            },
        );
    }
}

/// `divide(x, sum of squares)` of each element of a plane and those that stand at its place in `N` planes. Each sum is made afresh:
/// a running one, from which squares are taken again, would lose digits.
#[inline(always)]
fn divide_by_squares<const N: usize>(x: &[f32], planes: &[f32], out: &mut [f32], divide: impl Fn(f32, f32) -> f32) {
    let len = out.len();
    let x = &x[..len];
    let mut each = [&planes[..0]; N];
    for (i, plane) in each.iter_mut().enumerate() {
        *plane = &planes[i * len..][..len];
    }
    for i in 0..len {
        let mut sum = 0.0;
        for plane in each {
            sum += plane[i] * plane[i];
        }
        out[i] = divide(x[i], sum);
    }
}

/// Softmax over the middle axis of `[outer][axis][inner]`, or its logarithm.
#[derive(GetSize, Clone, Copy, Debug)]
pub struct SoftmaxTask {
    /// Elements that sum to 1.
    pub axis: usize,
    /// Elements from one of them to the next.
    pub inner: usize,
    /// Whether the logarithm is meant.
    pub log: bool,
}

impl Task for SoftmaxTask {
    fn kind(&self) -> &'static str {
        if self.log { "log softmax" } else { "softmax" }
    }
}

impl Kernel for SoftmaxTask {
    fn compute(&self, call: Call<'_>) {
        self.run(call.reads.get(0), call.out, call.exec);
    }
}

impl SoftmaxTask {
    /// `x` and `out` are `[outer][axis][inner]`.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, x: &[f32], out: &mut [f32], exec: Exec) {
        if self.log {
            self.run_by(x, out, exec, |x, _, [max, of_sum]| x - max - of_sum, log);
        } else {
            self.run_by(x, out, exec, |_, e, [_, sum]| e / sum, |sum| sum);
        }
    }

    /// With what becomes of each element, its power of e and what is known of its line: the largest element and `of_sum` of the sum of
    /// all powers.
    fn run_by(
        &self,
        x: &[f32],
        out: &mut [f32],
        exec: Exec,
        of_element: impl Fn(f32, f32, [f32; 2]) -> f32 + Sync,
        of_sum: impl Fn(f32) -> f32 + Sync,
    ) {
        let (inner, len) = (self.inner, self.axis * self.inner);
        expect_len("input", x, out.len());
        count_pieces("output", out, len);
        exec.for_each_chunk(
            out,
            len,
            #[inline(always)]
            |outer, out| {
                let x = &x[outer * len..][..len];
                if inner == 1 {
                    let max = math::largest(x);
                    let sum = of_sum(math::exp_all(x, max, out));
                    for (o, &x) in out.iter_mut().zip(x) {
                        *o = of_element(x, *o, [max, sum]);
                    }
                    return;
                }
                for first in (0..inner).step_by(BLOCK) {
                    let columns = first..inner.min(first + BLOCK);
                    let (mut max, mut sum) = ([f32::NEG_INFINITY; BLOCK], [0.0; BLOCK]);
                    for x in x.chunks_exact(inner) {
                        for (max, &x) in max.iter_mut().zip(&x[columns.clone()]) {
                            *max = math::max(*max, x);
                        }
                    }
                    for (x, out) in x.chunks_exact(inner).zip(out.chunks_exact_mut(inner)) {
                        let lines = max.iter().zip(&mut sum);
                        for ((o, &x), (&max, sum)) in out[columns.clone()].iter_mut().zip(&x[columns.clone()]).zip(lines) {
                            *o = exp(x - max);
                            *sum += *o;
                        }
                    }
                    sum.iter_mut().for_each(|sum| *sum = of_sum(*sum));
                    for (x, out) in x.chunks_exact(inner).zip(out.chunks_exact_mut(inner)) {
                        let lines = max.iter().zip(&sum);
                        for ((o, &x), (&max, &sum)) in out[columns.clone()].iter_mut().zip(&x[columns.clone()]).zip(lines) {
                            *o = of_element(x, *o, [max, sum]);
                        }
                    }
                }
            },
        );
    }
}

/// `scale[c] * x + shift[c]` on `[batch][channels][plane]`. Its parameters are scale and shift.
#[derive(GetSize, Clone, Copy, Debug)]
pub struct ScaleShiftTask {
    /// Elements of a channel.
    pub plane: usize,
}

impl Task for ScaleShiftTask {
    fn kind(&self) -> &'static str {
        "scale and shift"
    }
}

impl Kernel for ScaleShiftTask {
    fn compute(&self, call: Call<'_>) {
        let [scale, shift] = [0, 1].map(|i| call.parameters.get(i));
        scale_shift(call.reads.get(0), self.plane, scale, shift, call.out, call.exec);
    }
}

/// `scale[c] * x + shift[c]` on `[batch][channels][plane]`.
///
/// # Panics
/// If a slice has another length than the shapes call for.
pub fn scale_shift(x: &[f32], plane: usize, scale: &[f32], shift: &[f32], out: &mut [f32], exec: Exec) {
    expect_len("input", x, out.len());
    expect_len("shift", shift, scale.len());
    count_pieces("output", out, scale.len() * plane);
    exec.for_each_chunk(
        out,
        plane,
        #[inline(always)]
        |i, out| {
            let (scale, shift) = (scale[i % scale.len()], shift[i % shift.len()]);
            for (o, x) in out.iter_mut().zip(&x[i * plane..]) {
                *o = scale * x + shift;
            }
        },
    );
}

/// Brings each group of neighbouring channels of `[batch][channels][plane]` together to mean 0 and variance 1, then scales and shifts each
/// channel. Its parameters are scale and shift of each channel.
#[derive(GetSize, Clone, Copy, Debug)]
pub struct GroupNormTask {
    /// Channels of a group.
    pub group: usize,
    /// Elements of a channel.
    pub plane: usize,
    /// Added to the variance.
    pub epsilon: f32,
}

impl Task for GroupNormTask {
    fn kind(&self) -> &'static str {
        if self.group == 1 { "instance norm" } else { "group norm" }
    }
}

impl Kernel for GroupNormTask {
    fn compute(&self, call: Call<'_>) {
        self.run(call.reads.get(0), [0, 1].map(|i| call.parameters.get(i)), call.out, call.exec);
    }
}

impl GroupNormTask {
    /// `x` and `out` are `[batch][channels][plane]`; there are as many scales and shifts as channels.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, x: &[f32], [scale, shift]: [&[f32]; 2], out: &mut [f32], exec: Exec) {
        let (len, plane, channels) = (self.group * self.plane, self.plane, scale.len());
        expect_len("input", x, out.len());
        expect_len("shift", shift, channels);
        count_pieces("scale", scale, self.group);
        count_pieces("input", x, channels * plane);
        exec.for_each_chunk(
            out,
            len,
            #[inline(always)]
            |i, out| {
                let x = &x[i * len..][..len];
                let [mean, variance] = moments(x);
                let deviation = (variance + f64::from(self.epsilon)).sqrt();
                let first = i * self.group % channels;
                for (c, (out, x)) in out.chunks_exact_mut(plane).zip(x.chunks_exact(plane)).enumerate() {
                    let (factor, shift) = (f64::from(scale[first + c]) / deviation, f64::from(shift[first + c]));
                    for (o, &v) in out.iter_mut().zip(x) {
                        *o = ((f64::from(v) - mean) * factor + shift) as f32;
                    }
                }
            },
        );
    }
}

/// Brings each line along the middle axis of `[outer][line][inner]` to mean 0 and variance 1, then scales and shifts each of its
/// elements. Its parameters are a scale and a shift for each element of a line.
#[derive(GetSize, Clone, Copy, Debug)]
pub struct LayerNormTask {
    /// Elements of a line.
    pub line: usize,
    /// Elements from one of them to the next.
    pub inner: usize,
    /// Added to the variance.
    pub epsilon: f32,
}

impl Task for LayerNormTask {
    fn kind(&self) -> &'static str {
        "layer norm"
    }
}

impl Kernel for LayerNormTask {
    fn compute(&self, call: Call<'_>) {
        let parameters = [0, 1].map(|i| call.parameters.get(i));
        self.run(call.reads.get(0), parameters, call.out, call.exec);
    }
}

impl LayerNormTask {
    /// `x` and `out` are `[outer][line][inner]`; `scale` and `shift` have an element for each of a line.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, x: &[f32], [scale, shift]: [&[f32]; 2], out: &mut [f32], exec: Exec) {
        let len = self.line * self.inner;
        expect_len("input", x, out.len());
        expect_len("scale", scale, self.line);
        expect_len("shift", shift, self.line);
        count_pieces("output", out, len);
        let epsilon = f64::from(self.epsilon);
        exec.for_each_chunk(
            out,
            len,
            #[inline(always)]
            |i, out| {
                let x = &x[i * len..][..len];
                if self.inner == 1 {
                    let [mean, variance] = moments(x);
                    let factor = 1.0 / (variance + epsilon).sqrt();
                    for ((o, &v), (&scale, &shift)) in out.iter_mut().zip(x).zip(scale.iter().zip(shift)) {
                        *o = ((f64::from(v) - mean) * factor * f64::from(scale) + f64::from(shift)) as f32;
                    }
                    return;
                }
                for first in (0..self.inner).step_by(BLOCK) {
                    let columns = first..self.inner.min(first + BLOCK);
                    normalize_columns(x, self.inner, columns, [scale, shift], epsilon, out);
                }
            },
        );
    }
}

/// Normalises the lines at some places of the inner axis of `[line][inner]`, side by side.
#[inline(always)]
fn normalize_columns(x: &[f32], inner: usize, columns: Range<usize>, [scale, shift]: [&[f32]; 2], epsilon: f64, out: &mut [f32]) {
    let count = scale.len() as f64;
    let (mut mean, mut factor) = ([0.0f64; BLOCK], [0.0f64; BLOCK]);
    for x in x.chunks_exact(inner) {
        for (mean, &x) in mean.iter_mut().zip(&x[columns.clone()]) {
            *mean += f64::from(x);
        }
    }
    mean.iter_mut().for_each(|mean| *mean /= count);
    for x in x.chunks_exact(inner) {
        for ((squares, mean), &x) in factor.iter_mut().zip(&mean).zip(&x[columns.clone()]) {
            let distance = f64::from(x) - mean;
            *squares += distance * distance;
        }
    }
    factor.iter_mut().for_each(|squares| *squares = 1.0 / (*squares / count + epsilon).sqrt());
    let rows = x.chunks_exact(inner).zip(out.chunks_exact_mut(inner)).zip(scale.iter().zip(shift));
    for ((x, out), (&scale, &shift)) in rows {
        let (scale, shift) = (f64::from(scale), f64::from(shift));
        let lines = mean.iter().zip(&factor);
        for ((o, &x), (mean, factor)) in out[columns.clone()].iter_mut().zip(&x[columns.clone()]).zip(lines) {
            *o = ((f64::from(x) - mean) * factor * scale + shift) as f32;
        }
    }
}

/// Mean and variance, in f64: a variance far below the square of the mean survives.
#[inline(always)]
fn moments(x: &[f32]) -> [f64; 2] {
    let len = x.len() as f64;
    let mean = math::sum(x, |v| v) / len;
    [mean, math::sum(x, |v| (v - mean) * (v - mean)) / len]
}
