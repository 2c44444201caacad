//! Weights that are zero anywhere, as l1 regularisation leaves them, times a dense matrix: what structured sparsity is compared with.

use sslm_kernels::Isa;

/// A matrix in compressed sparse rows.
pub struct Sparse {
    /// Where each row begins, and the last one ends.
    rows: Vec<usize>,
    columns: Vec<u32>,
    weights: Vec<f32>,
    /// Columns of the matrix.
    width: usize,
}

impl Sparse {
    /// The weights of a row-major matrix that are not zero.
    ///
    /// # Panics
    /// If its rows have no or too many columns.
    pub fn new(matrix: &[f32], width: usize) -> Self {
        let mut sparse = Sparse { rows: vec![0], columns: Vec::new(), weights: Vec::new(), width };
        for row in matrix.chunks(width) {
            for (column, &weight) in row.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
                sparse.columns.push(u32::try_from(column).expect("few columns"));
                sparse.weights.push(weight);
            }
            sparse.rows.push(sparse.weights.len());
        }
        sparse
    }

    /// Count of weights that are not zero.
    pub fn count(&self) -> usize {
        self.weights.len()
    }

    /// Count of elements in the right matrix that [`Self::multiply`] reads.
    pub fn lowered_len(&self, positions: usize, isa: Isa) -> usize {
        positions.next_multiple_of(tile(isa)) * self.width
    }

    /// `out` is row-major. `x` holds tiles of positions as wide as registers hold sums of, each row-major, the last one filled up.
    pub fn multiply(&self, x: &[f32], out: &mut [f32], positions: usize, isa: Isa) {
        match tile(isa) {
            96 => self.multiply_tiles::<96>(x, out, positions, isa, f32::mul_add),
            _ => self.multiply_tiles::<32>(x, out, positions, isa, |x, a, b| x * a + b),
        }
    }

    #[inline(always)]
    fn multiply_tiles<const N: usize>(
        &self,
        x: &[f32],
        out: &mut [f32],
        positions: usize,
        isa: Isa,
        multiply_add: impl Fn(f32, f32, f32) -> f32,
    ) {
        isa.vectorize(
            #[inline(always)]
            || {
                for (tile, x) in x.chunks_exact(N * self.width).enumerate() {
                    let x = x.as_chunks::<N>().0;
                    let filled = (positions - tile * N).min(N);
                    for (ends, out) in self.rows.windows(2).zip(out.chunks_exact_mut(positions)) {
                        let mut sums = [0f32; N];
                        for (&column, &weight) in self.columns[ends[0]..ends[1]].iter().zip(&self.weights[ends[0]..ends[1]]) {
                            let x = &x[column as usize];
                            sums.iter_mut().zip(x).for_each(|(sum, x)| *sum = multiply_add(*x, weight, *sum));
                        }
                        out[tile * N..][..filled].copy_from_slice(&sums[..filled]);
                    }
                }
            },
        );
    }
}

/// Sums that fit the registers beside what they are made of. With AVX-512 more would fit, but tiles of their columns would not fit
/// L2.
fn tile(isa: Isa) -> usize {
    if isa.lanes() < 8 { 32 } else { 96 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;
    use sslm_devices::isas;

    #[test]
    fn products_are_those_of_all_weights() {
        let (rows, width, positions) = (5, 7, 200);
        let mut rng = Rng::with_seed(1);
        let matrix: Vec<f32> = (0..rows * width).map(|_| if rng.bool() { 0.0 } else { rng.f32() }).collect();
        let sparse = Sparse::new(&matrix, width);
        for isa in isas() {
            let tile = tile(isa);
            let x: Vec<f32> = (0..sparse.lowered_len(positions, isa)).map(|_| rng.f32()).collect();
            let mut out = vec![f32::NAN; rows * positions];
            sparse.multiply(&x, &mut out, positions, isa);
            for (i, &sum) in out.iter().enumerate() {
                let (row, position) = (i / positions, i % positions);
                let at = |column: usize| x[position / tile * tile * width + column * tile + position % tile];
                let expected: f32 = (0..width).map(|column| matrix[row * width + column] * at(column)).sum();
                assert!((sum - expected).abs() < 1e-5, "{isa}: row {row}, position {position}: {sum}, expected {expected}");
            }
        }
    }
}
