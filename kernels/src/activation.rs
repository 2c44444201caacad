//! Activations that are applied to sums while they are still in registers.

use crate::simd::Simd;

/// A function of one number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// The number itself.
    #[default]
    None,
    /// `max(x, 0)`; 0 for NaN.
    Relu,
    /// `min(max(x, low), high)`; `low` for NaN.
    Clip {
        /// Lower bound.
        low: f32,
        /// Upper bound.
        high: f32,
    },
    /// `alpha * x` where x is negative, else x.
    LeakyRelu {
        /// Slope of the negative side.
        alpha: f32,
    },
}

impl Activation {
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, simd: S, x: S::Vector) -> S::Vector {
        match self {
            Activation::None => x,
            Activation::Relu => simd.max(x, simd.splat(0.0)),
            Activation::Clip { low, high } => simd.min(simd.max(x, simd.splat(low)), simd.splat(high)),
            Activation::LeakyRelu { alpha } => simd.where_negative(x, simd.mul(x, simd.splat(alpha))),
        }
    }

    /// Of one number.
    #[inline(always)]
    pub fn of(self, x: f32) -> f32 {
        match self {
            Activation::None => x,
            Activation::Relu => x.max(0.0),
            Activation::Clip { low, high } => x.max(low).min(high),
            Activation::LeakyRelu { alpha } => {
                if x < 0.0 {
                    alpha * x
                } else {
                    x
                }
            }
        }
    }
}
