//! Of which type the elements are that a name in the ONNX graph stands for. Networks compute with `f32` whatever their types are; the
//! types tell what a Cast or a QuantizeLinear does, and what the model takes and yields.

use crate::import::binding::Binding;
use crate::onnx::proto::{ValueInfoProto, data_type};
use anyhow::{Context, Result};
use sslm_format::ElementType;
use std::collections::HashMap;

/// The types of the names that are not `f32`, or not int64 where they stand for integers.
#[derive(Default)]
pub(crate) struct Types(HashMap<String, ElementType>);

impl Types {
    /// Says what a name stands for.
    pub(crate) fn set(&mut self, name: &str, element_type: ElementType) {
        self.0.insert(name.to_owned(), element_type);
    }

    /// The type of a name, which stands for `binding`.
    pub(crate) fn of(&self, name: &str, binding: Option<&Binding>) -> ElementType {
        let usual = match binding {
            Some(Binding::Integers(_)) => ElementType::I64,
            Some(Binding::Tensor(t)) if t.is_integers() => ElementType::I64,
            Some(Binding::Value(_) | Binding::Tensor(_) | Binding::Missing) | None => ElementType::F32,
        };
        // What is known must be of the same kind: a Where yields what it chooses from, not what it chooses by.
        self.0.get(name).copied().filter(|known| known.is_float() == usual.is_float()).unwrap_or(usual)
    }

    /// The type of an output of the model: what the model declares, unless it says float32 of what are integers, or nothing.
    pub(crate) fn of_output(&self, output: &ValueInfoProto, binding: Option<&Binding>) -> Result<ElementType> {
        let declared = output.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).map_or(data_type::UNDEFINED, |t| t.elem_type);
        match declared {
            data_type::UNDEFINED | data_type::FLOAT => Ok(self.of(&output.name, binding)),
            declared => at_border(declared),
        }
    }
}

/// A type that an input or output may have.
pub(crate) fn at_border(code: i32) -> Result<ElementType> {
    let expected = "expected elements of float16, float32, float64, bool or integers of 8 bits and more";
    data_type::element_type(code).with_context(|| format!("{expected}, found {}", data_type::name(code)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sslm_format::ValueId;

    #[test]
    fn what_is_known_is_of_the_kind_that_is_there() {
        let mut types = Types::default();
        types.set("half", ElementType::F16);
        types.set("truth", ElementType::Bool);
        let (floats, integers) = (Some(Binding::Value(ValueId(0))), Some(Binding::Integers(ValueId(0))));
        for (name, binding, expected) in [
            ("half", &floats, ElementType::F16),
            ("half", &integers, ElementType::I64),
            ("truth", &floats, ElementType::F32),
            ("truth", &integers, ElementType::Bool),
            ("other", &integers, ElementType::I64),
        ] {
            assert_eq!(types.of(name, binding.as_ref()), expected, "{name}");
        }
    }
}
