//! Where the positions of a resampled axis lie on the old one, and which of its elements they mix with which weights: ONNX's Resize as
//! onnxruntime computes it, positions in binary32.

use super::rebuild::Positions;
use crate::error::{Error, Result};
use sslm_format::{Coordinates, Interpolation, Resample};
use sslm_kernels::remap::{From, Sources};
use sslm_kernels::resample::Windows;

/// The positions of the `i`-th axis that `resample` lists, which had `old` positions and has `new`; `None` where they stay as they are.
pub(super) fn axis(resample: &Resample, i: usize, [old, new]: [usize; 2]) -> Result<Option<Positions>> {
    let scale = resample.axes[i].target.scale(old, new);
    if scale == 1.0 && new == old {
        return Ok(None);
    }
    if old == 0 {
        return Err(Error::input("extent of a resized axis", "at least 1", 0));
    }
    let axis = Axis { resample, region: region(&resample.coordinates, i), old, new, scale };
    let stretch = stretch(resample, scale);
    Ok(Some(match resample.interpolation {
        Interpolation::Cubic { coefficient } => axis.windowed(2.0, stretch, |x| cubic(x, coefficient)),
        Interpolation::Linear if resample.antialias => axis.windowed(1.0, stretch, |x| (1.0 - x).max(0.0)),
        _ => Positions::Remapped((0..new).map(|position| axis.mixed(position)).collect()),
    }))
}

/// How many bytes of positions, or of windows with their weights, [`axis`] lists at most.
pub(super) fn listed(resample: &Resample, i: usize, [old, new]: [usize; 2]) -> usize {
    let scale = resample.axes[i].target.scale(old, new);
    let weights = match resample.interpolation {
        Interpolation::Cubic { .. } => 2.0 * (2.0 * stretch(resample, scale) + 1.0),
        Interpolation::Linear if resample.antialias => 2.0 * (stretch(resample, scale) + 1.0),
        _ => return Sources::most_bytes(new),
    };
    Windows::most_bytes(new, (new as f64 * f64::from(weights)) as usize)
}

/// How much wider windows are than those between neighbours.
fn stretch(resample: &Resample, scale: f32) -> f32 {
    if resample.antialias { (1.0 / scale).max(1.0) } else { 1.0 }
}

/// Where a region of the axis begins and ends, and the element outside of it, if there is one.
fn region(coordinates: &Coordinates, i: usize) -> Option<([f32; 2], f32)> {
    match coordinates {
        Coordinates::TfCropAndResize { regions, outside } => Some((regions[i], *outside)),
        _ => None,
    }
}

/// An axis that is resampled.
struct Axis<'a> {
    resample: &'a Resample,
    region: Option<([f32; 2], f32)>,
    old: usize,
    new: usize,
    scale: f32,
}

impl Axis<'_> {
    /// Where new position `i` lies on the old axis.
    fn at(&self, i: usize) -> f32 {
        let (x, scale, last) = (i as f32, self.scale, self.old as f32 - 1.0);
        let new = self.new as f32;
        match (&self.resample.coordinates, self.region) {
            (_, Some(([start, end], _))) if self.new > 1 => start * last + x * (end - start) * last / (new - 1.0),
            (_, Some(([start, end], _))) => 0.5 * (start + end) * last,
            (Coordinates::Asymmetric, _) => x / scale,
            (Coordinates::AlignCorners | Coordinates::PytorchHalfPixel, _) if self.new == 1 => 0.0,
            (Coordinates::AlignCorners, _) => x * last / (new - 1.0),
            (Coordinates::TfHalfPixelForNn, _) => (x + 0.5) / scale,
            (Coordinates::HalfPixelSymmetric, _) => {
                let old = self.old as f32;
                let offset = old / 2.0 * (1.0 - new / (scale * old));
                (f64::from(offset) + (f64::from(x) + 0.5) / f64::from(scale) - 0.5) as f32
            }
            _ => (x + 0.5) / scale - 0.5,
        }
    }

    /// The element that is at position `at` if that lies outside of the old axis.
    fn outside(&self, at: f32) -> Option<f32> {
        let inside = at >= 0.0 && at <= self.old as f32 - 1.0;
        self.region.filter(|_| !inside).map(|(_, outside)| outside)
    }

    /// Where new position `i` comes from, if it is from two old ones at most.
    fn mixed(&self, i: usize) -> From {
        let at = self.at(i);
        match self.outside(at) {
            Some(outside) => From::Constant(outside),
            None => between(tied(f64::from(at)), self.old - 1, &self.resample.interpolation),
        }
    }

    /// Windows that reach `reach` positions to both sides, `stretch` times as far as `weight` says.
    fn windowed(&self, reach: f32, stretch: f32, weight: impl Fn(f32) -> f32) -> Positions {
        let (mut windows, last) = (Windows::default(), self.old as i64 - 1);
        let mut weights = Vec::new();
        for i in 0..self.new {
            let at = self.at(i);
            if let Some(outside) = self.outside(at) {
                windows.push(outside, 0, []);
                continue;
            }
            let taps = (at - reach * stretch + 1.0).floor() as i64..(at + reach * stretch + 1.0).floor() as i64;
            let [first, end] = [taps.start.clamp(0, last), taps.end.saturating_sub(1).clamp(0, last)];
            weights.clear();
            weights.resize((end.max(first) - first + 1) as usize, 0.0);
            let mut sum = 0.0;
            for tap in taps {
                if self.resample.exclude_outside && !(0..=last).contains(&tap) {
                    continue;
                }
                let weight = weight(((tap as f32 - at) / stretch).abs());
                weights[(tap.clamp(0, last) - first) as usize] += weight;
                sum += weight;
            }
            let sum = if sum == 0.0 { 1.0 } else { sum };
            windows.push(0.0, first as usize, weights.iter().map(|w| w / sum));
        }
        Positions::Resampled(windows)
    }
}

/// Positions that rounding has put beside the middle between two others are in the middle, as in onnxruntime. For linear interpolation that
/// makes no difference.
fn tied(at: f64) -> f64 {
    let middle = at.floor() + 0.5;
    if (at - middle).abs() < 1e-6 { middle } else { at }
}

/// What a nearest or linear interpolation finds at position `at` of an axis whose last index is `last`.
pub(super) fn between(at: f64, last: usize, interpolation: &Interpolation) -> From {
    let nearest = |position: f64| From::Position(position.clamp(0.0, last as f64) as usize);
    match interpolation {
        Interpolation::NearestPreferFloor => nearest((at - 0.5).ceil()),
        Interpolation::NearestPreferCeil => nearest((at + 0.5).floor()),
        Interpolation::Floor => nearest(at.floor()),
        Interpolation::Ceil => nearest(at.ceil()),
        Interpolation::Linear | Interpolation::Cubic { .. } => {
            let position = at.clamp(0.0, last as f64);
            let first = position.floor();
            let share = (position - first) as f32;
            // Nothing of a neighbour is nothing, even if the neighbour is infinite.
            if share > 0.0 { From::Between(first as usize, share) } else { From::Position(first as usize) }
        }
    }
}

/// The weight of a neighbour at distance `x` in a cubic convolution with coefficient `a`.
fn cubic(x: f32, a: f32) -> f32 {
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}
