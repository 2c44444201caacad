//! What is told by which of two indices is larger: Trilu and EyeLike, of what is known at conversion, and CumSum, a product with a
//! triangle of ones.

use super::matmul;
use crate::import::binding::Binding;
use crate::import::checks;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::import::stored;
use crate::onnx::proto::data_type;
use crate::onnx::tensor::{Data, Floats, Tensor};
use anyhow::{Context, Result, bail, ensure};
use sslm_format::{Constant, Extent, MatMul, Transpose};

pub(super) const IMPORTS: &[Import] =
    &[Import::computing("Trilu", trilu), Import::computing("EyeLike", eye_like), Import::computing("CumSum", cum_sum)];

/// Longest axis of a running sum: the triangle then has a million elements.
const MAX_SUMMED: usize = 1024;

fn trilu(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let t = node.needed_tensor(0, "input")?;
    let [.., rows, columns] = t.dims[..] else { bail!("input: expected 2 axes at least, found {}", t.dims.len()) };
    ensure_few(t, 1)?;
    let (upper, k) = (node.flag("upper", true)?, node.integers("k", 1)?);
    let k = k.and_then(|k| k.first().copied()).unwrap_or(0);
    let stays = |i: usize| {
        let beyond = (i % columns) as i64 - (i / columns % rows) as i64;
        if upper { beyond >= k } else { beyond <= k }
    };
    let data = match &t.data {
        Data::Floats(floats) => {
            let of = |(i, x): (usize, f32)| if stays(i) { x } else { 0.0 };
            Data::Floats(floats.iter().enumerate().map(of).collect::<Vec<_>>().into())
        }
        _ => Data::Ints(t.ints()?.iter().enumerate().map(|(i, &n)| if stays(i) { n } else { 0 }).collect()),
    };
    Tensor::new(t.dims.clone(), data).map(Binding::Tensor)
}

fn eye_like(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let (dims, integers) = match node.first()? {
        Binding::Tensor(t) => (t.dims.clone(), t.ints().is_ok()),
        Binding::Value(v) => (known_dims(node, v)?, false),
        Binding::Integers(v) => (known_dims(node, v)?, true),
        Binding::Missing => bail!("input 0: expected a tensor, found none"),
    };
    let [rows, columns] = dims[..] else { bail!("input: expected 2 axes, found {}", dims.len()) };
    let integers = match node.int("dtype", 0)? as i32 {
        0 => integers,
        data_type::FLOAT => false,
        data_type::INT32 | data_type::INT64 | data_type::BOOL => true,
        other => bail!("dtype: expected float32 or integers, found {}", data_type::name(other)),
    };
    let k = node.int("k", 0)?;
    ensure!(rows.saturating_mul(columns) <= stored::MAX_MADE, "input: expected at most {} elements", stored::MAX_MADE);
    let on = |i: usize| (i % columns) as i64 - (i / columns) as i64 == k;
    let data = match integers {
        true => Data::Ints((0..rows * columns).map(|i| on(i).into()).collect()),
        false => Data::Floats((0..rows * columns).map(|i| f32::from(u8::from(on(i)))).collect::<Vec<_>>().into()),
    };
    Tensor::new(dims, data).map(Binding::Tensor)
}

fn known_dims(node: &OnnxNode<'_>, v: sslm_format::ValueId) -> Result<Vec<usize>> {
    let known: Option<Vec<usize>> = node.extents_of(v).iter().map(Extent::known).collect();
    known.context("input: expected known extents, found symbolic ones")
}

fn cum_sum(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let axis = node.integers("axis", 1)?.context("axis (input 1): expected a constant, found none")?;
    let [axis] = axis[..] else { bail!("axis: expected one integer, found {}", axis.len()) };
    let (exclusive, reverse) = (node.flag("exclusive", false)?, node.flag("reverse", false)?);
    // Whether the sum at index `at` has the element at index `i`.
    let counts = |at: usize, i: usize| if at == i { !exclusive } else { (i < at) != reverse };
    if let Some(t) = node.tensor_if_known(0) {
        return running_sum(t, checks::axis(axis, t.dims.len())?, counts).map(Binding::Tensor);
    }
    let mut x = node.value(0)?;
    let rank = node.rank(x);
    let axis = checks::axis(axis, rank)?;
    let extent = node.extent(x, axis).context("axis: expected a known extent, found a symbolic one")?;
    ensure!(extent <= MAX_SUMMED, "axis: expected an extent of at most {MAX_SUMMED}, found {extent}");
    let elements = (0..extent * extent).map(|i| f32::from(u8::from(counts(i % extent, i / extent)))).collect::<Vec<_>>();
    let triangle = Constant { dims: vec![extent as u64; 2], data: Floats::from(elements) };
    let triangle = node.push_as(&node.inner_name("triangle"), triangle, Vec::new())?;
    let product = MatMul { transposed: [false; 2], alpha: 1.0 };
    if axis + 1 == rank {
        return matmul::product(node, [x, triangle], product);
    }
    // The axis is the last one for a while.
    let mut axes: Vec<u32> = (0..rank as u32).collect();
    axes.swap(axis, rank - 1);
    x = node.push_as(&node.inner_name("last"), Transpose { axes: axes.clone() }, vec![x])?;
    let y = node.push_as(&node.inner_name("sums"), product, vec![x, triangle])?;
    node.push(Transpose { axes }, vec![y])
}

/// Refuses a tensor that a small file may state, but of which it takes long to compute another one, in so many steps for each element.
fn ensure_few(t: &Tensor, steps: usize) -> Result<()> {
    let most = stored::MAX_MADE / steps.max(1);
    ensure!(t.dims.iter().product::<usize>() <= most, "input: expected at most {most} elements, found dims {:?}", t.dims);
    Ok(())
}

/// The sums of a stored tensor along an axis.
fn running_sum(t: &Tensor, axis: usize, counts: impl Fn(usize, usize) -> bool) -> Result<Tensor> {
    let (extent, inner) = (t.dims[axis], t.dims[axis + 1..].iter().product::<usize>());
    ensure!(extent <= MAX_SUMMED, "axis: expected an extent of at most {MAX_SUMMED}, found {extent}");
    ensure_few(t, extent)?;
    let len = t.dims.iter().product::<usize>();
    // The places of the elements whose sum is at place `i`.
    let places = |i: usize| {
        let (at, first) = (i / inner % extent, i / inner / extent * extent * inner + i % inner);
        let counts = &counts;
        (0..extent).filter(move |&other| counts(at, other)).map(move |other| first + other * inner)
    };
    let data = match &t.data {
        Data::Floats(floats) => {
            let sum = |i: usize| places(i).map(|place| f64::from(floats.at(place))).sum::<f64>() as f32;
            Data::Floats((0..len).map(sum).collect::<Vec<_>>().into())
        }
        _ => {
            let ints = t.ints()?;
            Data::Ints((0..len).map(|i| places(i).map(|place| ints[place]).fold(0, i64::wrapping_add)).collect())
        }
    };
    Tensor::new(t.dims.clone(), data)
}
