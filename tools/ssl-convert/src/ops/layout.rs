//! The same elements under other axes: Flatten, Reshape, Squeeze, Unsqueeze and Transpose.

use crate::export::exporter::{Call, Export, Exporter, Write};
use crate::export::writer::{Writer, int, ints};
use crate::import::binding::Binding;
use crate::import::checks;
use crate::import::extent::{self, Extent};
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::import::stored;
use crate::onnx::tensor::Tensor;
use crate::operator::{Convert, MIXES_CHANNELS, Mover, Reordering, without_weights};
use crate::order::reshape_dims;
use crate::weights::{Node, Op};
use anyhow::{Context, Result, anyhow, bail, ensure};
use sslm_format::{AxisMap, Flatten, Reshape, Transpose, ValueId};

// Symbolic extents are not told apart from lists of one.
pub(super) const IMPORTS: &[Import] = &[
    Import::moving("Flatten", flatten),
    Import::moving("Reshape", reshape).or_extents(|_, list| Binding::of_extents(list)),
    Import::moving("Squeeze", squeeze).or_extents(|_, list| Binding::of_extents(list)),
    Import::moving("Unsqueeze", unsqueeze).or_extents(|_, list| Binding::of_extents(list)),
    Import::moving("Transpose", transpose),
];

fn flatten(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let at = node.int("axis", 1)?;
    let of_rank = |rank: usize| -> Result<Flatten> {
        // One past the last axis is legal here.
        let axis = if at == rank as i64 { rank } else { checks::axis(at, rank)? };
        Ok(Flatten { axis: axis as u32 })
    };
    node.moved(of_rank, stored::rearranged)
}

fn reshape(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let target = node.extents(1)?.context("shape (input 1): expected constant integers or extents, found others")?;
    if node.flag("allowzero", false)? {
        ensure!(!target.contains(&Extent::Known(0)), "shape: expected extents of at least 1, found 0 with allowzero");
    }
    if let Some(t) = node.tensor_if_known(0) {
        let dims: Option<Vec<i64>> = target.iter().map(|e| e.known()).collect();
        let dims = dims.context("shape: expected known extents")?;
        return stored::rearranged(t, Reshape { dims }).map(Binding::Tensor);
    }
    let x = node.value(0)?;
    reshape_to(node, x, &target)
}

/// Adds a Reshape of `x` that yields the first output. Symbolic extents are copied from the same axis of `x`, and one more may follow
/// from the rest.
pub(super) fn reshape_to(node: &mut OnnxNode<'_>, x: ValueId, target: &[Extent]) -> Result<Binding> {
    let own = node.extents_of(x).to_vec();
    let dim = |(i, extent): (usize, &Extent)| match *extent {
        Extent::Known(n) => n,
        Extent::Axis(..) if own.get(i) == Some(extent) => 0,
        Extent::Axis(..) => -1,
    };
    let dims: Vec<i64> = target.iter().enumerate().map(dim).collect();
    ensure!(
        dims.iter().filter(|&&d| d == -1).count() <= 1,
        "shape: expected at most one extent that must be inferred, found {dims:?}"
    );
    let origins: Vec<Option<Extent>> = (0..target.len()).map(|axis| origin(&own, target, axis)).collect();
    let reshaped = node.push(Reshape { dims }, vec![x])?;
    if let Binding::Value(v) | Binding::Integers(v) = &reshaped {
        node.set_origins(*v, &origins);
    }
    Ok(reshaped)
}

/// Where the extent of one axis of `target` comes from, if it is unknown and that can be told. 0 copies an extent of the input, -1 is
/// what is left of all of them.
fn origin(own: &[Extent], target: &[Extent], axis: usize) -> Option<Extent> {
    let copied = |axis: usize| match target[axis] {
        Extent::Known(0) => own.get(axis).copied(),
        other => Some(other),
    };
    match target[axis] {
        Extent::Known(-1) => {
            let others: Option<Vec<Extent>> = (0..target.len()).filter(|&other| other != axis).map(copied).collect();
            extent::quotient(own, &others?)
        }
        _ => copied(axis),
    }
}

fn squeeze(node: &mut OnnxNode<'_>) -> Result<Binding> {
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

fn unsqueeze(node: &mut OnnxNode<'_>) -> Result<Binding> {
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
fn with_extents(node: &mut OnnxNode<'_>, change: impl Fn(&[Extent]) -> Result<Vec<Extent>>) -> Result<Binding> {
    if let Some(t) = node.tensor_if_known(0) {
        let extents = change(&Extent::of_dims(&t.dims))?;
        let dims: Option<Vec<usize>> = extents.iter().map(|e| e.known().map(|e| e as usize)).collect();
        return Tensor::new(dims.context("expected known extents")?, t.data.clone()).map(Binding::Tensor);
    }
    let x = node.value(0)?;
    let target = change(node.extents_of(x))?;
    reshape_to(node, x, &target)
}

fn transpose(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let perm = node.ints("perm")?;
    let of_rank = |rank: usize| -> Result<Transpose> {
        let axis = |&a: &i64| u32::try_from(a).map_err(|_| anyhow!("perm: expected no negative axis, found {a}"));
        let axes =
            if perm.is_empty() { (0..rank as u32).rev().collect() } else { perm.iter().map(axis).collect::<Result<_>>()? };
        Ok(Transpose { axes })
    };
    node.moved(of_rank, stored::transposed)
}

/// The Reshape that a view is where its input and its output are stored in other orders.
fn reordered_view(at: &Reordering<'_>) -> Option<Op> {
    let map = AxisMap::regrouped(at.input, at.output);
    let same = |place: usize| match (at.x.axes().nth(place), at.y.axes().nth(place)) {
        (Some(Some(from)), Some(Some(to))) => map.links[from].alike() == Some(to),
        _ => false,
    };
    Some(Reshape { dims: reshape_dims(&at.y.shape(at.output), same)? }.into())
}

impl Convert for Flatten {
    without_weights!();

    fn mover(&self) -> Option<Mover<'_>> {
        Some(Box::new(|x| stored::rearranged(x, self.clone())))
    }

    fn reordered(&self, at: &Reordering<'_>) -> Option<Op> {
        reordered_view(at)
    }

    fn why_lost(&self) -> &'static str {
        MIXES_CHANNELS
    }
}

impl Convert for Reshape {
    without_weights!();

    fn mover(&self) -> Option<Mover<'_>> {
        Some(Box::new(|x| stored::rearranged(x, self.clone())))
    }

    fn reordered(&self, at: &Reordering<'_>) -> Option<Op> {
        reordered_view(at)
    }

    fn why_lost(&self) -> &'static str {
        MIXES_CHANNELS
    }
}

impl Convert for Transpose {
    without_weights!();

    fn mover(&self) -> Option<Mover<'_>> {
        Some(Box::new(|x| stored::transposed(x, self.clone())))
    }

    fn why_lost(&self) -> &'static str {
        MIXES_CHANNELS
    }
}

impl Write for Transpose {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        w.push("Transpose", call.inputs, call.output, vec![ints("perm", &self.axes)]);
        Ok(())
    }
}

impl Export for Flatten {
    fn export(&self, e: &mut Exporter<'_>, node: &Node) -> Result<()> {
        let axis = || vec![int("axis", self.axis.into())];
        match from_kept(e, node) {
            Some((x, _)) => {
                let output = e.name(node.output);
                e.w.push("Flatten", &[&x], &output, axis());
            }
            None => {
                let x = e.all_channels(node.inputs[0])?;
                let all = e.w.make("Flatten", &[&x], axis());
                e.keep(&all, node.output);
            }
        }
        Ok(())
    }

    fn carry(&self, _: &mut Exporter<'_>, _: &Node) -> Result<String> {
        bail!("a constant tensor behind Flatten")
    }
}

impl Export for Reshape {
    fn export(&self, e: &mut Exporter<'_>, node: &Node) -> Result<()> {
        match from_kept(e, node) {
            Some((x, channels)) => {
                let (mut dims, output) = (self.dims.clone(), e.name(node.output));
                if let Some(channels) = channels {
                    (dims[0], dims[1]) = (0, channels as i64);
                }
                let dims = e.w.integers(&dims);
                e.w.push("Reshape", &[&x, &dims], &output, vec![]);
            }
            None => {
                let x = e.all_channels(node.inputs[0])?;
                let dims = e.w.integers(&self.dims);
                let all = e.w.make("Reshape", &[&x, &dims], vec![]);
                e.keep(&all, node.output);
            }
        }
        Ok(())
    }

    fn carry(&self, _: &mut Exporter<'_>, _: &Node) -> Result<String> {
        bail!("a constant tensor behind Reshape")
    }
}

/// The kept channels of the input, if those of the output are the same elements: where nothing is missing, or each kept channel became
/// a run of kept ones. Then with how many there are of the output.
fn from_kept(e: &Exporter<'_>, node: &Node) -> Option<(String, Option<usize>)> {
    let (x, out) = (node.inputs[0], node.output);
    let channels = match (e.compaction(x), e.compaction(out)) {
        (None, None) => None,
        (Some(before), Some(after))
            if e.shape(x)[0] == e.shape(out)[0]
                && after.logical.is_multiple_of(before.logical)
                && after.keeps_runs_of(before, (after.logical / before.logical) as usize) =>
        {
            Some(after.kept.len())
        }
        _ => return None,
    };
    Some((e.name(x), channels))
}
