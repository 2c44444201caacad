//! Transforming weights, multiplying them with transformed tiles, and making outputs of the products.

use super::sizes::{Sizes, Taps};
use super::transforms::{OUTPUTS, transform_sums, transform_taps};
use crate::conv::methods::each_group::GroupOperands;
use crate::filter_tile;
use crate::parallel::Window;
use crate::simd::{Simd, Stored, Vectorized};
use crate::tile::each_column;
use crate::{activation, balanced};
use sslm_basics::panels::{Panel, ROWS};
use std::ops::Range;

/// Columns ahead of which weights are fetched.
const AHEAD: usize = 40;

/// The products of some filters with the transformed tiles of some rows, and their outputs.
pub(super) struct Filters<'a, 'w, E> {
    pub(super) sizes: &'a Sizes,
    pub(super) operands: GroupOperands<'a, E>,
    pub(super) image: Transformed<'a>,
    pub(super) filters: Range<usize>,
    pub(super) out: &'a mut Window<'w>,
    pub(super) scratch: &'a mut [f32],
}

/// An image, transformed.
pub(super) struct Transformed<'a> {
    pub(super) elements: &'a [f32],
    /// Where those of each channel, and of each tile, lie.
    pub(super) places: &'a [Vec<usize>; 2],
    /// The rows of tiles that are there.
    pub(super) rows: Range<usize>,
}

/// Elements of scratch memory that [`Filters`] needs.
pub(super) fn scratch_len(sizes: &Sizes) -> usize {
    let (lanes, vectors) = (sizes.isa.lanes(), sizes.isa.filter_tile()[1]);
    OUTPUTS * lanes * lanes + sizes.products() * (sizes.weights_len(vectors) + sizes.sums_len(vectors))
}

impl<E: Stored> Vectorized for Filters<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.sizes.points {
            6 => self.filters::<S, 3, 6>(simd),
            _ => self.filters::<S, 5, 8>(simd),
        }
    }
}

impl<E: Stored> Filters<'_, '_, E> {
    fn filters<S: Simd, const TAPS: usize, const POINTS: usize>(mut self, simd: S) {
        let scratch = std::mem::take(&mut self.scratch);
        for vectors in balanced(self.filters.len().div_ceil(S::LANES), S::FILTER_TILE[1]) {
            let [first, end] = [vectors.start, vectors.end].map(|v| (self.filters.start + v * S::LANES).min(self.filters.end));
            let (rows, rest) = scratch.split_at_mut(OUTPUTS * S::LANES * S::LANES);
            let (weights, sums) = rest.split_at_mut(POINTS * POINTS * self.sizes.weights_len(vectors.len()));
            for channels in balanced(self.sizes.channels.len(), self.sizes.channels_at_once()) {
                for (vector, first) in (first..end).step_by(S::LANES).enumerate() {
                    simd.vectorize(
                        #[inline(always)]
                        || {
                            self.transform_weights::<S, TAPS, POINTS>(
                                simd,
                                first,
                                channels.clone(),
                                [vector, vectors.len()],
                                weights,
                            )
                        },
                    );
                }
                self.multiply(simd, channels, vectors.len(), weights, sums);
            }
            for (vector, first) in (first..end).step_by(S::LANES).enumerate() {
                simd.vectorize(
                    #[inline(always)]
                    || self.outputs::<S, POINTS>(simd, first..end.min(first + S::LANES), [vector, vectors.len()], sums, rows),
                );
            }
        }
    }

    /// Transforms the weights of a vector of filters, from `first` on, and some channels. They become the vector of index `vector`
    /// of `vectors`.
    #[inline(always)]
    fn transform_weights<S: Simd, const TAPS: usize, const POINTS: usize>(
        &self,
        simd: S,
        first: usize,
        channels: Range<usize>,
        [vector, vectors]: [usize; 2],
        out: &mut [f32],
    ) {
        let (product_len, width) = (self.sizes.weights_len(vectors), vectors * S::LANES);
        let panel = first / ROWS;
        let (low, second) = (self.operands.panels.panel(panel), self.operands.panels.panel(panel + 1));
        // One without rows is somewhere in memory, too: masked loads from elsewhere take long.
        let none = Panel { rows: 0, ..low };
        let high = if S::LANES > ROWS && second.rows > 0 { second } else { none };
        let rows = RowsOfPanels { panels: [low, high], first: first % ROWS };
        for (c, channel) in self.sizes.channels[channels].iter().enumerate() {
            let out = &mut out[c * width + vector * S::LANES..];
            match channel.taps {
                Taps::All(start) => transform_taps::<S, TAPS, POINTS>(
                    simd,
                    #[inline(always)]
                    |tap| {
                        rows.fetch(simd, start + tap + AHEAD);
                        rows.vector(simd, start + tap)
                    },
                    #[inline(always)]
                    |product, x| simd.put(&mut out[product * product_len..], x),
                ),
                Taps::Some(ref columns) => transform_taps::<S, TAPS, POINTS>(
                    simd,
                    #[inline(always)]
                    |tap| {
                        // No branch: nobody can predict which taps are kept.
                        let (column, kept) = columns[tap];
                        rows.fetch(simd, column as usize + AHEAD);
                        simd.mul(simd.splat(kept), rows.vector(simd, column as usize))
                    },
                    #[inline(always)]
                    |product, x| simd.put(&mut out[product * product_len..], x),
                ),
            }
        }
    }

    /// Adds the products of some channels; the first ones begin the sums.
    fn multiply<S: Simd>(&self, simd: S, channels: Range<usize>, vectors: usize, weights: &[f32], sums: &mut [f32]) {
        let tiles = self.image.rows.len() * self.sizes.grid[1];
        let [of_channels, of_tiles] = self.image.places;
        let stretches =
            weights.chunks_exact(self.sizes.weights_len(vectors)).zip(sums.chunks_exact_mut(self.sizes.sums_len(vectors)));
        for (product, (weights, sums)) in stretches.take(self.sizes.products()).enumerate() {
            let places = [&of_channels[channels.clone()], &of_tiles[..tiles]];
            let x = &self.image.elements[product * self.sizes.product_len()..];
            filter_tile::multiply_lines(simd, weights, x, places, vectors, sums, channels.start > 0);
        }
    }

    /// The outputs of a vector of `filters`, whose index is `vector` of `vectors`, from the sums of products. `rows` is
    /// `[row][column][filter]` of a few tiles.
    #[inline(always)]
    fn outputs<S: Simd, const POINTS: usize>(
        &mut self,
        simd: S,
        filters: Range<usize>,
        [vector, vectors]: [usize; 2],
        sums: &[f32],
        rows: &mut [f32],
    ) {
        let ([height, width], across) = (self.sizes.geometry.output, self.sizes.grid[1]);
        let (sums_len, pitch) = (self.sizes.sums_len(vectors), vectors * S::LANES);
        let bias = simd.get_first(&self.operands.finishing.bias[filters.clone()]);
        for (r, row) in self.image.rows.clone().enumerate() {
            // As many tiles as have a vector's columns.
            for first in (0..across).step_by(S::LANES / OUTPUTS) {
                for tile in first..across.min(first + S::LANES / OUTPUTS) {
                    let at = (r * across + tile) * pitch + vector * S::LANES;
                    transform_sums::<S, POINTS>(
                        simd,
                        #[inline(always)]
                        |product| simd.get(&sums[product * sums_len + at..]),
                        #[inline(always)]
                        |row, column, y| {
                            let column = (tile - first) * OUTPUTS + column;
                            simd.put(&mut rows[(row * S::LANES + column) * S::LANES..], simd.add(y, bias));
                        },
                    );
                }
                let columns = first * OUTPUTS..width.min(first * OUTPUTS + S::LANES);
                for (y, rows) in (row * OUTPUTS..height).zip(rows.chunks_exact(S::LANES * S::LANES)) {
                    let here = y * width + columns.start..y * width + columns.end;
                    let mut planes = self.out.planes(filters.clone(), here);
                    each_column(
                        simd,
                        rows,
                        S::LANES,
                        #[inline(always)]
                        |filter, x| {
                            if let Some(out) = planes.get(filter) {
                                // More rows than the hardware follows by itself.
                                simd.prefetch(out.as_ptr().wrapping_add(S::LANES));
                                let x = if self.operands.finishing.add { simd.add(x, simd.get_first(out)) } else { x };
                                simd.put_first(out, activation::of_vector(simd, self.operands.finishing.activation, x));
                            }
                        },
                    );
                }
            }
        }
    }
}

/// A vector of rows: of two panels, or where vectors are shorter than panels, the rows from `first` on of one.
struct RowsOfPanels<'a, E> {
    panels: [Panel<'a, E>; 2],
    first: usize,
}

impl<E: Stored> RowsOfPanels<'_, E> {
    #[inline(always)]
    fn vector<S: Simd>(&self, simd: S, column: usize) -> S::Vector {
        let [low, high] = &self.panels;
        if S::LANES <= ROWS {
            return E::get_first(simd, &low.column(column)[self.first..]);
        }
        if high.rows == ROWS {
            return E::get_halves(simd, [low.column(column), high.column(column)]);
        }
        E::get_rows(simd, [low.column(column), high.column(column)])
    }

    /// Asks for a column.
    #[inline(always)]
    fn fetch<S: Simd>(&self, simd: S, column: usize) {
        for panel in &self.panels {
            simd.prefetch(panel.elements.as_ptr().wrapping_add(column * ROWS));
        }
    }
}
