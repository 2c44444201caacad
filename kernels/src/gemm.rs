//! Matrix products on panels of weights. The only file that calls the `gemm` crate, and the only one with `unsafe`.
//!
//! A panel is up to [`PANEL_ROWS`] rows of A stored column by column: element (row, k) at `k * rows + row`.

/// Rows of a full panel of weights.
pub const PANEL_ROWS: usize = 8;

/// `C = A B`: A is one panel of `rows x k`, B is `k x n` row-major, C is `rows x n` row-major; each without gaps.
///
/// # Panics
/// If a slice has another length than these shapes call for.
pub fn panel_times_matrix(rows: usize, k: usize, n: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    crate::expect_len("A", a, rows * k);
    crate::expect_len("B", b, k * n);
    crate::expect_len("C", c, rows * n);
    product(rows, k, n, Strided { data: a, row: 1, column: rows }, Strided { data: b, row: n, column: 1 }, (c, n, 1));
}

/// `C = A X^T`: A is one panel of `rows x k`, X is `n x k` row-major, and element (row, i) of C goes to `c[i * c_stride + row]`.
///
/// # Panics
/// If A or X has another length than these shapes call for, or C is too short.
pub fn panel_times_transposed(rows: usize, k: usize, n: usize, a: &[f32], x: &[f32], c: &mut [f32], c_stride: usize) {
    crate::expect_len("A", a, rows * k);
    crate::expect_len("X", x, n * k);
    assert!(rows <= c_stride, "C: expected a stride of at least {rows}, found {c_stride}");
    product(rows, k, n, Strided { data: a, row: 1, column: rows }, Strided { data: x, row: 1, column: k }, (c, 1, c_stride));
}

/// `y = A x` for one panel of `rows x k`, at memory speed: A is read once, in order.
///
/// # Panics
/// If a slice has another length than these shapes call for.
pub fn panel_times_vector(rows: usize, a: &[f32], x: &[f32], y: &mut [f32]) {
    crate::expect_len("A", a, rows * x.len());
    crate::expect_len("y", y, rows);
    if rows == PANEL_ROWS {
        // Four independent sums hide the latency of addition.
        let mut sums = [[0f32; PANEL_ROWS]; 4];
        let (columns, values) = (a.chunks_exact(4 * PANEL_ROWS), x.chunks_exact(4));
        let (last_columns, last_values) = (columns.remainder().chunks_exact(PANEL_ROWS), values.remainder());
        for (column, value) in columns.zip(values) {
            for (i, sum) in sums.iter_mut().enumerate() {
                for (row, s) in sum.iter_mut().enumerate() {
                    *s += column[i * PANEL_ROWS + row] * value[i];
                }
            }
        }
        for (column, value) in last_columns.zip(last_values) {
            for (s, w) in sums[0].iter_mut().zip(column) {
                *s += w * value;
            }
        }
        for (row, y) in y.iter_mut().enumerate() {
            *y = (sums[0][row] + sums[1][row]) + (sums[2][row] + sums[3][row]);
        }
    } else {
        y.fill(0.0);
        for (column, value) in a.chunks_exact(rows.max(1)).zip(x) {
            for (y, w) in y.iter_mut().zip(column) {
                *y += w * value;
            }
        }
    }
}

/// A matrix whose element (r, c) lies at `data[r * row + c * column]`.
struct Strided<'a> {
    data: &'a [f32],
    row: usize,
    column: usize,
}

/// Index of the last element of a non-empty `rows x columns` matrix.
fn last_index(rows: usize, columns: usize, row: usize, column: usize) -> usize {
    (rows - 1) * row + (columns - 1) * column
}

fn product(m: usize, k: usize, n: usize, a: Strided, b: Strided, (c, c_row, c_column): (&mut [f32], usize, usize)) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(last_index(m, n, c_row, c_column) < c.len(), "C: too short for {m} x {n}");
    if k > 0 {
        assert!(last_index(m, k, a.row, a.column) < a.data.len(), "A: too short for {m} x {k}");
        assert!(last_index(k, n, b.row, b.column) < b.data.len(), "B: too short for {k} x {n}");
    }
    // SAFETY: the three assertions above keep every element that `gemm` touches inside its slice, and C is borrowed mutably, so
    // it overlaps neither A nor B. `read_dst` is false: C is only written. With k = 0 nothing of A and B is read.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            c_column as isize,
            c_row as isize,
            false,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
