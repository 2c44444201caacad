//! The same elements under other axes: Flatten, Reshape, Squeeze, Unsqueeze, Transpose, and Expand, which repeats them.

use crate::import::binding::Binding;
use crate::import::checks;
use crate::import::extent::Extent;
use crate::import::node::Node;
use crate::import::registry::Import;
use crate::import::stored;
use crate::onnx::tensor::Tensor;
use anyhow::{Context, Result, anyhow, bail, ensure};
use sslm_format::{Expand, Flatten, Op, Reshape, Transpose};

// Symbolic extents are not told apart from lists of one.
pub(super) const IMPORTS: &[Import] = &[
    Import::moving("Flatten", flatten),
    Import::moving("Reshape", reshape).or_extents(|_, list| Binding::of_extents(list)),
    Import::moving("Squeeze", squeeze).or_extents(|_, list| Binding::of_extents(list)),
    Import::moving("Unsqueeze", unsqueeze).or_extents(|_, list| Binding::of_extents(list)),
    Import::moving("Transpose", transpose),
    Import::moving("Expand", expand),
];

fn flatten(node: &mut Node<'_>) -> Result<Binding> {
    let at = node.int("axis", 1)?;
    let of_rank = |rank: usize| -> Result<Flatten> {
        // One past the last axis is legal here.
        let axis = if at == rank as i64 { rank } else { checks::axis(at, rank)? };
        Ok(Flatten { axis: axis as u32 })
    };
    node.moved(Op::Flatten, of_rank, |t, flatten| stored::rearranged(t, &Op::Flatten(flatten)))
}

fn reshape(node: &mut Node<'_>) -> Result<Binding> {
    let target = node.extents(1)?.context("shape (input 1): expected constant integers or extents, found others")?;
    if node.flag("allowzero", false)? {
        ensure!(!target.contains(&Extent::Known(0)), "shape: expected extents of at least 1, found 0 with allowzero");
    }
    if let Some(t) = node.tensor_if_known(0) {
        let dims: Option<Vec<i64>> = target.iter().map(|e| e.known()).collect();
        let dims = dims.context("shape: expected known extents")?;
        return stored::rearranged(t, &Op::Reshape(Reshape { dims })).map(Binding::Tensor);
    }
    let x = node.value(0)?;
    node.reshape_to(x, &target)
}

fn squeeze(node: &mut Node<'_>) -> Result<Binding> {
    let axes = node.integers("axes", 1)?;
    with_extents(node, |extents| {
        let rank = extents.len();
        let axes: Vec<usize> = match &axes {
            Some(axes) => axes.iter().map(|&a| checks::axis(a, rank)).collect::<Result<_>>()?,
            None => (0..rank).filter(|&a| extents[a] == Extent::Known(1)).collect(),
        };
        if let Some(&a) = axes.iter().find(|&&a| extents[a] != Extent::Known(1)) {
            bail!("axis {a}: expected an extent of 1, found {:?}", extents[a]);
        }
        Ok((0..rank).filter(|a| !axes.contains(a)).map(|a| extents[a]).collect())
    })
}

fn unsqueeze(node: &mut Node<'_>) -> Result<Binding> {
    let axes = node.integers("axes", 1)?.context("axes: expected constant integers, found none")?;
    with_extents(node, |extents| {
        let rank = extents.len() + axes.len();
        let axes: Vec<usize> = axes.iter().map(|&a| checks::axis(a, rank)).collect::<Result<_>>()?;
        let mut own = extents.iter();
        let all: Option<Vec<Extent>> =
            (0..rank).map(|a| if axes.contains(&a) { Some(Extent::Known(1)) } else { own.next().copied() }).collect();
        all.context("axes: expected different ones")
    })
}

/// Input 0 with the extents that `change` makes of its own.
fn with_extents(node: &mut Node<'_>, change: impl Fn(&[Extent]) -> Result<Vec<Extent>>) -> Result<Binding> {
    if let Some(t) = node.tensor_if_known(0) {
        let extents = change(&Extent::of_dims(&t.dims))?;
        let dims: Option<Vec<usize>> = extents.iter().map(|e| e.known().map(|e| e as usize)).collect();
        return Tensor::new(dims.context("expected known extents")?, t.data.clone()).map(Binding::Tensor);
    }
    let x = node.value(0)?;
    let target = change(node.extents_of(x))?;
    node.reshape_to(x, &target)
}

fn transpose(node: &mut Node<'_>) -> Result<Binding> {
    let perm = node.ints("perm")?;
    let of_rank = |rank: usize| -> Result<Transpose> {
        let axis = |&a: &i64| u32::try_from(a).map_err(|_| anyhow!("perm: expected no negative axis, found {a}"));
        let axes =
            if perm.is_empty() { (0..rank as u32).rev().collect() } else { perm.iter().map(axis).collect::<Result<_>>()? };
        Ok(Transpose { axes })
    };
    node.moved(Op::Transpose, of_rank, stored::transposed)
}

fn expand(node: &mut Node<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let target = node.extents(1)?.context("shape (input 1): expected constant integers or extents, found others")?;
    let own = node.extents_of(x);
    let extent = |(i, e): (usize, &Extent)| match *e {
        Extent::Known(n) => u64::try_from(n).map_err(|_| anyhow!("shape: expected no negative extent, found {n}")),
        Extent::Axis(..) => match (i + own.len()).checked_sub(target.len()).and_then(|i| own.get(i)) {
            Some(own) if own == e => Ok(1),
            _ => bail!("shape: expected known extents or those of the input, found another symbolic one"),
        },
    };
    let dims = target.iter().enumerate().map(extent).collect::<Result<_>>()?;
    node.push(Op::Expand(Expand { dims }), vec![x])
}
