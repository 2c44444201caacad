//! Transforming the tiles of an image. Lanes are columns along a row of the image, and where columns are told apart they are
//! channels.

use super::sizes::{ByPoints, Sizes};
use super::transforms::{OUTPUTS, transform_input};
use crate::simd::{MAX_LANES, Simd};
use crate::tile::{each_column, vectors};
use std::ops::Range;

/// Columns of transformed rows that are remembered: those of a tile may begin in one vector's columns and end in the next one's.
const RING: usize = 2 * MAX_LANES;

/// Elements of scratch memory that [`TransformImage`] needs.
pub(super) fn scratch_len(sizes: &Sizes) -> usize {
    let lanes = sizes.isa.lanes();
    sizes.points * (RING + lanes) * lanes
}

/// Transforms the tiles of some rows in a vector of channels, side by side: along a row lanes are columns, and where columns are
/// told apart they are channels.
pub(super) struct TransformImage<'a> {
    pub(super) sizes: &'a Sizes,
    pub(super) image: &'a [f32],
    pub(super) rows: Range<usize>,
    /// As many as a vector has lanes, or fewer.
    pub(super) channels: Range<usize>,
    /// `[product][tile][channel]`.
    pub(super) to: &'a mut [f32],
    pub(super) scratch: &'a mut [f32],
}

impl ByPoints for TransformImage<'_> {
    #[inline(always)]
    fn run<S: Simd, const TAPS: usize, const POINTS: usize>(self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            || self.transform::<S, POINTS>(simd),
        );
    }
}

impl TransformImage<'_> {
    #[inline(always)]
    fn transform<S: Simd, const POINTS: usize>(mut self, simd: S) {
        let (across, pad, product_len) = (self.sizes.grid[1], self.sizes.geometry.pad_before[1], self.sizes.product_len());
        let (scratch, to) = (std::mem::take(&mut self.scratch), std::mem::take(&mut self.to));
        // `[point][column][channel]` and `[point][channel][column]`.
        let (ring, down) = scratch.split_at_mut(POINTS * RING * S::LANES);
        let down = &mut down[..POINTS * S::LANES * S::LANES];
        let in_ring = |point: usize, column: usize| (point * RING + column % RING) * S::LANES;
        let mut done = 0;
        for row in self.rows.clone() {
            for point in 0..POINTS {
                ring[in_ring(point, 0)..][..pad * S::LANES].fill(0.0);
            }
            let (mut tile, mut ready) = (0, pad);
            while tile < across {
                self.transform_columns::<S, POINTS>(
                    simd,
                    [row, ready - pad],
                    down,
                    #[inline(always)]
                    |point, column, x| simd.put(&mut ring[in_ring(point, ready + column)..], x),
                );
                ready += S::LANES;
                while tile < across && tile * OUTPUTS + POINTS <= ready {
                    for i in 0..POINTS {
                        let d = vectors::<S, POINTS>(
                            simd,
                            #[inline(always)]
                            |j| simd.get(&ring[in_ring(i, tile * OUTPUTS + j)..]),
                        );
                        for (j, x) in transform_input(simd, d).into_iter().enumerate() {
                            simd.put(&mut to[(i * POINTS + j) * product_len + done * S::LANES..], x);
                        }
                    }
                    (tile, done) = (tile + 1, done + 1);
                }
            }
        }
    }

    /// Transforms a vector of columns, from `first` on, of a row of tiles: `put(point, column, x)` takes a vector of channels.
    /// `down` is `[point][channel][column]`.
    #[inline(always)]
    fn transform_columns<S: Simd, const POINTS: usize>(
        &self,
        simd: S,
        [row, first]: [usize; 2],
        down: &mut [f32],
        mut put: impl FnMut(usize, usize, S::Vector),
    ) {
        let point_len = S::LANES * S::LANES;
        if first >= self.sizes.geometry.input[1] {
            // Behind the image.
            return (0..POINTS).for_each(|point| (0..S::LANES).for_each(|column| put(point, column, simd.splat(0.0))));
        }
        for (lane, channel) in self.channels.clone().enumerate() {
            let source = self.source::<S>(channel, row);
            let d = vectors::<S, POINTS>(
                simd,
                #[inline(always)]
                |i| {
                    let here = source.row(i, first);
                    simd.prefetch(here.as_ptr().wrapping_offset(source.next));
                    simd.get_first(here)
                },
            );
            for (down, x) in down.chunks_exact_mut(point_len).zip(transform_input(simd, d)) {
                simd.put(&mut down[lane * S::LANES..], x);
            }
        }
        for (point, down) in down.chunks_exact(point_len).enumerate() {
            each_column(
                simd,
                down,
                S::LANES,
                #[inline(always)]
                |column, x| put(point, column, x),
            );
        }
    }

    /// What a channel has for a row of tiles.
    #[inline(always)]
    fn source<S: Simd>(&self, channel: usize, row: usize) -> Source<'_> {
        let [height, width] = self.sizes.geometry.input;
        let plane = self.sizes.channels[channel].plane;
        // Later the same elements are needed of the rows below, and then of other channels.
        let next = match self.sizes.channels.get(channel + S::LANES) {
            Some(later) if row + 1 == self.rows.end => {
                (later.plane as isize - plane as isize) * (height * width) as isize
                    - ((row - self.rows.start) * OUTPUTS * width) as isize
            }
            _ => (OUTPUTS * width) as isize,
        };
        Source {
            plane: &self.image[plane * height * width..][..height * width],
            width,
            first_row: (row * OUTPUTS) as isize - self.sizes.geometry.pad_before[0] as isize,
            next,
        }
    }
}

/// A plane, of which a tile's rows are read.
struct Source<'a> {
    plane: &'a [f32],
    width: usize,
    /// Rows may lie in the padding.
    first_row: isize,
    /// How far away the elements lie that are read later in the place of these.
    next: isize,
}

impl Source<'_> {
    /// The elements of the tile's row of index `i` from `column` on, if there are any. Where there are none, still a
    /// place in the plane: masked loads from places that are not mapped take long.
    #[inline(always)]
    fn row(&self, i: usize, column: usize) -> &[f32] {
        let row = usize::try_from(self.first_row + i as isize).ok().filter(|_| column < self.width);
        let row = row.and_then(|row| self.plane.get(row * self.width + column..(row + 1) * self.width));
        row.unwrap_or(&self.plane[..0])
    }
}
