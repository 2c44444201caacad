//! Integers that stand for numbers: QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear, as the specification says them, in
//! `f32`. What is stored becomes stored numbers, so that a weight that is its zero point is a 0 like any other; what is computed
//! becomes the arithmetic that defines it.

use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::onnx::proto::data_type;
use crate::onnx::tensor::{Data, Floats, Tensor};
use anyhow::{Context, Result, bail, ensure};
use sslm_format::{Activation, Binary, Constant, ElementType, GlobalMaxPool, Reshape, ValueId};

pub(super) const IMPORTS: &[Import] = &[
    Import::moving("QuantizeLinear", quantize),
    Import::moving("DequantizeLinear", dequantize),
    Import::computing("DynamicQuantizeLinear", dynamic),
];

/// Which elements share a scale and a zero point.
enum Shared {
    /// All.
    Whole,
    /// Those of an index of this axis.
    Axis(usize),
    /// Those of so many neighbours on this axis.
    Blocks(usize, usize),
}

impl Shared {
    /// What the node and the dims of its scale say for a tensor of `rank` axes.
    fn of(node: &OnnxNode<'_>, scale: &Tensor, rank: usize) -> Result<Self> {
        let size = usize::try_from(node.int("block_size", 0)?).context("block_size: expected no negative number")?;
        if size > 0 {
            return Ok(Shared::Blocks(node.axis(1, rank)?, size));
        }
        match scale.dims[..] {
            [] | [1] => Ok(Shared::Whole),
            [_] => Ok(Shared::Axis(node.axis(1, rank)?)),
            _ => bail!("scale (input 1): expected one for each index of an axis, found dims {:?}", scale.dims),
        }
    }

    /// A scale or zero point `t` as a tensor that meets one of `rank` axes, whose extents are `dims` as far as they are known.
    fn spread(&self, t: &Tensor, rank: usize, dims: &[Option<usize>]) -> Result<Tensor> {
        let (axis, size) = match *self {
            Shared::Whole => return Tensor::new(Vec::new(), t.data.clone()).context("expected one element"),
            Shared::Axis(axis) => {
                let fits = dims[axis].is_none_or(|extent| t.dims[..] == [extent]);
                ensure!(
                    fits && t.dims.len() == 1,
                    "axis {axis}: expected as many scales and zero points as its extent, found {:?}",
                    t.dims
                );
                let dims = t.dims.iter().copied().chain(vec![1; rank - axis - 1]).collect();
                return Tensor::new(dims, t.data.clone());
            }
            Shared::Blocks(axis, size) => (axis, size),
        };
        let extent =
            dims[axis].with_context(|| format!("axis {axis}: expected a known extent for blocks, found a symbolic one"))?;
        let rest_fits = t.dims.len() == rank
            && t.dims.iter().zip(dims).enumerate().all(|(a, (own, x))| a == axis || x.is_none_or(|x| x == *own));
        ensure!(
            rest_fits && t.dims[axis] == extent.div_ceil(size),
            "expected a scale and zero point for each {size} indices of axis {axis}, found dims {:?}",
            t.dims
        );
        // Block by block, so that everything behind the axis is one run.
        let run: usize = t.dims[axis + 1..].iter().product();
        let source = |i: usize| {
            let (row, within) = (i / run, i % run);
            (row / extent * t.dims[axis] + row % extent / size) * run + within
        };
        let mut dims = t.dims.clone();
        dims[axis] = extent;
        let len = dims.iter().product();
        let data = match &t.data {
            Data::Floats(floats) => Data::Floats((0..len).map(|i| floats.at(source(i))).collect::<Vec<f32>>().into()),
            _ => {
                let ints = t.ints()?;
                Data::Ints((0..len).map(|i| ints[source(i)]).collect())
            }
        };
        Tensor::new(dims, data)
    }
}

/// What a node quantises by, made to meet its input.
struct Rule {
    scale: Tensor,
    /// Absent where all are 0.
    zero_point: Option<Tensor>,
}

impl Rule {
    /// `dims` are the extents of input 0, as far as they are known.
    fn of(node: &OnnxNode<'_>, dims: &[Option<usize>]) -> Result<Self> {
        let scale = node.needed_tensor(1, "scale")?;
        let shared = Shared::of(node, scale, dims.len())?;
        let is_usable = |x: f32| x.is_finite() && x != 0.0;
        ensure!(scale.floats()?.iter().all(is_usable), "scale (input 1): expected finite numbers other than 0");
        let zero_point = node.tensor(2, "zero point")?.filter(|t| t.ints().is_ok_and(|ints| ints.iter().any(|&n| n != 0)));
        if let Some(zero_point) = zero_point {
            let same = scale.dims == zero_point.dims || scale.floats()?.len() == 1 && zero_point.ints()?.len() == 1;
            ensure!(same, "zero point (input 2): expected the scale's dims {:?}, found {:?}", scale.dims, zero_point.dims);
        }
        let spread = |t: &Tensor| shared.spread(t, dims.len(), dims);
        Ok(Rule { scale: spread(scale)?, zero_point: zero_point.map(spread).transpose()? })
    }

    /// For each element of a tensor of these dims, its scale and zero point.
    fn elements(&self, dims: &[usize]) -> Result<impl Fn(usize) -> (f32, i64) + use<'_>> {
        let scales = self.scale.floats()?;
        let zero_points = self.zero_point.as_ref().map(Tensor::ints).transpose()?;
        // Scales repeat along the axes before their own, and for everything behind it.
        let own = &self.scale.dims;
        let inner: usize =
            dims[dims.len() - own.len()..].iter().zip(own).rev().take_while(|(_, own)| **own == 1).map(|(d, _)| d).product();
        let len = scales.len();
        Ok(move |i: usize| {
            let place = i / inner % len;
            (scales.at(place), zero_points.map_or(0, |zero_points| zero_points[place]))
        })
    }
}

fn dequantize(node: &mut OnnxNode<'_>) -> Result<Binding> {
    node.yields(0, ElementType::F32);
    let stored_rule = node.tensor_if_known(1).is_some();
    if let Some(t) = node.tensor_if_known(0).filter(|_| stored_rule) {
        let dims: Vec<Option<usize>> = t.dims.iter().map(|&d| Some(d)).collect();
        let rule = Rule::of(node, &dims)?;
        let (of, ints) = (rule.elements(&t.dims)?, t.ints()?);
        let number = |(i, &n): (usize, &i64)| {
            let (scale, zero_point) = of(i);
            (n - zero_point) as f32 * scale
        };
        let floats: Vec<f32> = ints.iter().enumerate().map(number).collect();
        return Tensor::new(t.dims.clone(), Data::Floats(floats.into())).map(Binding::Tensor);
    }
    let x = node.value(0)?;
    let (scale, zero_point) = operands(node, x)?;
    let shifted = match zero_point {
        Some(zero_point) => node.push_as(&node.inner_name("shifted"), Binary::Sub, vec![x, zero_point])?,
        None => x,
    };
    node.push_as(&node.outputs()[0], Binary::Mul, vec![shifted, scale]).map(Binding::Value)
}

fn quantize(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let to = quantized_type(node)?;
    node.yields(0, to);
    let (least, most) = bounds(to)?;
    let stored_rule = node.tensor_if_known(1).is_some();
    if let Some(t) = node.tensor_if_known(0).filter(|_| stored_rule) {
        let dims: Vec<Option<usize>> = t.dims.iter().map(|&d| Some(d)).collect();
        let rule = Rule::of(node, &dims)?;
        let (of, floats) = (rule.elements(&t.dims)?, t.as_floats()?);
        let integer = |(i, x): (usize, f32)| {
            let (scale, zero_point) = of(i);
            ((x / scale).round_ties_even() + zero_point as f32).clamp(least, most) as i64
        };
        let ints = floats.floats()?.iter().enumerate().map(integer).collect();
        return Tensor::new(t.dims.clone(), Data::Ints(ints)).map(Binding::Tensor);
    }
    let x = node.value(0)?;
    let (scale, zero_point) = operands(node, x)?;
    quantized(node, x, scale, zero_point, (least, most))
}

/// The first output: `x` over `scale`, rounded, from `zero_point`, within bounds.
fn quantized(
    node: &mut OnnxNode<'_>,
    x: ValueId,
    scale: ValueId,
    zero_point: Option<ValueId>,
    (low, high): (f32, f32),
) -> Result<Binding> {
    let names = ["scaled", "rounded", "shifted"].map(|part| node.inner_name(part));
    let scaled = node.push_as(&names[0], Binary::Div, vec![x, scale])?;
    let rounded = node.push_as(&names[1], Activation::Round, vec![scaled])?;
    let shifted = match zero_point {
        Some(zero_point) => node.push_as(&names[2], Binary::Add, vec![rounded, zero_point])?,
        None => rounded,
    };
    node.push_as(&node.outputs()[0], Activation::Clip { low, high }, vec![shifted]).map(Binding::Integers)
}

/// The values that `x` is quantised by: those that the node computes, one for all elements, or what it stores.
fn operands(node: &mut OnnxNode<'_>, x: ValueId) -> Result<(ValueId, Option<ValueId>)> {
    let rank = node.rank(x);
    if node.tensor_if_known(1).is_none() {
        let (scale, zero_point) = (node.value(1)?, node.input(2).is_some().then(|| node.value(2)).transpose()?);
        let is_one = node.rank(scale) == 0 && zero_point.is_none_or(|z| node.rank(z) == 0);
        ensure!(is_one, "scale and zero point (inputs 1, 2): expected stored ones or computed scalars, found others");
        return Ok((scale, zero_point));
    }
    let dims: Vec<Option<usize>> = (0..rank).map(|axis| node.extent(x, axis)).collect();
    let Rule { scale, zero_point } = Rule::of(node, &dims)?;
    let mut constant = |part: &str, t: &Tensor| {
        let dims = std::iter::repeat_n(1, rank - t.dims.len()).chain(t.dims.iter().map(|&d| d as u64)).collect();
        let name = node.inner_name(part);
        node.push_as(&name, Constant { dims, data: t.as_floats()?.floats()?.clone() }, Vec::new())
    };
    let scale = constant("scale", &scale)?;
    Ok((scale, zero_point.map(|zero_point| constant("zero_point", &zero_point)).transpose()?))
}

/// The type that a QuantizeLinear yields: its zero point's, or what an attribute says, or uint8.
fn quantized_type(node: &OnnxNode<'_>) -> Result<ElementType> {
    if node.input(2).is_some() {
        return Ok(node.input_type(2));
    }
    let code = i32::try_from(node.int("output_dtype", 0)?).unwrap_or(i32::MAX);
    match code {
        data_type::UNDEFINED => Ok(ElementType::U8),
        code => data_type::element_type(code)
            .with_context(|| format!("output_dtype: expected integers of 8 or 16 bits, found {}", data_type::name(code))),
    }
}

/// The least and greatest integers of a type that quantised numbers may have.
fn bounds(of: ElementType) -> Result<(f32, f32)> {
    Ok(match of {
        ElementType::U8 => (0.0, 255.0),
        ElementType::I8 => (-128.0, 127.0),
        ElementType::U16 => (0.0, 65535.0),
        ElementType::I16 => (-32768.0, 32767.0),
        other => bail!("expected integers of 8 or 16 bits, found {other}"),
    })
}

/// Scale and zero point follow from the greatest and least element of all: those of uint8 reach from the one to the other.
fn dynamic(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let name = |part: &str| node.inner_name(part);
    let names =
        ["flat", "max", "positive", "negated", "min", "negative", "range", "steps", "scale", "below", "zero_point"].map(name);
    let [flat, max, positive, negated, min, negative, range, steps, scale, below, zero_point] = &names;
    let number = |node: &mut OnnxNode<'_>, part: &str, x: f32| {
        let name = node.inner_name(part);
        node.push_as(&name, Constant { dims: vec![1; 4], data: Floats::from(vec![x]) }, Vec::new())
    };
    let flat = node.push_as(flat, Reshape::to(&[1, 1, -1, 1]), vec![x])?;
    let max = node.push_as(max, GlobalMaxPool {}, vec![flat])?;
    let positive = node.push_as(positive, Activation::Relu, vec![max])?;
    let minus_one = number(node, "minus_one", -1.0)?;
    let negated = node.push_as(negated, Binary::Mul, vec![flat, minus_one])?;
    let min = node.push_as(min, GlobalMaxPool {}, vec![negated])?;
    // What is below 0, as a positive number.
    let negative = node.push_as(negative, Activation::Relu, vec![min])?;
    let range = node.push_as(range, Binary::Add, vec![positive, negative])?;
    let count = number(node, "count", 255.0)?;
    let steps = node.push_as(steps, Binary::Div, vec![range, count])?;
    // Where all elements are 0, any scale will do but 0.
    let steps =
        node.push_as(&format!("{scale}.positive"), Activation::Clip { low: f32::MIN_POSITIVE, high: f32::MAX }, vec![steps])?;
    let below_zero = node.push_as(below, Binary::Div, vec![negative, steps])?;
    let rounded = node.push_as(&format!("{zero_point}.rounded"), Activation::Round, vec![below_zero])?;
    let zero_point_of_one =
        node.push_as(&format!("{zero_point}.clipped"), Activation::Clip { low: 0.0, high: 255.0 }, vec![rounded])?;
    let outputs = node.outputs();
    let output =
        |i: usize, other: &str| outputs.get(i).filter(|name| !name.is_empty()).map_or_else(|| other.to_owned(), Clone::clone);
    let scale = node.push_as(&output(1, scale), Reshape { dims: Vec::new() }, vec![steps])?;
    let zero_point = node.push_as(&output(2, zero_point), Reshape { dims: Vec::new() }, vec![zero_point_of_one])?;
    node.yields(0, ElementType::U8);
    node.yields(2, ElementType::U8);
    node.further_output(Binding::Value(scale));
    node.further_output(Binding::Integers(zero_point));
    quantized(node, x, scale, Some(zero_point), (0.0, 255.0))
}
