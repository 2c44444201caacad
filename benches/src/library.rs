//! Convolution as most do it, to compare with: the lowered matrix is written out (im2col) and multiplied with the weights by a library for
//! dense matrices, the crate `gemm`, on one thread. Of its parts for other elements than float32, each takes as long to compile as that
//! one, and is left out.

use gemm_common::Parallelism;
use gemm_f32::gemm::f32::get_gemm_fn;
use sslm_kernels::conv::{Column, Geometry};

/// What records call the library.
pub const NAME: &str = "gemm crate";

/// `out = a b`, all row-major; rows of `b` and `out` have `positions` elements.
///
/// # Panics
/// If the lengths do not fit each other.
pub fn multiply(a: &[f32], b: &[f32], out: &mut [f32], positions: usize) {
    let (rows, columns) = (out.len() / positions, b.len() / positions);
    assert!(out.len() == rows * positions && b.len() == columns * positions && a.len() == rows * columns, "lengths fit");
    let (wide, narrow) = (positions as isize, columns as isize);
    // Each matrix with its strides from one column to the next, and from one row to the next. The library's kernels want neighbours
    // in columns, so where there are rows it is asked for the transposed product, `b^T a^T`.
    let (height, width, left, right) = if positions > 1 {
        (positions, rows, (b.as_ptr(), wide, 1), (a.as_ptr(), narrow, 1))
    } else {
        (rows, 1, (a.as_ptr(), 1, narrow), (b.as_ptr(), 1, 1))
    };
    // SAFETY: the lengths of `a` (rows x columns), `b` (columns x positions) and `out` (rows x positions) were checked above, and
    // strides of a row and 1 stay in them. `out` is borrowed alone.
    unsafe {
        get_gemm_fn()(
            height,
            width,
            columns,
            out.as_mut_ptr(),
            wide,
            1,
            false,
            left.0,
            left.1,
            left.2,
            right.0,
            right.1,
            right.2,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Writes the rows of the lowered matrix of some columns.
pub fn lower(geometry: &Geometry, columns: &[Column], x: &[f32], lowered: &mut [f32]) {
    let ([height, width], [out_height, out_width]) = (geometry.input, geometry.output);
    let rows = columns.iter().flat_map(|column| (0..out_height).map(move |oh| (column, oh)));
    for ((column, oh), row) in rows.zip(lowered.chunks_exact_mut(out_width)) {
        row.fill(0.0);
        let Some(ih) = (oh * geometry.strides[0] + column.kh).checked_sub(geometry.pad_before[0]).filter(|ih| *ih < height)
        else {
            continue;
        };
        let x = &x[(column.channel * height + ih) * width..][..width];
        // Outputs before this one see padding.
        let (stride, pad) = (geometry.strides[1], geometry.pad_before[1]);
        let first = pad.saturating_sub(column.kw).div_ceil(stride);
        let x = x.get(first * stride + column.kw - pad..).unwrap_or_default();
        let seen = row.iter_mut().skip(first);
        if stride == 1 {
            seen.zip(x).for_each(|(element, x)| *element = *x);
        } else {
            seen.zip(x.iter().step_by(stride)).for_each(|(element, x)| *element = *x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes::nets;
    use fastrand::Rng;

    #[test]
    fn lowered_rows_are_what_columns_see() {
        for shape in nets().iter().flat_map(|net| &net.layers) {
            let geometry = shape.geometry();
            let columns = &shape.groups(shape.whole())[0].columns;
            let columns = &columns[columns.len().saturating_sub(30)..];
            let ([height, width], [out_height, out_width]) = (geometry.input, geometry.output);
            let mut rng = Rng::with_seed(1);
            let x: Vec<f32> = (0..geometry.channels * height * width).map(|_| rng.f32()).collect();
            let mut lowered = vec![f32::NAN; columns.len() * out_height * out_width];
            lower(&geometry, columns, &x, &mut lowered);
            for (i, &element) in lowered.iter().enumerate() {
                let (column, oh, ow) = (columns[i / (out_height * out_width)], i / out_width % out_height, i % out_width);
                let [ih, iw] =
                    [oh * shape.stride + column.kh, ow * shape.stride + column.kw].map(|at| at.wrapping_sub(shape.pad));
                let expected = if ih < height && iw < width { x[(column.channel * height + ih) * width + iw] } else { 0.0 };
                assert_eq!(element, expected, "{}: {column:?}, output {oh}, {ow}", shape.name);
            }
        }
    }

    #[test]
    fn products_are_row_by_column() {
        let mut out = [f32::NAN; 4];
        multiply(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1.0, 0.0, 0.0, 1.0, 2.0, 2.0], &mut out, 2);
        assert_eq!(out, [7.0, 8.0, 16.0, 17.0]);
    }
}
