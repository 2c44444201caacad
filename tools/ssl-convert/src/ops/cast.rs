//! Elements as another type: Cast and CastLike. What is computed is `f32` whatever its type, so types of floating-point numbers are one
//! and the same here, and integers lose their fractions and what their type has no room for.

use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::reach;
use crate::import::registry::Import;
use crate::import::sizes::{self, Extents};
use crate::onnx::proto::data_type;
use crate::onnx::tensor::{Data, Tensor};
use crate::weights::Op;
use anyhow::{Context, Result, anyhow, bail};
use sslm_format::{Activation, Binary, Constant, ElementType, Extent, ValueId};

pub(super) const IMPORTS: &[Import] = &[
    Import::moving("Cast", |node| {
        let to = target(node)?;
        cast(node, to)
    }),
    Import::moving("CastLike", |node| {
        let to = node.input_type(1);
        cast(node, to)
    }),
];

/// The type that a Cast yields: its code, or its name before opset 6. bfloat16 is computed as float32 is.
fn target(node: &OnnxNode<'_>) -> Result<ElementType> {
    let code = match node.opset() {
        ..6 => data_type::of_name(node.text("to", "")?),
        _ => i32::try_from(node.int("to", 0)?).unwrap_or(data_type::UNDEFINED),
    };
    if code == data_type::BFLOAT16 {
        return Ok(ElementType::F32);
    }
    let expected = || format!("to: expected bool, integers or floating-point numbers, found {}", data_type::name(code));
    data_type::element_type(code).with_context(expected)
}

fn cast(node: &mut OnnxNode<'_>, to: ElementType) -> Result<Binding> {
    node.yields(0, to);
    let (reach, few_bits) = (node.reach(0), to.is_integer() && to.size() < 4);
    if reach == f64::INFINITY || few_bits && matches!(node.first()?, Binding::Integers(_)) {
        reach::expect_exact(reach, node.input_type(0)).context("input 0")?;
    }
    let (v, of_integers) = match node.first()? {
        Binding::Tensor(t) => match stored(&t, to, node.extents_so_far())? {
            Some(cast) => return Ok(Binding::Tensor(cast)),
            None => (node.value(0)?, t.is_integers()),
        },
        Binding::Value(v) => (v, false),
        Binding::Integers(v) => (v, true),
        Binding::Missing => bail!("input 0: expected a tensor, found none"),
    };
    match of_integers {
        _ if to.is_float() => Ok(Binding::Value(v)),
        true if node.input_type(0) == to => Ok(Binding::Integers(v)),
        _ if to == ElementType::Bool => is_not_zero(node, v),
        false => integers(node, Activation::Trunc, vec![v]),
        true => wrapped(node, v, to),
    }
}

/// Adds a node that yields the first output, which are integers.
fn integers(node: &mut OnnxNode<'_>, op: impl Into<Op>, inputs: Vec<ValueId>) -> Result<Binding> {
    node.push_as(&node.outputs()[0], op, inputs).map(Binding::Integers)
}

/// 1 for what is not 0, else 0.
fn is_not_zero(node: &mut OnnxNode<'_>, v: ValueId) -> Result<Binding> {
    let name = node.inner_name("is_zero");
    let zero = scalar(node, "zero", 0.0)?;
    let is_zero = node.push_as(&name, Binary::Equal, vec![v, zero])?;
    let one = scalar(node, "one", 1.0)?;
    let truth = node.push_as(&node.outputs()[0], Binary::Sub, vec![one, is_zero])?;
    node.set_reach(truth, 1.0);
    Ok(Binding::Integers(truth))
}

/// Integers as a type that may have fewer bits: the lower ones, as all of them are in two's complement.
pub(super) fn wrapped(node: &mut OnnxNode<'_>, v: ValueId, to: ElementType) -> Result<Binding> {
    use ElementType::{Bool, I8, I16, U8, U16};
    let (count, least) = match (node.input_type(0), to) {
        (Bool, _) | (U8, U16 | I16) | (I8, I16) => return Ok(Binding::Integers(v)),
        (_, U8) => (256.0, 0.0),
        (_, I8) => (256.0, -128.0),
        (_, U16) => (65536.0, 0.0),
        (_, I16) => (65536.0, -32768.0),
        // What is computed is exact up to 2^24, so that there is nothing to be cut off.
        _ => return Ok(Binding::Integers(v)),
    };
    let count = scalar(node, "count", count)?;
    if least == 0.0 {
        return integers(node, Binary::Modulus, vec![v, count]);
    }
    let (least, names) = (scalar(node, "least", least)?, ["from_least", "lower_bits"].map(|part| node.inner_name(part)));
    let from_least = node.push_as(&names[0], Binary::Sub, vec![v, least])?;
    let lower_bits = node.push_as(&names[1], Binary::Modulus, vec![from_least, count])?;
    integers(node, Binary::Add, vec![lower_bits, least])
}

/// A stored number.
fn scalar(node: &mut OnnxNode<'_>, part: &str, x: f32) -> Result<ValueId> {
    let name = node.inner_name(part);
    node.push_as(&name, Constant { dims: Vec::new(), data: vec![x].into() }, Vec::new())
}

/// A stored tensor as another type; `None` if what becomes of sizes is different from input to input.
fn stored(t: &Tensor, to: ElementType, extents: &Extents) -> Result<Option<Tensor>> {
    let data = match &t.data {
        Data::Sizes(sizes) if to.is_float() => {
            return Tensor::of_scaled(t.dims.clone(), sizes.iter().map(|size| (size.clone(), 1.0)).collect()).map(Some);
        }
        Data::Sizes(sizes) => return of_type(&t.dims, sizes.to_vec(), to, extents),
        Data::Scaled(sizes) if to.is_float() => Data::Scaled(sizes.clone()),
        // Truth is not whether there is a whole part.
        Data::Scaled(_) if to == ElementType::Bool => return Ok(None),
        Data::Scaled(list) => {
            let whole = list.iter().map(|size| sizes::truncated(size, extents)).collect::<Result<_>>()?;
            return of_type(&t.dims, whole, to, extents);
        }
        Data::Floats(floats) if to.is_float() => Data::Floats(floats.clone()),
        Data::Floats(floats) if to == ElementType::Bool => Data::Ints(floats.iter().map(|x| i64::from(x != 0.0)).collect()),
        // What the type has no room for is not defined.
        Data::Floats(floats) => Data::Ints(floats.iter().map(|x| lower_bits(x as i64, to)).collect()),
        Data::Ints(ints) if to.is_float() => Data::Floats(ints.iter().map(|&n| n as f32).collect::<Vec<f32>>().into()),
        Data::Ints(ints) => Data::Ints(ints.iter().map(|&n| lower_bits(n, to)).collect()),
    };
    Tensor::new(t.dims.clone(), data).map(Some)
}

/// Integers that depend on symbolic dims, as integers of type `to`; `None` if some have other bits there, or may be 0 and are truth.
fn of_type(dims: &[usize], sizes: Vec<Extent>, to: ElementType, extents: &Extents) -> Result<Option<Tensor>> {
    use ElementType::{Bool, I8, I16, U8, U16, U32, U64};
    let bounds = || sizes.iter().map(Extent::bounds);
    match to {
        Bool if bounds().all(|(low, high)| low > 0 || high < 0) => {
            Tensor::of_sizes(dims.to_vec(), vec![Extent::from(1i64); sizes.len()])
        }
        Bool => return Ok(None),
        U8 | I8 | U16 | I16 if !bounds().all(|(low, high)| [low, high].iter().all(|&n| lower_bits(n, to) == n)) => {
            return Ok(None);
        }
        U32 | U64 => {
            let negative = sizes.iter().find(|size| !extents.hold_no_less_than(size));
            negative.map_or(Ok(()), |size| Err(anyhow!("expected integers of at least 0 as {to}, found '{size}'")))?;
            Tensor::of_sizes(dims.to_vec(), sizes)
        }
        _ => Tensor::of_sizes(dims.to_vec(), sizes),
    }
    .map(Some)
}

/// An integer as a type that may have fewer bits.
fn lower_bits(n: i64, to: ElementType) -> i64 {
    match to {
        ElementType::Bool => i64::from(n != 0),
        ElementType::U8 => i64::from(n as u8),
        ElementType::I8 => i64::from(n as i8),
        ElementType::U16 => i64::from(n as u16),
        ElementType::I16 => i64::from(n as i16),
        ElementType::U32 => i64::from(n as u32),
        ElementType::I32 => i64::from(n as i32),
        ElementType::U64 | ElementType::I64 | ElementType::F32 | ElementType::F16 | ElementType::F64 => n,
    }
}
