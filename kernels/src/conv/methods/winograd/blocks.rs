//! Transforming the tiles of an image whose channels lie in blocks: each element of a tile is a vector of channels already.

use super::sizes::{ByPoints, Sizes};
use super::transforms::{OUTPUTS, transform_tile};
use crate::simd::{Grid, GridMut, Simd};
use std::ops::Range;

/// Elements of scratch memory that [`TransformBlock`] needs.
pub(super) fn scratch_len(sizes: &Sizes) -> usize {
    sizes.products() * sizes.isa.lanes()
}

/// Transforms the tiles of some rows of a block.
pub(super) struct TransformBlock<'a> {
    pub(super) sizes: &'a Sizes,
    /// The block, `[H][W][channel]`.
    pub(super) block: &'a [f32],
    pub(super) rows: Range<usize>,
    /// `[product][tile][channel]`.
    pub(super) to: &'a mut [f32],
    pub(super) scratch: &'a mut [f32],
}

impl ByPoints for TransformBlock<'_> {
    #[inline(always)]
    fn run<S: Simd, const TAPS: usize, const POINTS: usize>(self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            || self.transform::<S, POINTS>(simd),
        );
    }
}

impl TransformBlock<'_> {
    #[inline(always)]
    fn transform<S: Simd, const POINTS: usize>(self, simd: S) {
        let TransformBlock { sizes, block, rows, to, scratch } = self;
        let ([height, width], pads) = (sizes.geometry.input, sizes.geometry.pad_before);
        let copy = &mut scratch[..POINTS * POINTS * S::LANES];
        let tiles = rows.flat_map(|row| (0..sizes.grid[1]).map(move |column| [row, column]));
        for (tile, at) in tiles.enumerate() {
            let first = |axis: usize| (at[axis] * OUTPUTS).checked_sub(pads[axis]);
            let inside = match [first(0), first(1)] {
                [Some(top), Some(left)] if top + POINTS <= height && left + POINTS <= width => Some([top, left]),
                _ => None,
            };
            let (from, pitch) = match inside {
                Some([top, left]) => (&block[(top * width + left) * S::LANES..], width),
                None => {
                    copy_with_padding(block, [height, width], at, pads, copy, [POINTS, S::LANES]);
                    (&*copy, POINTS)
                }
            };
            let from = Grid::<S, POINTS, POINTS>::new(simd, from, [pitch * S::LANES, S::LANES]);
            let product_len = sizes.product_len();
            let mut to = GridMut::<S, POINTS, POINTS>::new(simd, &mut to[tile * S::LANES..], [POINTS * product_len, product_len]);
            transform_tile::<S, POINTS>(
                simd,
                #[inline(always)]
                |row, column| from.get(row, column),
                #[inline(always)]
                |row, column, x| to.put(row, column, x),
            );
        }
    }
}

/// Copies the tile `at` a row and a column of tiles, whose sides are `points` elements of `lanes` channels, with the padding that it
/// reaches into.
fn copy_with_padding(
    block: &[f32],
    [height, width]: [usize; 2],
    at: [usize; 2],
    pads: [usize; 2],
    copy: &mut [f32],
    [points, lanes]: [usize; 2],
) {
    copy.fill(0.0);
    // The tile's rows and columns that lie in the image.
    let [first_row, first_column] = [0, 1].map(|axis| at[axis] * OUTPUTS);
    let inside = |first: usize, pad: usize, size: usize| {
        let end = (size + pad).saturating_sub(first).min(points);
        pad.saturating_sub(first).min(end)..end
    };
    let columns = inside(first_column, pads[1], width);
    if columns.is_empty() {
        return;
    }
    for row in inside(first_row, pads[0], height) {
        let from = ((first_row + row - pads[0]) * width + first_column + columns.start - pads[1]) * lanes;
        let to = (row * points + columns.start) * lanes;
        copy[to..to + columns.len() * lanes].copy_from_slice(&block[from..from + columns.len() * lanes]);
    }
}
