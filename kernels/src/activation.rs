//! Activations of vectors: the formulas stand in the table of functions, and this is how they reach the vectors of an instruction set.

use crate::Activation;
use crate::simd::Simd;
use sslm_basics::functions::Registers;

/// The vectors of an instruction set, as the table's formulas want them.
#[derive(Clone, Copy)]
struct Vectors<S>(S);

impl<S: Simd> Registers for Vectors<S> {
    type Vector = S::Vector;

    #[inline(always)]
    fn splat(self, x: f32) -> S::Vector {
        self.0.splat(x)
    }

    #[inline(always)]
    fn mul(self, a: S::Vector, b: S::Vector) -> S::Vector {
        self.0.mul(a, b)
    }

    #[inline(always)]
    fn max(self, a: S::Vector, b: S::Vector) -> S::Vector {
        self.0.max(a, b)
    }

    #[inline(always)]
    fn min(self, a: S::Vector, b: S::Vector) -> S::Vector {
        self.0.min(a, b)
    }

    #[inline(always)]
    fn where_negative(self, x: S::Vector, negative: S::Vector) -> S::Vector {
        self.0.where_negative(x, negative)
    }
}

/// `activation` of each lane.
#[inline(always)]
pub(crate) fn of_vector<S: Simd>(simd: S, activation: Activation, x: S::Vector) -> S::Vector {
    activation.apply(Vectors(simd), x)
}
