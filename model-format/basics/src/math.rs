//! Functions of one element that compilers turn into vectors where they stand in a loop: no branches, no calls, and no fused
//! multiply-add, which not every instruction set has. All sets compute the same bits. The tests hold each function to so many
//! units in the last place.

/// 3/2 of 2^23: added to a small number, it leaves that number rounded to an integer in the last bits.
const TO_INTEGER: f32 = 12_582_912.0;

/// The natural logarithm of 2 in two parts, the first of so few bits that its products with exponents are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// For `x = k ln 2 + r`, with `r` between -0.35 and 0.35: `k`, and `e^r - 1`.
#[inline(always)]
fn split(x: f32) -> (i32, f32) {
    let shifted = x * std::f32::consts::LOG2_E + TO_INTEGER;
    let k = shifted - TO_INTEGER;
    let r = (x - k * LN_2[0]) - k * LN_2[1];
    // The minimax polynomial of Cephes' expf.
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    (shifted.to_bits().wrapping_sub(TO_INTEGER.to_bits()) as i32, p * (r * r) + r)
}

/// `e^x` from -87 to 88.3, within 1 unit in the last place; no smaller below, and infinite above.
#[inline(always)]
fn exp_of_normal(x: f32) -> f32 {
    // NaN passes both.
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let (k, e) = split(x);
    (1.0 + e) * power_of_two(k)
}

/// 2^k, for k from -126 to 127; infinite for 128.
#[inline(always)]
fn power_of_two(k: i32) -> f32 {
    f32::from_bits(((k + 127) << 23) as u32)
}

/// `e^x`, within 1 unit in the last place.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Beyond these it is 0 or infinite. NaN passes both.
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let (k, e) = split(x);
    // Two factors, for results beyond the powers of two that `f32` holds.
    let half = k >> 1;
    (1.0 + e) * power_of_two(half) * power_of_two(k - half)
}

/// `e^x - 1` for `x` that are not positive, within 1 unit in the last place.
#[inline(always)]
pub fn exp_m1(x: f32) -> f32 {
    // Below it is -1.
    let x = if x < -20.0 { -20.0 } else { x };
    let (k, e) = split(x);
    let scale = power_of_two(k);
    scale * e + (scale - 1.0)
}

/// `1 / (1 + e^-x)`, within 2.5 units in the last place; 0 where that is no normal number.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp_of_normal(-x))
}

/// Hyperbolic tangent, within 2.5 units in the last place.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let e = exp_m1(-2.0 * x.abs());
    (-e / (e + 2.0)).copysign(x)
}

/// `x` if positive, else `alpha (e^x - 1)`.
#[inline(always)]
pub fn elu(x: f32, alpha: f32) -> f32 {
    // Both parts of each element, of which one is 0: a choice of what to compute would not become vectors.
    let (positive, negative) = if x < 0.0 { (0.0, x) } else { (x, 0.0) };
    positive + alpha * exp_m1(negative)
}

/// `x tanh(ln(1 + e^x))`, within 3.5 units in the last place where that is a normal number.
#[inline(always)]
pub fn mish(x: f32) -> f32 {
    // The tangent is (e^2 + 2 e) / (e^2 + 2 e + 2), which is 1 to the last bit from 20 on.
    let e = exp(if x > 20.0 { 20.0 } else { x });
    let part = e * (e + 2.0);
    x * (part / (part + 2.0))
}

/// The error function, within 1.5 units in the last place. Polynomials of Norbert Juffa: `x + x p(x^2)` near zero, `1 - e^-p(x)`
/// elsewhere (<https://stackoverflow.com/questions/35148198>).
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let (magnitude, square) = (x.abs(), x * x);
    let mut near = -5.967_617e-4;
    for c in [4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_25e-1, -3.761_253_4e-1, 1.283_791_7e-1] {
        near = near * square + c;
    }
    let near = near * x + x;
    let mut far = -1.728_534_7e-5;
    for c in [3.831_971_3e-4, -3.883_964_4e-3, 2.425_462_2e-2, -1.067_778_8e-1, -6.348_467e-1, -1.287_175_1e-1] {
        far = far * magnitude + c;
    }
    let far = (1.0 - exp(far * magnitude - magnitude)).copysign(x);
    if magnitude > 0.927_734_4 { far } else { near }
}

/// The integer nearest to a small number, exactly half way the even one.
#[inline(always)]
fn rounded(x: f32) -> f32 {
    (x + 8_388_608.0) - 8_388_608.0
}

/// The logarithm to base 2 of normal numbers that are not negative, in 64 bits.
#[inline(always)]
fn log2(x: f32) -> f64 {
    // x = 2^k m, with m between the roots of 1/2 and of 2.
    let bits = x.to_bits();
    let k = (bits.wrapping_sub(0x3f35_04f3) as i32) >> 23;
    let m = f64::from(f32::from_bits(bits.wrapping_sub((k << 23) as u32)));
    // The series of the area tangent of s, of which m is (1 + s) / (1 - s).
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let mut p = 1.0 / 15.0;
    for n in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        p = p * square + 1.0 / n;
    }
    f64::from(k) + 2.0 * std::f64::consts::LOG2_E * s * p
}

/// 2^x for x between -200 and 200, in 64 bits.
#[inline(always)]
pub(crate) fn exp2(x: f64) -> f64 {
    const TO_INTEGER: f64 = 6_755_399_441_055_744.0;
    let shifted = x + TO_INTEGER;
    let r = (x - (shifted - TO_INTEGER)) * std::f64::consts::LN_2;
    let mut p = 1.0;
    for n in [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0] {
        p = 1.0 + p * r * (1.0 / n);
    }
    f64::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 52))
}

/// `a` to the power of `b`, within 0.6 units in the last place.
#[inline(always)]
pub fn pow(a: f32, b: f32) -> f32 {
    let magnitude = a.abs();
    // Numbers below the normal ones, times 2^24.
    let tiny = magnitude < f32::MIN_POSITIVE;
    let log = log2(if tiny { magnitude * 16_777_216.0 } else { magnitude }) - if tiny { 24.0 } else { 0.0 };
    let log = if magnitude == 0.0 { f64::NEG_INFINITY } else { log };
    let log = if magnitude == f32::INFINITY { f64::INFINITY } else { log };
    let product = f64::from(b) * log;
    // Beyond these it is 0 or infinite. NaN passes both.
    let product = if product < -200.0 { -200.0 } else { product };
    let product = if product > 200.0 { 200.0 } else { product };
    let power = exp2(product) as f32;
    let power = if a.is_nan() { a } else { power };
    // 1, whatever the power is, and anything to the power of 0.
    let is_one = a == 1.0 || b == 0.0 || magnitude == 1.0 && b.abs() == f32::INFINITY;
    let power = if is_one { 1.0 } else { power };
    // Negative numbers have integer powers only, of which the odd ones are negative. From 2^23 on all numbers are integers.
    let exponent = b.abs();
    let is_integer = exponent >= 8_388_608.0 || rounded(exponent) == exponent;
    let is_odd = exponent < 16_777_216.0 && is_integer && {
        let half = 0.5 * exponent;
        rounded(half) != half
    };
    let power = if a.is_sign_negative() && is_odd { -power } else { power };
    if a < 0.0 && a > f32::NEG_INFINITY && !is_integer { f32::NAN } else { power }
}

/// What is left of `a` after division by `b` to an integer that is rounded down.
#[inline(always)]
pub fn modulus(a: f32, b: f32) -> f32 {
    let rest = a % b;
    if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
}

/// The error function as exactly as numbers of 64 bits hold it, for constants and to compare with: by its series, or by the continued
/// fraction of what it lacks to 1.
pub fn exact_erf(x: f64) -> f64 {
    let t = x.abs();
    if t > 6.0 {
        return 1f64.copysign(x);
    }
    let scaled = (-t * t).exp() / std::f64::consts::PI.sqrt();
    if t >= 3.0 {
        let fraction = (1..80).rev().fold(t, |fraction, k| t + 0.5 * f64::from(k) / fraction);
        return (1.0 - scaled / fraction).copysign(x);
    }
    let (mut term, mut sum, mut n) = (t, t, 1.0);
    while term > 1e-18 * sum {
        n += 2.0;
        term *= 2.0 * t * t / n;
        sum += term;
    }
    // NaN passes.
    (2.0 * scaled * sum).copysign(x)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The largest error of `f` on numbers of all magnitudes between two bounds, in units in the last place of the exact result.
    pub(crate) fn worst(f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, bounds: [f32; 2]) -> f64 {
        let numbers = (0..=u32::MAX).step_by(4999).map(f32::from_bits).chain(bounds);
        let errors = numbers.filter(|x| (bounds[0]..=bounds[1]).contains(x)).map(|x| {
            let (found, exact) = (f(x), exact(f64::from(x)));
            if found == exact as f32 {
                return 0.0;
            }
            // Subnormal numbers lie as far apart as the least normal ones.
            let binade = exact.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor();
            (f64::from(found) - exact).abs() / 2f64.powf(binade - 23.0)
        });
        errors.fold(0.0, f64::max)
    }

    #[test]
    #[cfg_attr(miri, ignore = "a million numbers, and no memory")]
    fn functions_are_as_exact_as_they_say() {
        let all = [f32::NEG_INFINITY, f32::INFINITY];
        for (name, worst, allowed) in [
            ("exp", worst(exp, f64::exp, all), 1.0),
            ("exp_m1", worst(exp_m1, f64::exp_m1, [f32::NEG_INFINITY, 0.0]), 1.0),
            ("sigmoid", worst(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), [-87.0, f32::INFINITY]), 2.5),
            ("tanh", worst(tanh, f64::tanh, all), 2.5),
            ("elu", worst(|x| elu(x, 1.0), |x| if x < 0.0 { x.exp_m1() } else { x }, all), 1.0),
            ("erf", worst(erf, exact_erf, all), 1.5),
            ("mish", worst(mish, |x| x * x.min(700.0).exp().ln_1p().tanh(), [-83.0, f32::MAX]), 3.5),
        ] {
            assert!(worst <= allowed, "{name}: {worst} units in the last place");
        }
    }

    #[test]
    fn the_exact_error_function_is_that_of_tables() {
        let known = [
            (0.0, 0.0),
            (1e-3, 0.001_128_378_790_969_236_5),
            (0.1, 0.112_462_916_018_284_9),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (2.9375, 0.999_967_364_712_852_4),
            (3.0625, 0.999_985_158_589_207_1),
            (4.0, 0.999_999_984_582_742_1),
        ];
        for (x, erf) in known {
            assert!((exact_erf(x) - erf).abs() <= 4e-16 * erf && exact_erf(-x) == -exact_erf(x), "{x}: {}", exact_erf(x));
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "a million numbers, and no memory")]
    fn powers_are_as_exact_as_they_say() {
        for b in [2.0, 0.5, -1.0, 3.0, 1.7, -2.25, 0.1, 17.0, 1e-3] {
            let found = worst(|a| pow(a, b), |a| a.powf(f64::from(b)), [0.0, f32::MAX]);
            assert!(found <= 0.6, "to the power of {b}: {found} units in the last place");
        }
        for a in [0.5, 2.0, 1.000_1, 0.999, 10.0, 1e-40, 3e38] {
            let found = worst(|b| pow(a, b), |b| f64::from(a).powf(b), [f32::MIN, f32::MAX]);
            assert!(found <= 0.6, "powers of {a}: {found} units in the last place");
        }
    }

    #[test]
    fn powers_of_what_is_special() {
        let all =
            [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 8_388_607.0, 8_388_608.0, 16_777_215.0, 16_777_216.0, 1e30, f32::INFINITY, f32::NAN];
        let all: Vec<f32> = all.into_iter().flat_map(|x| [x, -x]).collect();
        for &a in &all {
            for &b in &all {
                let (found, expected) = (pow(a, b), a.powf(b));
                let same =
                    found.is_sign_negative() == expected.is_sign_negative() && (found - expected).abs() <= 1e-6 * expected.abs();
                let same = same || found == expected && found.is_sign_negative() == expected.is_sign_negative();
                assert!(same || found.is_nan() && expected.is_nan(), "{a} to the power of {b}: {found}, expected {expected}");
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_so() {
        for f in [exp, exp_m1, erf, sigmoid, tanh, mish, |x| elu(x, 1.0)] {
            assert!(f(f32::NAN).is_nan());
        }
        assert_eq!([exp(-1e30), exp(-104.0), exp(1e30)], [0.0, 0.0, f32::INFINITY]);
    }
}
