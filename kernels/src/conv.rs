//! Convolution over kept columns: only the columns of the lowered matrix that some filter uses are gathered from the input, and
//! the product runs over just those. Groups may keep different numbers of filters and columns.

use crate::gemm::{PANEL_ROWS, panel_times_matrix};
use crate::{Threading, count_pieces, expect_len};
use std::collections::HashMap;
use std::ops::Range;

/// Sizes of one image's input, window and output. Vertical before horizontal throughout.
#[derive(Clone, Debug, PartialEq)]
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
    /// Output positions along `axis` whose kernel tap `tap` falls inside the input. Not of transposed geometries.
    pub(crate) fn inside(&self, axis: usize, tap: usize) -> Range<usize> {
        let (stride, pad, offset) = (self.strides[axis], self.pad_before[axis], tap * self.dilations[axis]);
        let first = pad.saturating_sub(offset).div_ceil(stride);
        let end = (self.input[axis] + pad).saturating_sub(offset).div_ceil(stride);
        let end = end.min(self.output[axis]);
        first.min(end)..end
    }

    /// Input position that tap `tap` of output position `out` reads; only for `out` in [`Self::inside`].
    pub(crate) fn source(&self, axis: usize, tap: usize, out: usize) -> usize {
        out * self.strides[axis] + tap * self.dilations[axis] - self.pad_before[axis]
    }

    /// Whether at every output position at least one tap falls inside the input. Only positions whose window hangs over an end
    /// are looked at: their number is bounded by the padding and the stride, not by the output.
    pub fn every_window_sees_input(&self) -> bool {
        (0..2).all(|axis| {
            let (size, pad, stride, out) = (self.input[axis], self.pad_before[axis], self.strides[axis], self.output[axis]);
            let reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
            let head = 0..pad.div_ceil(stride).min(out);
            let first_over_end = (size + pad).saturating_sub(reach - 1).div_ceil(stride).min(out);
            head.chain(first_over_end..out).all(|position| !self.taps_inside(axis, position).is_empty())
        })
    }

    /// The kernel taps along `axis` that fall inside the input at output position `out`.
    pub(crate) fn taps_inside(&self, axis: usize, out: usize) -> Range<usize> {
        let (start, pad, dilation) = (out * self.strides[axis], self.pad_before[axis], self.dilations[axis]);
        let first = pad.saturating_sub(start).div_ceil(dilation);
        let end = (self.input[axis] + pad).saturating_sub(start).div_ceil(dilation).min(self.kernel[axis]);
        first.min(end)..end
    }

    /// The kernel taps along `axis` that read an input position at output position `out`, of either kind of geometry: the first
    /// one, one past the last, and the step between them.
    fn taps_that_read(&self, axis: usize, out: usize) -> (usize, usize, usize) {
        if !self.transposed {
            let taps = self.taps_inside(axis, out);
            return (taps.start, taps.end, 1);
        }
        // Taps whose distance is a multiple of this read positions of whole numbers, if one of them does.
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
    fn scattered_from(&self, axis: usize, tap: usize, out: usize) -> Option<usize> {
        let shifted = (out + self.pad_before[axis]).checked_sub(tap * self.dilations[axis])?;
        let source = shifted / self.strides[axis];
        (shifted.is_multiple_of(self.strides[axis]) && source < self.input[axis]).then_some(source)
    }

    fn input_len(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn output_len(&self) -> usize {
        self.output[0] * self.output[1]
    }
}

/// One column of the lowered matrix: the tap (`kh`, `kw`) of a physical input channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Input plane.
    pub channel: usize,
    /// Kernel row.
    pub kh: usize,
    /// Kernel column.
    pub kw: usize,
}

/// What one group keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Kept filters.
    pub filters: usize,
    /// Kept columns.
    pub columns: Vec<Column>,
}

/// A convolution with everything decided that shapes decide.
#[derive(Debug)]
pub struct Conv {
    geometry: Geometry,
    groups: Vec<Group>,
    /// Where a group's lowered matrix is a stretch of the input itself: its first plane.
    in_place: Vec<Option<usize>>,
    border: Option<Border>,
    relu: bool,
}

impl Conv {
    /// `taps` is `[kept filters][KH][KW]`, what constant channels add through each tap that lies inside the input.
    ///
    /// # Panics
    /// If `taps` has another length, or a column lies outside the input or the kernel.
    pub fn new(geometry: Geometry, groups: Vec<Group>, taps: Option<&[f32]>, relu: bool) -> Self {
        let pointwise =
            !geometry.transposed && geometry.kernel == [1, 1] && geometry.strides == [1, 1] && geometry.input == geometry.output;
        let in_place = |group: &Group| {
            let first = group.columns.first()?.channel;
            let run = group.columns.iter().enumerate().all(|(i, c)| c.channel == first + i);
            (pointwise && geometry.pad_before == [0, 0] && run).then_some(first)
        };
        for column in groups.iter().flat_map(|g| &g.columns) {
            let fits = column.channel < geometry.channels && column.kh < geometry.kernel[0] && column.kw < geometry.kernel[1];
            assert!(fits, "{column:?} lies outside {geometry:?}");
        }
        let in_place = groups.iter().map(in_place).collect();
        let filters = groups.iter().map(|g| g.filters).sum();
        let border = taps.map(|taps| Border::new(&geometry, filters, taps));
        Conv { geometry, groups, in_place, border, relu }
    }

    /// Numbers of scratch memory that [`Self::run`] needs.
    pub fn scratch_len(&self) -> usize {
        let lowered = self.groups.iter().zip(&self.in_place).filter(|(_, in_place)| in_place.is_none());
        lowered.map(|(g, _)| g.columns.len()).max().unwrap_or(0) * self.geometry.output_len()
    }

    /// Multiply-accumulates of one image.
    pub fn macs(&self) -> usize {
        self.groups.iter().map(|g| g.filters * g.columns.len()).sum::<usize>() * self.geometry.output_len()
    }

    /// `x` is `[batch][channels][H][W]`, `out` is `[batch][kept filters][OH][OW]`. `weights` hold, group after group, kept
    /// filters x kept columns in panels of 8 rows; `bias` has one number per kept filter.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, x: &[f32], weights: &[f32], bias: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        let g = &self.geometry;
        let (plane, n) = (g.input_len(), g.output_len());
        let filters: usize = self.groups.iter().map(|group| group.filters).sum();
        if filters * n == 0 {
            return;
        }
        let batch = count_pieces("output", out, filters * n);
        expect_len("input", x, batch * g.channels * plane);
        expect_len("weights", weights, self.groups.iter().map(|group| group.filters * group.columns.len()).sum());
        expect_len("bias", bias, filters);
        for (i, out) in out.chunks_exact_mut(filters * n).enumerate() {
            let image = &x[i * g.channels * plane..][..g.channels * plane];
            let (mut weights, mut out, mut first_filter) = (weights, out, 0);
            for (group, in_place) in self.groups.iter().zip(&self.in_place) {
                let k = group.columns.len();
                let (group_weights, rest) = weights.split_at(group.filters * k);
                let (group_out, rest_out) = out.split_at_mut(group.filters * n);
                let lowered: &[f32] = match in_place {
                    Some(first) => &image[first * plane..][..k * plane],
                    None => {
                        let lowered = &mut scratch[..k * n];
                        threading.for_each_chunk(lowered, n, |column, row| self.lower(group.columns[column], image, row));
                        lowered
                    }
                };
                threading.for_each_chunk(group_out, PANEL_ROWS * n, |panel, out| {
                    let rows = out.len() / n;
                    let a = &group_weights[panel * PANEL_ROWS * k..][..rows * k];
                    panel_times_matrix(rows, k, n, a, lowered, out);
                    for (row, out) in out.chunks_exact_mut(n).enumerate() {
                        self.finish(first_filter + panel * PANEL_ROWS + row, bias, out);
                    }
                });
                (weights, out, first_filter) = (rest, rest_out, first_filter + group.filters);
            }
        }
    }

    /// One row of the lowered matrix: what `column` sees at every output position.
    fn lower(&self, column: Column, image: &[f32], row: &mut [f32]) {
        let g = &self.geometry;
        let (width, out_width) = (g.input[1], g.output[1]);
        let plane = &image[column.channel * g.input_len()..][..g.input_len()];
        if g.transposed {
            for (oh, out) in row.chunks_exact_mut(out_width).enumerate() {
                out.fill(0.0);
                let Some(ih) = g.scattered_from(0, column.kh, oh) else { continue };
                for (iw, x) in plane[ih * width..][..width].iter().enumerate() {
                    let position = (iw * g.strides[1] + column.kw * g.dilations[1]).checked_sub(g.pad_before[1]);
                    if let Some(out) = position.and_then(|ow| out.get_mut(ow)) {
                        *out = *x;
                    }
                }
            }
            return;
        }
        let (rows, columns) = (g.inside(0, column.kh), g.inside(1, column.kw));
        for (oh, out) in row.chunks_exact_mut(out_width).enumerate() {
            if !rows.contains(&oh) || columns.is_empty() {
                out.fill(0.0);
                continue;
            }
            let source = &plane[g.source(0, column.kh, oh) * width..][..width];
            let source = &source[g.source(1, column.kw, columns.start)..];
            out[..columns.start].fill(0.0);
            out[columns.end..].fill(0.0);
            let middle = &mut out[columns.clone()];
            if g.strides[1] == 1 {
                middle.copy_from_slice(&source[..middle.len()]);
            } else {
                middle.iter_mut().zip(source.iter().step_by(g.strides[1])).for_each(|(o, x)| *o = *x);
            }
        }
    }

    /// Bias, border constants and activation on the output plane of one filter.
    fn finish(&self, filter: usize, bias: &[f32], out: &mut [f32]) {
        let add = |out: &mut [f32], constant: f32| {
            if self.relu {
                out.iter_mut().for_each(|o| *o = (*o + constant).max(0.0));
            } else {
                out.iter_mut().for_each(|o| *o += constant);
            }
        };
        match &self.border {
            None => add(out, bias[filter]),
            Some(border) => {
                for (oh, row) in out.chunks_exact_mut(self.geometry.output[1]).enumerate() {
                    for (range, constant) in border.row(filter, oh) {
                        add(&mut row[range], bias[filter] + constant);
                    }
                }
            }
        }
    }
}

/// What constant input channels add to each output position: it depends only on which taps lie inside the input there, so a
/// small table per filter serves images of any size.
#[derive(Debug)]
struct Border {
    /// Class of each output row: which kernel rows lie inside.
    row_class: Vec<usize>,
    /// Stretches of output columns of equal class.
    column_runs: Vec<(Range<usize>, usize)>,
    row_classes: usize,
    column_classes: usize,
    /// `[filters][row class][column class]`.
    sums: Vec<f32>,
}

impl Border {
    fn new(geometry: &Geometry, filters: usize, taps: &[f32]) -> Self {
        let [kh, kw] = geometry.kernel;
        expect_len("taps", taps, filters * kh * kw);
        let (row_class, row_taps) = coverage(geometry, 0);
        let (column_class, column_taps) = coverage(geometry, 1);
        let mut sums = Vec::with_capacity(filters * row_taps.len() * column_taps.len());
        let each = |(first, end, step): (usize, usize, usize)| (first..end).step_by(step);
        for taps in taps.chunks_exact((kh * kw).max(1)) {
            for &rows in &row_taps {
                for &columns in &column_taps {
                    let of_row = |r: usize| each(columns).map(|c| f64::from(taps[r * kw + c])).sum::<f64>();
                    sums.push(each(rows).map(of_row).sum::<f64>() as f32);
                }
            }
        }
        let mut column_runs: Vec<(Range<usize>, usize)> = Vec::new();
        for (i, class) in column_class.into_iter().enumerate() {
            match column_runs.last_mut() {
                Some((range, last)) if *last == class => range.end = i + 1,
                _ => column_runs.push((i..i + 1, class)),
            }
        }
        Border { row_class, column_runs, row_classes: row_taps.len(), column_classes: column_taps.len(), sums }
    }

    /// Stretches of output row `oh` of `filter` and what is added to each.
    fn row(&self, filter: usize, oh: usize) -> impl Iterator<Item = (Range<usize>, f32)> + '_ {
        let sums = &self.sums[(filter * self.row_classes + self.row_class[oh]) * self.column_classes..][..self.column_classes];
        self.column_runs.iter().map(move |(range, class)| (range.clone(), sums[*class]))
    }
}

/// The class of each output position along `axis`, and the taps that read an input position in each class.
fn coverage(geometry: &Geometry, axis: usize) -> (Vec<usize>, Vec<(usize, usize, usize)>) {
    let (mut numbers, mut classes) = (HashMap::new(), Vec::new());
    let of_position = |out: usize| {
        let taps = geometry.taps_that_read(axis, out);
        *numbers.entry(taps).or_insert_with(|| {
            classes.push(taps);
            classes.len() - 1
        })
    };
    let class = (0..geometry.output[axis]).map(of_position).collect();
    (class, classes)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
