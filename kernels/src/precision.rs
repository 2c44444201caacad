//! How the products of matrices are rounded: the one choice about arithmetic that a caller has.

/// How a CUDA device rounds products. The CPU computes in [`Self::Fp32`] always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Factors and sums are `f32`.
    #[default]
    Fp32,
    /// Factors of matrix products are rounded to 10 bits behind the leading one, sums are `f32`.
    Tf32,
    /// Factors of matrix products are stored as halves of 16 bits: as many digits as [`Self::Tf32`], in half the memory. Values
    /// above 65504 become infinite, those below 6e-5 lose digits. Sums are `f32`.
    Fp16,
}
