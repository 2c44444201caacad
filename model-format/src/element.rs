//! Of which types the elements of inputs and outputs are, and how they become the `f32` elements that a network computes with, and
//! back. Integers are exact up to 2^24; what lies beyond is an error, not another number.

use crate::codec::{choice, record};
use crate::error::{Error, Result};
use bytemuck::{AnyBitPattern, NoUninit};
use sslm_basics::half;
use std::fmt;

/// Every integer up to this magnitude is an `f32`.
pub const EXACT: u64 = 1 << 24;

/// Declares the types: code, name, the Rust type that lies in memory, and how one becomes an `f32` and back, where it can.
macro_rules! element_types {
    ($($(#[$meta:meta])* $code:literal $variant:ident $name:literal: $stored:ty, $read:expr, $write:expr;)*) => {
        choice! {
            /// Of which type the elements of an input or output are, outside of the network.
            #[derive(Copy, Eq)]
            pub enum ElementType: "type of elements" {
                $($(#[$meta])* $code => $variant,)*
            }
        }

        impl ElementType {
            /// All of them.
            pub const ALL: &[ElementType] = &[$(ElementType::$variant),*];

            /// Its name in ONNX and NumPy, such as `float32`.
            pub fn name(self) -> &'static str {
                match self { $(ElementType::$variant => $name,)* }
            }

            /// Bytes of one element.
            pub fn size(self) -> usize {
                match self { $(ElementType::$variant => size_of::<$stored>(),)* }
            }

            /// Appends elements of this type, whose bytes lie one behind the other in the machine's order, to `f32` elements. What is
            /// left of less than an element is not read.
            ///
            /// # Errors
            /// If an integer is greater than 2^24 in magnitude, or a finite float64 is beyond what `f32` holds.
            pub fn read(self, bytes: &[u8], elements: &mut Vec<f32>) -> Result<()> {
                match self { $(ElementType::$variant => read::<$stored>(self, bytes, elements, $read),)* }
            }

            /// Appends the bytes of `f32` elements as elements of this type, in the machine's order. Fractions of integers are cut off.
            ///
            /// # Errors
            /// If an integer is no number of this type, or greater than 2^24 in magnitude.
            pub fn write(self, elements: &[f32], bytes: &mut Vec<u8>) -> Result<()> {
                match self { $(ElementType::$variant => write::<$stored>(self, elements, bytes, $write),)* }
            }
        }
    };
}

element_types! {
    /// IEEE 754 binary32.
    0 F32 "float32": f32, Some, Some;
    /// IEEE 754 binary16.
    1 F16 "float16": u16, |bits| Some(half::from_f16(bits)), |x| Some(half::to_f16(x));
    /// IEEE 754 binary64.
    2 F64 "float64": f64, narrow, |x| Some(f64::from(x));
    /// 0 to 255.
    3 U8 "uint8": u8, |n| Some(f32::from(n)), whole;
    /// -128 to 127.
    4 I8 "int8": i8, |n| Some(f32::from(n)), whole;
    /// 16 bits, not negative.
    5 U16 "uint16": u16, |n| Some(f32::from(n)), whole;
    /// 16 bits.
    6 I16 "int16": i16, |n| Some(f32::from(n)), whole;
    /// 32 bits, not negative.
    7 U32 "uint32": u32, exact, whole;
    /// 32 bits.
    8 I32 "int32": i32, exact, whole;
    /// 64 bits, not negative.
    9 U64 "uint64": u64, exact, whole;
    /// 64 bits.
    10 I64 "int64": i64, exact, whole;
    /// A byte that is 0 or 1.
    11 Bool "bool": u8, |b| Some(f32::from(u8::from(b != 0))), |x| Some(u8::from(x != 0.0));
}

record! {
    /// The types of elements at the border of a network.
    pub struct ElementTypes {
        /// Of each input.
        pub inputs: Vec<ElementType>,
        /// Of each output.
        pub outputs: Vec<ElementType>,
    }
}

impl ElementType {
    /// Whether its elements are floating-point numbers.
    pub fn is_float(self) -> bool {
        matches!(self, ElementType::F32 | ElementType::F16 | ElementType::F64)
    }

    /// The least and the greatest of its integers that `f32` has; `None` if it is no type of integers.
    pub fn integers(self) -> Option<(i64, i64)> {
        use ElementType::{Bool, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
        let exact = EXACT as i64;
        match self {
            U8 => Some((0, u8::MAX.into())),
            I8 => Some((i8::MIN.into(), i8::MAX.into())),
            U16 => Some((0, u16::MAX.into())),
            I16 => Some((i16::MIN.into(), i16::MAX.into())),
            U32 | U64 => Some((0, exact)),
            I32 | I64 => Some((-exact, exact)),
            F32 | F16 | F64 | Bool => None,
        }
    }

    /// Whether its elements are whole numbers.
    pub fn is_integer(self) -> bool {
        !self.is_float() && self != ElementType::Bool
    }
}

/// To try networks out.
impl ElementType {
    /// An element of this type for a random number from -1 to 1: that number, an integer up to 127, or whether it is positive.
    pub fn sample(self, random: f32) -> f32 {
        match self {
            ElementType::F32 | ElementType::F16 | ElementType::F64 => random,
            ElementType::Bool => f32::from(u8::from(random > 0.0)),
            _ => (random.abs() * 127.0).round(),
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn read<T: AnyBitPattern + fmt::Display>(
    of: ElementType,
    bytes: &[u8],
    elements: &mut Vec<f32>,
    convert: impl Fn(T) -> Option<f32>,
) -> Result<()> {
    let before = elements.len();
    // With room for all of them, conversions that cannot fail become vectors.
    elements.resize(before + bytes.len() / size_of::<T>(), 0.0);
    for (place, element) in elements[before..].iter_mut().zip(bytes.chunks_exact(size_of::<T>())) {
        let element = bytemuck::pod_read_unaligned(element);
        *place = convert(element).ok_or_else(|| beyond(of, element))?;
    }
    Ok(())
}

fn write<T: NoUninit>(of: ElementType, elements: &[f32], bytes: &mut Vec<u8>, convert: impl Fn(f32) -> Option<T>) -> Result<()> {
    let before = bytes.len();
    bytes.resize(before + elements.len() * size_of::<T>(), 0);
    for (place, &element) in bytes[before..].chunks_exact_mut(size_of::<T>()).zip(elements) {
        let element = convert(element).ok_or_else(|| beyond(of, element))?;
        place.copy_from_slice(bytemuck::bytes_of(&element));
    }
    Ok(())
}

fn beyond(of: ElementType, found: impl fmt::Display) -> Error {
    let expected = match of.integers() {
        Some((least, most)) if of.size() < 4 => format!("{of} from {least} to {most}"),
        Some((0, most)) => format!("{of} from 0 to {most} (what is computed with is float32)"),
        Some((_, most)) => format!("{of} of magnitude at most {most} (what is computed with is float32)"),
        None => format!("{of} that float32 holds"),
    };
    Error::invalid("elements", expected, found)
}

/// The nearest `f32`, unless that is infinite because the number is too large.
fn narrow(x: f64) -> Option<f32> {
    let narrow = x as f32;
    (narrow.is_finite() || !x.is_finite()).then_some(narrow)
}

/// An integer of many bits, if it is an `f32` for sure.
fn exact<T: Copy + TryInto<i64>>(n: T) -> Option<f32> {
    let n: i64 = n.try_into().ok()?;
    (n.unsigned_abs() <= EXACT).then_some(n as f32)
}

/// The whole part of `x`, if the type has it and it is exact.
fn whole<T: TryFrom<i64>>(x: f32) -> Option<T> {
    (x.abs() <= EXACT as f32).then(|| T::try_from(x as i64).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(of: ElementType, bytes: &[u8]) -> Result<Vec<f32>> {
        let mut elements = Vec::new();
        of.read(bytes, &mut elements).map(|()| elements)
    }

    fn written(of: ElementType, elements: &[f32]) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        of.write(elements, &mut bytes).map(|()| bytes)
    }

    #[test]
    fn what_is_written_is_read() {
        for &of in ElementType::ALL {
            let elements = [0.0, 1.0, 1.0, 0.0];
            let bytes = written(of, &elements).expect("every type has them");
            assert_eq!(bytes.len(), elements.len() * of.size(), "{of}");
            assert_eq!(read_all(of, &bytes).expect("they are exact"), elements, "{of}");
        }
    }

    #[test]
    fn bounds_of_each_type() {
        use ElementType::*;
        for (of, least, most) in [
            (U8, 0.0, 255.0),
            (I8, -128.0, 127.0),
            (U16, 0.0, 65535.0),
            (I16, -32768.0, 32767.0),
            (U32, 0.0, 16777216.0),
            (I32, -16777216.0, 16777216.0),
            (U64, 0.0, 16777216.0),
            (I64, -16777216.0, 16777216.0),
        ] {
            let bytes = written(of, &[least, most]).expect("both are within");
            assert_eq!(read_all(of, &bytes).expect("both are exact"), [least, most], "{of}");
            assert_eq!(of.integers(), Some((least as i64, most as i64)), "{of}");
            for beyond in [least - 2.0, most + 2.0, f32::NAN, f32::INFINITY] {
                let e = written(of, &[0.0, beyond]).expect_err("it is beyond").to_string();
                assert!(e.starts_with(&format!("elements: expected {of}")), "{e}");
                let named = if least == -most { format!("magnitude at most {most}") } else { format!("from {least} to {most}") };
                assert!(e.contains(&named), "{e}");
            }
        }
        assert_eq!(written(Bool, &[0.0, -0.0, 0.5, f32::NAN]).expect("all are"), [0, 0, 1, 1]);
        assert_eq!(read_all(Bool, &[0, 1, 2]).expect("bytes"), [0.0, 1.0, 1.0]);
    }

    #[test]
    fn what_float32_does_not_hold_is_refused() {
        use ElementType::*;
        assert_eq!(read_all(F64, bytemuck::cast_slice(&[0.1, f64::INFINITY])).expect("both"), [0.1, f32::INFINITY]);
        let e = read_all(F64, bytemuck::cast_slice(&[1.0, 1e39])).expect_err("too large").to_string();
        assert!(e.contains("elements: expected float64 that float32 holds, found 1"), "{e}");
        let e = read_all(I64, bytemuck::cast_slice(&[(1i64 << 24) + 1])).expect_err("not exact").to_string();
        assert!(e.contains("int64 of magnitude at most 16777216") && e.contains("found 16777217"), "{e}");
        assert!(read_all(U64, bytemuck::cast_slice(&[u64::MAX])).is_err());
        assert_eq!(read_all(F16, bytemuck::cast_slice(&[0x3c00u16, 0xc000])).expect("halves"), [1.0, -2.0]);
    }
}
