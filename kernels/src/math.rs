//! Functions of runs of elements that compilers turn into vectors: no branches, no calls, and no fused multiply-add, which not every
//! instruction set has. All sets compute the same bits.

use sslm_basics::math::exp;

/// Elements of a run that are handled side by side.
const LANES: usize = 16;

/// `e^(x - shift)` of each element of a run, and the sum of all.
#[inline(always)]
pub(crate) fn exp_all(x: &[f32], shift: f32, out: &mut [f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (blocks, rest) = x.as_chunks();
    let (out_blocks, out_rest) = out.as_chunks_mut();
    for (x, out) in blocks.iter().zip(out_blocks) {
        exp_block(x, shift, out, &mut sums);
    }
    if !rest.is_empty() {
        let (mut last, mut exps) = ([f32::NEG_INFINITY; LANES], [0.0; LANES]);
        last[..rest.len()].copy_from_slice(rest);
        exp_block(&last, shift, &mut exps, &mut sums);
        out_rest.copy_from_slice(&exps[..rest.len()]);
    }
    sums.iter().sum()
}

#[inline(always)]
fn exp_block(x: &[f32; LANES], shift: f32, out: &mut [f32; LANES], sums: &mut [f32; LANES]) {
    for i in 0..LANES {
        out[i] = exp(x[i] - shift);
        sums[i] += out[i];
    }
}

/// The largest of a run; NaN loses against every other element.
#[inline(always)]
pub(crate) fn largest(x: &[f32]) -> f32 {
    fold(x, f32::NEG_INFINITY, max, max)
}

/// The larger one; `a` if `b` is NaN.
#[inline(always)]
pub(crate) fn max(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// The larger one; NaN if either is.
#[inline(always)]
pub(crate) fn maximum(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}

/// The sum of `f` of each element of a run, in f64.
#[inline(always)]
pub(crate) fn sum(x: &[f32], f: impl Fn(f64) -> f64) -> f64 {
    fold(x, 0.0, |sum, x| sum + f(f64::from(x)), |a, b| a + b)
}

/// Folds elements that lie `LANES` apart, and joins what that yields: few operations wait for each other.
#[inline(always)]
pub(crate) fn fold<T: Copy>(x: &[f32], start: T, f: impl Fn(T, f32) -> T, join: impl Fn(T, T) -> T) -> T {
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [start; LANES];
    for block in blocks {
        for i in 0..LANES {
            lanes[i] = f(lanes[i], block[i]);
        }
    }
    let mut all = start;
    for lane in lanes {
        all = join(all, lane);
    }
    for &x in rest {
        all = f(all, x);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_every_length() {
        for len in 0..70 {
            let x: Vec<f32> = (0..len).map(|i| ((i * 37) % 71) as f32 / 8.0 - 4.0).collect();
            assert_eq!(largest(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            assert_eq!(sum(&x, |x| 2.0 * x), x.iter().map(|&x| 2.0 * f64::from(x)).sum());
            let mut out = vec![f32::NAN; len];
            let total = exp_all(&x, 0.5, &mut out);
            assert!(out.iter().zip(&x).all(|(&o, &x)| o == exp(x - 0.5)));
            let expected: f64 = out.iter().map(|&o| f64::from(o)).sum();
            assert!((f64::from(total) - expected).abs() <= 1e-6 * expected);
        }
    }
}
