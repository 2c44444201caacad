//! Where transforms must not be used: rows of tiles whose elements are NaN, infinite or very large, and vectors of filters whose weights
//! are. Transforms would spread these over whole tiles, or exceed what `f32` holds where plain sums of products do not. So such rows
//! and filters are summed plainly (`plain.rs`).
//!
//! What is summed plainly depends on rows of tiles and on vectors of filters, never on how threads share them.

use super::sizes::Sizes;
use super::transforms::OUTPUTS;
use crate::layout::Layout;
use crate::simd::{MAX_LANES, Simd, Vectorized};
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
    squares.is_nan() || squares > MOST_OF_ROW
}

/// Whether some of a vector's filters have too large weights, by the sums of their squares.
pub(super) fn are_filters_large(squares: &[f32]) -> bool {
    squares.iter().any(|&squares| squares.is_nan() || squares > MOST_OF_FILTER)
}
