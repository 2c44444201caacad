//! Functions of each element.

use super::{Check, Operator, Source, passed_on};
use crate::axes::AxisMap;
use crate::codec::choice;
use crate::error::Result;
use crate::shape::Shape;

choice! {
    /// A function of one element.
    pub enum Activation: "activation" {
        /// `max(x, 0)`.
        0 => Relu,
        /// `x` if positive, else `alpha x`.
        1 => LeakyRelu {
            /// Slope of the negative part.
            alpha: f32,
        },
        /// `min(max(x, low), high)`.
        2 => Clip {
            /// Least result.
            low: f32,
            /// Greatest result; wins where it is below `low`.
            high: f32,
        },
        /// `1 / (1 + exp(-x))`.
        3 => Sigmoid,
        /// `tanh(x)`.
        4 => Tanh,
        /// `max(0, min(1, alpha x + beta))`.
        5 => HardSigmoid {
            /// Slope.
            alpha: f32,
            /// Offset.
            beta: f32,
        },
        /// `x max(0, min(1, x / 6 + 1/2))`.
        6 => HardSwish,
        /// `x` if positive, else `alpha (exp(x) - 1)`.
        7 => Elu {
            /// Limit of the negative part, with its sign changed.
            alpha: f32,
        },
        /// `x tanh(ln(1 + exp(x)))`.
        8 => Mish,
        /// Square root.
        9 => Sqrt,
    }
}

impl Operator for Activation {
    fn name(&self) -> &'static str {
        match self {
            Activation::Relu => "Relu",
            Activation::LeakyRelu { .. } => "LeakyRelu",
            Activation::Clip { .. } => "Clip",
            Activation::Sigmoid => "Sigmoid",
            Activation::Tanh => "Tanh",
            Activation::HardSigmoid { .. } => "HardSigmoid",
            Activation::HardSwish => "HardSwish",
            Activation::Elu { .. } => "Elu",
            Activation::Mish => "Mish",
            Activation::Sqrt => "Sqrt",
        }
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(inputs[0].clone())
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![AxisMap::identity(inputs[0].len())]
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources).map(|x| self.apply(x))
    }
}

impl Check for Activation {}

impl Activation {
    /// The function itself, which constants are folded by.
    #[inline]
    pub fn apply(&self, x: f32) -> f32 {
        match *self {
            Activation::Relu => x.max(0.0),
            Activation::LeakyRelu { alpha } => {
                if x < 0.0 {
                    alpha * x
                } else {
                    x
                }
            }
            Activation::Clip { low, high } => x.max(low).min(high),
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
            Activation::HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
            Activation::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Activation::Elu { alpha } => {
                if x < 0.0 {
                    alpha * x.exp_m1()
                } else {
                    x
                }
            }
            // Above 20, ln(1 + e^x) is x to the last bit.
            Activation::Mish => x * (if x > 20.0 { x } else { x.exp().ln_1p() }).tanh(),
            Activation::Sqrt => x.sqrt(),
        }
    }
}
