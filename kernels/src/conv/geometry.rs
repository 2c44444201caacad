//! Sizes of a convolution or pooling layer, and which of its taps fall inside the input where.

use get_size2::GetSize;
use std::ops::Range;

/// Sizes of one image's input, window and output. Vertical before horizontal throughout.
#[derive(GetSize, Clone, Debug, PartialEq)]
pub struct Geometry {
    /// Input planes that physically exist.
    pub channels: usize,
    /// Input height, width.
    pub input: [usize; 2],
    /// Output height, width.
    pub output: [usize; 2],
    /// KH, KW.
    pub kernel: [usize; 2],
    /// Strides.
    pub strides: [usize; 2],
    /// Dilations.
    pub dilations: [usize; 2],
    /// Zeros before the first row and column.
    pub pad_before: [usize; 2],
    /// Whether taps scatter (ConvTranspose): output position o takes tap k from input position
    /// `(o + pad_before - k * dilation) / stride`, where that is whole.
    pub transposed: bool,
}

impl Geometry {
    /// Output positions along `axis` whose tap `tap` falls inside the input. Not of transposed geometries.
    pub(crate) fn inside(&self, axis: usize, tap: usize) -> Range<usize> {
        self.cells(axis, tap * self.dilations[axis], self.output[axis])
    }

    /// Of `count` positions along `axis` of the padded input, a stride apart from `start` on, those that lie in the input.
    pub(crate) fn cells(&self, axis: usize, start: usize, count: usize) -> Range<usize> {
        let (stride, pad) = (self.strides[axis], self.pad_before[axis]);
        let first = pad.saturating_sub(start).div_ceil(stride);
        let end = (self.input[axis] + pad).saturating_sub(start).div_ceil(stride).min(count);
        first.min(end)..end
    }

    /// Input position that tap `tap` of output position `out` reads; only for `out` in [`Self::inside`].
    pub(crate) fn source(&self, axis: usize, tap: usize, out: usize) -> usize {
        out * self.strides[axis] + tap * self.dilations[axis] - self.pad_before[axis]
    }

    /// Whether at every output position at least one tap falls inside the input. Only positions whose window hangs over an end
    /// are looked at: their count is bounded by the padding and the stride, not by the output.
    pub fn every_window_sees_input(&self) -> bool {
        (0..2).all(|axis| {
            let (size, pad, stride, out) = (self.input[axis], self.pad_before[axis], self.strides[axis], self.output[axis]);
            let reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
            let head = 0..pad.div_ceil(stride).min(out);
            let first_over_end = (size + pad).saturating_sub(reach - 1).div_ceil(stride).min(out);
            head.chain(first_over_end..out).all(|position| !self.taps_inside(axis, position).is_empty())
        })
    }

    /// The taps along `axis` that fall inside the input at output position `out`.
    pub(crate) fn taps_inside(&self, axis: usize, out: usize) -> Range<usize> {
        let (start, pad, dilation) = (out * self.strides[axis], self.pad_before[axis], self.dilations[axis]);
        let first = pad.saturating_sub(start).div_ceil(dilation);
        let end = (self.input[axis] + pad).saturating_sub(start).div_ceil(dilation).min(self.kernel[axis]);
        first.min(end)..end
    }

    /// The taps along `axis` that read an input position at output position `out`, of either kind of geometry: the first
    /// one, one past the last, and the step between them.
    pub(crate) fn taps_that_read(&self, axis: usize, out: usize) -> (usize, usize, usize) {
        if !self.transposed {
            let taps = self.taps_inside(axis, out);
            return (taps.start, taps.end, 1);
        }
        // Taps whose distance is a multiple of this read positions that are whole, if one of them does.
        let step = self.strides[axis] / gcd(self.strides[axis], self.dilations[axis]);
        let reads = |tap: &usize| self.scattered_from(axis, *tap, out).is_some();
        // Later taps read earlier positions: those that read at all lie together, and the first is within a step of where the
        // input ends.
        let beyond = (out + self.pad_before[axis]).saturating_sub((self.input[axis] - 1) * self.strides[axis]);
        let from = beyond.div_ceil(self.dilations[axis]);
        let Some(first) = (from..self.kernel[axis].min(from + step)).find(reads) else { return (0, 0, 1) };
        let last = ((out + self.pad_before[axis]) / self.dilations[axis]).min(self.kernel[axis] - 1);
        (first, first + (last - first) / step * step + 1, step)
    }

    /// Of a transposed geometry: the input position that tap `tap` of output position `out` takes, if there is one.
    pub(crate) fn scattered_from(&self, axis: usize, tap: usize, out: usize) -> Option<usize> {
        let shifted = (out + self.pad_before[axis]).checked_sub(tap * self.dilations[axis])?;
        let source = shifted / self.strides[axis];
        (shifted.is_multiple_of(self.strides[axis]) && source < self.input[axis]).then_some(source)
    }

    /// Rows and columns of the padded input that outputs read.
    pub(crate) fn padded(&self) -> [usize; 2] {
        [0, 1].map(|axis| (self.output[axis] - 1) * self.strides[axis] + (self.kernel[axis] - 1) * self.dilations[axis] + 1)
    }

    pub(crate) fn input_len(&self) -> usize {
        self.input[0] * self.input[1]
    }

    pub(crate) fn output_len(&self) -> usize {
        self.output[0] * self.output[1]
    }
}

/// One column of the lowered matrix: the tap (`kh`, `kw`) of a physical input channel.
#[derive(GetSize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Input plane.
    pub channel: usize,
    /// Kernel row.
    pub kh: usize,
    /// Kernel column.
    pub kw: usize,
}

/// What one convolution group keeps.
#[derive(GetSize, Clone, Debug, PartialEq)]
pub struct KeptGroup {
    /// Kept filters.
    pub filters: usize,
    /// Kept columns.
    pub columns: Vec<Column>,
}

pub(crate) fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
