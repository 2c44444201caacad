//! Operators on stored tensors, whose results are known at conversion.

use crate::import::sizes::{self, Extents};
use crate::onnx::tensor::{Data, Floats, Tensor};
use crate::weights::Op;
use anyhow::{Context, Result, bail, ensure};
use sslm_format::shape::{self, Shape};
use sslm_format::{Activation, Binary, Concat, Expand, Gather, Slice, Transpose, Where, infer};

/// A ConstantOfShape costs nothing to state but time and memory to use: the largest real layers have a tenth of this.
pub(crate) const MAX_REPEATED: usize = 1 << 30;

/// Results with more elements than their operands store have at most this many: a small file must not ask for much memory.
pub(crate) const MAX_MADE: usize = 1 << 24;

/// The extents of what `op` yields for stored tensors.
fn dims_of(op: impl Into<Op>, inputs: &[&Tensor]) -> Result<Vec<usize>> {
    let shapes: Vec<Shape> = inputs.iter().map(|t| shape::of(&t.dims)).collect();
    let dims = infer::of_node(&op.into(), &shapes.iter().collect::<Vec<_>>())?;
    shape::known(&dims).with_context(|| format!("shape: expected known extents, found {dims:?}"))
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
    let picked = slice.picked(t.dims[axis]).context("starts and ends: expected known ones")?;
    taken(t, dims, axis, &picked.collect::<Vec<_>>())
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
    } else if let Some(lists) = tensors.iter().map(|t| t.sizes()).collect::<Option<Vec<_>>>() {
        // Those with symbolic elements are short.
        let indices = (0..rows).flat_map(|i| {
            tensors.iter().enumerate().flat_map(move |(k, t)| (i * len(t)..(i + 1) * len(t)).map(move |place| (k, place)))
        });
        return Tensor::of_sizes(dims, indices.map(|(k, place)| lists[k][place].clone()).collect());
    } else {
        Data::Floats(places.map(|(t, place)| Ok(t.floats()?.at(place))).collect::<Result<Vec<f32>>>()?.into())
    };
    Tensor::new(dims, data)
}

/// A function of each element. That of integers is an integer. `extents` are those of the graph's values.
pub(crate) fn mapped(function: Activation, x: &Tensor, extents: &Extents) -> Result<Tensor> {
    if let Some(sizes) = x.scaled().filter(|_| !x.is_known()) {
        let whole = |size: sizes::Scaled| Ok((sizes::rounded(function, &size, extents)?, 1.0));
        return Tensor::of_scaled(x.dims.clone(), sizes.into_iter().map(whole).collect::<Result<_>>()?);
    }
    let data = match (&x.data, &x.as_floats()?.data) {
        (Data::Floats(Floats::Repeated { value, len }), _) => {
            Data::Floats(Floats::Repeated { value: function.apply(*value), len: *len })
        }
        (Data::Ints(_), Data::Floats(x)) => Data::Ints(x.iter().map(|x| function.apply(x) as i64).collect()),
        (_, Data::Floats(x)) => Data::Floats(x.iter().map(|x| function.apply(x)).collect::<Vec<f32>>().into()),
        (_, Data::Ints(_) | Data::Sizes(_) | Data::Scaled(_)) => bail!("expected float32, found integers"),
    };
    Tensor::new(x.dims.clone(), data)
}

/// A function of two tensors' elements, by numpy's broadcasting. Truth is integers. `extents` are those of the graph's values.
pub(crate) fn combined(function: Binary, a: &Tensor, b: &Tensor, extents: &Extents) -> Result<Tensor> {
    let dims = dims_of(function, &[a, b])?;
    let len = count(&dims, stored([a, b]))?;
    let [place_a, place_b] = [a, b].map(|t| places(t, &dims));
    let data = match (&a.data, &b.data) {
        (Data::Ints(a), Data::Ints(b)) => {
            let of_integers = function.of_integers().context("expected float32, found integers")?;
            let of = |i: usize| {
                let (a, b) = (a[place_a(i)], b[place_b(i)]);
                of_integers(a, b).with_context(|| format!("expected integers that can be combined, found {a} and {b}"))
            };
            Data::Ints((0..len).map(of).collect::<Result<_>>()?)
        }
        (Data::Ints(_) | Data::Sizes(_), Data::Ints(_) | Data::Sizes(_)) => {
            let (a, b) = (a.sizes().unwrap_or_default(), b.sizes().unwrap_or_default());
            if function.is_comparison() {
                let of = |i: usize| sizes::compared(function, &a[place_a(i)], &b[place_b(i)], extents).map(i64::from);
                Data::Ints((0..len).map(of).collect::<Result<_>>()?)
            } else {
                let of = |i: usize| sizes::combined(function, &a[place_a(i)], &b[place_b(i)], extents);
                return Tensor::of_sizes(dims, (0..len).map(of).collect::<Result<_>>()?);
            }
        }
        (Data::Scaled(_), Data::Floats(_) | Data::Scaled(_)) | (Data::Floats(_), Data::Scaled(_)) => {
            let (a, b) = (a.scaled().unwrap_or_default(), b.scaled().unwrap_or_default());
            let of = |i: usize| sizes::combined_scaled(function, &a[place_a(i)], &b[place_b(i)], extents);
            return Tensor::of_scaled(dims, (0..len).map(of).collect::<Result<_>>()?);
        }
        (Data::Ints(_) | Data::Sizes(_), Data::Floats(_) | Data::Scaled(_)) => {
            bail!("expected operands of one type, found integers and float32")
        }
        (Data::Scaled(_), Data::Ints(_) | Data::Sizes(_)) | (Data::Floats(_), Data::Sizes(_)) => {
            bail!("expected operands of one type, found float32 and integers")
        }
        (Data::Floats(_), Data::Floats(_) | Data::Ints(_)) => {
            ensure!(b.floats().is_ok() || function == Binary::Pow, "expected operands of one type, found float32 and integers");
            let (b, a) = (b.as_floats()?, a.floats()?);
            let of = |i: usize| Ok(function.apply(a.at(place_a(i)), b.floats()?.at(place_b(i))));
            if function.is_comparison() {
                Data::Ints((0..len).map(|i| Ok(of(i)? as i64)).collect::<Result<_>>()?)
            } else {
                Data::Floats((0..len).map(of).collect::<Result<Vec<f32>>>()?.into())
            }
        }
    };
    Tensor::new(dims, data)
}

/// The elements of `x` where the condition is not 0, else those of `y`, by numpy's broadcasting.
pub(crate) fn chosen(condition: &Tensor, x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let dims = dims_of(Where {}, &[condition, x, y])?;
    let len = count(&dims, stored([condition, x, y]))?;
    let [of_condition, of_x, of_y] = [condition, x, y].map(|t| places(t, &dims));
    let holds = condition.ints().context("condition")?;
    let data = match (&x.data, &y.data) {
        (Data::Floats(x), Data::Floats(y)) => {
            let of = |i: usize| if holds[of_condition(i)] != 0 { x.at(of_x(i)) } else { y.at(of_y(i)) };
            Data::Floats((0..len).map(of).collect::<Vec<f32>>().into())
        }
        (Data::Ints(x), Data::Ints(y)) => {
            let of = |i: usize| if holds[of_condition(i)] != 0 { x[of_x(i)] } else { y[of_y(i)] };
            Data::Ints((0..len).map(of).collect())
        }
        (Data::Ints(_) | Data::Sizes(_), Data::Ints(_) | Data::Sizes(_)) => {
            let (x, y) = (x.sizes().unwrap_or_default(), y.sizes().unwrap_or_default());
            let of = |i: usize| if holds[of_condition(i)] != 0 { x[of_x(i)].clone() } else { y[of_y(i)].clone() };
            return Tensor::of_sizes(dims, (0..len).map(of).collect());
        }
        (Data::Floats(_) | Data::Scaled(_), Data::Floats(_) | Data::Scaled(_)) => {
            let (x, y) = (x.scaled().unwrap_or_default(), y.scaled().unwrap_or_default());
            let of = |i: usize| if holds[of_condition(i)] != 0 { x[of_x(i)].clone() } else { y[of_y(i)].clone() };
            return Tensor::of_scaled(dims, (0..len).map(of).collect());
        }
        _ => bail!("expected operands of one type, found float32 and integers"),
    };
    Tensor::new(dims, data)
}

/// Repeated along axes by numpy's broadcasting, to `dims`.
pub(crate) fn expanded(t: &Tensor, expand: Expand) -> Result<Tensor> {
    let dims = dims_of(expand, &[t])?;
    picked(t, dims.clone(), places(t, &dims))
}

/// Where in `t`, broadcast to `dims`, each element lies.
fn places(t: &Tensor, dims: &[usize]) -> impl Fn(usize) -> usize + use<> {
    let missing = dims.len() - t.dims.len();
    let stride = |axis: usize| match axis.checked_sub(missing) {
        Some(own) if t.dims[own] != 1 => t.dims[own + 1..].iter().product(),
        _ => 0,
    };
    // Large operands mostly have the result's shape.
    let strides = (t.dims != dims).then(|| (0..dims.len()).map(stride).collect::<Vec<usize>>());
    let dims = dims.to_vec();
    move |i| strides.as_ref().map_or(i, |strides| walk(&dims, strides, i))
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
        Data::Sizes(sizes) => {
            let len = count(&dims, stored([t]))?;
            return Tensor::of_sizes(dims, (0..len).map(|i| sizes[source(i)].clone()).collect());
        }
        Data::Scaled(sizes) => {
            let len = count(&dims, stored([t]))?;
            return Tensor::of_scaled(dims, (0..len).map(|i| sizes[source(i)].clone()).collect());
        }
    };
    Tensor::new(dims, data)
}

/// How many elements `tensors` store.
fn stored<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> usize {
    let count = |t: &Tensor| match &t.data {
        Data::Floats(Floats::Repeated { .. }) => 1,
        Data::Floats(floats) => floats.len(),
        Data::Ints(ints) => ints.len(),
        Data::Sizes(sizes) => sizes.len(),
        Data::Scaled(sizes) => sizes.len(),
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
