//! Operators on stored tensors, whose results are known at conversion.

use crate::onnx::tensor::{Data, Floats, Tensor};
use crate::weights::Op;
use anyhow::{Context, Result, bail};
use sslm_format::shape::Shape;
use sslm_format::{Binary, Concat, Gather, Slice, Transpose, infer};

/// A ConstantOfShape costs nothing to state but time and memory to use: the largest real layers have a tenth of this.
pub(crate) const MAX_REPEATED: usize = 1 << 30;

/// Results with more elements than their operands store have at most this many: a small file must not ask for much memory.
pub(crate) const MAX_MADE: usize = 1 << 24;

/// The extents of what `op` yields for stored tensors.
fn dims_of(op: impl Into<Op>, inputs: &[&Tensor]) -> Result<Vec<usize>> {
    let shapes: Vec<Shape> = inputs.iter().map(|t| t.dims.iter().map(|&d| Some(d)).collect()).collect();
    let dims: Option<Vec<usize>> = infer::of_node(&op.into(), &shapes.iter().collect::<Vec<_>>())?.into_iter().collect();
    dims.context("shape: expected known extents")
}

/// After a Flatten or Reshape.
pub(crate) fn rearranged(t: &Tensor, op: impl Into<Op>) -> Result<Tensor> {
    Tensor::new(dims_of(op, &[t])?, t.data.clone())
}

/// With its axes in another order.
pub(crate) fn transposed(t: &Tensor, transpose: Transpose) -> Result<Tensor> {
    let strides: Vec<usize> = transpose.axes.iter().map(|&a| t.dims.iter().skip(a as usize + 1).product()).collect();
    let dims = dims_of(transpose, &[t])?;
    picked(t, dims.clone(), |i| walk(&dims, &strides, i))
}

/// The positions of one axis that a Slice takes.
pub(crate) fn sliced(t: &Tensor, slice: Slice) -> Result<Tensor> {
    let axis = slice.axis as usize;
    let dims = dims_of(slice.clone(), &[t])?;
    taken(t, dims, axis, &slice.picked(t.dims[axis]).collect::<Vec<_>>())
}

/// The positions of one axis that a Gather takes; the axis becomes those of the indices, `index_dims`.
pub(crate) fn gathered(t: &Tensor, gather: Gather, index_dims: &[usize]) -> Result<Tensor> {
    let axis = gather.axis as usize;
    let mut dims = dims_of(gather.clone(), &[t])?;
    let positions = gather.picked(t.dims[axis]).context("indices: expected ones within the axis")?;
    dims.splice(axis..=axis, index_dims.iter().copied());
    taken(t, dims, axis, &positions)
}

/// `positions` of `axis`, as a tensor of `dims`.
fn taken(t: &Tensor, dims: Vec<usize>, axis: usize, positions: &[usize]) -> Result<Tensor> {
    let (extent, inner) = (t.dims[axis], t.dims[axis + 1..].iter().product::<usize>());
    let source = |i: usize| {
        let (row, column) = (i / inner, i % inner);
        (row / positions.len() * extent + positions[row % positions.len()]) * inner + column
    };
    picked(t, dims, source)
}

/// One behind the other on `axis`.
pub(crate) fn joined(tensors: &[&Tensor], axis: usize) -> Result<Tensor> {
    let dims = dims_of(Concat { axis: axis as u32 }, tensors)?;
    count(&dims, stored(tensors.iter().copied()))?;
    let rows = dims[..axis].iter().product();
    let len = |t: &Tensor| t.dims[axis..].iter().product::<usize>();
    let row = |i: usize| tensors.iter().flat_map(move |&t| (i * len(t)..(i + 1) * len(t)).map(move |place| (t, place)));
    let places = (0..rows).flat_map(row);
    let data = if tensors.iter().all(|t| t.ints().is_ok()) {
        Data::Ints(places.map(|(t, place)| Ok(t.ints()?[place])).collect::<Result<_>>()?)
    } else {
        Data::Floats(places.map(|(t, place)| Ok(t.floats()?.at(place))).collect::<Result<Vec<f32>>>()?.into())
    };
    Tensor::new(dims, data)
}

/// A function of two tensors' elements, by numpy's broadcasting. `of_integers` is the same function of integers.
pub(crate) fn combined(function: Binary, of_integers: fn(i64, i64) -> Option<i64>, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let dims = dims_of(function, &[a, b])?;
    let len = count(&dims, stored([a, b]))?;
    let strides = |t: &Tensor| -> Vec<usize> {
        let missing = dims.len() - t.dims.len();
        let stride = |axis: usize| match axis.checked_sub(missing) {
            Some(own) if t.dims[own] != 1 => t.dims[own + 1..].iter().product(),
            _ => 0,
        };
        (0..dims.len()).map(stride).collect()
    };
    // Large operands mostly have the result's shape.
    let strides = [a, b].map(|t| (t.dims != dims).then(|| strides(t)));
    let place = |operand: usize, i: usize| strides[operand].as_ref().map_or(i, |strides| walk(&dims, strides, i));
    let data = match (&a.data, &b.data) {
        (Data::Floats(a), Data::Floats(b)) => {
            let of = |i: usize| function.apply(a.at(place(0, i)), b.at(place(1, i)));
            Data::Floats((0..len).map(of).collect::<Vec<f32>>().into())
        }
        (Data::Ints(a), Data::Ints(b)) => {
            let of = |i: usize| {
                let (a, b) = (a[place(0, i)], b[place(1, i)]);
                of_integers(a, b).with_context(|| format!("expected integers that can be combined, found {a} and {b}"))
            };
            Data::Ints((0..len).map(of).collect::<Result<_>>()?)
        }
        _ => bail!("expected operands of one type, found float32 and integers"),
    };
    Tensor::new(dims, data)
}

/// A tensor of `dims` whose element i is element `source(i)` of `t`.
fn picked(t: &Tensor, dims: Vec<usize>, source: impl Fn(usize) -> usize) -> Result<Tensor> {
    let data = match &t.data {
        Data::Floats(Floats::Repeated { value, .. }) => {
            Data::Floats(Floats::Repeated { value: *value, len: count(&dims, MAX_REPEATED)? })
        }
        Data::Floats(floats) => {
            let len = count(&dims, stored([t]))?;
            Data::Floats((0..len).map(|i| floats.at(source(i))).collect::<Vec<f32>>().into())
        }
        Data::Ints(ints) => Data::Ints((0..count(&dims, stored([t]))?).map(|i| ints[source(i)]).collect()),
    };
    Tensor::new(dims, data)
}

/// How many elements `tensors` store.
fn stored<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> usize {
    let count = |t: &Tensor| match &t.data {
        Data::Floats(Floats::Repeated { .. }) => 1,
        Data::Floats(floats) => floats.len(),
        Data::Ints(ints) => ints.len(),
    };
    tensors.into_iter().map(count).sum()
}

/// How many elements a tensor of `dims` has: at most `most`, or [`MAX_MADE`].
fn count(dims: &[usize], most: usize) -> Result<usize> {
    let most = most.max(MAX_MADE);
    let len = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= most);
    len.with_context(|| format!("expected at most {most} elements, found dims {dims:?}"))
}

/// Where element `i` of a tensor of `dims` lies in one whose axes are `strides` apart.
fn walk(dims: &[usize], strides: &[usize], mut i: usize) -> usize {
    let mut at = 0;
    for (extent, stride) in dims.iter().zip(strides).rev() {
        at += i % extent * stride;
        i /= extent;
    }
    at
}
