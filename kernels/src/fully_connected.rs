//! Fully connected layers over kept columns: `y = x W^T + bias`.

use crate::gemm::{PANEL_ROWS, panel_times_transposed, panel_times_vector};
use crate::{Threading, count_pieces, expect_len};

/// Rows of a batch that are multiplied together: enough that each weight read from memory is used often, few enough that a
/// block of inputs (32 x 9216 floats at AlexNet's largest) stays near the cores.
const BATCH_BLOCK: usize = 32;

/// A fully connected layer with everything decided that shapes decide.
#[derive(Debug)]
pub struct FullyConnected {
    features: usize,
    rows: usize,
    /// The physical features that are read; `None` where it is all of them.
    gather: Option<Vec<usize>>,
    relu: bool,
}

impl FullyConnected {
    /// `features` physical inputs, of which `columns` are read (in increasing order), and `rows` outputs.
    ///
    /// # Panics
    /// If a column lies outside the features.
    pub fn new(features: usize, rows: usize, columns: Vec<usize>, relu: bool) -> Self {
        assert!(columns.iter().all(|&c| c < features), "a column lies outside the {features} features");
        let all = columns.len() == features && columns.iter().enumerate().all(|(i, &c)| i == c);
        FullyConnected { features, rows, gather: (!all).then_some(columns), relu }
    }

    fn columns(&self) -> usize {
        self.gather.as_ref().map_or(self.features, Vec::len)
    }

    /// Outputs per row of the batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers of scratch memory that [`Self::run`] needs for `batch` rows.
    pub fn scratch_len(&self, batch: usize) -> usize {
        self.gather.as_ref().map_or(0, |g| g.len() * batch)
    }

    /// Multiply-accumulates of one row of the batch.
    pub fn macs(&self) -> usize {
        self.rows * self.columns()
    }

    /// `x` is `[batch][features]`, `out` is `[batch][rows]`, `weights` rows x columns in panels of 8 rows.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, x: &[f32], weights: &[f32], bias: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        let (rows, k) = (self.rows, self.columns());
        if rows == 0 || out.is_empty() {
            return;
        }
        let batch = count_pieces("output", out, rows);
        expect_len("input", x, batch * self.features);
        expect_len("weights", weights, rows * k);
        expect_len("bias", bias, rows);
        let x = match &self.gather {
            None => x,
            Some(columns) => {
                let gathered = &mut scratch[..batch * k];
                for (to, from) in gathered.chunks_exact_mut(k.max(1)).zip(x.chunks_exact(self.features)) {
                    to.iter_mut().zip(columns).for_each(|(to, &c)| *to = from[c]);
                }
                gathered
            }
        };
        if batch == 1 {
            threading.for_each_chunk(out, PANEL_ROWS, |panel, out| {
                let first = panel * PANEL_ROWS;
                panel_times_vector(out.len(), &weights[first * k..][..out.len() * k], x, out);
                self.finish(&bias[first..], out);
            });
        } else {
            threading.for_each_chunk(out, BATCH_BLOCK * rows, |block, out| {
                let n = out.len() / rows;
                let x = &x[block * BATCH_BLOCK * k..][..n * k];
                for first in (0..rows).step_by(PANEL_ROWS) {
                    let height = PANEL_ROWS.min(rows - first);
                    panel_times_transposed(height, k, n, &weights[first * k..][..height * k], x, &mut out[first..], rows);
                }
                out.chunks_exact_mut(rows).for_each(|row| self.finish(bias, row));
            });
        }
    }

    fn finish(&self, bias: &[f32], out: &mut [f32]) {
        for (o, b) in out.iter_mut().zip(bias) {
            *o += b;
            if self.relu {
                *o = o.max(0.0);
            }
        }
    }
}
