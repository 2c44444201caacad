//! The same elements under other axes: Flatten, Reshape, Squeeze, Unsqueeze and Transpose.

use crate::export::existing::Existing;
use crate::export::exporter::{Call, Export, Exporter, Write};
use crate::export::writer::{Writer, int, ints};
use crate::import::binding::Binding;
use crate::import::checks;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::import::stored;
use crate::onnx::tensor::Tensor;
use crate::operator::{Convert, MIXES_CHANNELS, Mover, Reordering, without_weights};
use crate::order::reshape_dims;
use crate::slices;
use crate::weights::{Node, Op};
use anyhow::{Context, Result, anyhow, bail, ensure};
use sslm_format::{AxisMap, Extent, Flatten, Operator, Reshape, Transpose, ValueId, shape};

pub(super) const IMPORTS: &[Import] = &[
    Import::moving("Flatten", flatten),
    Import::moving("Reshape", reshape),
    Import::moving("Squeeze", squeeze),
    Import::moving("Unsqueeze", unsqueeze),
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
    let target = match node.attribute("shape") {
        // Opset 1 to 4.
        Some(shape) => shape.ints.iter().map(|&d| Extent::from(d)).collect(),
        None => node.extents(1)?.context("shape (input 1): expected constant integers or extents, found others")?,
    };
    if node.flag("allowzero", false)? {
        let none = target.iter().any(|extent| extent.integer() == Some(0));
        ensure!(!none, "shape: expected extents of at least 1, found 0 with allowzero");
    }
    if let Some(t) = node.tensor_if_known(0) {
        return stored::rearranged(t, Reshape { dims: target }).map(Binding::Tensor);
    }
    let x = node.value(0)?;
    reshape_to(node, x, &target)
}

/// Adds a Reshape of `x` that yields the first output. Symbolic extents are copied from the same axis of `x` where they are that; one
/// other follows from the rest.
pub(super) fn reshape_to(node: &mut OnnxNode<'_>, x: ValueId, target: &[Extent]) -> Result<Binding> {
    let dims = dims_to(node.extents_of(x), target);
    node.push(Reshape { dims }, vec![x])
}

/// The dims of a Reshape from extents `own` to `target`, with as few symbols as can be.
pub(super) fn dims_to(own: &[Extent], target: &[Extent]) -> Vec<Extent> {
    let is_open = |extent: &Extent| extent.integer().is_none();
    let copied = |(i, extent): (usize, &Extent)| match own.get(i) {
        Some(own) if own == extent && is_open(extent) => Extent::from(0usize),
        _ => extent.clone(),
    };
    let mut dims: Vec<Extent> = target.iter().enumerate().map(copied).collect();
    let open: Vec<usize> = (0..dims.len()).filter(|&i| is_open(&dims[i])).collect();
    // An exporter that took some sizes for known ones says more by the extent than could be inferred.
    let inferred = |open: usize| {
        let others = target.iter().enumerate().filter(|&(i, _)| i != open).fold(Extent::from(1usize), |all, (_, e)| &all * e);
        let all = own.iter().fold(Extent::from(1usize), |all, e| &all * e);
        all.quotient(&others)
    };
    if let ([open], false) = (&open[..], dims.iter().any(|d| d.integer() == Some(-1)))
        && inferred(*open) == target[*open]
    {
        dims[*open] = Extent::from(-1i64);
    }
    dims
}

fn squeeze(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let axes = node.integers("axes", 1)?;
    with_extents(node, |extents| {
        let rank = extents.len();
        let axes: Vec<usize> = match &axes {
            Some(axes) => axes.iter().map(|&a| checks::axis(a, rank)).collect::<Result<_>>()?,
            None => (0..rank).filter(|&a| extents[a].known() == Some(1)).collect(),
        };
        // A symbolic one has to be 1 then.
        if let Some(&a) = axes.iter().find(|&&a| extents[a].known().is_some_and(|extent| extent != 1)) {
            bail!("axis {a}: expected an extent of 1, found {}", extents[a]);
        }
        Ok((0..rank).filter(|a| !axes.contains(a)).map(|a| extents[a].clone()).collect())
    })
}

fn unsqueeze(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let axes = node.integers("axes", 1)?.context("axes: expected constant integers, found none")?;
    with_extents(node, |extents| {
        let rank = extents.len() + axes.len();
        let axes: Vec<usize> = axes.iter().map(|&a| checks::axis(a, rank)).collect::<Result<_>>()?;
        let mut own = extents.iter();
        let all: Option<Vec<Extent>> =
            (0..rank).map(|a| if axes.contains(&a) { Some(Extent::from(1usize)) } else { own.next().cloned() }).collect();
        all.context("axes: expected different ones")
    })
}

/// Input 0 with the extents that `change` makes of its own.
fn with_extents(node: &mut OnnxNode<'_>, change: impl Fn(&[Extent]) -> Result<Vec<Extent>>) -> Result<Binding> {
    if let Some(t) = node.tensor_if_known(0) {
        let dims = shape::known(&change(&shape::of(&t.dims))?);
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
    fn settle(&self, existing: &mut Existing<'_>, node: &Node) {
        settle(self, existing, node);
    }

    fn export(&self, e: &mut Exporter<'_>, node: &Node) -> Result<()> {
        let (x, output) = (e.tensor(node.inputs[0])?, e.name(node.output));
        e.w.push("Flatten", &[&x], &output, vec![int("axis", self.axis.into())]);
        Ok(())
    }
}

impl Export for Reshape {
    fn settle(&self, existing: &mut Existing<'_>, node: &Node) {
        settle(self, existing, node);
    }

    fn export(&self, e: &mut Exporter<'_>, node: &Node) -> Result<()> {
        let (x, output) = (e.tensor(node.inputs[0])?, e.name(node.output));
        let mut dims = self.dims.clone();
        if let Some(kept) = e.kept(node.output) {
            (dims[0], dims[1]) = (Extent::from(0usize), Extent::from(kept.len()));
        }
        let dims = e.w.sizes(&dims);
        e.w.push("Reshape", &[&x, &dims], &output, vec![]);
        Ok(())
    }
}

/// A channel and the run of them that it becomes exist together; if it becomes no run, all exist.
fn settle(op: &impl Operator, existing: &mut Existing<'_>, node: &Node) {
    let (x, out) = (node.inputs[0], node.output);
    let (before, after) = (existing.g.shape(x), existing.g.shape(out));
    let runs = || {
        let (count, origins) = (existing.count(x)?, slices::origins(op, before, after)?);
        let run = origins.len() / count;
        let is_run = before[0] == after[0] && (0..origins.len()).all(|channel| origins[channel] == channel / run.max(1));
        is_run.then_some(origins)
    };
    let Some(origins) = runs() else { return [x, out].into_iter().for_each(|v| existing.fill(v)) };
    for (channel, origin) in origins.into_iter().enumerate() {
        match (existing.has(x, origin), existing.has(out, channel)) {
            (true, false) => existing.add(out, channel),
            (false, true) => existing.add(x, origin),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not copied or inferred stays as it is said.
    #[test]
    fn reshapes_have_as_few_symbols_as_can_be() {
        let (n, h, m) = (Extent::symbol("n"), Extent::symbol("h"), Extent::symbol("m"));
        let of = |extent: i64| Extent::from(extent);
        let cases = [
            (vec![n.clone(), of(4), of(3)], vec![n.clone(), of(12)], vec![of(0), of(12)]),
            (vec![n.clone(), of(4)], vec![&n * 4], vec![of(-1)]),
            (vec![n.clone(), of(4), h.clone()], vec![n.clone(), &h * 4], vec![of(0), of(-1)]),
            (vec![n.clone(), of(4), h.clone()], vec![&n * &h, of(4)], vec![of(-1), of(4)]),
            (vec![n.clone(), h.clone()], vec![h.clone(), n.clone()], vec![h.clone(), n.clone()]),
            (vec![n.clone(), of(4)], vec![m.clone()], vec![m]),
            (vec![of(4), n.clone(), of(2)], vec![n.clone(), of(-1)], vec![n, of(-1)]),
        ];
        for (own, target, expected) in cases {
            assert_eq!(dims_to(&own, &target), expected, "{own:?} to {target:?}");
        }
    }
}
