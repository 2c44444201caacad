//! Transforming weights. Lanes are filters, as they are in panels.

use super::sizes::{ByPoints, Sizes, Taps};
use super::transforms::transform_taps;
use crate::simd::{Simd, Stored};
use sslm_basics::panels::{Panel, Panels, ROWS};
use std::ops::Range;

/// Columns ahead of which weights are fetched.
const AHEAD: usize = 40;

/// Transforms the weights of a strip of filters and some channels.
pub(super) struct TransformWeights<'a, E> {
    pub(super) sizes: &'a Sizes,
    pub(super) panels: Panels<'a, E>,
    pub(super) filters: Range<usize>,
    pub(super) channels: Range<usize>,
    /// `[product][channel][filter]`, products [as far apart](Sizes::weights_len) as the sizes say.
    pub(super) to: &'a mut [f32],
    /// For each filter, in whole vectors: what the squares of its weights are added to.
    pub(super) squares: &'a mut [f32],
}

impl<E: Stored> ByPoints for TransformWeights<'_, E> {
    #[inline(always)]
    fn run<S: Simd, const TAPS: usize, const POINTS: usize>(mut self, simd: S) {
        let vectors = self.filters.len().div_ceil(S::LANES);
        for (vector, first) in self.filters.clone().step_by(S::LANES).enumerate() {
            simd.vectorize(
                #[inline(always)]
                || self.transform::<S, TAPS, POINTS>(simd, first, [vector, vectors]),
            );
        }
    }
}

impl<E: Stored> TransformWeights<'_, E> {
    /// Transforms the weights of a vector of filters, from `first` on. They become the vector of index `vector` of `vectors`.
    #[inline(always)]
    fn transform<S: Simd, const TAPS: usize, const POINTS: usize>(
        &mut self,
        simd: S,
        first: usize,
        [vector, vectors]: [usize; 2],
    ) {
        let (product_len, width) = (self.sizes.weights_len(vectors), vectors * S::LANES);
        let rows = RowsOfPanels::new::<S>(self.panels, first);
        let squares = &mut self.squares[vector * S::LANES..];
        let mut sum = simd.get(squares);
        for (c, channel) in self.sizes.channels[self.channels.clone()].iter().enumerate() {
            let out = &mut self.to[c * width + vector * S::LANES..];
            match channel.taps {
                Taps::All(start) => transform_taps::<S, TAPS, POINTS>(
                    simd,
                    #[inline(always)]
                    |tap| {
                        rows.fetch(simd, start + tap + AHEAD);
                        let weights = rows.vector(simd, start + tap);
                        sum = simd.mul_add(weights, weights, sum);
                        weights
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
                        let weights = simd.mul(simd.splat(kept), rows.vector(simd, column as usize));
                        sum = simd.mul_add(weights, weights, sum);
                        weights
                    },
                    #[inline(always)]
                    |product, x| simd.put(&mut out[product * product_len..], x),
                ),
            }
        }
        simd.put(squares, sum);
    }
}

/// A vector of rows: of two panels, or where vectors are shorter than panels, the rows from `first` on of one.
pub(super) struct RowsOfPanels<'a, E> {
    panels: [Panel<'a, E>; 2],
    first: usize,
}

impl<'a, E: Stored> RowsOfPanels<'a, E> {
    /// The vector whose first row is `first`.
    #[inline(always)]
    pub(super) fn new<S: Simd>(panels: Panels<'a, E>, first: usize) -> Self {
        let panel = first / ROWS;
        let (low, second) = (panels.panel(panel), panels.panel(panel + 1));
        // One without rows is somewhere in memory, too: masked loads from elsewhere take long.
        let none = Panel { rows: 0, ..low };
        let high = if S::LANES > ROWS && second.rows > 0 { second } else { none };
        RowsOfPanels { panels: [low, high], first: first % ROWS }
    }

    #[inline(always)]
    pub(super) fn vector<S: Simd>(&self, simd: S, column: usize) -> S::Vector {
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
