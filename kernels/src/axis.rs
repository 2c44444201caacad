//! Operations along one axis, and reordering of axes. A tensor is seen as `[outer][axis][inner]`: they know nothing of channels or
//! images.

use crate::cpu::{self, Call, Kernel};
use crate::{Exec, Task, count_pieces, expect_len, math};

/// Elements of an inner axis that are handled at a time: what is known of them stays in L1.
const BLOCK: usize = 256;

/// Where a position of the new axis comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum From {
    /// The old axis's position of this index.
    Position(usize),
    /// It has this value everywhere.
    Constant(f32),
    /// `(1 - share)` of the first position and `share` of the second.
    Between(usize, usize, f32),
}

/// The middle axis of `[outer][extent][inner]` is rebuilt from what it was.
#[derive(Clone, Debug)]
pub struct RemapTask {
    /// Positions of the old axis.
    pub extent: usize,
    /// Elements from one position to the next.
    pub inner: usize,
    /// Where each position of the new axis comes from.
    pub sources: Vec<From>,
}

impl Task for RemapTask {
    fn kind(&self) -> &'static str {
        "remap"
    }
}

impl cpu::Task for RemapTask {
    fn prepare(self: Box<Self>, _: &cpu::Target) -> Box<dyn Kernel> {
        Box::new(Remap::new(self.extent, self.inner, &self.sources))
    }
}

impl Kernel for Remap {
    fn compute(&self, call: Call<'_>) {
        self.run(call.reads.get(0), call.out, call.exec);
    }
}

/// An axis that is rebuilt from what it was, with neighbouring positions of one kind put together.
#[derive(Debug)]
pub struct Remap {
    extent: usize,
    inner: usize,
    /// Positions of the new axis.
    len: usize,
    runs: Vec<Run>,
}

/// Neighbouring positions of a new axis.
#[derive(Debug)]
enum Run {
    Constant {
        value: f32,
        len: usize,
    },
    /// Old positions, `step` apart.
    Positions {
        first: usize,
        step: usize,
        len: usize,
    },
    /// For each one the two old ones, and the share of the second.
    Between(Vec<(usize, usize, f32)>),
}

impl Remap {
    /// Builds `[outer][sources][inner]` from `[outer][extent][inner]`.
    ///
    /// # Panics
    /// If a position lies outside `extent`.
    pub fn new(extent: usize, inner: usize, sources: &[From]) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for source in sources {
            match (*source, runs.last_mut()) {
                (From::Constant(new), Some(Run::Constant { value, len })) if new.to_bits() == value.to_bits() => *len += 1,
                (From::Constant(value), _) => runs.push(Run::Constant { value, len: 1 }),
                (From::Position(p), Some(Run::Positions { first, step, len })) if *len == 1 && p >= *first => {
                    (*step, *len) = (p - *first, 2);
                }
                (From::Position(p), Some(Run::Positions { first, step, len })) if p == *first + *step * *len => *len += 1,
                (From::Position(first), _) => runs.push(Run::Positions { first, step: 1, len: 1 }),
                (From::Between(a, b, share), Some(Run::Between(pairs))) => pairs.push((a, b, share)),
                (From::Between(a, b, share), _) => runs.push(Run::Between(vec![(a, b, share)])),
            }
            let highest = match *source {
                From::Position(p) => Some(p),
                From::Between(a, b, _) => Some(a.max(b)),
                From::Constant(_) => None,
            };
            assert!(highest.is_none_or(|p| p < extent), "{source:?} of {extent} positions");
        }
        Remap { extent, inner, len: sources.len(), runs }
    }

    /// `x` is `[outer][extent][inner]`, `out` is `[outer][sources][inner]`.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, x: &[f32], out: &mut [f32], exec: Exec) {
        let (from, to) = (self.extent * self.inner, self.len * self.inner);
        if to == 0 {
            return expect_len("output", out, 0);
        }
        expect_len("input", x, count_pieces("output", out, to) * from);
        exec.for_each_chunk(
            out,
            to,
            #[inline(always)]
            |i, out| self.rebuild(&x[i * from..][..from], out),
        );
    }

    #[inline(always)]
    fn rebuild(&self, x: &[f32], mut out: &mut [f32]) {
        let inner = self.inner;
        for run in &self.runs {
            let len = match run {
                Run::Constant { len, .. } | Run::Positions { len, .. } => *len,
                Run::Between(pairs) => pairs.len(),
            };
            let (run_out, rest) = out.split_at_mut(len * inner);
            out = rest;
            match *run {
                Run::Constant { value, .. } => run_out.fill(value),
                Run::Positions { first, step: 1, .. } => run_out.copy_from_slice(&x[first * inner..][..len * inner]),
                Run::Positions { first, step, .. } if inner == 1 => {
                    for (i, o) in run_out.iter_mut().enumerate() {
                        *o = x[first + i * step];
                    }
                }
                Run::Positions { first, step, .. } => {
                    for (i, o) in run_out.chunks_exact_mut(inner).enumerate() {
                        o.copy_from_slice(&x[(first + i * step) * inner..][..inner]);
                    }
                }
                Run::Between(ref pairs) if inner == 1 => {
                    for (o, &(a, b, share)) in run_out.iter_mut().zip(pairs) {
                        *o = x[a] * (1.0 - share) + x[b] * share;
                    }
                }
                Run::Between(ref pairs) => {
                    for (out, &(a, b, share)) in run_out.chunks_exact_mut(inner).zip(pairs) {
                        for (o, (a, b)) in out.iter_mut().zip(x[a * inner..].iter().zip(&x[b * inner..])) {
                            *o = a * (1.0 - share) + b * share;
                        }
                    }
                }
            }
        }
    }
}

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

/// The mean over the middle axis of `[outer][extent][inner]`.
#[derive(Clone, Copy, Debug)]
pub struct MeanTask {
    /// Elements that each mean is of.
    pub extent: usize,
    /// Elements from one of them to the next.
    pub inner: usize,
}

impl Task for MeanTask {
    fn kind(&self) -> &'static str {
        "mean"
    }
}

impl Kernel for MeanTask {
    fn compute(&self, call: Call<'_>) {
        mean(call.reads.get(0), self.extent, self.inner, call.out, call.exec);
    }
}

/// Mean over the middle axis: `x` is `[outer][extent][inner]`, `out` is `[outer][inner]`.
///
/// # Panics
/// If a slice has another length than the shapes call for.
pub fn mean(x: &[f32], extent: usize, inner: usize, out: &mut [f32], exec: Exec) {
    reduce(
        x,
        [extent, inner],
        out,
        exec,
        #[inline(always)]
        |x, out| {
            if let [out] = out {
                *out = (math::sum(x, |v| v) / extent as f64) as f32;
                return;
            }
            for (block, out) in out.chunks_mut(BLOCK).enumerate() {
                let mut sums = [0.0; BLOCK];
                for x in x.chunks_exact(inner) {
                    for (sum, &v) in sums[..out.len()].iter_mut().zip(&x[block * BLOCK..]) {
                        *sum += f64::from(v);
                    }
                }
                for (o, sum) in out.iter_mut().zip(sums) {
                    *o = (sum / extent as f64) as f32;
                }
            }
        },
    );
}

/// The position of the largest element along the middle axis of `[outer][extent][inner]`.
#[derive(Clone, Copy, Debug)]
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
/// equal ones the first, or the `last`; NaN is larger than nothing.
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
                        let wins = if last { v >= *largest } else { v > *largest };
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
    let largest = math::largest(x);
    let found = if last { x.iter().rposition(|&v| v == largest) } else { x.iter().position(|&v| v == largest) };
    found.unwrap_or(0)
}

/// A copy of a tensor in another order of its axes.
#[derive(Clone, Debug)]
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

/// Rows and columns of a tile: a cache line each.
const TILE: usize = 16;

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
                            transpose(&x[offset(middle, i)..], stride, [rows, columns], &mut out[start..], pitch);
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
#[inline(always)]
fn transpose(x: &[f32], stride: usize, [rows, columns]: [usize; 2], out: &mut [f32], pitch: usize) {
    for first_row in (0..rows).step_by(TILE) {
        for first in (0..columns).step_by(TILE) {
            for row in first_row..rows.min(first_row + TILE) {
                let out = &mut out[row * pitch + first..][..TILE.min(columns - first)];
                for (i, o) in out.iter_mut().enumerate() {
                    *o = x[row + (first + i) * stride];
                }
            }
        }
    }
}
