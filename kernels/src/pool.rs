//! Pooling, plane by plane. Windows may hang over the input's edge; what lies outside never wins a maximum and is not summed.

use crate::conv::Geometry;
use crate::{Threading, count_pieces, expect_len};

/// How a window becomes one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// The largest.
    Max,
    /// Sum over the count of positions inside the input.
    Mean,
    /// Sum over the count of positions inside the padded input, whose end is `pad_after` (vertical, horizontal) behind the
    /// input's: ceil-mode windows may hang over even that.
    MeanWithPadding {
        /// Rows below, columns after.
        pad_after: [usize; 2],
    },
}

/// A pooling layer with everything decided that shapes decide. `channels` of the geometry is not used.
#[derive(Debug)]
pub struct Pool {
    geometry: Geometry,
    reduce: Reduce,
}

impl Pool {
    /// Pools windows of `geometry` by `reduce`.
    pub fn new(geometry: Geometry, reduce: Reduce) -> Self {
        Pool { geometry, reduce }
    }

    /// `x` is `[planes][H][W]`, `out` is `[planes][OH][OW]`.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, x: &[f32], out: &mut [f32], threading: Threading) {
        let g = &self.geometry;
        let (input, output) = (g.input[0] * g.input[1], g.output[0] * g.output[1]);
        expect_len("input", x, count_pieces("output", out, output) * input);
        threading.for_each_chunk(out, output, |plane, out| self.plane(&x[plane * input..][..input], out));
    }

    /// Tap by tap over the whole plane, so that the inner loop runs over output columns.
    fn plane(&self, x: &[f32], out: &mut [f32]) {
        let g = &self.geometry;
        let (width, out_width) = (g.input[1], g.output[1]);
        out.fill(if self.reduce == Reduce::Max { f32::NEG_INFINITY } else { 0.0 });
        for kh in 0..g.kernel[0] {
            for oh in g.inside(0, kh) {
                let source = &x[g.source(0, kh, oh) * width..][..width];
                for kw in 0..g.kernel[1] {
                    let columns = g.inside(1, kw);
                    if columns.is_empty() {
                        continue;
                    }
                    let source = source[g.source(1, kw, columns.start)..].iter().step_by(g.strides[1]);
                    let row = out[oh * out_width..][columns].iter_mut().zip(source);
                    match self.reduce {
                        // As ONNX Runtime does, NaN loses against every number.
                        Reduce::Max => row.for_each(|(o, x)| *o = o.max(*x)),
                        Reduce::Mean | Reduce::MeanWithPadding { .. } => row.for_each(|(o, x)| *o += x),
                    }
                }
            }
        }
        if self.reduce != Reduce::Max {
            for (oh, row) in out.chunks_exact_mut(out_width).enumerate() {
                let rows = self.count(0, oh);
                for (ow, o) in row.iter_mut().enumerate() {
                    *o /= (rows * self.count(1, ow)).max(1) as f32;
                }
            }
        }
    }

    /// How many taps of output position `out` count along `axis`.
    fn count(&self, axis: usize, out: usize) -> usize {
        match self.reduce {
            Reduce::MeanWithPadding { pad_after } => {
                let g = &self.geometry;
                let padded = g.pad_before[axis] + g.input[axis] + pad_after[axis];
                padded.saturating_sub(out * g.strides[axis]).div_ceil(g.dilations[axis]).min(g.kernel[axis])
            }
            _ => self.geometry.taps_inside(axis, out).len(),
        }
    }
}

/// Largest number of each plane: `x` is `[planes][plane]`, `out` is `[planes]`.
///
/// # Panics
/// If a slice has another length than the shapes call for.
pub fn global_max(x: &[f32], plane: usize, out: &mut [f32], threading: Threading) {
    expect_len("input", x, out.len() * plane);
    threading.for_each_chunk(out, 1, |i, out| {
        out[0] = x[i * plane..][..plane].iter().copied().fold(f32::NEG_INFINITY, f32::max);
    });
}

/// Mean of each plane of `plane` numbers: `x` is `[planes][plane]`, `out` is `[planes]`.
///
/// # Panics
/// If a slice has another length than the shapes call for.
pub fn global_average(x: &[f32], plane: usize, out: &mut [f32], threading: Threading) {
    expect_len("input", x, out.len() * plane);
    threading.for_each_chunk(out, 1, |i, out| {
        let sum: f64 = x[i * plane..][..plane].iter().map(|&v| f64::from(v)).sum();
        out[0] = (sum / plane as f64) as f32;
    });
}
