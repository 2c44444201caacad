//! Operations along one axis, and reordering of axes. A tensor is seen as `[outer][axis][inner]`.

use crate::{Threading, count_pieces, expect_len};

/// Where a position of the new axis comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum From {
    /// The old axis's position of this number.
    Position(usize),
    /// It is this number everywhere.
    Constant(f32),
    /// `(1 - share)` of the first position and `share` of the second.
    Between(usize, usize, f32),
}

/// Builds `[outer][sources][inner]` from `x`, which is `[outer][extent][inner]`.
///
/// # Panics
/// If a slice has another length than the shapes call for, or a position lies outside `extent`.
pub fn remap(x: &[f32], extent: usize, inner: usize, sources: &[From], out: &mut [f32], threading: Threading) {
    if sources.is_empty() || inner == 0 {
        return expect_len("output", out, 0);
    }
    let outer = count_pieces("output", out, sources.len() * inner);
    expect_len("input", x, outer * extent * inner);
    threading.for_each_chunk(out, sources.len() * inner, |i, out| {
        let x = &x[i * extent * inner..][..extent * inner];
        for (out, from) in out.chunks_exact_mut(inner).zip(sources) {
            match *from {
                From::Constant(value) => out.fill(value),
                From::Position(position) => out.copy_from_slice(&x[position * inner..][..inner]),
                From::Between(a, b, share) => {
                    let pairs = x[a * inner..][..inner].iter().zip(&x[b * inner..][..inner]);
                    out.iter_mut().zip(pairs).for_each(|(o, (a, b))| *o = a * (1.0 - share) + b * share);
                }
            }
        }
    });
}

/// Mean over the middle axis: `x` is `[outer][extent][inner]`, `out` is `[outer][inner]`.
///
/// # Panics
/// If a slice has another length than the shapes call for.
pub fn mean(x: &[f32], extent: usize, inner: usize, out: &mut [f32], threading: Threading) {
    let outer = count_pieces("output", out, inner);
    expect_len("input", x, outer * extent * inner);
    threading.for_each_chunk(out, inner, |i, out| {
        let x = &x[i * extent * inner..][..extent * inner];
        for (j, o) in out.iter_mut().enumerate() {
            let sum: f64 = x[j..].iter().step_by(inner).map(|&v| f64::from(v)).sum();
            *o = (sum / extent as f64) as f32;
        }
    });
}

/// Position of the largest number along the middle axis, as f32: `x` is `[outer][extent][inner]`, `out` is `[outer][inner]`. Of
/// equal ones the first, or the `last`.
///
/// # Panics
/// If a slice has another length than the shapes call for.
pub fn arg_max(x: &[f32], extent: usize, inner: usize, last: bool, out: &mut [f32], threading: Threading) {
    let outer = count_pieces("output", out, inner);
    expect_len("input", x, outer * extent * inner);
    threading.for_each_chunk(out, inner, |i, out| {
        let x = &x[i * extent * inner..][..extent * inner];
        for (j, o) in out.iter_mut().enumerate() {
            let mut best = 0;
            for (position, &v) in x[j..].iter().step_by(inner).enumerate() {
                let largest = x[best * inner + j];
                if v > largest || (last && v == largest) {
                    best = position;
                }
            }
            *o = best as f32;
        }
    });
}

/// A copy in another order: `out` is row-major of extents `shape`, and its element at index (i, j, ...) is
/// `x[i * strides[0] + j * strides[1] + ...]`. Strides of 0 repeat.
///
/// # Panics
/// If shape and strides differ in length, or do not fit the slices.
pub fn strided_copy(x: &[f32], shape: &[usize], strides: &[usize], out: &mut [f32], threading: Threading) {
    assert_eq!(shape.len(), strides.len(), "one stride for each axis");
    expect_len("output", out, shape.iter().product());
    let (Some((&run, outer)), Some(&stride)) = (shape.split_last(), strides.last()) else {
        out.copy_from_slice(x);
        return;
    };
    threading.for_each_chunk(out, run, |i, out| {
        let (mut rest, mut at) = (i, 0);
        for (extent, stride) in outer.iter().zip(strides).rev() {
            at += rest % extent * stride;
            rest /= extent;
        }
        match stride {
            0 => out.fill(x[at]),
            1 => out.copy_from_slice(&x[at..at + out.len()]),
            _ => out.iter_mut().zip(x[at..].iter().step_by(stride)).for_each(|(o, x)| *o = *x),
        }
    });
}
