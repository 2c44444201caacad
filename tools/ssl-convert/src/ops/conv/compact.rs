//! What compaction asks a convolution: constants of its input go into biases and taps, and columns that nothing uses are not kept.

use crate::blobs::{Blobs, Block, kept_channels, kept_of};
use crate::operator::Convert;
use crate::slices::{Reads, Slices};
use crate::weights::{Layer, Matrix, Unpacked};
use rayon::prelude::*;
use sslm_format::shape::{self, Shape};
use sslm_format::{Conv, ConvTranspose, Extent, Kept, Padding, Value, Window};
use std::borrow::Cow;

/// What constants add to the sums of a filter, where its taps may fall into padding.
pub(super) struct Absorbed {
    /// What constants add through the taps that may leave the input.
    pub(super) taps: Vec<f32>,
    /// Whether the filter's output is its bias, everywhere.
    constant: bool,
    /// Its bias, with what constants add everywhere.
    pub(super) bias: f32,
}

impl Convert for Conv<Unpacked> {
    fn is_finite(&self) -> bool {
        self.weights.is_finite() && self.bias.iter().all(|x| x.is_finite())
    }

    fn layer(&self) -> Option<Layer<'_>> {
        let (groups, taps) = (self.group as usize, self.window.taps());
        let matrix = &self.weights;
        Some(Layer {
            groups,
            filters: matrix.rows / groups,
            columns: matrix.columns,
            taps,
            kept: Cow::Borrowed(&self.columns),
            matrix,
        })
    }

    fn matrix_mut(&mut self) -> Option<&mut Matrix> {
        Some(&mut self.weights)
    }

    fn macs(&self, output: &Value, shape: &Shape) -> Option<(u64, u64)> {
        let positions: usize = shape::known(&shape[2..])?.iter().product();
        let positions = positions as u64;
        let columns = self.columns_per_group();
        let kept: usize = self.kept_filters(output).iter().zip(&self.columns).map(|(f, c)| f * c.count(columns)).sum();
        Some((self.filters as u64 * columns as u64 * positions, kept as u64 * positions))
    }

    fn rows_mut(&mut self, _: &Shape) -> Option<(&mut Matrix, &mut Vec<f32>)> {
        Some((&mut self.weights, &mut self.bias))
    }

    fn forward(&mut self, inputs: &[Slices<'_>], _: &Slices<'_>) -> Vec<Option<f32>> {
        let leaving = leaving(&self.window);
        absorb(self, inputs[0].constants(), leaving)
    }

    fn backward(&mut self, inputs: &[Slices<'_>], _: &Slices<'_>, wanted: Option<&[bool]>) -> Vec<Reads> {
        vec![keep_columns(self, &inputs[0], wanted)]
    }

    fn forget(&mut self) {
        self.columns.fill(Kept::List(Vec::new()));
    }

    fn takes_constants(&self) -> bool {
        true
    }

    fn stored<'g>(&'g self, output: &Value, blobs: &mut Blobs<'g>) -> sslm_format::Op {
        stored_conv(self, output, blobs).into()
    }
}

impl Convert for ConvTranspose<Unpacked> {
    fn is_finite(&self) -> bool {
        self.conv.is_finite()
    }

    fn layer(&self) -> Option<Layer<'_>> {
        self.conv.layer()
    }

    fn matrix_mut(&mut self) -> Option<&mut Matrix> {
        self.conv.matrix_mut()
    }

    fn macs(&self, output: &Value, shape: &Shape) -> Option<(u64, u64)> {
        // A tap reaches one of so many positions.
        let stride = |axis: usize| self.conv.window.strides[axis] as usize;
        let reached = |axis: usize| shape[2 + axis].quotient_up(&Extent::from(stride(axis)));
        self.conv.macs(output, &vec![shape[0].clone(), shape[1].clone(), reached(0), reached(1)])
    }

    fn rows_mut(&mut self, shape: &Shape) -> Option<(&mut Matrix, &mut Vec<f32>)> {
        self.conv.rows_mut(shape)
    }

    /// A scattered tap reaches every position only if nothing is ever beside it.
    fn forward(&mut self, inputs: &[Slices<'_>], _: &Slices<'_>) -> Vec<Option<f32>> {
        let taps = self.conv.window.taps();
        absorb(&mut self.conv, inputs[0].constants(), vec![true; taps])
    }

    fn backward(&mut self, inputs: &[Slices<'_>], output: &Slices<'_>, wanted: Option<&[bool]>) -> Vec<Reads> {
        self.conv.backward(inputs, output, wanted)
    }

    fn forget(&mut self) {
        self.conv.forget();
    }

    fn takes_constants(&self) -> bool {
        true
    }

    fn stored<'g>(&'g self, output: &Value, blobs: &mut Blobs<'g>) -> sslm_format::Op {
        ConvTranspose { conv: stored_conv(&self.conv, output, blobs), output_padding: self.output_padding }.into()
    }
}

/// Whether each tap may fall outside the input, whatever the input's size.
pub(super) fn leaving(window: &Window) -> Vec<bool> {
    let width = window.kernel[1] as usize;
    (0..window.taps()).map(|tap| may_leave(window, tap / width, tap % width)).collect()
}

/// Whether tap (`kh`, `kw`) may fall outside the input, whatever the input's size.
fn may_leave(window: &Window, kh: usize, kw: usize) -> bool {
    let Padding::Explicit { top, left, bottom, right } = window.padding else { return window.kernel != [1, 1] };
    let leaves = |axis: usize, tap: usize, padding: [u32; 2]| {
        leaves(tap, window.kernel[axis] as usize, window.dilations[axis] as usize, padding)
    };
    leaves(0, kh, [top, bottom]) || leaves(1, kw, [left, right])
}

/// Whether tap `tap` of `kernel` along one axis may fall into this much padding before it and behind it.
pub(super) fn leaves(tap: usize, kernel: usize, dilation: usize, [before, after]: [u32; 2]) -> bool {
    tap * dilation < before as usize || (kernel - 1 - tap) * dilation < after as usize
}

/// Takes the constant channels of the input `x` into bias and taps; `may_leave` says of each tap whether it may read padding for some
/// size of the input. Yields the filters that are constant everywhere.
pub(super) fn absorb(conv: &mut Conv<Unpacked>, x: Option<&[Option<f32>]>, may_leave: Vec<bool>) -> Vec<Option<f32>> {
    let filters: Vec<Absorbed> =
        (0..conv.weights.rows).into_par_iter().map(|filter| absorbed(conv, filter, x, &may_leave)).collect();
    conv.bias = filters.iter().map(|f| f.bias).collect();
    if filters.iter().any(|f| f.taps.iter().any(|&t| t != 0.0)) {
        conv.taps = Some(filters.iter().flat_map(|f| f.taps.iter().copied()).collect());
    }
    filters.iter().zip(&conv.bias).map(|(f, b)| f.constant.then_some(*b)).collect()
}

/// What the constant channels among `x` add to the sums of a filter.
pub(super) fn absorbed(conv: &Conv<Unpacked>, filter: usize, x: Option<&[Option<f32>]>, may_leave: &[bool]) -> Absorbed {
    let group = filter / conv.filters_per_group();
    let taps = conv.window.taps();
    let (mut live, mut sums) = (false, vec![0f64; taps]);
    for channel in 0..conv.channels_per_group() {
        let constant = x.and_then(|x| x[group * conv.channels_per_group() + channel]);
        for (tap, sum) in sums.iter_mut().enumerate() {
            let w = conv.weights.at(filter, channel * taps + tap);
            if w != 0.0 {
                match constant {
                    Some(value) => *sum += f64::from(w) * f64::from(value),
                    None => live = true,
                }
            }
        }
    }
    let always: f64 = sums.iter().zip(may_leave).filter(|(_, leaves)| !**leaves).map(|(s, _)| s).sum();
    let bias = (f64::from(conv.bias[filter]) + always) as f32;
    let taps: Vec<f32> = sums.iter().zip(may_leave).map(|(&s, &leaves)| if leaves { s as f32 } else { 0.0 }).collect();
    Absorbed { constant: !live && taps.iter().all(|&t| t == 0.0), taps, bias }
}

/// Lists the columns of live channels that some wanted filter of their group uses, and says which channels those read.
pub(super) fn keep_columns(conv: &mut Conv<Unpacked>, x: &Slices<'_>, wanted: Option<&[bool]>) -> Reads {
    let (total, per_group) = (conv.columns_per_group(), conv.filters_per_group());
    let mut read = vec![false; conv.channels as usize];
    for group in 0..conv.group as usize {
        let filters: Vec<usize> =
            (group * per_group..(group + 1) * per_group).filter(|&f| wanted.is_none_or(|wanted| wanted[f])).collect();
        let used = |column: &usize| {
            x.is_live(conv.place_of(group, *column).0) && filters.iter().any(|&f| conv.weights.at(f, *column) != 0.0)
        };
        let columns: Vec<u32> = (0..total).into_par_iter().filter(used).map(|c| c as u32).collect();
        columns.iter().for_each(|&column| read[conv.place_of(group, column as usize).0] = true);
        conv.columns[group] = Kept::from_list(columns, total);
    }
    Reads::Some(read)
}

pub(super) fn stored_conv<'g>(conv: &'g Conv<Unpacked>, output: &Value, blobs: &mut Blobs<'g>) -> Conv {
    let Conv { group, channels, filters, .. } = *conv;
    let per_filter = conv.window.taps();
    let bias = blobs.per_channel(&conv.bias, 1, output);
    let taps = conv.taps.as_ref().filter(|taps| kept_of(taps, per_filter, output).iter().any(|&t| t != 0.0));
    let taps = taps.map(|taps| blobs.per_channel(taps, per_filter, output));
    let mut rows = kept_channels(output, filters as usize).into_iter();
    let columns = conv.columns.iter().map(|c| c.iter(conv.columns_per_group()).collect());
    let block = |(columns, filters)| Block { rows: rows.by_ref().take(filters).collect(), columns };
    let blocks = columns.zip(conv.kept_filters(output)).map(block).collect();
    let weights = blobs.panels(&conv.weights, blocks);
    Conv { group, channels, filters, window: conv.window.clone(), columns: conv.columns.clone(), weights, bias, taps }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which taps of a kernel of three may leave a line, by dilation and padding.
    #[test]
    fn taps_leave_into_padding_that_reaches_them() {
        let cases = [
            (1, [0, 0], [false, false, false]),
            (1, [1, 0], [true, false, false]),
            (1, [2, 0], [true, true, false]),
            (1, [0, 1], [false, false, true]),
            (2, [2, 0], [true, false, false]),
            (2, [3, 0], [true, true, false]),
            (2, [0, 2], [false, false, true]),
            (2, [0, 3], [false, true, true]),
            (2, [4, 5], [true, true, true]),
        ];
        for (dilation, padding, expected) in cases {
            let found = [0, 1, 2].map(|tap| leaves(tap, 3, dilation, padding));
            assert_eq!(found, expected, "dilation {dilation}, padding {padding:?}");
        }
    }
}
