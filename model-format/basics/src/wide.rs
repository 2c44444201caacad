//! Functions of one element that networks seldom have, computed in 64 bits: a plain series is then exact enough for `f32`, and
//! nothing is lost where results are small. As those of [`crate::math`], they have neither branches nor calls, and all instruction sets
//! compute the same bits. The test holds each to less than one unit in the last place.

use crate::math::exp2;
use std::f64::consts::{FRAC_2_PI, FRAC_PI_2, FRAC_PI_4, LN_2, LOG2_E};

/// 3/2 of 2^52: added to a smaller number, it leaves that number rounded to an integer in the last bits.
const TO_INTEGER: f64 = 6_755_399_441_055_744.0;

/// Half of pi in three parts, the first two of so few bits that their products with integers below 2^27 are exact.
const HALF_PI: [f64; 3] = [1.570_796_251_296_997, 7.549_789_415_861_596e-8, 5.390_302_858_158_119e-15];

/// Where a series begins to lose digits, and below which the element itself is the result to the last bit of `f32`.
const SMALL: f64 = 1e-4;

/// `2 s (1 + s^2 / 3 + s^4 / 5 + ..)`: the logarithm of `(1 + s) / (1 - s)`, for `s` between -1/3 and 1/3.
#[inline(always)]
fn series(s: f64) -> f64 {
    let square = s * s;
    let mut p = 1.0 / 17.0;
    for n in [15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        p = p * square + 1.0 / n;
    }
    2.0 * s * p
}

/// Natural logarithm.
#[inline(always)]
fn ln(x: f64) -> f64 {
    // x = 2^k m, with m between the roots of 1/2 and of 2.
    let bits = x.to_bits();
    let high = (bits >> 32) as u32;
    let k = (high.wrapping_sub(0x3fe6_a09e) as i32) >> 20;
    let m = f64::from_bits(bits.wrapping_sub((k as u64) << 52));
    let result = f64::from(k) * LN_2 + series((m - 1.0) / (m + 1.0));
    let result = if x == 0.0 { f64::NEG_INFINITY } else { result };
    // Infinity and NaN stay.
    let result = if x < f64::INFINITY { result } else { x };
    if x < 0.0 { f64::NAN } else { result }
}

/// `e^x`; beyond what `f32` holds, a number that is beyond it, too.
#[inline(always)]
fn exp(x: f64) -> f64 {
    // NaN passes both.
    let x = if x < -130.0 { -130.0 } else { x };
    exp2((if x > 130.0 { 130.0 } else { x }) * LOG2_E)
}

/// The sine of `x` and so many right angles.
#[inline(always)]
fn sine(x: f64, right_angles: u32) -> f64 {
    let shifted = x * FRAC_2_PI + TO_INTEGER;
    let k = shifted - TO_INTEGER;
    // Of larger numbers, which lie further apart than a period, only a number from -1 to 1 is asked.
    let r = (((x - k * HALF_PI[0]) - k * HALF_PI[1]) - k * HALF_PI[2]).clamp(-1.0, 1.0);
    let square = r * r;
    let (mut sine, mut cosine) = (1.0, 1.0);
    for n in [10.0, 8.0, 6.0, 4.0, 2.0] {
        sine = 1.0 - sine * square / (n * (n + 1.0));
        cosine = 1.0 - cosine * square / (n * (n - 1.0));
    }
    let quadrant = (shifted.to_bits() as u32).wrapping_add(right_angles);
    let magnitude = if quadrant & 1 == 0 { r * sine } else { cosine };
    if quadrant & 2 == 0 { magnitude } else { -magnitude }
}

/// Arc tangent.
#[inline(always)]
fn arc_tangent(x: f64) -> f64 {
    let t = x.abs();
    let is_steep = t > 1.0;
    let t = if is_steep { 1.0 / t } else { t };
    // Beyond the tangent of an eighth of pi, what is left over a quarter of pi.
    let is_far = t > 0.414_213_562_373_095;
    let u = if is_far { (t - 1.0) / (t + 1.0) } else { t };
    let mut p = 1.0 / 23.0;
    for n in [21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        p = 1.0 / n - p * u * u;
    }
    let angle = if is_far { u * p + FRAC_PI_4 } else { u * p };
    (if is_steep { FRAC_PI_2 - angle } else { angle }).copysign(x)
}

/// Natural logarithm.
#[inline(always)]
pub fn log(x: f32) -> f32 {
    ln(x.into()) as f32
}

/// `ln(1 + e^x)`.
#[inline(always)]
pub fn softplus(x: f32) -> f32 {
    let e = exp(-f64::from(x.abs()));
    (f64::from(if x > 0.0 { x } else { 0.0 }) + series(e / (2.0 + e))) as f32
}

/// Sine; above 2^27, some number from -1 to 1.
#[inline(always)]
pub fn sin(x: f32) -> f32 {
    sine(x.into(), 0) as f32
}

/// Cosine; above 2^27, some number from -1 to 1.
#[inline(always)]
pub fn cos(x: f32) -> f32 {
    sine(x.into(), 1) as f32
}

/// Tangent; above 2^27, some number.
#[inline(always)]
pub fn tan(x: f32) -> f32 {
    (sine(x.into(), 0) / sine(x.into(), 1)) as f32
}

/// Arc sine.
#[inline(always)]
pub fn asin(x: f32) -> f32 {
    let x = f64::from(x);
    arc_tangent(x / ((1.0 - x) * (1.0 + x)).sqrt()) as f32
}

/// Arc cosine.
#[inline(always)]
pub fn acos(x: f32) -> f32 {
    let x = f64::from(x);
    (2.0 * arc_tangent(((1.0 - x) / (1.0 + x)).sqrt())) as f32
}

/// Arc tangent.
#[inline(always)]
pub fn atan(x: f32) -> f32 {
    arc_tangent(x.into()) as f32
}

/// Hyperbolic sine.
#[inline(always)]
pub fn sinh(x: f32) -> f32 {
    let x = f64::from(x);
    let e = exp(x);
    let near = x * (1.0 + x * x / 6.0);
    (if x.abs() < 100.0 * SMALL { near } else { 0.5 * (e - 1.0 / e) }) as f32
}

/// Hyperbolic cosine.
#[inline(always)]
pub fn cosh(x: f32) -> f32 {
    let e = exp(x.into());
    (0.5 * (e + 1.0 / e)) as f32
}

/// Inverse of the hyperbolic sine.
#[inline(always)]
pub fn asinh(x: f32) -> f32 {
    let t = f64::from(x.abs());
    (if t < SMALL { t } else { ln(t + (t * t + 1.0).sqrt()) }).copysign(x.into()) as f32
}

/// Inverse of the hyperbolic cosine.
#[inline(always)]
pub fn acosh(x: f32) -> f32 {
    let x = f64::from(x);
    // Of numbers far below 1, the sum is no less than 0.
    let x = if x < 1.0 { f64::NAN } else { x };
    ln(x + ((x - 1.0) * (x + 1.0)).sqrt()) as f32
}

/// Inverse of the hyperbolic tangent.
#[inline(always)]
pub fn atanh(x: f32) -> f32 {
    let x = f64::from(x);
    (if x.abs() < SMALL { x } else { 0.5 * ln((1.0 + x) / (1.0 - x)) }) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::tests::worst;

    #[test]
    #[cfg_attr(miri, ignore = "a million numbers, and no memory")]
    fn functions_are_exact_to_the_last_place() {
        let all = [f32::NEG_INFINITY, f32::INFINITY];
        let angles = [-134_217_728.0, 134_217_728.0];
        for (name, worst) in [
            ("log", worst(log, f64::ln, [0.0, f32::INFINITY])),
            ("softplus", worst(softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), all)),
            ("sin", worst(sin, f64::sin, angles)),
            ("cos", worst(cos, f64::cos, angles)),
            ("tan", worst(tan, f64::tan, angles)),
            ("asin", worst(asin, f64::asin, [-1.0, 1.0])),
            ("acos", worst(acos, f64::acos, [-1.0, 1.0])),
            ("atan", worst(atan, f64::atan, all)),
            ("sinh", worst(sinh, f64::sinh, [-89.0, 89.0])),
            ("cosh", worst(cosh, f64::cosh, [-89.0, 89.0])),
            ("asinh", worst(asinh, f64::asinh, all)),
            ("acosh", worst(acosh, |x| (x + ((x - 1.0) * (x + 1.0)).sqrt()).ln(), [1.0, f32::INFINITY])),
            ("atanh", worst(atanh, f64::atanh, [-1.0, 1.0])),
        ] {
            assert!(worst <= 0.6, "{name}: {worst} units in the last place");
        }
    }

    #[test]
    fn what_has_no_result_is_no_number() {
        for f in [log, softplus, sin, cos, tan, asin, acos, atan, sinh, cosh, asinh, acosh, atanh] {
            assert!(f(f32::NAN).is_nan());
        }
        for (name, x) in [
            ("log", log(-1.0)),
            ("sin", sin(f32::INFINITY)),
            ("cos", cos(f32::NEG_INFINITY)),
            ("tan", tan(f32::INFINITY)),
            ("asin", asin(1.5)),
            ("acos", acos(-1.5)),
            ("acosh", acosh(0.5)),
            ("acosh", acosh(f32::NEG_INFINITY)),
            ("acosh", acosh(f32::MIN)),
            ("atanh", atanh(2.0)),
        ] {
            assert!(x.is_nan(), "{name}: {x}");
        }
        assert!([f32::MAX, 3e8, -1e30].iter().all(|&x| sin(x).abs() <= 1.0 && cos(x).abs() <= 1.0));
    }
}
