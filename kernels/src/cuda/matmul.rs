//! Products of two computed matrices on a device: as [`crate::matmul`] on the CPU.

use super::device::{Result, Stream};
use super::fits;
use super::launch::{Arguments, Axes, Floats, Output, Source, THREADS, arguments, each_axis, int, launch};
use super::task::{Call, Kernel, Preparing, Task};
use crate::matmul::MatMulTask;

/// The kernels of this family.
pub(super) const SOURCES: &[Source] = &[MATMUL];

/// Rows and columns that a block of threads computes.
const TILE: usize = 64;

arguments! {
    /// Products of matrices. Elements of `left` lie `left_row` apart from row to row and `left_inner` from column to column, those of
    /// `right` accordingly. Axes begin with the innermost one.
    MatMulArguments {
        left: Floats, right: Floats, out: Output, rows: i32, inner: i32, columns: i32, left_row: i32, left_inner: i32,
        right_inner: i32, right_column: i32, rank: i32, extent: Axes, left_stride: Axes, right_stride: Axes, alpha: f32,
    }
}

const MATMUL: Source = Source {
    declaration: MatMulArguments::DECLARATION,
    kernels: &["matmul"],
    text: r#"
// A block of 256 threads computes 64 x 64 elements of one product, each thread four rows by four columns. Sixteen columns of the left
// matrix and rows of the right one are shared at a time.
KERNEL(matmul, MatMulArguments) {
    SHARED(float, lefts, 1024)
    SHARED(float, rights, 1024)
    unsigned across = (a.columns + 63) / 64, down = (a.rows + 63) / 64;
    unsigned product = blockIdx.x / (across * down), tile = blockIdx.x % (across * down);
    int row = tile / across * 64, column = tile % across * 64;
    const float *left = a.left, *right = a.right;
    unsigned rest = product;
    UNROLL for (int axis = 0; axis < 8; axis++) {
        if (axis >= a.rank) break;
        left += rest % a.extent[axis] * a.left_stride[axis];
        right += rest % a.extent[axis] * a.right_stride[axis];
        rest /= a.extent[axis];
    }
    int down_by = threadIdx.x / 16, across_by = threadIdx.x % 16;
    float sums[16];
    UNROLL for (int i = 0; i < 16; i++) sums[i] = 0.0f;
    for (int first = 0; first < a.inner; first += 16) {
        UNROLL for (int part = 0; part < 4; part++) {
            // Neighbouring threads read neighbouring elements.
            int i = part * 256 + threadIdx.x;
            int k = a.left_row == 1 ? i / 64 : i % 16, at = a.left_row == 1 ? i % 64 : i / 16;
            int exists = first + k < a.inner && row + at < a.rows;
            lefts[k * 64 + at] = exists ? left[(unsigned)(row + at) * a.left_row + (unsigned)(first + k) * a.left_inner] : 0.0f;
            k = a.right_column == 1 ? i / 64 : i % 16, at = a.right_column == 1 ? i % 64 : i / 16;
            exists = first + k < a.inner && column + at < a.columns;
            rights[k * 64 + at] = exists ? right[(unsigned)(first + k) * a.right_inner + (unsigned)(column + at) * a.right_column] : 0.0f;
        }
        __syncthreads();
        UNROLL for (int k = 0; k < 16; k++) {
            UNROLL for (int i = 0; i < 16; i++) {
                sums[i] += lefts[k * 64 + down_by * 4 + i / 4] * rights[k * 64 + across_by + i % 4 * 16];
            }
        }
        __syncthreads();
    }
    UNROLL for (int i = 0; i < 16; i++) {
        int to_row = row + down_by * 4 + i / 4, to_column = column + across_by + i % 4 * 16;
        if (to_row < a.rows && to_column < a.columns)
            a.out[(product * a.rows + to_row) * a.columns + to_column] = a.alpha * sums[i];
    }
}
"#,
};

impl Task for MatMulTask {
    fn prepare(&self, _: &mut Preparing<'_>) -> Result<Box<dyn Kernel>> {
        let [a, b] = self.reads();
        let tiles = self.rows.div_ceil(TILE).saturating_mul(self.columns.div_ceil(TILE));
        let sizes = [("A", a), ("B", b), ("product", self.products().saturating_mul(self.rows).saturating_mul(self.columns))];
        sizes
            .into_iter()
            .chain([("inner", self.inner), ("tiles", tiles.saturating_mul(self.products()))])
            .try_for_each(|(what, size)| fits(what, size))?;
        Ok(Box::new(Product(self.clone())))
    }
}

/// Products whose sizes the kernel can count.
#[derive(Debug)]
struct Product(MatMulTask);

impl Kernel for Product {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let task = &self.0;
        let MatMulTask { rows, inner, columns, transposed, alpha, ref batch } = *task;
        out.expect_len("output", task.products() * rows * columns);
        if out.is_empty() {
            return Ok(());
        }
        for (what, view, expected) in [("A", reads[0], task.reads()[0]), ("B", reads[1], task.reads()[1])] {
            view.expect_len(what, expected);
        }
        let steps = |transposed: bool, [rows, columns]: [usize; 2]| if transposed { [1, rows] } else { [columns, 1] };
        let [[left_row, left_inner], [right_inner, right_column]] =
            [steps(transposed[0], [rows, inner]), steps(transposed[1], [inner, columns])].map(|steps| steps.map(int));
        let arguments = MatMulArguments {
            left: reads[0].address(),
            right: reads[1].address(),
            out: out.address(),
            rows: int(rows),
            inner: int(inner),
            columns: int(columns),
            left_row,
            left_inner,
            right_inner,
            right_column,
            rank: int(batch.len()),
            extent: each_axis(batch.iter().rev().map(|axis| axis.extent)),
            left_stride: each_axis(batch.iter().rev().map(|axis| axis.strides[0])),
            right_stride: each_axis(batch.iter().rev().map(|axis| axis.strides[1])),
            alpha,
        };
        let tiles = rows.div_ceil(TILE) * columns.div_ceil(TILE) * task.products();
        // SAFETY: the views have as many elements as these matrices, and there is a block for each tile of each product.
        unsafe { launch(stream, "matmul", [tiles, 1], [THREADS, 1], &arguments) }
    }
}
