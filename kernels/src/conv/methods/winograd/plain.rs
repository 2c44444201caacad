//! Where transforms must not be used: rows of tiles whose elements are NaN, infinite or very large, and vectors of filters whose weights
//! are. Transforms would spread these over whole tiles, or exceed what `f32` holds where plain sums of products do not. So such rows
//! and filters are summed plainly, and every output is what the definition makes it.
//!
//! What is summed plainly depends on rows of tiles and on vectors of filters, never on how threads share them.

use super::filters::Filters;
use super::sizes::{Sizes, Taps};
use super::transforms::OUTPUTS;
use super::weights::RowsOfPanels;
use crate::activation;
use crate::layout::Layout;
use crate::simd::{MAX_LANES, Simd, Stored, Vectorized};
use std::ops::Range;

/// The largest sum of squares of a row of tiles: then no element is above 2^50 in magnitude.
///
/// The transforms together multiply magnitudes by less than 2^17 (6 points: 2^14) times the terms of a sum. With weights below 2^40
/// and up to 2^20 terms, no intermediate result reaches 2^127.
const MOST_OF_ROW: f32 = 1.267_650_6e30;

/// The same of a filter's weights, which are then not above 2^40.
const MOST_OF_FILTER: f32 = 1.208_925_8e24;

/// Sums of the squares of what rows of tiles read of an image.
pub(super) struct SquaresOfRows<'a> {
    pub(super) sizes: &'a Sizes,
    pub(super) image: &'a [f32],
    pub(super) rows: Range<usize>,
    /// One for each row.
    pub(super) to: &'a mut [f32],
}

impl Vectorized for SquaresOfRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let SquaresOfRows { sizes, image, rows, to } = self;
        simd.vectorize(
            #[inline(always)]
            || {
                for (row, to) in rows.zip(to) {
                    *to = squares_of_row(simd, sizes, image, row);
                }
            },
        );
    }
}

/// The sum of the squares of what a row of tiles reads of all channels.
#[inline(always)]
fn squares_of_row<S: Simd>(simd: S, sizes: &Sizes, image: &[f32], row: usize) -> f32 {
    let ([height, width], pad) = (sizes.geometry.input, sizes.geometry.pad_before[0]);
    let first = (row * OUTPUTS).saturating_sub(pad).min(height);
    let end = (row * OUTPUTS + sizes.points).saturating_sub(pad).min(height);
    let part =
        |plane: usize, lanes: usize| &image[(plane * height + first) * width * lanes..(plane * height + end) * width * lanes];
    match sizes.layouts.reads {
        Layout::Planes => {
            let mut sums = [0.0; MAX_LANES];
            for channel in &sizes.channels {
                let squares = squares(simd, part(channel.plane, 1), simd.get(&sums));
                simd.put(&mut sums, squares);
            }
            sums[..S::LANES].iter().sum()
        }
        // Lanes behind the last channel may hold anything.
        Layout::Blocks => sizes.blocks.iter().fold(0.0, |all, &block| {
            let mut sums = [0.0; MAX_LANES];
            simd.put(&mut sums, squares(simd, part(block, S::LANES), simd.splat(0.0)));
            all + sums[..S::LANES.min(sizes.geometry.channels - block * S::LANES)].iter().sum::<f32>()
        }),
    }
}

/// `sum`, and in each lane the squares of elements that lie a vector apart.
#[inline(always)]
fn squares<S: Simd>(simd: S, x: &[f32], sum: S::Vector) -> S::Vector {
    const TOGETHER: usize = 4;
    let mut sums = [sum, simd.splat(0.0), simd.splat(0.0), simd.splat(0.0)];
    let blocks = x.chunks_exact(TOGETHER * S::LANES);
    for x in blocks.remainder().chunks(S::LANES) {
        let x = simd.get_first(x);
        sums[0] = simd.mul_add(x, x, sums[0]);
    }
    for block in blocks {
        for (i, sum) in sums.iter_mut().enumerate() {
            let x = simd.get(&block[i * S::LANES..]);
            *sum = simd.mul_add(x, x, *sum);
        }
    }
    simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3]))
}

/// Whether a row of tiles has too large elements, by the sum of their squares.
pub(super) fn is_row_large(squares: f32) -> bool {
    // Nor is NaN below.
    !(squares <= MOST_OF_ROW)
}

/// Whether some of a vector's filters have too large weights, by the sums of their squares.
pub(super) fn are_filters_large(squares: &[f32]) -> bool {
    squares.iter().any(|&squares| !(squares <= MOST_OF_FILTER))
}

impl<E: Stored> Filters<'_, '_, E> {
    /// The outputs of a vector of `filters` at a row of tiles, by plain sums.
    #[inline(always)]
    pub(super) fn plain_outputs<S: Simd, const TAPS: usize>(&mut self, simd: S, filters: &Range<usize>, row: usize) {
        let [height, width] = self.sizes.geometry.output;
        let bias = simd.get_first(&self.operands.finishing.bias[filters.clone()]);
        for y in row * OUTPUTS..height.min((row + 1) * OUTPUTS) {
            for first in (0..width).step_by(OUTPUTS) {
                let sums = self.plain_sums::<S, TAPS>(simd, filters.start, [y, first]);
                for (x, sum) in (first..width).zip(sums) {
                    self.put_plain(simd, filters, y * width + x, simd.add(sum, bias));
                }
            }
        }
    }

    /// The sums of a vector of filters, of which the first one is given, at a position and those on the right of it.
    #[inline(always)]
    fn plain_sums<S: Simd, const TAPS: usize>(&self, simd: S, filter: usize, [y, x]: [usize; 2]) -> [S::Vector; OUTPUTS] {
        let (sizes, image) = (self.sizes, self.source);
        let ([height, width], pads) = (sizes.geometry.input, sizes.geometry.pad_before);
        let rows = RowsOfPanels::new::<S>(self.operands.panels, filter);
        let mut sums = [simd.splat(0.0); OUTPUTS];
        for channel in &sizes.channels {
            let (start, step) = match sizes.layouts.reads {
                Layout::Planes => (channel.plane * height * width, 1),
                Layout::Blocks => (channel.plane / S::LANES * height * width * S::LANES + channel.plane % S::LANES, S::LANES),
            };
            for tap in 0..TAPS * TAPS {
                let column = match &channel.taps {
                    Taps::All(first) => first + tap,
                    Taps::Some(columns) if columns[tap].1 == 0.0 => continue,
                    Taps::Some(columns) => columns[tap].0 as usize,
                };
                let Some(h) = (y + tap / TAPS).checked_sub(pads[0]).filter(|h| *h < height) else { continue };
                let weights = rows.vector(simd, column);
                for (i, sum) in sums.iter_mut().enumerate() {
                    if let Some(w) = (x + i + tap % TAPS).checked_sub(pads[1]).filter(|w| *w < width) {
                        let element = image[start + (h * width + w) * step];
                        *sum = simd.mul_add(weights, simd.splat(element), *sum);
                    }
                }
            }
        }
        sums
    }

    /// Finishes the outputs of a vector of filters at a position.
    #[inline(always)]
    fn put_plain<S: Simd>(&mut self, simd: S, filters: &Range<usize>, position: usize, sum: S::Vector) {
        let finishing = self.operands.finishing;
        let finish = |sum, before| {
            let sum = if finishing.add { simd.add(sum, before) } else { sum };
            activation::of_vector(simd, finishing.activation, sum)
        };
        match self.sizes.layouts.writes {
            Layout::Blocks => {
                let out = self.out.part(filters.start / S::LANES, position * S::LANES..(position + 1) * S::LANES);
                simd.put(out, finish(sum, simd.get(out)));
            }
            Layout::Planes => {
                let mut planes = self.out.planes(filters.clone(), position..position + 1);
                let mut elements = [0.0; MAX_LANES];
                for (i, element) in elements[..filters.len()].iter_mut().enumerate() {
                    *element = planes.get(i).map_or(0.0, |out| out[0]);
                }
                let before = simd.get(&elements);
                simd.put(&mut elements, finish(sum, before));
                for (i, element) in elements[..filters.len()].iter().enumerate() {
                    if let Some(out) = planes.get(i) {
                        out[0] = *element;
                    }
                }
            }
        }
    }
}
