//! Functions of the elements of two values.

use super::{Check, Operator, Source};
use crate::axes::AxisMap;
use crate::codec::choice;
use crate::error::Result;
use crate::shape::{Shape, broadcast};
use std::ops::RangeInclusive;

choice! {
    /// A function of two elements.
    pub enum Binary: "operation on two values" {
        /// `a + b`.
        0 => Add,
        /// `a - b`.
        1 => Sub,
        /// `a b`.
        2 => Mul,
        /// `a / b`.
        3 => Div,
        /// `a` to the power of `b`.
        4 => Pow,
        /// `a` if positive, else `a b`.
        5 => PRelu,
    }
}

impl Operator for Binary {
    fn name(&self) -> &'static str {
        match self {
            Binary::Add => "Add",
            Binary::Sub => "Sub",
            Binary::Mul => "Mul",
            Binary::Div => "Div",
            Binary::Pow => "Pow",
            Binary::PRelu => "PRelu",
        }
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        broadcast(inputs[0], inputs[1])
    }

    fn axes(&self, inputs: &[&Shape], output: &Shape) -> Vec<AxisMap> {
        inputs.iter().map(|input| AxisMap::broadcast(input, output)).collect()
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        match (sources[0].one(), sources[1].one(), self) {
            (Some(a), Some(b), _) => Some(self.apply(a, b)),
            // Of finite elements.
            (Some(0.0), _, Binary::Mul | Binary::PRelu) | (_, Some(0.0), Binary::Mul) => Some(0.0),
            _ => None,
        }
    }
}

impl Check for Binary {}

impl Binary {
    /// The function itself, which constants are folded by.
    #[inline]
    pub fn apply(&self, a: f32, b: f32) -> f32 {
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Pow => a.powf(b),
            Binary::PRelu => {
                if a < 0.0 {
                    a * b
                } else {
                    a
                }
            }
        }
    }
}
