//! Pooling, plane by plane (where channels lie in blocks: `blocks.rs`). Windows may hang over the input's edge; what lies outside never wins a maximum and is not summed.
//!
//! The input rows that a window sees are combined first, into a row that has room for the padding: then each output combines
//! neighbours in that row, and no loop needs to know where the input ends.

mod blocks;

use crate::conv::Geometry;
use crate::cpu::{self, Call, Kernel};
use crate::layout::{Extents, Forms, Layout, Layouts};
use crate::simd::{MAX_LANES, Simd, Vectorized};
use crate::{Activation, Exec, Task, activation, axis, count_pieces, expect_len, math};
use blocks::PoolBlocks;
use get_size2::GetSize;

/// Output rows that are begun before the first one is finished: a processor waits where it reads what it has just written in
/// vectors that begin elsewhere.
const ROWS: usize = 16;

/// How a window becomes one element.
#[derive(GetSize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// The largest; NaN if one is.
    Max,
    /// Sum over the count of positions inside the input.
    Mean,
    /// Sum over the count of positions inside the padded input, whose end is `pad_after` (vertical, horizontal) behind the
    /// input's: ceil-mode windows may hang over even that.
    MeanWithPadding {
        /// Rows below, columns after.
        pad_after: [usize; 2],
    },
}

/// Windows of each plane are reduced to one element each.
#[derive(GetSize, Clone, Debug)]
pub struct PoolTask {
    /// Images that are computed at once.
    pub images: usize,
    /// Sizes of a plane and its windows.
    pub geometry: Geometry,
    /// How a window becomes one element.
    pub reduce: Reduce,
    /// Applied last.
    #[get_size(ignore)]
    pub activation: Activation,
}

impl Task for PoolTask {
    fn kind(&self) -> &'static str {
        "pool"
    }

    fn operations(&self, written: usize) -> usize {
        let Geometry { kernel: [height, width], input, output, .. } = self.geometry;
        let rows_first = written.saturating_mul(width).saturating_add(written / output[1].max(1) * input[1] * height);
        written.saturating_mul(height.saturating_mul(width)).max(rows_first)
    }
}

impl cpu::Task for PoolTask {
    /// In planes, windows are combined row by row, then column by column, where strides cost shuffles; in blocks, tap by tap.
    fn forms(&self, target: &cpu::Target) -> Forms {
        let (g, lanes) = (&self.geometry, target.isa.lanes());
        let [reads, writes] =
            [g.input_len(), g.output_len()].map(|plane| Extents { images: self.images, channels: g.channels, plane });
        let in_planes = g.output[0] * (g.kernel[0] * g.input[1] + 3 * g.kernel[1] * g.output[1]);
        let planes = (self.images * g.channels * in_planes) as f64 / lanes as f64;
        let blocks = (self.images * g.channels.div_ceil(lanes) * g.output_len() * g.kernel[0] * g.kernel[1]) as f64;
        Forms::Some { reads: vec![reads], writes, costs: vec![(Layouts::PLANES, planes), (Layouts::BLOCKS, blocks)] }
    }

    fn most_table_bytes(&self, _: &cpu::Target) -> usize {
        cpu::KERNEL + 64 * (self.geometry.output[0] + self.geometry.output[1])
    }

    fn prepare(self: Box<Self>, target: &cpu::Target) -> Box<dyn Kernel> {
        match target.layouts.reads {
            Layout::Planes => Box::new(PreparedPool::new(*self, target.threads)),
            Layout::Blocks => Box::new(PoolBlocks::new(*self, target.isa)),
        }
    }
}

impl Kernel for PreparedPool {
    fn scratch_len(&self) -> usize {
        self.scratch_len()
    }

    fn compute(&self, call: Call<'_>) {
        self.run(call.reads.get(0), call.out, call.scratch, call.exec);
    }
}

/// A pooling layer with everything decided that shapes decide.
#[derive(GetSize, Debug)]
pub struct PreparedPool {
    geometry: Geometry,
    reduce: Reduce,
    #[get_size(ignore)]
    activation: Activation,
    threads: usize,
    /// For each output row, the first input row that its windows see, and how many rows they see.
    rows: Vec<(usize, usize)>,
    /// Elements of a combined row with its padding.
    pitch: usize,
    /// For each output row and each output column, how many taps a mean counts.
    counts: [Vec<f32>; 2],
}

impl PreparedPool {
    /// On `threads` threads at most.
    pub fn new(task: PoolTask, threads: usize) -> Self {
        let PoolTask { geometry, reduce, activation, .. } = task;
        let g = &geometry;
        let rows = (0..g.output[0]).map(|oh| {
            let taps = g.taps_inside(0, oh);
            (if taps.is_empty() { 0 } else { g.source(0, taps.start, oh) }, taps.len())
        });
        // Windows are read in whole vectors.
        let windows = g.output[1].next_multiple_of(MAX_LANES) * g.strides[1] + (g.kernel[1] - 1) * g.dilations[1];
        let pitch = windows.max(g.pad_before[1] + g.input[1]).next_multiple_of(MAX_LANES);
        PreparedPool { rows: rows.collect(), pitch, counts: counts(g, reduce), geometry, reduce, activation, threads }
    }

    /// Elements of scratch memory that one thread needs.
    fn block_len(&self) -> usize {
        self.pitch.saturating_mul(ROWS.min(self.rows.len()))
    }

    /// Elements of scratch memory that [`Self::run`] needs.
    pub fn scratch_len(&self) -> usize {
        self.threads.saturating_mul(self.block_len())
    }

    /// `x` is `[planes][H][W]`, `out` is `[planes][OH][OW]`.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for, or `scratch` is too short.
    pub fn run(&self, x: &[f32], out: &mut [f32], scratch: &mut [f32], exec: Exec) {
        let (input, output) = (self.geometry.input_len(), self.geometry.output_len());
        let planes = count_pieces("output", out, output);
        expect_len("input", x, planes * input);
        let scratch = &mut scratch[..self.scratch_len()];
        let each = planes.div_ceil(self.threads);
        exec.threading.zip_with_scratch(out, each * output, scratch, self.block_len(), |i, out, block| {
            exec.isa.dispatch(Planes { pool: self, x: &x[i * each * input..], out, block });
        });
    }
}

/// For each output row and each output column, how many taps a mean counts.
fn counts(g: &Geometry, reduce: Reduce) -> [Vec<f32>; 2] {
    let count = |axis: usize, out: usize| match reduce {
        Reduce::Max | Reduce::Mean => g.taps_inside(axis, out).len(),
        Reduce::MeanWithPadding { pad_after } => {
            let padded = g.pad_before[axis] + g.input[axis] + pad_after[axis];
            padded.saturating_sub(out * g.strides[axis]).div_ceil(g.dilations[axis]).min(g.kernel[axis])
        }
    };
    [0, 1].map(|axis| (0..g.output[axis]).map(|out| count(axis, out) as f32).collect())
}

/// Some planes of a pooling layer, for any instruction set.
struct Planes<'a> {
    pool: &'a PreparedPool,
    x: &'a [f32],
    out: &'a mut [f32],
    block: &'a mut [f32],
}

impl Vectorized for Planes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // The loops over the taps of windows that everyone uses are unrolled.
        match (self.pool.geometry.kernel, self.pool.geometry.strides[1]) {
            ([2, 2], 2) => self.reduce::<S, 2, 2>(simd),
            ([3, 3], 1) => self.reduce::<S, 3, 1>(simd),
            ([3, 3], 2) => self.reduce::<S, 3, 2>(simd),
            (_, 1) => self.reduce::<S, 0, 1>(simd),
            (_, 2) => self.reduce::<S, 0, 2>(simd),
            _ => self.reduce::<S, 0, 0>(simd),
        }
    }
}

impl Planes<'_> {
    /// For windows of `TAPS` rows and columns, `STRIDE` columns apart; 0 stands for any count.
    fn reduce<S: Simd, const TAPS: usize, const STRIDE: usize>(mut self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            || match self.pool.reduce {
                Reduce::Max => {
                    self.combine::<S, TAPS, STRIDE>(
                        simd,
                        f32::NEG_INFINITY,
                        #[inline(always)]
                        |x, all| simd.maximum(x, all),
                    );
                }
                Reduce::Mean | Reduce::MeanWithPadding { .. } => {
                    self.combine::<S, TAPS, STRIDE>(
                        simd,
                        0.0,
                        #[inline(always)]
                        |x, all| simd.add(x, all),
                    );
                    self.divide();
                }
            },
        );
        if let Some(function) = self.pool.activation.function() {
            activation::of_elements(simd, function, self.out);
        }
    }

    #[inline(always)]
    fn combine<S: Simd, const TAPS: usize, const STRIDE: usize>(
        &mut self,
        simd: S,
        start: f32,
        f: impl Fn(S::Vector, S::Vector) -> S::Vector + Copy,
    ) {
        let g = &self.pool.geometry;
        let (width, out_width, pitch, pad) = (g.input[1], g.output[1], self.pool.pitch, g.pad_before[1]);
        let [row_step, step] = [g.dilations[0] * width, g.dilations[1]];
        let (taps, stride) = (g.kernel[1], g.strides[1]);
        // What lies around the input stays as it is from here on.
        self.block.fill(start);
        let start = simd.splat(start);
        for (x, out) in self.x.chunks_exact(g.input_len()).zip(self.out.chunks_exact_mut(g.output_len())) {
            for (rows, out) in self.pool.rows.chunks(ROWS).zip(out.chunks_mut(ROWS * out_width)) {
                for (&(first, count), row) in rows.iter().zip(self.block.chunks_exact_mut(pitch)) {
                    let rows = Taps { x: &x[first * width..], step: row_step, count, stride: 1 };
                    let row = &mut row[pad..pad + width];
                    // Fewer at the upper and the lower edge.
                    if count == TAPS {
                        rows.combine::<S, TAPS, 1>(simd, start, row, f);
                    } else {
                        rows.combine::<S, 0, 1>(simd, start, row, f);
                    }
                }
                for (out, row) in out.chunks_exact_mut(out_width).zip(self.block.chunks_exact(pitch)) {
                    Taps { x: row, step, count: taps, stride }.combine::<S, TAPS, STRIDE>(simd, start, out, f);
                }
            }
        }
    }

    /// Makes means of sums.
    #[inline(always)]
    fn divide(&mut self) {
        let [rows, columns] = &self.pool.counts;
        for plane in self.out.chunks_exact_mut(self.pool.geometry.output_len()) {
            for (out, rows) in plane.chunks_exact_mut(columns.len()).zip(rows) {
                for (o, columns) in out.iter_mut().zip(columns) {
                    *o /= (rows * columns).max(1.0);
                }
            }
        }
    }
}

/// Elements that are combined: tap `t` of output `i` is `x[t * step + i * stride]`.
struct Taps<'a> {
    x: &'a [f32],
    step: usize,
    count: usize,
    stride: usize,
}

impl Taps<'_> {
    /// Folds `COUNT` taps of each output, `STRIDE` elements from output to output, where 0 stands for any count.
    #[inline(always)]
    fn combine<S: Simd, const COUNT: usize, const STRIDE: usize>(
        &self,
        simd: S,
        start: S::Vector,
        out: &mut [f32],
        f: impl Fn(S::Vector, S::Vector) -> S::Vector,
    ) {
        let len = out.len();
        let stride = if STRIDE == 0 { self.stride } else { STRIDE };
        // Slices of one length: what is read is checked once for all of them.
        let reach = if STRIDE == 1 { len } else { len.next_multiple_of(S::LANES) * stride };
        let mut taps = [&self.x[..0]; COUNT];
        for (tap, x) in taps.iter_mut().enumerate() {
            *x = &self.x[tap * self.step..][..reach];
        }
        let mut at = 0;
        while at < len {
            let mut all = start;
            for tap in taps {
                all = f(every::<S, STRIDE>(simd, stride, &tap[at * stride..]), all);
            }
            if COUNT == 0 {
                for tap in 0..self.count {
                    all = f(every::<S, STRIDE>(simd, stride, &self.x[tap * self.step + at * stride..]), all);
                }
            }
            match &mut out[at..] {
                out if out.len() < S::LANES => simd.put_first(out, all),
                out => simd.put(out, all),
            }
            at += S::LANES;
        }
    }
}

/// A vector of elements that lie `STRIDE` apart, or `stride` if that is 0. At 1, as many as there are.
#[inline(always)]
fn every<S: Simd, const STRIDE: usize>(simd: S, stride: usize, x: &[f32]) -> S::Vector {
    match STRIDE {
        0 => {
            let mut elements = [0.0; MAX_LANES];
            for (lane, element) in elements[..S::LANES].iter_mut().enumerate() {
                *element = x[lane * stride];
            }
            simd.get(&elements)
        }
        1 if x.len() < S::LANES => simd.get_first(x),
        1 => simd.get(x),
        _ => simd.get_every::<STRIDE>(x),
    }
}

/// The largest element of each plane, or its mean.
#[derive(GetSize, Clone, Copy, Debug)]
pub struct GlobalPoolTask {
    /// Images that are computed at once.
    pub images: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Elements of a plane.
    pub plane: usize,
    /// Which of the two.
    pub reduce: GlobalReduce,
}

/// How a plane becomes one element.
#[derive(GetSize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobalReduce {
    /// The largest element; NaN if one is.
    Max,
    /// The mean of all.
    Mean,
}

impl Task for GlobalPoolTask {
    fn kind(&self) -> &'static str {
        "global pool"
    }
}

impl cpu::Task for GlobalPoolTask {
    fn forms(&self, target: &cpu::Target) -> Forms {
        let &GlobalPoolTask { images, channels, plane, .. } = self;
        let [reads, writes] = [plane, 1].map(|plane| Extents { images, channels, plane });
        let blocks = (reads.len(Layout::Blocks, target.isa) / target.isa.lanes()) as f64;
        Forms::Some { reads: vec![reads], writes, costs: vec![(Layouts::PLANES, blocks), (Layouts::BLOCKS, blocks)] }
    }

    fn most_table_bytes(&self, _: &cpu::Target) -> usize {
        cpu::KERNEL
    }

    fn prepare(self: Box<Self>, target: &cpu::Target) -> Box<dyn Kernel> {
        let inner = target.layouts.reads.lanes(target.isa);
        Box::new(PreparedGlobalPool { plane: self.plane, inner, reduce: self.reduce })
    }
}

/// A reduction of whole planes, of which `inner` lie side by side.
#[derive(GetSize, Debug)]
struct PreparedGlobalPool {
    plane: usize,
    inner: usize,
    reduce: GlobalReduce,
}

impl Kernel for PreparedGlobalPool {
    fn compute(&self, call: Call<'_>) {
        let x = call.reads.get(0);
        match self.reduce {
            GlobalReduce::Max => global_max(x, self.plane, self.inner, call.out, call.exec),
            GlobalReduce::Mean => axis::mean(x, self.plane, self.inner, call.out, call.exec),
        }
    }
}

/// Largest element of each plane, NaN if one is: `x` is `[outer][plane][inner]`, `out` is `[outer][inner]`.
///
/// # Panics
/// If a slice has another length than the shapes call for.
pub fn global_max(x: &[f32], plane: usize, inner: usize, out: &mut [f32], exec: Exec) {
    expect_len("input", x, out.len() * plane);
    let len = plane * inner;
    exec.for_each_chunk(
        out,
        inner,
        #[inline(always)]
        |i, out| {
            let x = &x[i * len..][..len];
            if let [out] = out {
                *out = math::fold(x, f32::NEG_INFINITY, math::maximum, math::maximum);
                return;
            }
            out.fill(f32::NEG_INFINITY);
            for x in x.chunks_exact(inner) {
                out.iter_mut().zip(x).for_each(|(largest, &x)| *largest = math::maximum(*largest, x));
            }
        },
    );
}
