//! Operations along one axis, and reordering of axes. A tensor is seen as `[outer][axis][inner]`: they know nothing of channels or
//! images.

use crate::cpu::{Call, Kernel};
use crate::simd::{MAX_LANES, Simd, Vectorized};
use crate::{Exec, Task, count_pieces, expect_len, math};
use get_size2::GetSize;

/// Elements of an inner axis that are handled at a time: what is known of them stays in L1.
const BLOCK: usize = 256;

/// Calls `f([extent][inner], [inner])` for each outer index of `x`, which is `[outer][extent][inner]`, and `out`.
#[inline(always)]
fn reduce(x: &[f32], [extent, inner]: [usize; 2], out: &mut [f32], exec: Exec, f: impl Fn(&[f32], &mut [f32]) + Sync) {
    let outer = count_pieces("output", out, inner);
    expect_len("input", x, outer * extent * inner);
    let len = extent * inner;
    exec.for_each_chunk(
        out,
        inner,
        #[inline(always)]
        |i, out| f(&x[i * len..][..len], out),
    );
}

/// What many elements become.
#[derive(GetSize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
    /// Their product.
    Product,
    /// The largest one; NaN if one is.
    Max,
    /// The smallest one; NaN if one is.
    Min,
    /// The sum of their magnitudes.
    SumOfMagnitudes,
    /// The sum of their squares.
    SumOfSquares,
}

/// What a [`Reduction`] makes of the middle axis of `[outer][extent][inner]`.
#[derive(GetSize, Clone, Copy, Debug)]
pub struct ReduceTask {
    /// Which one.
    pub reduction: Reduction,
    /// Elements that become one.
    pub extent: usize,
    /// Elements from one of them to the next.
    pub inner: usize,
}

impl Task for ReduceTask {
    fn kind(&self) -> &'static str {
        if self.reduction == Reduction::Mean { "mean" } else { "reduce" }
    }
}

impl Kernel for ReduceTask {
    fn compute(&self, call: Call<'_>) {
        self.run(call.reads.get(0), call.out, call.exec);
    }
}

impl ReduceTask {
    /// `x` is `[outer][extent][inner]`, `out` is `[outer][inner]`.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, x: &[f32], out: &mut [f32], exec: Exec) {
        let (axis, wide) = ([self.extent, self.inner], f64::from);
        let add = |a: f64, b: f64| a + b;
        let larger = |a: f64, b: f64| if b > a || b.is_nan() { b } else { a };
        let smaller = |a: f64, b: f64| if b < a || b.is_nan() { b } else { a };
        match self.reduction {
            Reduction::Mean => mean(x, self.extent, self.inner, out, exec),
            Reduction::Sum => sum().run(x, axis, out, exec),
            Reduction::Product => Fold::new(1.0, |all, x| all * wide(x), |a, b| a * b).run(x, axis, out, exec),
            Reduction::Max => Fold::new(f64::NEG_INFINITY, |all, x| larger(all, wide(x)), larger).run(x, axis, out, exec),
            Reduction::Min => Fold::new(f64::INFINITY, |all, x| smaller(all, wide(x)), smaller).run(x, axis, out, exec),
            Reduction::SumOfMagnitudes => Fold::new(0.0, |all, x| all + wide(x).abs(), add).run(x, axis, out, exec),
            Reduction::SumOfSquares => Fold::new(0.0, |all, x| all + wide(x) * wide(x), add).run(x, axis, out, exec),
        }
    }
}

/// Mean over the middle axis: `x` is `[outer][extent][inner]`, `out` is `[outer][inner]`.
///
/// # Panics
/// If a slice has another length than the shapes call for.
pub fn mean(x: &[f32], extent: usize, inner: usize, out: &mut [f32], exec: Exec) {
    Fold { divisor: extent as f64, ..sum() }.run(x, [extent, inner], out, exec);
}

/// The sum of a line.
fn sum() -> Fold<impl Fn(f64, f32) -> f64 + Copy + Sync, impl Fn(f64, f64) -> f64 + Copy + Sync> {
    Fold::new(0.0, |sum, x| sum + f64::from(x), |a, b| a + b)
}

/// Results that are made side by side where few elements lie between those of one line.
const SIDE_BY_SIDE: usize = 16;

/// How a line becomes one element: from `start`, `add` takes in element after element, in several turns, and `join` puts their results
/// together; a divisor comes last.
#[derive(Clone, Copy)]
struct Fold<A, J> {
    start: f64,
    add: A,
    join: J,
    divisor: f64,
}

impl<A: Fn(f64, f32) -> f64 + Copy + Sync, J: Fn(f64, f64) -> f64 + Copy + Sync> Fold<A, J> {
    fn new(start: f64, add: A, join: J) -> Self {
        Fold { start, add, join, divisor: 1.0 }
    }

    /// `x` is `[outer][extent][inner]`, `out` is `[outer][inner]`.
    fn run(self, x: &[f32], [extent, inner]: [usize; 2], out: &mut [f32], exec: Exec) {
        let Fold { start, add, join, divisor } = self;
        reduce(
            x,
            [extent, inner],
            out,
            exec,
            #[inline(always)]
            |x, out| {
                if let [out] = out {
                    *out = (math::fold(x, start, add, join) / divisor) as f32;
                    return;
                }
                if SIDE_BY_SIDE.is_multiple_of(inner) {
                    return self.run_short_rows(x, out);
                }
                for (block, out) in out.chunks_mut(BLOCK).enumerate() {
                    let mut all = [start; BLOCK];
                    for x in x.chunks_exact(inner) {
                        for (all, &x) in all[..out.len()].iter_mut().zip(&x[block * BLOCK..]) {
                            *all = add(*all, x);
                        }
                    }
                    for (o, all) in out.iter_mut().zip(all) {
                        *o = (all / divisor) as f32;
                    }
                }
            },
        );
    }

    /// As [`Self::run`], of `[extent][inner]`, where [`SIDE_BY_SIDE`] is a multiple of `inner`.
    #[inline(always)]
    fn run_short_rows(self, x: &[f32], out: &mut [f32]) {
        let Fold { start, add, join, divisor } = self;
        let mut each = [start; SIDE_BY_SIDE];
        let (blocks, rest) = x.as_chunks::<SIDE_BY_SIDE>();
        for block in blocks {
            for i in 0..SIDE_BY_SIDE {
                each[i] = add(each[i], block[i]);
            }
        }
        // A copy: what is indexed by variables does not stay in registers.
        let mut all = [start; SIDE_BY_SIDE];
        all.copy_from_slice(&each);
        all.iter_mut().zip(rest).for_each(|(all, x)| *all = add(*all, *x));
        let inner = out.len();
        for (i, o) in out.iter_mut().enumerate() {
            *o = (all[i..].iter().step_by(inner).fold(start, |a, b| join(a, *b)) / divisor) as f32;
        }
    }
}

/// The position of the largest element along the middle axis of `[outer][extent][inner]`.
#[derive(GetSize, Clone, Copy, Debug)]
pub struct ArgMaxTask {
    /// Elements that are compared.
    pub extent: usize,
    /// Elements from one of them to the next.
    pub inner: usize,
    /// Whether the last of equal ones is taken instead of the first.
    pub last: bool,
}

impl Task for ArgMaxTask {
    fn kind(&self) -> &'static str {
        "arg max"
    }
}

impl Kernel for ArgMaxTask {
    fn compute(&self, call: Call<'_>) {
        arg_max(call.reads.get(0), self.extent, self.inner, self.last, call.out, call.exec);
    }
}

/// Position of the largest element along the middle axis, as f32: `x` is `[outer][extent][inner]`, `out` is `[outer][inner]`. Of
/// equal ones the first, or the `last`. NaN is larger than nothing, but nothing is larger than one at position 0.
///
/// # Panics
/// If a slice has another length than the shapes call for.
pub fn arg_max(x: &[f32], extent: usize, inner: usize, last: bool, out: &mut [f32], exec: Exec) {
    reduce(
        x,
        [extent, inner],
        out,
        exec,
        #[inline(always)]
        |x, out| {
            if let [out] = out {
                *out = position_of_largest(x, last) as f32;
                return;
            }
            for (block, out) in out.chunks_mut(BLOCK).enumerate() {
                let mut largest = [f32::NEG_INFINITY; BLOCK];
                out.fill(0.0);
                for (position, x) in x.chunks_exact(inner).enumerate() {
                    for ((o, largest), &v) in out.iter_mut().zip(&mut largest).zip(&x[block * BLOCK..]) {
                        let wins = position == 0 || if last { v >= *largest } else { v > *largest };
                        *o = if wins { position as f32 } else { *o };
                        *largest = if wins { v } else { *largest };
                    }
                }
            }
        },
    );
}

#[inline(always)]
fn position_of_largest(x: &[f32], last: bool) -> usize {
    if x.first().is_none_or(|first| first.is_nan()) {
        return 0;
    }
    let largest = math::largest(x);
    let found = if last { x.iter().rposition(|&v| v == largest) } else { x.iter().position(|&v| v == largest) };
    found.unwrap_or(0)
}

/// A copy of a tensor in another order of its axes.
#[derive(GetSize, Clone, Debug)]
pub struct StridedCopy {
    /// Extent and stride in the input of each axis of the output, merged as far as possible.
    axes: Vec<(usize, usize)>,
    /// The first of the axes that are copied together: in tiles, if they are more than the last one.
    tiled: usize,
    len: usize,
}

impl Task for StridedCopy {
    fn kind(&self) -> &'static str {
        "strided copy"
    }
}

impl Kernel for StridedCopy {
    fn compute(&self, call: Call<'_>) {
        self.run(call.reads.get(0), call.out, call.exec);
    }
}

impl StridedCopy {
    /// The output is row-major of extents `shape`; its element at index (i, j, ...) is the input's element
    /// `i * strides[0] + j * strides[1] + ...`. Strides of 0 repeat.
    ///
    /// # Panics
    /// If shape and strides differ in length.
    pub fn new(shape: &[usize], strides: &[usize]) -> Self {
        assert_eq!(shape.len(), strides.len(), "one stride for each axis");
        let mut axes: Vec<(usize, usize)> = Vec::new();
        for (&extent, &stride) in shape.iter().zip(strides).filter(|(extent, _)| **extent != 1) {
            match axes.last_mut() {
                Some(last) if last.1 == extent * stride => *last = (last.0 * extent, stride),
                _ => axes.push((extent, stride)),
            }
        }
        let last = axes.len().saturating_sub(1);
        let tiled = match axes.last() {
            // Neighbours of the input lie along another axis than those of the output.
            Some((_, 2..)) => axes.iter().position(|&(_, stride)| stride == 1).unwrap_or(last),
            _ => last,
        };
        StridedCopy { axes, tiled, len: shape.iter().product() }
    }

    /// Extent and stride in the input of each axis of the output, outermost first.
    #[cfg(feature = "cuda")]
    pub(crate) fn axes(&self) -> &[(usize, usize)] {
        &self.axes
    }

    /// Elements of the output.
    #[cfg(feature = "cuda")]
    pub(crate) fn output_len(&self) -> usize {
        self.len
    }

    /// # Panics
    /// If the slices do not fit shape and strides.
    pub fn run(&self, x: &[f32], out: &mut [f32], exec: Exec) {
        expect_len("output", out, self.len);
        let (outer, inner) = self.axes.split_at(self.tiled);
        let len = inner.iter().map(|a| a.0).product();
        exec.for_each_chunk(
            out,
            len,
            #[inline(always)]
            |i, out| {
                let x = &x[offset(outer, i)..];
                match *inner {
                    [] | [(_, 1)] => out.copy_from_slice(&x[..out.len()]),
                    [(_, 0)] => out.fill(x[0]),
                    [(_, stride)] => {
                        for (i, o) in out.iter_mut().enumerate() {
                            *o = x[i * stride];
                        }
                    }
                    [(rows, _), ref middle @ .., (columns, stride)] => {
                        let pitch = out.len() / rows;
                        for (i, start) in (0..pitch).step_by(columns).enumerate() {
                            let (x, out) = (&x[offset(middle, i)..], &mut out[start..]);
                            exec.isa.dispatch(Transpose { x, stride, rows, columns, out, pitch });
                        }
                    }
                }
            },
        );
    }
}

/// Where index `i` of the axes, in row-major order, begins in the input.
#[inline(always)]
fn offset(axes: &[(usize, usize)], mut i: usize) -> usize {
    let mut at = 0;
    for &(extent, stride) in axes.iter().rev() {
        at += i % extent * stride;
        i /= extent;
    }
    at
}

/// `out[row][column] = x[column][row]`, in rows of `pitch` and of `stride` elements.
struct Transpose<'a> {
    x: &'a [f32],
    stride: usize,
    rows: usize,
    columns: usize,
    out: &'a mut [f32],
    pitch: usize,
}

impl Vectorized for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Transpose { x, stride, rows, columns, out, pitch } = self;
        simd.vectorize(
            #[inline(always)]
            || {
                for row in (0..rows).step_by(S::LANES) {
                    let height = S::LANES.min(rows - row);
                    for column in (0..columns).step_by(S::LANES) {
                        let width = S::LANES.min(columns - column);
                        let mut square = [simd.splat(0.0); MAX_LANES];
                        for (i, vector) in square[..width].iter_mut().enumerate() {
                            *vector = simd.get_first(&x[row + (column + i) * stride..][..height]);
                        }
                        simd.transpose(&mut square);
                        for (i, vector) in square[..height].iter().enumerate() {
                            simd.put_first(&mut out[(row + i) * pitch + column..][..width], *vector);
                        }
                    }
                }
            },
        );
    }
}
