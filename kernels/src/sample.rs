//! Planes that are looked at wherever a grid says, or all over some regions. Each position has a few taps on each axis; what lies there is
//! weighted and summed.

use crate::cpu::{Call, Kernel};
use crate::{Exec, Task, count_pieces, expect_len, math};
use get_size2::GetSize;
use std::ops::Range;

/// Planes `[images][channels][height][width]` at the positions `[images][positions][2]` of a grid, x before y: `[images][channels][positions]`.
/// Positions go from -1 to 1.
#[derive(GetSize, Clone, Copy, Debug)]
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
#[derive(GetSize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// Between two neighbours on each axis.
    Linear,
    /// The nearest one; of two equally near, the even one.
    Nearest,
    /// Between four neighbours on each axis, by cubic convolution.
    Cubic,
}

/// What lies outside of a plane.
#[derive(GetSize, Clone, Copy, Debug, PartialEq, Eq)]
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

    fn operations(&self, written: usize) -> usize {
        16 * written
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

/// Regions of planes `[images][channels][height][width]`: each of `[regions][4]` (left, top, right, bottom), of the image that `[regions]` says,
/// becomes `[channels]` of the output's size. Each element is made of samples that lie evenly on its part of the region. Samples more than
/// a position outside are zero, and so is everything of an image that there is not.
#[derive(GetSize, Clone, Copy, Debug)]
pub struct RoiAlignTask {
    /// Images.
    pub images: usize,
    /// Planes of an image.
    pub channels: usize,
    /// Height and width, at least 1 each.
    pub input: [usize; 2],
    /// Height and width that a region becomes.
    pub output: [usize; 2],
    /// Samples along each axis of an element; 0 for as many as it spans positions, rounded up.
    pub samples: usize,
    /// Multiplies coordinates.
    pub scale: f32,
    /// Whether positions are half a position before their coordinates. If not, a region spans one position at least.
    pub half_pixel: bool,
    /// Whether an element is the largest weighted neighbour of all samples, rather than the samples' mean.
    pub largest: bool,
}

impl Task for RoiAlignTask {
    fn kind(&self) -> &'static str {
        "region align"
    }

    fn operations(&self, written: usize) -> usize {
        let elements = written / self.channels.max(1);
        let [height, width] = self.input;
        if self.samples > 0 {
            return (4 * written).saturating_mul(self.samples * self.samples);
        }
        // As many samples as an axis has positions lie on it, in all elements of a region; others are looked at, too.
        let regions = elements / (self.output[0] * self.output[1]).max(1);
        let inside = (4 * self.channels * regions).saturating_mul((height + self.output[0]) * (width + self.output[1]));
        inside.saturating_add(elements.saturating_mul(2 * (height + MOST_SAMPLES)))
    }
}

impl Kernel for RoiAlignTask {
    fn compute(&self, call: Call<'_>) {
        self.run([0, 1, 2].map(|i| call.reads.get(i)), call.out, call.exec);
    }
}

/// How the elements of a region lie on an axis.
#[derive(GetSize, Clone, Copy)]
struct Part {
    /// Where the first element begins.
    start: f32,
    /// Positions of an element.
    len: f32,
    /// Samples of an element, a whole number.
    samples: f32,
    /// Positions of the axis.
    extent: usize,
}

impl Part {
    /// The two positions that sample `sample` of element `element` lies between, with their weights; `None` if it is outside.
    #[inline(always)]
    fn sample(&self, element: usize, sample: usize) -> Option<[(usize, f32); 2]> {
        let at = self.start + element as f32 * self.len + (sample as f32 + 0.5) * self.len / self.samples;
        if !(at >= -1.0 && at <= self.extent as f32) {
            return None;
        }
        let at = at.max(0.0);
        let first = at as usize;
        if first + 1 >= self.extent {
            return Some([(self.extent - 1, 1.0), (self.extent - 1, 0.0)]);
        }
        let share = at - first as f32;
        Some([(first, 1.0 - share), (first + 1, share)])
    }

    /// The samples of an element that may lie on the axis: all of them, unless they are many more than it has positions.
    #[inline(always)]
    fn near(&self, element: usize) -> Range<usize> {
        let all = self.samples as usize;
        if all <= MOST_SAMPLES + 2 * self.extent {
            return 0..all;
        }
        // There is a sample for each position, about: of so large a region, rounding moves it by some hundreds.
        let first = f64::from(self.start) + element as f64 * f64::from(self.len);
        let before = (-first).clamp(0.0, all as f64) as usize;
        before.saturating_sub(MOST_SAMPLES)..(before + 2 * self.extent + MOST_SAMPLES).min(all)
    }
}

/// Samples that are looked at without asking whether they lie on the axis.
const MOST_SAMPLES: usize = 1 << 11;

impl RoiAlignTask {
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, [x, regions, images]: [&[f32]; 3], out: &mut [f32], exec: Exec) {
        let [plane, elements] = [self.input, self.output].map(|[height, width]| height * width);
        let count = count_pieces("output", out, self.channels * elements);
        expect_len("input", x, self.images * self.channels * plane);
        expect_len("regions", regions, count * 4);
        expect_len("images of regions", images, count);
        exec.for_each_chunk(
            out,
            self.channels * elements,
            #[inline(always)]
            |i, out| {
                let image = images[i];
                if !(image >= 0.0 && image < self.images as f32) {
                    return out.fill(0.0);
                }
                let x = &x[image as usize * self.channels * plane..][..self.channels * plane];
                let region = &regions[i * 4..][..4];
                let parts = [1, 0].map(|axis| self.part([region[axis], region[axis + 2]], 1 - axis));
                for element in 0..elements {
                    self.element(x, parts, [element / self.output[1], element % self.output[1]], &mut out[element..]);
                }
            },
        );
    }

    /// How a region from the first to the second coordinate lies on `axis` (0 vertical, 1 horizontal).
    #[inline(always)]
    fn part(&self, bounds: [f32; 2], axis: usize) -> Part {
        let offset = if self.half_pixel { 0.5 } else { 0.0 };
        #[expect(clippy::manual_clamp, reason = "a clamp keeps NaN, which these make -FAR")]
        let [start, end] = bounds.map(|at| (at * self.scale - offset).max(-FAR).min(FAR));
        let len = if self.half_pixel { end - start } else { (end - start).max(1.0) } / self.output[axis] as f32;
        let samples = if self.samples > 0 { self.samples as f32 } else { len.ceil().max(0.0) };
        Part { start, len, samples, extent: self.input[axis] }
    }

    /// Writes element (row, column) of all channels: the first of `out`, and so many elements further on each.
    #[inline(always)]
    fn element(&self, x: &[f32], [rows, columns]: [Part; 2], [row, column]: [usize; 2], out: &mut [f32]) {
        let ([height, width], elements) = (self.input, self.output[0] * self.output[1]);
        let all = rows.samples * columns.samples;
        out.iter_mut().step_by(elements).for_each(|o| *o = if self.largest { f32::NEG_INFINITY } else { 0.0 });
        let mut inside = 0.0;
        for upper_and_lower in rows.near(row).filter_map(|sample| rows.sample(row, sample)) {
            for left_and_right in columns.near(column).filter_map(|sample| columns.sample(column, sample)) {
                inside += 1.0;
                let taps =
                    upper_and_lower.map(|(row, weight)| left_and_right.map(|(column, w)| (row * width + column, weight * w)));
                for (o, x) in out.iter_mut().step_by(elements).zip(x.chunks_exact(height * width)) {
                    let weighted = taps.as_flattened().iter().map(|&(at, weight)| weight * x[at]);
                    *o = if self.largest { weighted.fold(*o, math::maximum) } else { *o + weighted.sum::<f32>() };
                }
            }
        }
        for o in out.iter_mut().step_by(elements) {
            if !self.largest {
                *o /= all.max(1.0);
            } else if inside < all || all == 0.0 {
                // Those outside are zero.
                *o = math::maximum(*o, 0.0);
            }
        }
    }
}
