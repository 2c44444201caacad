//! Planes that are looked at wherever a grid says. Each position has a few taps on each axis; what lies there is weighted and summed.

use crate::cpu::{Call, Kernel};
use crate::{Exec, Task, count_pieces, expect_len};

/// Planes `[images][channels][height][width]` at the positions `[images][positions][2]` of a grid, x before y: `[images][channels][positions]`.
/// Positions go from -1 to 1.
#[derive(Clone, Copy, Debug)]
pub struct GridSampleTask {
    /// Planes of an image.
    pub channels: usize,
    /// Height and width, at least 1 each.
    pub input: [usize; 2],
    /// Positions of an image.
    pub positions: usize,
    /// How elements are found at a position.
    pub between: Between,
    /// What lies outside.
    pub outside: Outside,
    /// Whether -1 and 1 are the middles of the first and the last element, rather than their outer edges.
    pub align_corners: bool,
}

/// How an element is found between others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// Between two neighbours on each axis.
    Linear,
    /// The nearest one; of two equally near, the even one.
    Nearest,
    /// Between four neighbours on each axis, by cubic convolution.
    Cubic,
}

/// What lies outside of a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// Zeros.
    Zeros,
    /// The border.
    Border,
    /// The mirror image.
    Reflection,
}

impl Task for GridSampleTask {
    fn kind(&self) -> &'static str {
        "grid sample"
    }
}

impl Kernel for GridSampleTask {
    fn compute(&self, call: Call<'_>) {
        self.run(call.reads.get(0), call.reads.get(1), call.out, call.exec);
    }
}

/// Positions further outside than this are as far as this: they stay countable.
const FAR: f32 = 1e9;

/// What one axis contributes to a position: an index and a weight for each tap. Taps that find nothing have the weight 0 and any index.
type Taps = [(usize, f32); 4];

impl GridSampleTask {
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, x: &[f32], grid: &[f32], out: &mut [f32], exec: Exec) {
        let (plane, width) = (self.input[0] * self.input[1], self.input[1]);
        let planes = count_pieces("output", out, self.positions);
        expect_len("input", x, planes * plane);
        expect_len("grid", grid, planes / self.channels.max(1) * self.positions * 2);
        exec.for_each_chunk(
            out,
            self.positions,
            #[inline(always)]
            |i, out| {
                let x = &x[i * plane..][..plane];
                let grid = &grid[i / self.channels * self.positions * 2..][..self.positions * 2];
                for (o, [column, row]) in out.iter_mut().zip(grid.as_chunks::<2>().0) {
                    let (rows, columns) = (self.taps(*row, self.input[0]), self.taps(*column, width));
                    let mut sum = 0.0;
                    for (row, weight) in rows {
                        if weight != 0.0 {
                            let x = &x[row * width..][..width];
                            let of_row = columns.iter().filter(|tap| tap.1 != 0.0).map(|&(column, w)| w * x[column]);
                            sum += weight * of_row.sum::<f32>();
                        }
                    }
                    *o = sum;
                }
            },
        );
    }

    /// The taps of a position of the grid on an axis of `extent`.
    #[inline(always)]
    fn taps(&self, position: f32, extent: usize) -> Taps {
        let len = extent as f32;
        let at = if self.align_corners { (position + 1.0) / 2.0 * (len - 1.0) } else { ((position + 1.0) * len - 1.0) / 2.0 };
        #[expect(clippy::manual_clamp, reason = "a clamp keeps NaN, which these make -FAR")]
        let at = at.max(-FAR).min(FAR);
        let first = at.floor();
        let share = at - first;
        let (first, weights) = match self.between {
            Between::Nearest => (at.round_ties_even(), [1.0, 0.0, 0.0, 0.0]),
            Between::Linear => (first, [1.0 - share, share, 0.0, 0.0]),
            Between::Cubic => (first - 1.0, [1.0 + share, share, 1.0 - share, 2.0 - share].map(cubic)),
        };
        let tap = |i: usize| {
            let index = first as i64 + i as i64;
            match (self.outside, usize::try_from(index)) {
                (_, Ok(index)) if index < extent => (index, weights[i]),
                (Outside::Zeros, _) => (0, 0.0),
                (Outside::Border, _) => (index.clamp(0, extent as i64 - 1) as usize, weights[i]),
                (Outside::Reflection, _) => (self.reflected(index as f32, extent), weights[i]),
            }
        };
        [tap(0), tap(1), tap(2), tap(3)]
    }

    /// The index that index `at`, which lies outside, is the mirror image of.
    #[inline(always)]
    fn reflected(&self, at: f32, extent: usize) -> usize {
        let (low, high) = if self.align_corners { (0.0, extent as f32 - 1.0) } else { (-0.5, extent as f32 - 0.5) };
        let range = high - low;
        let beyond = if at < low { low - at } else { at - high };
        let times = (beyond / range).trunc();
        let rest = beyond - times * range;
        // Every other image is the right way round.
        let from_low = (at < low) == (times % 2.0 == 0.0);
        let index = if from_low { low + rest } else { high - rest };
        (index.max(0.0) as usize).min(extent - 1)
    }
}

/// The weight of a neighbour at distance `d`.
#[inline(always)]
fn cubic(d: f32) -> f32 {
    const A: f32 = -0.75;
    if d <= 1.0 { ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0 } else { ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A }
}
