//! Multiplying transformed weights with transformed tiles, and making outputs of the products.

use super::magnitudes;
use super::sizes::{ByPoints, Sizes};
use super::transforms::{OUTPUTS, transform_sums};
use super::weights::TransformWeights;
use crate::activation::{self, Bounds};
use crate::conv::methods::each_group::GroupOperands;
use crate::filter_tile;
use crate::layout::Layout;
use crate::parallel::Window;
use crate::simd::{Grid, Simd, Stored};
use crate::tile::each_column;
use std::ops::Range;

/// The products of a strip of filters with the transformed tiles of some rows, and their outputs.
pub(super) struct Filters<'a, 'w, E> {
    pub(super) sizes: &'a Sizes,
    pub(super) operands: GroupOperands<'a, E>,
    /// The strip's transformed weights, if they are kept.
    pub(super) kept: Option<&'a [f32]>,
    pub(super) image: Transformed<'a>,
    /// The image as it was.
    pub(super) source: &'a [f32],
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
    /// For each of them, the sum of the squares of what it was made of.
    pub(super) squares: &'a [f32],
}

/// Elements of scratch memory that [`Filters`] needs.
pub(super) fn scratch_len(sizes: &Sizes) -> usize {
    let (lanes, vectors) = (sizes.isa.lanes(), sizes.isa.filter_tile()[1]);
    let weights_len = if sizes.keeps_weights { 0 } else { sizes.weights_len(vectors) };
    OUTPUTS * lanes * lanes + vectors * lanes + sizes.products() * (weights_len + sizes.sums_len(vectors))
}

impl<E: Stored> ByPoints for Filters<'_, '_, E> {
    #[inline(always)]
    fn run<S: Simd, const TAPS: usize, const POINTS: usize>(mut self, simd: S) {
        let (scratch, sizes) = (std::mem::take(&mut self.scratch), self.sizes);
        let vectors = self.filters.len().div_ceil(S::LANES);
        let (rows, rest) = scratch.split_at_mut(OUTPUTS * S::LANES * S::LANES);
        let (squares, rest) = rest.split_at_mut(vectors * S::LANES);
        let (weights_len, sums_len) = (sizes.weights_len(vectors), sizes.sums_len(vectors));
        let sums = match self.kept {
            Some(kept) => {
                let (weights, kept_squares) = kept.split_at(sizes.products() * weights_len);
                squares.copy_from_slice(kept_squares);
                for (product, sums) in rest.chunks_exact_mut(sums_len).take(sizes.products()).enumerate() {
                    for channels in sizes.channels_together() {
                        let weights = &weights[product * weights_len + channels.start * vectors * S::LANES..];
                        self.multiply(simd, product, channels, vectors, weights, sums);
                    }
                }
                rest
            }
            None => {
                let (weights, sums) = rest.split_at_mut(sizes.products() * weights_len);
                squares.fill(0.0);
                for channels in sizes.channels_together() {
                    let (panels, filters) = (self.operands.panels, self.filters.clone());
                    let channels_here = channels.clone();
                    let transform = TransformWeights { sizes, panels, filters, channels: channels_here, to: weights, squares };
                    transform.run::<S, TAPS, POINTS>(simd);
                    let products = weights.chunks_exact(weights_len).zip(sums.chunks_exact_mut(sums_len)).take(sizes.products());
                    for (product, (weights, sums)) in products.enumerate() {
                        self.multiply(simd, product, channels.clone(), vectors, weights, sums);
                    }
                }
                sums
            }
        };
        for (vector, first) in self.filters.clone().step_by(S::LANES).enumerate() {
            let (filters, vector) = (first..self.filters.end.min(first + S::LANES), [vector, vectors]);
            let all_plain = magnitudes::are_filters_large(&squares[vector[0] * S::LANES..][..filters.len()]);
            simd.vectorize(
                #[inline(always)]
                || match sizes.layouts.writes {
                    _ if all_plain => {}
                    Layout::Planes => self.outputs::<S, POINTS>(simd, filters.clone(), vector, sums, rows),
                    Layout::Blocks => self.outputs_to_block::<S, POINTS>(simd, filters.clone(), vector, sums),
                },
            );
            for row in self.image.rows.clone() {
                if all_plain || self.is_plain(row) {
                    simd.vectorize(
                        #[inline(always)]
                        || self.plain_outputs::<S, TAPS>(simd, &filters, row),
                    );
                }
            }
            self.finish(simd, filters);
        }
    }
}

impl<E: Stored> Filters<'_, '_, E> {
    /// Whether a row of tiles is to be summed plainly.
    #[inline(always)]
    fn is_plain(&self, row: usize) -> bool {
        magnitudes::is_row_large(self.image.squares[row - self.image.rows.start])
    }

    /// Adds the products of one index with some channels; the first ones begin the sums.
    fn multiply<S: Simd>(
        &self,
        simd: S,
        product: usize,
        channels: Range<usize>,
        vectors: usize,
        weights: &[f32],
        sums: &mut [f32],
    ) {
        let tiles = self.image.rows.len() * self.sizes.grid[1];
        let [of_channels, of_tiles] = self.image.places;
        let adds = channels.start > 0;
        let places = [&of_channels[channels], &of_tiles[..tiles]];
        let x = &self.image.elements[product * self.sizes.product_len()..];
        filter_tile::multiply_lines(simd, weights, x, places, vectors, sums, adds);
    }

    /// Applies what is left of the activation to the outputs of a vector of filters.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S, filters: Range<usize>) {
        let Some(function) = activation::besides_bounds(self.operands.finishing.activation) else { return };
        let ([height, width], rows) = (self.sizes.geometry.output, &self.image.rows);
        let positions = rows.start * OUTPUTS * width..height.min(rows.end * OUTPUTS) * width;
        let (planes, lanes) = match self.sizes.layouts.writes {
            Layout::Planes => (filters, 1),
            Layout::Blocks => (filters.start / S::LANES..filters.start / S::LANES + 1, S::LANES),
        };
        activation::of_planes(simd, function, self.out, planes, positions.start * lanes..positions.end * lanes);
    }

    /// The outputs of a vector of `filters`, whose index among so many is `vector`, from the sums of products. `rows` is
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
        let ([height, width], across, sums_len) = (self.sizes.geometry.output, self.sizes.grid[1], self.sizes.sums_len(vectors));
        let finishing = self.operands.finishing;
        let (bias, bounds) = (simd.get_first(&finishing.bias[filters.clone()]), Bounds::new(simd, finishing.activation));
        for (r, row) in self.image.rows.clone().enumerate() {
            if self.is_plain(row) {
                continue;
            }
            // As many tiles as have a vector's columns.
            for first in (0..across).step_by(S::LANES / OUTPUTS) {
                for tile in first..across.min(first + S::LANES / OUTPUTS) {
                    let at = ((r * across + tile) * vectors + vector) * S::LANES;
                    let sums = Grid::<S, POINTS, POINTS>::new(simd, &sums[at..], [POINTS * sums_len, sums_len]);
                    transform_sums::<S, POINTS>(
                        simd,
                        #[inline(always)]
                        |row, column| sums.get(row, column),
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
                                let x = if finishing.add { simd.add(x, simd.get_first(out)) } else { x };
                                simd.put_first(out, bounds.keep(simd, x));
                            }
                        },
                    );
                }
            }
        }
    }

    /// The same, written to a block of filters.
    #[inline(always)]
    fn outputs_to_block<S: Simd, const POINTS: usize>(
        &mut self,
        simd: S,
        filters: Range<usize>,
        [vector, vectors]: [usize; 2],
        sums: &[f32],
    ) {
        let ([height, width], across, sums_len) = (self.sizes.geometry.output, self.sizes.grid[1], self.sizes.sums_len(vectors));
        let (finishing, block) = (self.operands.finishing, filters.start / S::LANES);
        let (bias, bounds) = (simd.get_first(&finishing.bias[filters]), Bounds::new(simd, finishing.activation));
        for (r, row) in self.image.rows.clone().enumerate() {
            if self.is_plain(row) {
                continue;
            }
            let outputs = row * OUTPUTS..height.min((row + 1) * OUTPUTS);
            let out = self.out.part(block, outputs.start * width * S::LANES..outputs.end * width * S::LANES);
            for tile in 0..across {
                let at = ((r * across + tile) * vectors + vector) * S::LANES;
                let sums = Grid::<S, POINTS, POINTS>::new(simd, &sums[at..], [POINTS * sums_len, sums_len]);
                let place = |row: usize, column: usize| {
                    let column = tile * OUTPUTS + column;
                    (row < outputs.len() && column < width).then_some((row * width + column) * S::LANES)
                };
                transform_sums::<S, POINTS>(
                    simd,
                    #[inline(always)]
                    |row, column| sums.get(row, column),
                    #[inline(always)]
                    |row, column, y| {
                        if let Some(place) = place(row, column) {
                            let out = &mut out[place..place + S::LANES];
                            let y = simd.add(y, bias);
                            let y = if finishing.add { simd.add(y, simd.get(out)) } else { y };
                            simd.put(out, bounds.keep(simd, y));
                        }
                    },
                );
            }
        }
    }
}
