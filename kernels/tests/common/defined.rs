//! What elementwise functions are, in `f64`, and with nothing in common with the formulas of the kernels or those that the converter
//! folds constants by. Whoever declares a function has to give its definition here.

use sslm_kernels::{Activation, Unary};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// What an activation makes of a sum.
pub(crate) fn activated(activation: Activation, x: f64) -> f64 {
    activation.function().map_or(x, |function| defined(function, x))
}

/// What a function of one element is.
pub(crate) fn defined(function: Unary, x: f64) -> f64 {
    let wide = f64::from;
    match function {
        Unary::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Unary::LeakyRelu { alpha } => {
            if x < 0.0 {
                wide(alpha) * x
            } else {
                x
            }
        }
        Unary::Clip { low, high } => {
            let x = if x < wide(low) { wide(low) } else { x };
            if x > wide(high) { wide(high) } else { x }
        }
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::Tanh => x.tanh(),
        Unary::HardSigmoid { alpha, beta } => (wide(alpha) * x + wide(beta)).clamp(0.0, 1.0),
        Unary::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Unary::Elu { alpha } => {
            if x < 0.0 {
                wide(alpha) * x.exp_m1()
            } else {
                x
            }
        }
        Unary::Mish => x * x.min(700.0).exp().ln_1p().tanh(),
        Unary::Sqrt => x.sqrt(),
        Unary::Gelu => 0.5 * x * (1.0 + libm::erf(x * FRAC_1_SQRT_2)),
        Unary::Swish { alpha } => x / (1.0 + (-wide(alpha) * x).exp()),
        Unary::Round => x.round_ties_even(),
        Unary::Trunc => x.trunc(),
        Unary::GeluTanh => 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
        Unary::Erf => libm::erf(x),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Abs => x.abs(),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Sign => x.partial_cmp(&0.0).map_or(x, |order| f64::from(order as i8)),
        Unary::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        Unary::Softsign => x / (1.0 + x.abs()),
        Unary::ThresholdedRelu { alpha } => {
            if x > wide(alpha) {
                x
            } else {
                0.0
            }
        }
        Unary::Shrink { lambd, bias } => {
            let [below, above] = [x < -wide(lambd), x > wide(lambd)];
            if below {
                x + wide(bias)
            } else if above {
                x - wide(bias)
            } else {
                0.0
            }
        }
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tan => x.tan(),
        Unary::Asin => x.asin(),
        Unary::Acos => x.acos(),
        Unary::Atan => x.atan(),
        Unary::Sinh => x.sinh(),
        Unary::Cosh => x.cosh(),
        Unary::Asinh => x.asinh(),
        // The standard library's is of no number for minus infinity only by chance.
        Unary::Acosh => {
            if x < 1.0 {
                f64::NAN
            } else {
                x.acosh()
            }
        }
        Unary::Atanh => x.atanh(),
    }
}
