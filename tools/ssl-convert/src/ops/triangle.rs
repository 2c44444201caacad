//! What is told by which of two indices is larger: Trilu, which keeps elements on one side of a diagonal, EyeLike, which is a diagonal, and
//! CumSum, a product with a triangle of ones.

use super::matmul;
use crate::import::binding::Binding;
use crate::import::checks;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::import::stored;
use crate::onnx::proto::data_type;
use crate::onnx::tensor::{Data, Floats, Tensor};
use anyhow::{Context, Result, bail, ensure};
use sslm_format::{Binary, Constant, Extent, MatMul, Range, Reshape, Transpose, ValueId, Where};

pub(super) const IMPORTS: &[Import] =
    &[Import::moving("Trilu", trilu), Import::moving("EyeLike", eye_like), Import::computing("CumSum", cum_sum).of_integers()];

/// Triangles of at most so many elements are stored; larger ones, and those of open sizes, are computed where they are needed.
const MAX_STORED: usize = 1 << 20;

/// The places of a matrix on one side of a diagonal, and those on it: how far a column's index is above a row's tells.
#[derive(Clone, Copy)]
struct Side {
    /// Whether it is the side of larger indices of columns.
    upper: bool,
    /// The index of the diagonal's column in row 0.
    diagonal: i64,
}

impl Side {
    fn has(self, row: usize, column: usize) -> bool {
        let beyond = column as i64 - row as i64;
        if self.upper { beyond >= self.diagonal } else { beyond <= self.diagonal }
    }
}

/// A matrix of 1 on that side and 0 elsewhere.
fn triangle(node: &mut OnnxNode<'_>, [rows, columns]: [&Extent; 2], side: Side) -> Result<ValueId> {
    if let (Some(rows), Some(columns)) = (rows.known(), columns.known())
        && rows.saturating_mul(columns) <= MAX_STORED
    {
        let element = |i: usize| f32::from(u8::from(side.has(i / columns, i % columns)));
        let data = Floats::from((0..rows * columns).map(element).collect::<Vec<_>>());
        return node.inner(Constant { dims: vec![rows as u64, columns as u64], data }, Vec::new());
    }
    let one = Extent::from(1usize);
    let range = |start: i64, count: &Extent| Range { start: Extent::from(start), step: one.clone(), count: count.clone() };
    let along_rows = node.inner(range(side.diagonal, rows), Vec::new())?;
    let along_rows = node.inner(Reshape::to(&[-1, 1]), vec![along_rows])?;
    let along_columns = node.inner(range(0, columns), Vec::new())?;
    let operands = if side.upper { vec![along_rows, along_columns] } else { vec![along_columns, along_rows] };
    node.inner(Binary::LessOrEqual, operands)
}

fn trilu(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let k = node.integers("k", 1)?.and_then(|k| k.first().copied()).unwrap_or(0);
    let side = Side { upper: node.flag("upper", true)?, diagonal: k };
    let Some(t) = node.tensor_if_known(0).filter(|t| t.is_known()) else { return trilu_of_computed(node, side) };
    let [.., rows, columns] = t.dims[..] else { bail!("input: expected 2 axes at least, found {}", t.dims.len()) };
    ensure_few(t, 1)?;
    let stays = |i: usize| side.has(i / columns % rows, i % columns);
    let data = match &t.data {
        Data::Floats(floats) => {
            let of = |(i, x): (usize, f32)| if stays(i) { x } else { 0.0 };
            Data::Floats(floats.iter().enumerate().map(of).collect::<Vec<_>>().into())
        }
        _ => Data::Ints(t.ints()?.iter().enumerate().map(|(i, &n)| if stays(i) { n } else { 0 }).collect()),
    };
    Tensor::new(t.dims.clone(), data).map(Binding::Tensor)
}

/// A choice: what is not on that side may be infinite, so that it is not multiplied by 0.
fn trilu_of_computed(node: &mut OnnxNode<'_>, side: Side) -> Result<Binding> {
    let x = node.value(0)?;
    let [.., rows, columns] = &node.extents_of(x).to_vec()[..] else { bail!("input: expected 2 axes at least, found fewer") };
    let (stays, zero) = (triangle(node, [rows, columns], side)?, node.inner_constant(0.0, 0)?);
    node.push(Where {}, vec![stays, x, zero])
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
        data_type::UNDEFINED => integers,
        code => {
            let found = || format!("dtype: expected floating-point numbers or integers, found {}", data_type::name(code));
            let element_type = data_type::element_type(code).with_context(found)?;
            node.yields(0, element_type);
            !element_type.is_float()
        }
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
    // The sums at the indices of columns have the elements at those of rows.
    let side = Side { upper: !reverse, diagonal: i64::from(exclusive) * if reverse { -1 } else { 1 } };
    if let Some(t) = node.tensor_if_known(0) {
        return running_sum(t, checks::axis(axis, t.dims.len())?, side).map(Binding::Tensor);
    }
    let mut x = node.value(0)?;
    let rank = node.rank(x);
    let axis = checks::axis(axis, rank)?;
    let extent = node.extents_of(x)[axis].clone();
    let triangle = triangle(node, [&extent, &extent], side)?;
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
fn running_sum(t: &Tensor, axis: usize, side: Side) -> Result<Tensor> {
    let (extent, inner) = (t.dims[axis], t.dims[axis + 1..].iter().product::<usize>());
    ensure_few(t, extent)?;
    let len = t.dims.iter().product::<usize>();
    // The places of the elements whose sum is at place `i`.
    let places = |i: usize| {
        let (at, first) = (i / inner % extent, i / inner / extent * extent * inner + i % inner);
        (0..extent).filter(move |&other| side.has(other, at)).map(move |other| first + other * inner)
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
