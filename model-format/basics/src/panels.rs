//! The one layout of weight matrices, chosen so that micro-kernels of every instruction set read it in place.
//!
//! An `M x K` matrix is cut into panels of [`ROWS`] consecutive rows (the last panel has what remains, without padding). A panel
//! is stored column by column: for each `k`, its rows' values side by side. The whole takes exactly `M * K` elements.
//!
//! ```text
//! M = 11, K = 2:   r0k0 r1k0 .. r7k0  r0k1 .. r7k1 | r8k0 r9k0 r10k0  r8k1 r9k1 r10k1
//! ```

/// Rows of a full panel. Eight rows by three 16-lane vectors fill the 32 registers of AVX-512 (24 accumulators), and eight rows
/// by one 8-lane vector fit AVX2's 16.
pub const ROWS: usize = 8;

/// Appends the `m x k` matrix whose element is `at(row, column)` to `out`, in panels.
pub fn pack(m: usize, k: usize, at: impl Fn(usize, usize) -> f32, out: &mut Vec<f32>) {
    out.reserve(m * k);
    for first in (0..m).step_by(ROWS) {
        let rows = first..(first + ROWS).min(m);
        for column in 0..k {
            out.extend(rows.clone().map(|row| at(row, column)));
        }
    }
}

/// Position of element (`row`, `column`) of an `m x k` matrix in its panels.
pub fn index(m: usize, k: usize, row: usize, column: usize) -> usize {
    let first = row - row % ROWS;
    let height = ROWS.min(m - first);
    first * k + column * height + (row - first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_finds_what_pack_stored() {
        for (m, k) in [(0, 3), (1, 1), (7, 2), (8, 3), (9, 5), (16, 1), (19, 4)] {
            let mut packed = Vec::new();
            pack(m, k, |r, c| (r * 100 + c) as f32, &mut packed);
            assert_eq!(packed.len(), m * k);
            for r in 0..m {
                for c in 0..k {
                    assert_eq!(packed[index(m, k, r, c)], (r * 100 + c) as f32, "{m}x{k} at ({r},{c})");
                }
            }
        }
    }
}
