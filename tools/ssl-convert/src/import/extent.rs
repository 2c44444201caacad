//! Extents of tensors while a model is imported. An extent is known, or it is that of an axis of some value; following where it
//! comes from is what lets a Reshape copy the batch, or a computed shape fold away.

use sslm_format::{Op, ValueId};

/// One extent of a tensor, or one element of a computed shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Extent {
    /// Known now.
    Known(i64),
    /// That of an axis of a value, whatever it turns out to be. Of all axes that are known to be equally long, the first.
    Axis(ValueId, usize),
}

impl Extent {
    /// The extent itself, if it is known.
    pub(crate) fn known(self) -> Option<i64> {
        match self {
            Extent::Known(extent) => Some(extent),
            Extent::Axis(..) => None,
        }
    }

    /// Those of a stored tensor.
    pub(crate) fn of_dims(dims: &[usize]) -> Vec<Extent> {
        dims.iter().map(|&d| Extent::Known(d as i64)).collect()
    }
}

/// Where an unknown extent of what `op` yields, that of `axis` of `rank`, is sure to be one of its inputs' extents: that one.
pub(crate) fn origin(op: &Op, inputs: &[&[Extent]], rank: usize, axis: usize) -> Option<Extent> {
    let x = *inputs.first()?;
    let stays = |changed: bool| if changed { None } else { x.get(axis).copied() };
    let remaining = |reduced: &[u32]| (0..x.len()).filter(|a| !reduced.contains(&(*a as u32))).nth(axis).map(|a| x[a]);
    match op {
        Op::Gemm(_) | Op::Activation(_) | Op::Lrn(_) | Op::BatchNorm(_) | Op::InstanceNorm(_) | Op::Softmax(_) => stays(false),
        Op::Binary(_) | Op::Expand(_) => {
            let aligned = |x: &&[Extent]| (axis + x.len()).checked_sub(rank).map(|a| x[a]);
            let mut own = inputs.iter().filter_map(aligned).filter(|e| *e != Extent::Known(1));
            let first = own.next()?;
            own.all(|e| e == first).then_some(first)
        }
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Resize(_) => stays(axis >= 2),
        Op::MaxPool(_) | Op::AveragePool(_) | Op::GlobalAveragePool | Op::GlobalMaxPool => stays(axis >= 2),
        Op::Flatten(flatten) => {
            let (before, behind) = x.split_at(flatten.axis as usize);
            quotient(if axis == 0 { before } else { behind }, &[])
        }
        Op::Reshape(reshape) if reshape.dims[axis] == -1 => {
            let others = reshape.dims.iter().zip(0..).filter(|&(_, i)| i != axis);
            let others: Vec<Extent> = others.map(|(&d, i)| if d == 0 { x[i] } else { Extent::Known(d) }).collect();
            quotient(x, &others)
        }
        Op::Reshape(_) => stays(false),
        Op::Concat(concat) => stays(axis == concat.axis as usize),
        Op::Transpose(transpose) => Some(x[transpose.axes[axis] as usize]),
        Op::Slice(slice) => stays(axis == slice.axis as usize),
        Op::Gather(gather) => stays(axis == gather.axis as usize),
        Op::Pad(pad) => stays(pad.amounts[axis] != [0, 0]),
        Op::ReduceMean(reduce) if !reduce.keep => remaining(&reduce.axes),
        Op::ArgMax(arg) if !arg.keep => remaining(&[arg.axis]),
        Op::ReduceMean(_) | Op::ArgMax(_) => stays(false),
        _ => None,
    }
}

/// The one symbolic extent that `product` has more than `divisors`, if that is all in which their products differ.
fn quotient(product: &[Extent], divisors: &[Extent]) -> Option<Extent> {
    let known = |list: &[Extent]| list.iter().map(|e| e.known().unwrap_or(1)).product::<i64>();
    let symbolic = |list: &[Extent]| list.iter().copied().filter(|e| e.known().is_none()).collect::<Vec<_>>();
    let mut left = symbolic(product);
    for divisor in symbolic(divisors) {
        left.swap_remove(left.iter().position(|e| *e == divisor)?);
    }
    match left[..] {
        [one] if known(product) == known(divisors) => Some(one),
        _ => None,
    }
}
