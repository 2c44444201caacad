//! The elementwise functions. A row of a table says all there is to say about one: its code in files, its parameters, its name in
//! ONNX, the formula that constants are folded by, that of the kernels for CPUs, and that of the kernels for CUDA devices. Every other
//! file takes functions from here and knows none by name, except for the ways from ONNX and back.

mod declare;

use crate::{math, wide};
use declare::{binary, unary};
use std::f64::consts::FRAC_1_SQRT_2;

/// Most parameters that a function has: `p` and `q` of CUDA kernels.
const MOST_PARAMETERS: usize = 2;

/// The square root of 2 / pi.
const SQRT_2_BY_PI: f32 = 0.797_884_6;

unary! {
    // Those that CUDA kernels inline and that kernels for CPUs apply to sums that are still in registers. One formula serves kernels and
    // constants.
    short {
        /// `max(x, 0)`.
        0 Relu = "Relu" {
            formula: |x| if x < 0.0 { 0.0 } else { x },
            in_registers: Some(InRegisters::Bounds([0.0, f32::INFINITY])),
            cuda: "x < 0.0f ? 0.0f : x",
        }

        /// `x` if positive, else `alpha x`.
        1 LeakyRelu {
            /// Slope of the negative part.
            alpha,
        } = "LeakyRelu" {
            formula: |x| if x < 0.0 { alpha * x } else { x },
            in_registers: (0.0 < alpha && alpha <= 1.0).then_some(InRegisters::Slope(alpha)),
            cuda: "x < 0.0f ? p * x : x",
        }

        /// `min(max(x, low), high)`; a bound that is NaN is none.
        2 Clip {
            /// Least result.
            low,
            /// Greatest result; wins where it is below `low`.
            high,
        } = "Clip" {
            formula: |x| {
                let x = if low > x { low } else { x };
                if high < x { high } else { x }
            },
            in_registers: Some(InRegisters::Bounds([low, high])),
            cuda: "between(x, p, q)",
        }
    }

    // All others. Constants are folded by the exact formula. That of kernels has to be one that compilers turn into vectors: no calls that
    // are not inlined, and no branches.
    others {
        /// `1 / (1 + exp(-x))`.
        3 Sigmoid = "Sigmoid" {
            exact: |x| 1.0 / (1.0 + (-x).exp()),
            kernel: |x| math::sigmoid(x),
            cuda: "1.0f / (1.0f + expf(-x))",
        }

        /// `tanh(x)`.
        4 Tanh = "Tanh" {
            exact: |x| x.tanh(),
            kernel: |x| math::tanh(x),
            cuda: "tanhf(x)",
        }

        /// `max(0, min(1, alpha x + beta))`.
        5 HardSigmoid {
            /// Slope.
            alpha,
            /// Offset.
            beta,
        } = "HardSigmoid" {
            exact: |x| (alpha * x + beta).clamp(0.0, 1.0),
            kernel: |x| (alpha * x + beta).clamp(0.0, 1.0),
            cuda: "unit(p * x + q)",
        }

        /// `x max(0, min(1, x / 6 + 1/2))`.
        6 HardSwish = "HardSwish" {
            exact: |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            kernel: |x| x * (x * (1.0 / 6.0) + 0.5).clamp(0.0, 1.0),
            cuda: "x * unit(x * (1.0f / 6.0f) + 0.5f)",
        }

        /// `x` if positive, else `alpha (exp(x) - 1)`.
        7 Elu {
            /// Limit of the negative part, with its sign changed.
            alpha,
        } = "Elu" {
            exact: |x| if x < 0.0 { alpha * x.exp_m1() } else { x },
            kernel: |x| math::elu(x, alpha),
            cuda: "x < 0.0f ? p * expm1f(x) : x",
        }

        /// `x tanh(ln(1 + exp(x)))`.
        8 Mish = "Mish" {
            // Above 20, ln(1 + e^x) is x to the last bit.
            exact: |x| x * (if x > 20.0 { x } else { x.exp().ln_1p() }).tanh(),
            kernel: |x| math::mish(x),
            cuda: "mish(x)",
        }

        /// Square root.
        9 Sqrt = "Sqrt" {
            exact: |x| x.sqrt(),
            kernel: |x| x.sqrt(),
            cuda: "sqrtf(x)",
        }

        /// `x / 2 (1 + erf(x / sqrt 2))`.
        10 Gelu = "Gelu" {
            exact: |x| (0.5 * f64::from(x) * (1.0 + math::exact_erf(f64::from(x) * FRAC_1_SQRT_2))) as f32,
            kernel: |x| 0.5 * x * (1.0 + math::erf(x * FRAC_1_SQRT_2 as f32)),
            cuda: "0.5f * x * (1.0f + erff(x * 0.70710678f))",
        }

        /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`, which is about the same.
        11 GeluTanh = "Gelu" {
            // As 1 / (1 + exp(-2 y)), (1 + tanh(y)) / 2 loses no digits where it is small.
            exact: |x| x / (1.0 + (-2.0 * SQRT_2_BY_PI * (x + 0.044_715 * x * x * x)).exp()),
            kernel: |x| x * math::sigmoid(2.0 * SQRT_2_BY_PI * (x + 0.044_715 * x * x * x)),
            cuda: "x / (1.0f + expf(-1.59576912f * (x + 0.044715f * x * x * x)))",
        }

        /// `x / (1 + exp(-alpha x))`.
        12 Swish {
            /// Factor of x inside.
            alpha,
        } = "Swish" {
            exact: |x| x / (1.0 + (-alpha * x).exp()),
            kernel: |x| x * math::sigmoid(alpha * x),
            cuda: "x / (1.0f + expf(-p * x))",
        }

        /// The error function.
        13 Erf = "Erf" {
            exact: |x| math::exact_erf(x.into()) as f32,
            kernel: |x| math::erf(x),
            cuda: "erff(x)",
        }

        /// `e^x`.
        14 Exp = "Exp" {
            exact: |x| x.exp(),
            kernel: |x| math::exp(x),
            cuda: "expf(x)",
        }

        /// Natural logarithm.
        15 Log = "Log" {
            exact: |x| x.ln(),
            kernel: |x| wide::log(x),
            cuda: "logf(x)",
        }

        /// Without its sign.
        16 Abs = "Abs" {
            exact: |x| x.abs(),
            kernel: |x| x.abs(),
            cuda: "fabsf(x)",
        }

        /// The greatest integer that is not above `x`.
        17 Floor = "Floor" {
            exact: |x| x.floor(),
            kernel: |x| x.floor(),
            cuda: "floorf(x)",
        }

        /// The least integer that is not below `x`.
        18 Ceil = "Ceil" {
            exact: |x| x.ceil(),
            kernel: |x| x.ceil(),
            cuda: "ceilf(x)",
        }

        /// The nearest integer, exactly half way the even one.
        19 Round = "Round" {
            exact: |x| x.round_ties_even(),
            kernel: |x| x.round_ties_even(),
            cuda: "rintf(x)",
        }

        /// The integer part, as a conversion to an integer yields it.
        20 Trunc = "Cast" {
            exact: |x| x.trunc(),
            kernel: |x| x.trunc(),
            cuda: "truncf(x)",
        }

        /// 1 if positive, -1 if negative, else `x`.
        21 Sign = "Sign" {
            exact: |x| if x == 0.0 { x } else { x.signum() },
            kernel: |x| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { x },
            cuda: "x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x",
        }

        /// `ln(1 + e^x)`.
        22 Softplus = "Softplus" {
            exact: |x| x.max(0.0) + (-x.abs()).exp().ln_1p(),
            kernel: |x| wide::softplus(x),
            cuda: "(x < 0.0f ? 0.0f : x) + log1pf(expf(-fabsf(x)))",
        }

        /// `x / (1 + |x|)`.
        23 Softsign = "Softsign" {
            exact: |x| x / (1.0 + x.abs()),
            kernel: |x| x / (1.0 + x.abs()),
            cuda: "x / (1.0f + fabsf(x))",
        }

        /// `x` if it is above `alpha`, else 0; 0 for NaN.
        24 ThresholdedRelu {
            /// What passes lies above.
            alpha,
        } = "ThresholdedRelu" {
            exact: |x| if x > alpha { x } else { 0.0 },
            kernel: |x| if x > alpha { x } else { 0.0 },
            cuda: "x > p ? x : 0.0f",
        }

        /// `x + bias` if it is below `-lambd`, `x - bias` if it is above `lambd`, else 0; 0 for NaN.
        25 Shrink {
            /// What passes lies further from 0.
            lambd,
            /// How far that moves towards 0.
            bias,
        } = "Shrink" {
            exact: |x| if x < -lambd { x + bias } else if x > lambd { x - bias } else { 0.0 },
            kernel: |x| if x < -lambd { x + bias } else if x > lambd { x - bias } else { 0.0 },
            cuda: "x < -p ? x + q : x > p ? x - q : 0.0f",
        }

        /// Sine.
        26 Sin = "Sin" {
            exact: |x| x.sin(),
            kernel: |x| wide::sin(x),
            cuda: "sinf(x)",
        }

        /// Cosine.
        27 Cos = "Cos" {
            exact: |x| x.cos(),
            kernel: |x| wide::cos(x),
            cuda: "cosf(x)",
        }

        /// Tangent.
        28 Tan = "Tan" {
            exact: |x| x.tan(),
            kernel: |x| wide::tan(x),
            cuda: "tanf(x)",
        }

        /// Arc sine.
        29 Asin = "Asin" {
            exact: |x| x.asin(),
            kernel: |x| wide::asin(x),
            cuda: "asinf(x)",
        }

        /// Arc cosine.
        30 Acos = "Acos" {
            exact: |x| x.acos(),
            kernel: |x| wide::acos(x),
            cuda: "acosf(x)",
        }

        /// Arc tangent.
        31 Atan = "Atan" {
            exact: |x| x.atan(),
            kernel: |x| wide::atan(x),
            cuda: "atanf(x)",
        }

        /// Hyperbolic sine.
        32 Sinh = "Sinh" {
            exact: |x| x.sinh(),
            kernel: |x| wide::sinh(x),
            cuda: "sinhf(x)",
        }

        /// Hyperbolic cosine.
        33 Cosh = "Cosh" {
            exact: |x| x.cosh(),
            kernel: |x| wide::cosh(x),
            cuda: "coshf(x)",
        }

        /// Inverse of the hyperbolic sine.
        34 Asinh = "Asinh" {
            exact: |x| x.asinh(),
            kernel: |x| wide::asinh(x),
            cuda: "asinhf(x)",
        }

        /// Inverse of the hyperbolic cosine.
        35 Acosh = "Acosh" {
            exact: |x| x.acosh(),
            kernel: |x| wide::acosh(x),
            cuda: "acoshf(x)",
        }

        /// Inverse of the hyperbolic tangent.
        36 Atanh = "Atanh" {
            exact: |x| x.atanh(),
            kernel: |x| wide::atanh(x),
            cuda: "atanhf(x)",
        }
    }
}

binary! {
    /// `a + b`.
    0 Add = "Add" {
        formula: |a, b| a + b,
        cuda: "x + y",
        of_integers: Some(i64::checked_add),
        absorbs_zero: [false, false],
    }

    /// `a - b`.
    1 Sub = "Sub" {
        formula: |a, b| a - b,
        cuda: "x - y",
        of_integers: Some(i64::checked_sub),
        absorbs_zero: [false, false],
    }

    /// `a b`.
    2 Mul = "Mul" {
        formula: |a, b| a * b,
        cuda: "x * y",
        of_integers: Some(i64::checked_mul),
        absorbs_zero: [true, true],
    }

    /// `a / b`.
    3 Div = "Div" {
        formula: |a, b| a / b,
        cuda: "x / y",
        of_integers: Some(i64::checked_div),
        // 0 / 0 is NaN.
        absorbs_zero: [false, false],
    }

    /// `a` to the power of `b`.
    4 Pow = "Pow" {
        formula: |a, b| math::pow(a, b),
        cuda: "powf(x, y)",
        of_integers: Some(|a, b| a.checked_pow(b.try_into().ok()?)),
        // 0 to the power of 0 is 1.
        absorbs_zero: [false, false],
    }

    /// `a` if positive, else `a b`.
    5 PRelu = "PRelu" {
        formula: |a, b| if a < 0.0 { a * b } else { a },
        cuda: "x < 0.0f ? x * y : x",
        of_integers: None,
        absorbs_zero: [true, false],
    }

    /// The greater one; NaN if either is.
    6 Max = "Max" {
        formula: |a, b| if a > b || a.is_nan() { a } else { b },
        cuda: "x > y || x != x ? x : y",
        of_integers: Some(|a, b| Some(a.max(b))),
        absorbs_zero: [false, false],
    }

    /// The lesser one; NaN if either is.
    7 Min = "Min" {
        formula: |a, b| if a < b || a.is_nan() { a } else { b },
        cuda: "x < y || x != x ? x : y",
        of_integers: Some(|a, b| Some(a.min(b))),
        absorbs_zero: [false, false],
    }

    /// What is left of `a` after division by `b` to an integer that is rounded towards 0: it has the sign of `a`.
    8 Remainder = "Mod" {
        formula: |a, b| a % b,
        cuda: "fmodf(x, y)",
        of_integers: Some(i64::checked_rem),
        absorbs_zero: [false, false],
    }

    /// What is left of `a` after division by `b` to an integer that is rounded down: it has the sign of `b`.
    9 Modulus = "Mod" {
        formula: |a, b| math::modulus(a, b),
        cuda: "modulus(x, y)",
        of_integers: Some(|a, b| a.checked_rem(b).map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })),
        absorbs_zero: [false, false],
    }

    /// 1 if `a` is `b`, else 0.
    10 Equal = "Equal" {
        formula: |a, b| if a == b { 1.0 } else { 0.0 },
        cuda: "x == y ? 1.0f : 0.0f",
        of_integers: Some(|a, b| Some((a == b).into())),
        absorbs_zero: [false, false],
    }

    /// 1 if `a` is below `b`, else 0.
    11 Less = "Less" {
        formula: |a, b| if a < b { 1.0 } else { 0.0 },
        cuda: "x < y ? 1.0f : 0.0f",
        of_integers: Some(|a, b| Some((a < b).into())),
        absorbs_zero: [false, false],
    }

    /// 1 if `a` is not above `b`, else 0; 0 if either is NaN.
    12 LessOrEqual = "LessOrEqual" {
        formula: |a, b| if a <= b { 1.0 } else { 0.0 },
        cuda: "x <= y ? 1.0f : 0.0f",
        of_integers: Some(|a, b| Some((a <= b).into())),
        absorbs_zero: [false, false],
    }
}

/// What the formulas in C call.
const HELPERS_IN_C: &str = "\
// `x` between 0 and 1; NaN stays.
DEVICE float unit(float x) { return x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x; }
// `x` between two bounds, of which the upper one wins; NaN stays, and is no bound.
DEVICE float between(float x, float low, float high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}
// What is left of `x` after division by `y` to an integer that is rounded down.
DEVICE float modulus(float x, float y) {
    float rest = fmodf(x, y);
    return rest != 0.0f && (rest < 0.0f) != (y < 0.0f) ? rest + y : rest;
}
// The tangent of ln(1 + e^x) is (e^2 + 2 e) / (e^2 + 2 e + 2), which is 1 to the last bit from 20 on.
DEVICE float mish(float x) {
    float e = expf(x > 20.0f ? 20.0f : x);
    float part = e * (e + 2.0f);
    return x * (part / (part + 2.0f));
}
";

/// The functions in the part of CUDA C that is C as well; `DEVICE` begins each one, or `CALLED` where it is not to be inlined.
/// `unary(code, p, q, x)` and `binary_of(code, x, y)` take a function's code, `activate(activation, p, q, x)` takes `NO_ACTIVATION`, 0,
/// or a function's code plus 1, which is `RELU` for that one; `p` and `q` are parameters.
pub fn in_c() -> String {
    let named = format!("enum {{ NO_ACTIVATION = 0, RELU = {} }};\n", Unary::Relu.code() + 1);
    [HELPERS_IN_C, UNARY_IN_C, ACTIVATION_IN_C, BINARY_IN_C, &named].concat()
}

/// What kernels apply to sums that are still in registers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InRegisters {
    /// `min(high, max(low, x))` of `[low, high]`, where a bound that is NaN is none, and NaN stays NaN.
    Bounds([f32; 2]),
    /// `max(slope * x, x)`, of a slope above 0 and at most 1.
    Slope(f32),
}

/// Takes the formula of a function of one element, as a type of its own, so that loops over it are compiled for each function.
pub trait UnaryVisitor {
    /// Called with the formula, which is always inlined.
    fn visit(self, f: impl Fn(f32) -> f32 + Copy + Sync);
}

/// As [`UnaryVisitor`], for functions of two elements.
pub trait BinaryVisitor {
    /// Called with the formula, which is always inlined.
    fn visit(self, f: impl Fn(f32, f32) -> f32 + Copy + Sync);
}

impl Binary {
    /// Whether the result is 1 or 0: the truth of a comparison.
    pub fn is_comparison(self) -> bool {
        matches!(self, Binary::Equal | Binary::Less | Binary::LessOrEqual)
    }
}

/// Parameters in an array that has room for those of any function, and how many there are.
fn padded(parameters: &[f32]) -> ([f32; MOST_PARAMETERS], usize) {
    let mut all = [0.0; MOST_PARAMETERS];
    all[..parameters.len()].copy_from_slice(parameters);
    (all, parameters.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// Each function, with 0.5, 1.5 as its parameters.
    fn every() -> Vec<Unary> {
        let function = |code| {
            let mut parameters = [0.5, 1.5].into_iter();
            Unary::from_code(code, || parameters.next().ok_or("a third parameter"))
        };
        (0..=u8::MAX).filter_map(|code| function(code).expect("at most two parameters")).collect()
    }

    #[test]
    fn codes_and_parameters_go_there_and_back() {
        assert!(every().len() > 9);
        for function in every() {
            let mut parameters = function.parameters();
            let again = Unary::from_code(function.code(), || Ok::<f32, Infallible>(parameters.next().expect("as many")));
            assert_eq!(again, Ok(Some(function)));
            assert!(parameters.next().is_none(), "{function:?}");
        }
        for &function in Binary::ALL {
            assert_eq!(Binary::from_code(function.code()), Some(function));
        }
    }

    #[test]
    fn kernels_compute_what_constants_are_folded_by() {
        struct Compare(Unary);
        impl UnaryVisitor for Compare {
            fn visit(self, f: impl Fn(f32) -> f32) {
                for x in [-30.0, -3.0, -2.5, -1.0, -0.25, -0.0, 0.0, 0.5, 1.0, 2.75, 30.0, f32::INFINITY] {
                    let (kernel, exact) = (f(x), self.0.apply(x));
                    // Some formulas have a factor of x that is a difference.
                    let close = kernel == exact || (kernel - exact).abs() <= 1e-6 * exact.abs().max(x.abs()) + 1e-12;
                    assert!(close || kernel.is_nan() && exact.is_nan(), "{:?} of {x}: {kernel} and {exact}", self.0);
                }
            }
        }
        every().into_iter().for_each(|function| function.dispatch(Compare(function)));
    }

    #[test]
    fn what_registers_hold_becomes_the_same() {
        struct Compare(InRegisters);
        impl UnaryVisitor for Compare {
            fn visit(self, f: impl Fn(f32) -> f32) {
                let [max, min] = [|a, b| if a > b { a } else { b }, |a, b| if a < b { a } else { b }];
                for x in [-2.0, -0.0, 0.0, 1.0, 3.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN] {
                    let in_registers = match self.0 {
                        InRegisters::Bounds([low, high]) => min(high, max(low, x)),
                        InRegisters::Slope(slope) => max(slope * x, x),
                    };
                    assert_eq!(in_registers.to_bits(), f(x).to_bits(), "{:?} of {x}", self.0);
                }
            }
        }
        let mut in_registers = 0;
        for function in every() {
            let activation = Activation::from(function);
            assert_eq!(activation.function(), Some(function));
            if let Some(form) = activation.in_registers() {
                in_registers += 1;
                function.dispatch(Compare(form));
            }
        }
        assert_eq!(in_registers, 3);
        for alpha in [-0.5, 0.0, 1.5, f32::NAN] {
            assert_eq!(Activation::LeakyRelu { alpha }.in_registers(), None);
        }
    }

    #[test]
    fn zeros_are_absorbed_as_stated() {
        for &function in Binary::ALL {
            let others = [-2.5, -1.0, 0.0, 0.5, 3.0];
            let on_the_left = others.iter().all(|&b| function.apply(0.0, b) == 0.0);
            let on_the_right = others.iter().all(|&a| function.apply(a, 0.0) == 0.0);
            let [left, right] = function.absorbs_zero();
            assert!((!left || on_the_left) && (!right || on_the_right), "{function:?}");
        }
    }
}
