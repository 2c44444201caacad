//! Floating-point numbers of 16 bits, as files store them; whatever computes does so in `f32`.

/// The bits of an `f32` below which halves are subnormal: 2^-14.
const LEAST_NORMAL: u32 = 0x3880_0000;
/// The bits of an `f32` that no half reaches: 2^16.
const TOO_LARGE: u32 = 0x4780_0000;
/// By how much the exponents of the two types are apart, at the place where an `f32` has its exponent.
const EXPONENTS_APART: u32 = 112 << 23;

/// The number whose half precision (IEEE 754 binary16) has these bits, exactly.
pub fn from_f16(bits: u16) -> f32 {
    let (sign, magnitude) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff) << 13);
    let is_finite = bits & 0x7c00 != 0x7c00;
    // A product by 2^112 shifts the exponent, of subnormal numbers, too.
    let magnitude = if is_finite { f32::from_bits(magnitude) * 2f32.powi(112) } else { f32::from_bits(magnitude | 0x7f80_0000) };
    f32::from_bits(magnitude.to_bits() | sign)
}

/// The bits of the nearest half, of two equally near ones the even one. What is too large becomes infinity.
pub fn to_f16(x: f32) -> u16 {
    let (sign, bits) = ((x.to_bits() >> 16 & 0x8000) as u16, x.abs().to_bits());
    let magnitude = if x.is_nan() {
        0x7e00
    } else if bits >= TOO_LARGE {
        0x7c00
    } else if bits < LEAST_NORMAL {
        // Subnormal halves are 2^-24 apart, as the numbers above a half are: the sum rounds to one of them.
        (x.abs() + 0.5).to_bits() - 0.5f32.to_bits()
    } else {
        let round_up_from = 0xfff + (bits >> 13 & 1);
        (bits + round_up_from - EXPONENTS_APART) >> 13
    };
    magnitude as u16 | sign
}

/// The number of which bfloat16 stores these upper bits, exactly.
pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_itself() {
        for bits in 0..=u16::MAX {
            let x = from_f16(bits);
            let fraction = f64::from(bits & 0x3ff) / 1024.0;
            let exponent = i32::from(bits >> 10 & 31);
            let expected = match exponent {
                0 => fraction * 2f64.powi(-14),
                31 if fraction == 0.0 => f64::INFINITY,
                31 => f64::NAN,
                _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
            };
            let expected = if bits & 0x8000 == 0 { expected } else { -expected };
            assert!(f64::from(x) == expected || x.is_nan() && expected.is_nan(), "{bits:04x}: {x}");
            assert!(to_f16(x) == bits || x.is_nan() && to_f16(x) & 0x7fff == 0x7e00, "{bits:04x}: {x}");
        }
    }

    #[test]
    fn numbers_between_halves_round_to_the_nearest_and_then_even_one() {
        for bits in 0..0x7bffu16 {
            let (low, high) = (from_f16(bits), from_f16(bits + 1));
            let middle = (low + high) / 2.0;
            let even = bits + (bits & 1);
            assert_eq!(to_f16(middle), even, "{middle}");
            assert_eq!((to_f16(middle.next_down()), to_f16(middle.next_up())), (bits, bits + 1), "{middle}");
        }
        assert_eq!([65519.996, 65520.0, f32::MAX].map(to_f16), [0x7bff, 0x7c00, 0x7c00]);
        assert_eq!([-1e-30, -65520.0].map(to_f16), [0x8000, 0xfc00]);
    }

    #[test]
    fn bfloat16_is_the_upper_half() {
        assert_eq!([0x3f80, 0xc040, 0xff80].map(from_bf16), [1.0, -3.0, f32::NEG_INFINITY]);
    }
}
