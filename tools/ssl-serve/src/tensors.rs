//! Tensors of requests and answers, whichever protocol carries them, and what protocols call their types.

use crate::failure::Failure;
use bytes::Bytes;
use serde::{Serialize, Serializer};
use sslm::ElementType;

/// A tensor with a name. Its elements lie one behind the other, last axis fastest, in little-endian bytes: the order of the binary
/// protocols, and of all machines that this runs on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) element_type: ElementType,
    pub(crate) bytes: Bytes,
}

/// What the Open Inference Protocol calls a type of elements.
pub(crate) fn datatype(element_type: ElementType) -> &'static str {
    match element_type {
        ElementType::F32 => "FP32",
        ElementType::F16 => "FP16",
        ElementType::F64 => "FP64",
        ElementType::U8 => "UINT8",
        ElementType::I8 => "INT8",
        ElementType::U16 => "UINT16",
        ElementType::I16 => "INT16",
        ElementType::U32 => "UINT32",
        ElementType::I32 => "INT32",
        ElementType::U64 => "UINT64",
        ElementType::I64 => "INT64",
        ElementType::Bool => "BOOL",
    }
}

/// The type of elements that the protocol calls so.
pub(crate) fn of_datatype(name: &str, input: &str) -> Result<ElementType, Failure> {
    let all = || ElementType::ALL.iter().copied();
    all().find(|own| datatype(*own) == name).ok_or_else(|| {
        let known: Vec<&str> = all().map(datatype).collect();
        Failure::input(format!("datatype of input '{input}'"), format!("one of {}", known.join(", ")), format!("'{name}'"))
    })
}

/// How many elements a shape of a request has.
pub(crate) fn count(shape: &[usize], input: &str) -> Result<usize, Failure> {
    shape.iter().try_fold(1usize, |all, &extent| all.checked_mul(extent)).ok_or_else(|| {
        Failure::input(format!("shape of input '{input}'"), "a number of elements that fits into memory", format!("{shape:?}"))
    })
}

/// A tensor of bytes as they came.
pub(crate) fn of_bytes(name: String, shape: Vec<usize>, datatype: &str, bytes: Bytes) -> Result<Tensor, Failure> {
    let element_type = of_datatype(datatype, &name)?;
    let expected = count(&shape, &name)?.checked_mul(element_type.size());
    if expected != Some(bytes.len()) {
        let elements = format!("as many as shape {shape:?} of {datatype} takes");
        return Err(Failure::input(format!("bytes of input '{name}'"), elements, bytes.len()));
    }
    Ok(Tensor { name, shape, element_type, bytes })
}

/// A tensor of numbers, of which each has to be one that its type has.
pub(crate) fn of_numbers(name: String, shape: Vec<usize>, datatype: &str, numbers: &[f64]) -> Result<Tensor, Failure> {
    let element_type = of_datatype(datatype, &name)?;
    let expected = count(&shape, &name)?;
    if expected != numbers.len() {
        return Err(Failure::input(
            format!("elements of input '{name}'"),
            format!("{expected} (shape {shape:?})"),
            numbers.len(),
        ));
    }
    let mut bytes = Vec::with_capacity(numbers.len().saturating_mul(element_type.size()));
    for &number in numbers {
        if !push(element_type, number, &mut bytes) {
            return Err(Failure::input(format!("elements of input '{name}'"), format!("numbers of {datatype}"), number));
        }
    }
    Ok(Tensor { name, shape, element_type, bytes: bytes.into() })
}

/// Appends `number` as an element of this type; whether it is one.
fn push(element_type: ElementType, number: f64, bytes: &mut Vec<u8>) -> bool {
    macro_rules! whole {
        ($t:ty) => {{
            // Casts saturate, so what comes back is another number unless this one fits.
            let element = number as $t;
            bytes.extend(element.to_le_bytes());
            element as f64 == number
        }};
    }
    match element_type {
        ElementType::F32 => {
            let element = number as f32;
            bytes.extend(element.to_le_bytes());
            element.is_finite()
        }
        // What `f32` elements are rounded to.
        ElementType::F16 => {
            let narrow = number as f32;
            ElementType::F16.write(&[narrow], bytes).is_ok() && narrow.is_finite()
        }
        ElementType::F64 => {
            bytes.extend(number.to_le_bytes());
            true
        }
        ElementType::U8 => whole!(u8),
        ElementType::I8 => whole!(i8),
        ElementType::U16 => whole!(u16),
        ElementType::I16 => whole!(i16),
        ElementType::U32 => whole!(u32),
        ElementType::I32 => whole!(i32),
        ElementType::U64 => whole!(u64),
        ElementType::I64 => whole!(i64),
        ElementType::Bool => {
            bytes.push(u8::from(number != 0.0));
            number == 0.0 || number == 1.0
        }
    }
}

/// The elements of a tensor as JSON has them: a flat list of numbers, or of `true` and `false`.
pub(crate) struct Elements<'a>(&'a Tensor);

impl<'a> Elements<'a> {
    /// # Errors
    /// If an element is NaN or infinite, which JSON has no words for.
    pub(crate) fn of(tensor: &'a Tensor) -> Result<Self, Failure> {
        let bytes = &tensor.bytes;
        let is_finite = match tensor.element_type {
            ElementType::F32 => chunks(bytes).all(|b| f32::from_le_bytes(b).is_finite()),
            ElementType::F64 => chunks(bytes).all(|b| f64::from_le_bytes(b).is_finite()),
            ElementType::F16 => halves(bytes).iter().all(|x| x.is_finite()),
            _ => true,
        };
        let what = || format!("output '{}'", tensor.name);
        let found = "NaN or infinities, which only binary data can hold";
        if is_finite { Ok(Elements(tensor)) } else { Err(Failure::input(what(), "finite elements", found)) }
    }
}

impl Serialize for Elements<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let bytes = &self.0.bytes;
        match self.0.element_type {
            ElementType::F32 => to.collect_seq(chunks(bytes).map(f32::from_le_bytes)),
            ElementType::F16 => to.collect_seq(halves(bytes)),
            ElementType::F64 => to.collect_seq(chunks(bytes).map(f64::from_le_bytes)),
            ElementType::U8 => to.collect_seq(bytes.iter()),
            ElementType::Bool => to.collect_seq(bytes.iter().map(|&byte| byte != 0)),
            ElementType::I8 => to.collect_seq(chunks(bytes).map(i8::from_le_bytes)),
            ElementType::U16 => to.collect_seq(chunks(bytes).map(u16::from_le_bytes)),
            ElementType::I16 => to.collect_seq(chunks(bytes).map(i16::from_le_bytes)),
            ElementType::U32 => to.collect_seq(chunks(bytes).map(u32::from_le_bytes)),
            ElementType::I32 => to.collect_seq(chunks(bytes).map(i32::from_le_bytes)),
            ElementType::U64 => to.collect_seq(chunks(bytes).map(u64::from_le_bytes)),
            ElementType::I64 => to.collect_seq(chunks(bytes).map(i64::from_le_bytes)),
        }
    }
}

fn chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.chunks_exact(N).map(|chunk| chunk.try_into().expect("chunks are of this size"))
}

/// Elements of 16 bits as `f32`.
fn halves(bytes: &[u8]) -> Vec<f32> {
    let mut elements = Vec::new();
    // Every pattern of bits is a number.
    let _ = ElementType::F16.read(bytes, &mut elements);
    elements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for &element_type in ElementType::ALL {
            let given = [0.0, 1.0];
            let name = datatype(element_type);
            let tensor = of_numbers("x".to_owned(), vec![2], name, &given).expect("all types have 0 and 1");
            let json = serde_json::to_string(&Elements::of(&tensor).expect("finite")).expect("numbers");
            let expected = match element_type {
                ElementType::Bool => "[false,true]",
                ElementType::F32 | ElementType::F16 | ElementType::F64 => "[0.0,1.0]",
                _ => "[0,1]",
            };
            assert_eq!(json, expected, "{name}");
            assert_eq!(of_bytes("x".to_owned(), vec![2], name, tensor.bytes.clone()).expect("its own bytes"), tensor);
        }
    }

    #[test]
    fn what_json_cannot_say_is_an_error() {
        let bytes: Vec<u8> = [0.5, f32::NAN].into_iter().flat_map(f32::to_le_bytes).collect();
        let tensor = of_bytes("y".to_owned(), vec![2], "FP32", bytes.into()).expect("two elements");
        assert!(Elements::of(&tensor).is_err());
    }

    #[test]
    fn numbers_of_other_types_are_named() {
        for (name, number) in [("UINT8", 256.0), ("UINT8", -1.0), ("INT8", 0.5), ("BOOL", 2.0), ("FP32", 1e300), ("INT64", 1e19)]
        {
            let found = of_numbers("x".to_owned(), vec![1], name, &[number]);
            let message = format!("{:?}", found.expect_err("not of the type"));
            assert!(message.contains("elements of input 'x': expected numbers of"), "{message}");
        }
        let message = format!("{:?}", of_bytes("x".to_owned(), vec![usize::MAX, 2], "FP32", Bytes::new()).expect_err("too many"));
        assert!(message.contains("shape of input 'x'"), "{message}");
        let message =
            format!("{:?}", of_bytes("x".to_owned(), vec![3], "FP32", Bytes::from_static(&[0; 11])).expect_err("too few"));
        assert!(message.contains("bytes of input 'x': expected as many as shape [3] of FP32 takes, found 11"), "{message}");
    }
}
