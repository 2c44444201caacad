//! Extents of tensors while a model is imported. An extent is known, or it is that of an axis of some value; following where it
//! comes from is what lets a Reshape copy the batch, or a computed shape fold away.

use sslm_format::shape::Shape;
use sslm_format::{AxisMap, Link, ValueId};

/// One extent of a tensor, or one element of a computed shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Extent {
    /// Known now.
    Known(i64),
    /// The extent of an axis of a value, whatever it turns out to be. Of all axes that are known to be equally long, the first.
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

    /// The extents of a stored tensor.
    pub(crate) fn of_dims(dims: &[usize]) -> Vec<Extent> {
        dims.iter().map(|&d| Extent::Known(d as i64)).collect()
    }
}

/// Where an unknown extent of what an operator yields, that of `axis`, is sure to be one of its inputs' extents: that one. `maps` say
/// how the axes of the inputs become those of the output.
pub(crate) fn origin(maps: &[AxisMap], inputs: &[&[Extent]], output: &Shape, axis: usize) -> Option<Extent> {
    let links = || maps.iter().zip(inputs).flat_map(|(map, x)| map.links.iter().zip(x.iter()).map(move |link| (x, link)));
    let as_long = |(x, (link, own)): (&&[Extent], (&Link, &Extent))| match link {
        Link::Alike { to } | Link::Near { to, .. } | Link::Whole { to } => (*to == axis).then_some(*own),
        Link::Regrouped { from, to } if to.contains(&axis) => {
            let others = to.clone().filter(|&other| other != axis).map(|other| output[other].map(|e| Extent::Known(e as i64)));
            quotient(&x[from.clone()], &others.collect::<Option<Vec<_>>>()?)
        }
        Link::Regrouped { .. } | Link::Broadcast { .. } | Link::Windowed { .. } => None,
        Link::Picked { .. } | Link::Joined { .. } | Link::Summed => None,
    };
    let broadcast = |(_, (link, own)): (&&[Extent], (&Link, &Extent))| match link {
        Link::Broadcast { to } => (*to == axis && *own != Extent::Known(1)).then_some(*own),
        Link::Alike { .. } | Link::Near { .. } | Link::Whole { .. } | Link::Windowed { .. } => None,
        Link::Picked { .. } | Link::Joined { .. } | Link::Regrouped { .. } | Link::Summed => None,
    };
    let repeated = links().filter_map(broadcast);
    let all_alike = |first: Extent| repeated.clone().all(|e| e == first).then_some(first);
    links().find_map(as_long).or_else(|| repeated.clone().next().and_then(all_alike))
}

/// The one symbolic extent that `product` has more than `divisors`, if that is all in which their products differ.
pub(crate) fn quotient(product: &[Extent], divisors: &[Extent]) -> Option<Extent> {
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
