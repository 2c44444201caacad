//! Pooling where channels lie in blocks: lanes are channels, so each tap of a window is one vector, and taps outside are left out.

use super::{PoolTask, Reduce, counts};
use crate::cpu::{Call, Kernel};
use crate::simd::{Isa, Simd, Vectorized};
use crate::{activation, count_pieces, expect_len};
use get_size2::GetSize;
use std::ops::Range;

/// A pooling layer over blocks, with everything decided that shapes decide.
#[derive(GetSize, Debug)]
pub(super) struct PoolBlocks {
    isa: Isa,
    task: PoolTask,
    /// For each output row and each output column, the rows and columns of the window that find input.
    taps: [Vec<Range<usize>>; 2],
    /// For each output row and each output column, how many taps a mean counts.
    counts: [Vec<f32>; 2],
}

impl PoolBlocks {
    pub(super) fn new(task: PoolTask, isa: Isa) -> Self {
        let geometry = &task.geometry;
        let taps = [0, 1].map(|axis| (0..geometry.output[axis]).map(|out| geometry.taps_inside(axis, out)).collect());
        PoolBlocks { isa, taps, counts: counts(geometry, task.reduce), task }
    }
}

impl Kernel for PoolBlocks {
    fn compute(&self, Call { reads, out, exec, .. }: Call<'_>) {
        let lanes = self.isa.lanes();
        let (input_len, output_len) = (self.task.geometry.input_len() * lanes, self.task.geometry.output_len() * lanes);
        let (x, blocks) = (reads.get(0), count_pieces("output", out, output_len));
        expect_len("input", x, blocks * input_len);
        exec.threading.for_each_chunk(out, output_len, |i, out| {
            self.isa.dispatch(Block { pool: self, x: &x[i * input_len..][..input_len], out });
        });
    }
}

/// One block.
struct Block<'a> {
    pool: &'a PoolBlocks,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Vectorized for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            || match self.pool.task.reduce {
                Reduce::Max => self.combine(
                    simd,
                    f32::NEG_INFINITY,
                    #[inline(always)]
                    |x, all| simd.maximum(x, all),
                    false,
                ),
                Reduce::Mean | Reduce::MeanWithPadding { .. } => self.combine(
                    simd,
                    0.0,
                    #[inline(always)]
                    |x, all| simd.add(x, all),
                    true,
                ),
            },
        );
        if let Some(function) = self.pool.task.activation.function() {
            activation::of_elements(simd, function, self.out);
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn combine<S: Simd>(&mut self, simd: S, start: f32, f: impl Fn(S::Vector, S::Vector) -> S::Vector, divides: bool) {
        let PoolBlocks { task, taps: [rows, columns], counts: [row_counts, column_counts], .. } = self.pool;
        let geometry = &task.geometry;
        let width = geometry.output[1];
        for (row, out) in self.out.chunks_exact_mut(width * S::LANES).enumerate() {
            for (column, out) in out.chunks_exact_mut(S::LANES).enumerate() {
                let mut all = simd.splat(start);
                for kh in rows[row].clone() {
                    let line = geometry.source(0, kh, row) * geometry.input[1];
                    for kw in columns[column].clone() {
                        let at = (line + geometry.source(1, kw, column)) * S::LANES;
                        all = f(simd.get(&self.x[at..]), all);
                    }
                }
                simd.put(out, all);
                if divides {
                    let count = (row_counts[row] * column_counts[column]).max(1.0);
                    out.iter_mut().for_each(|o| *o /= count);
                }
            }
        }
    }
}
