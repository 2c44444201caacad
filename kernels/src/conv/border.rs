//! What constant input channels add where taps fall into the padding.

use super::geometry::Geometry;
use crate::expect_len;
use crate::simd::MAX_LANES;
use get_size2::GetSize;
use std::collections::HashMap;
use std::ops::Range;

/// What constant input channels add to each output position: it depends only on which taps lie inside the input there, so a
/// small table per filter serves images of any size.
#[derive(GetSize, Debug)]
pub(crate) struct Border {
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
    pub(crate) fn new(geometry: &Geometry, filters: usize, taps: &[f32]) -> Self {
        let [kh, kw] = geometry.kernel;
        expect_len("taps", taps, filters * kh * kw);
        let (row_class, row_taps) = coverage(geometry, 0);
        let (column_class, column_taps) = coverage(geometry, 1);
        let mut sums = Vec::with_capacity(filters * row_taps.len() * column_taps.len());
        for taps in taps.chunks_exact((kh * kw).max(1)) {
            let taps: Vec<f64> = taps.iter().copied().map(f64::from).collect();
            let of_rows = sums_along(&taps, [kw, 1], &column_taps);
            sums.extend(sums_along(&of_rows, [kh, column_taps.len()], &row_taps).into_iter().map(|sum| sum as f32));
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

    /// The class of each output row and of each output column, how many classes of rows and of columns there are, and what is added:
    /// `[filters][row class][column class]`.
    #[cfg(feature = "cuda")]
    pub(crate) fn tables(&self) -> (&[usize], Vec<usize>, [usize; 2], &[f32]) {
        let columns = self.column_runs.iter().flat_map(|(run, class)| run.clone().map(|_| *class)).collect();
        (&self.row_class, columns, [self.row_classes, self.column_classes], &self.sums)
    }

    /// Writes what constants add to the output `positions` of `filter`, or adds it to what is there. Rows have `width` positions.
    pub(crate) fn run(&self, filter: usize, positions: Range<usize>, width: usize, add: bool, out: &mut [f32]) {
        for row in positions.start / width..positions.end.div_ceil(width) {
            let classes = filter * self.row_classes + self.row_class[row];
            let sums = &self.sums[classes * self.column_classes..][..self.column_classes];
            for (columns, class) in &self.column_runs {
                let start = (row * width + columns.start).max(positions.start);
                let end = (row * width + columns.end).min(positions.end);
                if start < end {
                    let out = &mut out[start - positions.start..end - positions.start];
                    if add {
                        out.iter_mut().for_each(|o| *o += sums[*class]);
                    } else {
                        out.fill(sums[*class]);
                    }
                }
            }
        }
    }

    /// As [`Self::run`], but for all positions of some filters whose elements lie side by side, `lanes` for each position.
    pub(crate) fn run_on_block(
        &self,
        filters: Range<usize>,
        lanes: usize,
        [first_row, width]: [usize; 2],
        add: bool,
        out: &mut [f32],
    ) {
        for (row, out) in (first_row..).zip(out.chunks_exact_mut(width * lanes)) {
            for (columns, class) in &self.column_runs {
                let mut sums = [0.0; MAX_LANES];
                for (sum, filter) in sums.iter_mut().zip(filters.clone()) {
                    *sum = self.sums[(filter * self.row_classes + self.row_class[row]) * self.column_classes + class];
                }
                for out in out[columns.start * lanes..columns.end * lanes].chunks_exact_mut(lanes) {
                    if add {
                        out.iter_mut().zip(&sums).for_each(|(o, sum)| *o += sum);
                    } else {
                        out.copy_from_slice(&sums[..lanes]);
                    }
                }
            }
        }
    }
}

/// Sums over the taps of each class along the middle axis of `values`, `[outer][taps][inner]`: `[outer][classes][inner]`. A class is given
/// as by [`coverage`].
pub(crate) fn sums_along(values: &[f64], [taps, inner]: [usize; 2], classes: &[(usize, usize, usize)]) -> Vec<f64> {
    // Taps of a class are so far apart; where they are none, that may be anything.
    let step = classes.iter().map(|class| class.2).max().unwrap_or(1).min(taps.max(1));
    let mut sums = Vec::with_capacity(values.len() / (taps * inner).max(1) * classes.len() * inner);
    // What all taps before one add, together with it, `step` places further on.
    let mut until = vec![0.0; (taps + step) * inner];
    for values in values.chunks_exact((taps * inner).max(1)) {
        for (i, value) in values.iter().enumerate() {
            until[i + step * inner] = until[i] + value;
        }
        let are_finite = values.iter().all(|value| value.is_finite());
        for &(first, end, step_of_class) in classes {
            sums.extend((0..inner).map(|at| match end.checked_sub(1) {
                Some(last) if first <= last && are_finite => until[(last + step) * inner + at] - until[first * inner + at],
                // What is infinite does not go away by subtraction.
                _ => (first..end).step_by(step_of_class).map(|tap| values[tap * inner + at]).sum(),
            }));
        }
    }
    sums
}

/// The class of each output position along `axis`, and the taps that read an input position in each class.
pub(crate) fn coverage(geometry: &Geometry, axis: usize) -> (Vec<usize>, Vec<(usize, usize, usize)>) {
    let (mut indices, mut classes) = (HashMap::new(), Vec::new());
    let of_position = |out: usize| {
        let taps = geometry.taps_that_read(axis, out);
        *indices.entry(taps).or_insert_with(|| {
            classes.push(taps);
            classes.len() - 1
        })
    };
    let class = (0..geometry.output[axis]).map(of_position).collect();
    (class, classes)
}
