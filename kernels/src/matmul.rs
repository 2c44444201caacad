//! Products of two matrices that are both computed, mostly many at a time: what attention is made of.
//!
//! The second matrix is packed strip by strip: as many columns as a register tile has lanes, one row of them after the other. Each
//! strip is then multiplied with all rows of the first matrix, which are read where they lie, by the register tile whose lanes are
//! filters.
//!
//! Measured on one thread of a Zen 5 core with AVX-512, in 10^9 additions and multiplications a second, where 512^3 runs at 266:
//!
//! | products | this | onnxruntime 1.32 |
//! |---|---|---|
//! | 12 of 197 x 64 x 197, B transposed | 196 | 237 |
//! | 12 of 197 x 197 x 64 | 237 | 252 |
//! | 192 of 49 x 32 x 49, B transposed | 112 | 159 |
//! | 192 of 49 x 49 x 32 | 170 | 198 |
//!
//! What is missing where B is transposed is what packing takes: every element of B is read with 49 or 197 products, no more.

use crate::cpu::{self, Call, Kernel};
use crate::filter_tile::multiply_lines;
use crate::parallel::{Part, Partition, Window};
use crate::simd::{Isa, Simd, Vectorized};
use crate::tile::each_column;
use crate::{Task, balanced, expect_len};
use get_size2::GetSize;
use std::ops::Range;

/// Rows whose sums are taken before they are written: with the widest strip these are 12 KiB, which stay in L1.
const BLOCK_ROWS: usize = 64;

/// Rows of a strip that are multiplied at a time: with the widest strip these are 96 KiB, which stay in L2.
const BLOCK_INNER: usize = 512;

/// Pieces of work for each thread, so that threads end at about the same time.
const PIECES: usize = 4;

/// What products of matrices compute: `y = alpha A B` for each pair.
#[derive(GetSize, Clone, Debug, PartialEq)]
pub struct MatMulTask {
    /// Rows of each A.
    pub rows: usize,
    /// Columns of each A, rows of each B.
    pub inner: usize,
    /// Columns of each B.
    pub columns: usize,
    /// Whether A and B lie in memory column by column.
    pub transposed: [bool; 2],
    /// Factor of the products.
    pub alpha: f32,
    /// The axes along which there are several products, outermost first.
    pub batch: Vec<BatchAxis>,
}

/// An axis along which there are several products.
#[derive(GetSize, Clone, Copy, Debug, PartialEq)]
pub struct BatchAxis {
    /// How many.
    pub extent: usize,
    /// Elements from one A to the next, and from one B to the next: 0 where all products share it.
    pub strides: [usize; 2],
}

impl MatMulTask {
    /// For operands of these shapes, of which those of the matrices are the last two extents, swapped where `transposed` says so. The
    /// axes before them are broadcast.
    ///
    /// # Panics
    /// If they do not fit each other.
    pub fn new([a, b]: [&[usize]; 2], transposed: [bool; 2], alpha: f32) -> Self {
        let matrix = |x: &[usize], transposed: bool| {
            let (&[first, second], batch) =
                x.split_last_chunk().map(|(batch, matrix)| (matrix, batch)).expect("two axes at least");
            (batch.to_vec(), if transposed { [second, first] } else { [first, second] })
        };
        let ((a_batch, [rows, inner]), (b_batch, [b_inner, columns])) = (matrix(a, transposed[0]), matrix(b, transposed[1]));
        assert_eq!(inner, b_inner, "columns of A and rows of B");
        let mut task = MatMulTask { rows, inner, columns, transposed, alpha, batch: Vec::new() };
        let (mut steps, rank) = ([rows * inner, inner * columns], a_batch.len().max(b_batch.len()));
        for axis in (0..rank).rev() {
            let [of_a, of_b] = [&a_batch, &b_batch].map(|x| (axis + x.len()).checked_sub(rank).map_or(1, |own| x[own]));
            assert!(of_a == of_b || of_a == 1 || of_b == 1, "{of_a} and {of_b} matrices");
            let extent = if of_a == 1 { of_b } else { of_a };
            let strides = [(of_a, steps[0]), (of_b, steps[1])].map(|(own, step)| if own == 1 { 0 } else { step });
            steps = [steps[0] * of_a, steps[1] * of_b];
            match task.batch.first_mut() {
                _ if extent == 1 => {}
                // Both go on from where this axis ends.
                Some(inner) if inner.strides.map(|s| s * inner.extent) == strides => inner.extent *= extent,
                _ => task.batch.insert(0, BatchAxis { extent, strides }),
            }
        }
        // Matrices that all meet the same one are one matrix.
        if let (&[BatchAxis { extent, strides: [_, 0] }], false) = (&task.batch[..], transposed[0]) {
            task.rows *= extent;
            task.batch.clear();
        }
        task
    }

    /// How many products there are.
    pub fn products(&self) -> usize {
        self.batch.iter().map(|axis| axis.extent).product()
    }

    /// Multiply-accumulates of all of them.
    pub fn macs(&self) -> usize {
        self.products() * self.rows * self.inner * self.columns
    }

    /// Elements of each A and each B.
    pub(crate) fn lens(&self) -> [usize; 2] {
        [self.rows * self.inner, self.inner * self.columns]
    }

    /// Elements that all A, and all B, take up, where there are products.
    pub(crate) fn reads(&self) -> [usize; 2] {
        let last = |i: usize| self.batch.iter().map(|axis| axis.extent.saturating_sub(1) * axis.strides[i]).sum::<usize>();
        [0, 1].map(|i| last(i) + self.lens()[i])
    }

    /// Where the matrices of a product begin.
    fn starts(&self, product: usize) -> [usize; 2] {
        let (mut starts, mut rest) = ([0; 2], product);
        for axis in self.batch.iter().rev() {
            let index = rest % axis.extent;
            rest /= axis.extent;
            starts = [0, 1].map(|i| starts[i] + index * axis.strides[i]);
        }
        starts
    }
}

impl Task for MatMulTask {
    fn kind(&self) -> &'static str {
        "matrix product"
    }
}

impl cpu::Task for MatMulTask {
    fn most_table_bytes(&self, target: &cpu::Target) -> usize {
        cpu::KERNEL + 64 * (self.rows + self.inner + self.columns) + 4096 * target.threads
    }

    fn prepare(self: Box<Self>, target: &cpu::Target) -> Box<dyn Kernel> {
        let threads = target.threads_for(self.macs());
        Box::new(PreparedMatMul::new(*self, target.isa, threads))
    }
}

/// Products of matrices with everything decided that shapes decide.
#[derive(GetSize, Debug)]
pub struct PreparedMatMul {
    task: MatMulTask,
    isa: Isa,
    /// The columns of B in strips.
    strips: Vec<Range<usize>>,
    /// Where each column of A lies, relative to a row, and where each row lies.
    places: [Vec<usize>; 2],
    /// In order of the partition's parts.
    items: Vec<Item>,
    partition: Partition,
}

/// Some strips of some rows of some products.
#[derive(GetSize, Clone, Debug)]
struct Item {
    products: Range<usize>,
    rows: Range<usize>,
    strips: Range<usize>,
}

impl PreparedMatMul {
    /// For `threads` threads at most.
    pub fn new(task: MatMulTask, isa: Isa, threads: usize) -> Self {
        let MatMulTask { rows, inner, columns, transposed, .. } = task;
        let lanes = isa.lanes();
        let of_vectors = |vectors: Range<usize>| vectors.start * lanes..columns.min(vectors.end * lanes);
        let strips: Vec<Range<usize>> = balanced(columns.div_ceil(lanes), isa.filter_tile()[1]).map(of_vectors).collect();
        let steps = if transposed[0] { [rows, 1] } else { [1, inner] };
        let places = [(inner, steps[0]), (rows, steps[1])].map(|(count, step)| (0..count).map(|i| i * step).collect());
        let shares = share([task.products(), rows, strips.len()], threads.max(1));
        let part = |item: &Item| Part {
            planes: item.products.start * rows + item.rows.start..(item.products.end - 1) * rows + item.rows.end,
            positions: strips[item.strips.start].start..strips[item.strips.end - 1].end,
        };
        let parts = shares.iter().map(|items| items.iter().map(part).collect()).collect();
        let partition = Partition::new(task.products() * rows, columns, parts);
        let items = shares.into_iter().flatten().collect();
        PreparedMatMul { task, isa, strips, places, items, partition }
    }

    /// Elements of a packed strip, and of the sums of some rows.
    fn scratch_lens(&self) -> [usize; 2] {
        let width = self.isa.filter_tile()[1] * self.isa.lanes();
        [self.task.inner * width, BLOCK_ROWS.min(self.task.rows) * width]
    }
}

/// What each of so many threads computes.
fn share([products, rows, strips]: [usize; 3], threads: usize) -> Vec<Vec<Item>> {
    if products * rows * strips == 0 {
        return Vec::new();
    }
    let part = |count: usize, i: usize, of: usize| i * count / of..(i + 1) * count / of;
    let wanted = if threads == 1 { 1 } else { PIECES * threads };
    if products >= wanted {
        let item = |thread: usize| Item { products: part(products, thread, threads), rows: 0..rows, strips: 0..strips };
        return (0..threads).map(|thread| vec![item(thread)]).collect();
    }
    // A strip that is shared is packed by every thread that has some of its rows, so that these come last.
    let chunks = wanted.div_ceil(products).min(strips);
    let blocks = threads.div_ceil(products * chunks).min(rows.div_ceil(BLOCK_ROWS));
    let item = |i: usize| {
        let (product, rest) = (i / (chunks * blocks), i % (chunks * blocks));
        let (strips, rows) = (part(strips, rest / blocks, chunks), part(rows, rest % blocks, blocks));
        Item { products: product..product + 1, rows, strips }
    };
    let items = products * chunks * blocks;
    let of_thread = |thread: usize| part(items, thread, threads).map(item).collect::<Vec<_>>();
    (0..threads).map(of_thread).filter(|items| !items.is_empty()).collect()
}

impl Kernel for PreparedMatMul {
    fn scratch_len(&self) -> usize {
        self.partition.shares() * self.scratch_lens().iter().sum::<usize>()
    }

    fn compute(&self, Call { reads, out, scratch, exec, .. }: Call<'_>) {
        if self.items.is_empty() {
            return expect_len("output", out, 0);
        }
        let [a, b] = [reads.get(0), reads.get(1)];
        let [a_len, b_len] = self.task.reads();
        expect_len("A", a, a_len);
        expect_len("B", b, b_len);
        let len = self.scratch_lens().iter().sum();
        self.partition.for_each(out, scratch, len, exec.threading, |i, mut window, scratch| {
            let item = &self.items[i];
            for product in item.products.clone() {
                let [[a_at, b_at], [a_len, b_len]] = [self.task.starts(product), self.task.lens()];
                let (a, b) = (&a[a_at..a_at + a_len], &b[b_at..b_at + b_len]);
                for strip in &self.strips[item.strips.clone()] {
                    let (columns, rows, window) = (strip.clone(), item.rows.clone(), &mut window);
                    self.isa.dispatch(Strip { matmul: self, product, a, b, columns, rows, window, scratch });
                }
            }
        });
    }
}

/// Some columns of some rows of one product.
struct Strip<'a, 'w> {
    matmul: &'a PreparedMatMul,
    product: usize,
    a: &'a [f32],
    b: &'a [f32],
    columns: Range<usize>,
    rows: Range<usize>,
    window: &'a mut Window<'w>,
    scratch: &'a mut [f32],
}

impl Vectorized for Strip<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Strip { matmul, product, a, b, columns, rows, window, scratch } = self;
        let MatMulTask { rows: height, inner, columns: pitch, transposed: [_, by_columns], alpha, .. } = matmul.task;
        let vectors = columns.len().div_ceil(S::LANES);
        let width = vectors * S::LANES;
        let [packed_len, sums_len] = matmul.scratch_lens();
        let (packed, sums) = scratch[..packed_len + sums_len].split_at_mut(packed_len);
        let packed = &mut packed[..inner * width];
        simd.vectorize(
            #[inline(always)]
            || {
                if by_columns {
                    pack_columns(simd, b, inner, &columns, packed)
                } else {
                    pack_rows::<S>(b, pitch, &columns, packed)
                }
            },
        );
        let [of_inner, of_rows] = &matmul.places;
        for block in balanced(rows.len(), BLOCK_ROWS) {
            let block = rows.start + block.start..rows.start + block.end;
            let sums = &mut sums[..block.len() * width];
            for part in balanced(inner, BLOCK_INNER).chain((inner == 0).then_some(0..0)) {
                let (lines, adds) = (&packed[part.start * width..part.end * width], part.start > 0);
                multiply_lines(simd, lines, a, [&of_inner[part], &of_rows[block.clone()]], vectors, sums, adds);
            }
            simd.vectorize(
                #[inline(always)]
                || {
                    for (row, sums) in block.zip(sums.chunks_exact(width)) {
                        let out = window.part(product * height + row, columns.clone());
                        out.iter_mut().zip(sums).for_each(|(o, sum)| *o = alpha * sum);
                    }
                },
            );
        }
    }
}

/// Packs some columns of a matrix that lies row by row: `[inner][vectors][lanes]`, 0 in the lanes behind the last column.
#[inline(always)]
fn pack_rows<S: Simd>(b: &[f32], pitch: usize, columns: &Range<usize>, packed: &mut [f32]) {
    let width = columns.len().next_multiple_of(S::LANES);
    for (row, packed) in b.chunks_exact(pitch).zip(packed.chunks_exact_mut(width)) {
        let (to, behind) = packed.split_at_mut(columns.len());
        to.copy_from_slice(&row[columns.clone()]);
        behind.fill(0.0);
    }
}

/// As [`pack_rows`], of a matrix that lies column by column.
#[inline(always)]
fn pack_columns<S: Simd>(simd: S, b: &[f32], inner: usize, columns: &Range<usize>, packed: &mut [f32]) {
    let width = columns.len().next_multiple_of(S::LANES);
    let whole = inner - inner % S::LANES;
    for first in columns.clone().step_by(S::LANES) {
        let lines = &b[first * inner..columns.end.min(first + S::LANES) * inner];
        let lane = first - columns.start;
        for row in (0..whole).step_by(S::LANES) {
            each_column(
                simd,
                &lines[row..],
                inner,
                #[inline(always)]
                |i, x| simd.put(&mut packed[(row + i) * width + lane..], x),
            );
        }
        for row in whole..inner {
            let packed = &mut packed[row * width + lane..][..S::LANES];
            packed.fill(0.0);
            packed.iter_mut().zip(lines.chunks_exact(inner)).for_each(|(p, line)| *p = line[row]);
        }
    }
}
