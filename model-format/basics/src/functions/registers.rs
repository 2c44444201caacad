//! What formulas are written in that convolutions apply to sums while these are still in registers: one formula serves the vectors of
//! every instruction set and single elements.

use super::Unary;

/// Operations on what a register holds: a vector of some instruction set, or one element.
pub trait Registers: Copy {
    /// What a register holds.
    type Vector: Copy;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::Vector;
    /// The product.
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The larger one; `b` where either is NaN.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The smaller one; `b` where either is NaN.
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `x` where it is not negative, else `negative`.
    fn where_negative(self, x: Self::Vector, negative: Self::Vector) -> Self::Vector;
    /// A function that is not written in these operations.
    fn in_memory(self, function: Unary, x: Self::Vector) -> Self::Vector;
}

/// A register of one element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OneElement;

impl Registers for OneElement {
    type Vector = f32;

    #[inline(always)]
    fn splat(self, x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn mul(self, a: f32, b: f32) -> f32 {
        a * b
    }

    #[inline(always)]
    fn max(self, a: f32, b: f32) -> f32 {
        if a > b { a } else { b }
    }

    #[inline(always)]
    fn min(self, a: f32, b: f32) -> f32 {
        if a < b { a } else { b }
    }

    #[inline(always)]
    fn where_negative(self, x: f32, negative: f32) -> f32 {
        if x < 0.0 { negative } else { x }
    }

    fn in_memory(self, function: Unary, x: f32) -> f32 {
        function.of(x)
    }
}
