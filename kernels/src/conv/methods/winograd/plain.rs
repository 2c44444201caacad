//! Sums that are not transformed: outputs of rows of tiles, or of vectors of filters, that [`super::magnitudes`] keeps from transforms. Every
//! one is what the definition makes it.

use super::filters::Filters;
use super::sizes::Taps;
use super::transforms::OUTPUTS;
use super::weights::RowsOfPanels;
use crate::activation::Bounds;
use crate::layout::Layout;
use crate::simd::{MAX_LANES, Simd, Stored};
use std::ops::Range;

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
            Bounds::new(simd, finishing.activation).keep(simd, sum)
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
