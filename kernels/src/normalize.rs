//! Normalisations: LRN across channels, softmax, per-channel scale and shift.

use crate::{Threading, count_pieces, expect_len};
use std::ops::Range;

/// Local response normalisation: `x / (bias + alpha / size * sum of squares)^beta` over `size` neighbouring channels.
#[derive(Clone, Debug)]
pub struct Lrn {
    /// Channels of an image.
    pub channels: usize,
    /// Numbers in one channel's plane.
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

impl Lrn {
    /// The channels that the sum at `channel` runs over (ONNX: half of `size - 1`, rounded down before and up after).
    pub fn window(channel: usize, size: usize, channels: usize) -> Range<usize> {
        let before = (size - 1) / 2;
        channel.saturating_sub(before)..(channel + (size - before)).min(channels)
    }

    /// `x` and `out` are `[batch][channels][plane]`.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, x: &[f32], out: &mut [f32], threading: Threading) {
        expect_len("input", x, out.len());
        count_pieces("output", out, self.channels * self.plane);
        let scale = self.alpha / self.size as f32;
        threading.for_each_chunk(out, self.plane, |i, out| {
            let (image, channel) = (i / self.channels * self.channels, i % self.channels);
            out.fill(0.0);
            for other in Self::window(channel, self.size, self.channels) {
                let other = &x[(image + other) * self.plane..][..self.plane];
                out.iter_mut().zip(other).for_each(|(o, x)| *o += x * x);
            }
            let own = &x[i * self.plane..][..self.plane];
            for (o, x) in out.iter_mut().zip(own) {
                *o = x / self.power(self.bias + scale * *o);
            }
        });
    }

    /// `base^beta`; 3/4, which everyone uses, by square roots.
    fn power(&self, base: f32) -> f32 {
        if self.beta == 0.75 {
            let root = base.sqrt();
            root * root.sqrt()
        } else {
            base.powf(self.beta)
        }
    }
}

/// Softmax over the middle axis of `[outer][axis][inner]`.
///
/// # Panics
/// If a slice has another length than the shapes call for.
pub fn softmax(x: &[f32], axis: usize, inner: usize, out: &mut [f32], threading: Threading) {
    expect_len("input", x, out.len());
    count_pieces("output", out, axis * inner);
    threading.for_each_chunk(out, axis * inner, |outer, out| {
        let x = &x[outer * axis * inner..][..axis * inner];
        for i in 0..inner {
            let max = x[i..].iter().step_by(inner).copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for (o, x) in out[i..].iter_mut().step_by(inner).zip(x[i..].iter().step_by(inner)) {
                *o = (x - max).exp();
                sum += *o;
            }
            out[i..].iter_mut().step_by(inner).for_each(|o| *o /= sum);
        }
    });
}

/// `scale[c] * x + shift[c]` on `[batch][channels][plane]`.
///
/// # Panics
/// If a slice has another length than the shapes call for.
pub fn scale_shift(x: &[f32], plane: usize, scale: &[f32], shift: &[f32], out: &mut [f32], threading: Threading) {
    expect_len("input", x, out.len());
    expect_len("shift", shift, scale.len());
    count_pieces("output", out, scale.len() * plane);
    threading.for_each_chunk(out, plane, |i, out| {
        let (scale, shift) = (scale[i % scale.len()], shift[i % shift.len()]);
        out.iter_mut().zip(&x[i * plane..]).for_each(|(o, x)| *o = scale * x + shift);
    });
}

/// Brings each plane of `[batch][channels][plane]` to mean 0 and variance 1, then scales and shifts it by its channel's numbers.
///
/// # Panics
/// If a slice has another length than the shapes call for.
pub fn instance_norm(x: &[f32], plane: usize, [scale, shift]: [&[f32]; 2], epsilon: f32, out: &mut [f32], threading: Threading) {
    expect_len("input", x, out.len());
    expect_len("shift", shift, scale.len());
    crate::count_pieces("input", x, scale.len() * plane);
    threading.for_each_chunk(out, plane, |i, out| {
        let x = &x[i * plane..][..plane];
        // In f64: a variance far below the square of the mean survives.
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / plane as f64;
        let variance = x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / plane as f64;
        let factor = f64::from(scale[i % scale.len()]) / (variance + f64::from(epsilon)).sqrt();
        let shift = f64::from(shift[i % shift.len()]);
        out.iter_mut().zip(x).for_each(|(o, &v)| *o = ((f64::from(v) - mean) * factor + shift) as f32);
    });
}
