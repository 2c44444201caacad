//! Some positions of an axis: Slice, Split and Gather.

use super::layout;
use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, int};
use crate::import::binding::Binding;
use crate::import::checks;
use crate::import::extent::Extent;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::import::stored;
use crate::operator::{Convert, Mover, Reordering, without_weights};
use crate::weights::Op;
use anyhow::{Context, Result, ensure};
use sslm_format::{Gather, Slice};

pub(super) const IMPORTS: &[Import] = &[
    Import::moving("Slice", slice).or_extents(|node, list| {
        let taken = |list: Vec<Extent>, s: &Slice| s.picked(list.len()).map(|i| list[i]).collect();
        Binding::of_extents(parts(node, 1)?.iter().fold(list, taken))
    }),
    Import::moving("Split", split),
    Import::moving("Gather", gather).or_extents(gather_extents),
];

/// The parts of a Slice, one for each axis that it cuts of a tensor of `rank` axes.
fn parts(node: &OnnxNode<'_>, rank: usize) -> Result<Vec<Slice>> {
    let attribute_form = node.attribute("starts").is_some();
    let input = |i: usize| if attribute_form { usize::MAX } else { i };
    let starts = node.integers("starts", input(1))?.context("starts: expected constant integers, found none")?;
    let ends = node.integers("ends", input(2))?.context("ends: expected constant integers, found none")?;
    let axes = node.integers("axes", input(3))?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = node.integers("steps", input(4))?.unwrap_or_else(|| vec![1; starts.len()]);
    ensure!(
        [ends.len(), axes.len(), steps.len()] == [starts.len(); 3],
        "expected as many ends, axes and steps as the {} starts, found {}, {}, {}",
        starts.len(),
        ends.len(),
        axes.len(),
        steps.len()
    );
    let part = |i: usize| -> Result<Slice> {
        ensure!(steps[i] != 0, "steps: expected no 0");
        // Bounds beyond any extent are common; they need not be told apart.
        let bound = |b: i64| b.clamp(-(1 << 41), 1 << 41);
        let step = steps[i].clamp(-(1 << 40) + 1, (1 << 40) - 1);
        Ok(Slice { axis: checks::axis(axes[i], rank)? as u32, start: bound(starts[i]), end: bound(ends[i]), step })
    };
    (0..starts.len()).map(part).collect()
}

fn slice(node: &mut OnnxNode<'_>) -> Result<Binding> {
    if let Some(t) = node.tensor_if_known(0) {
        let parts = parts(node, t.dims.len())?;
        return parts.into_iter().try_fold(t.clone(), |t, part| stored::sliced(&t, part)).map(Binding::Tensor);
    }
    let mut x = node.value(0)?;
    let parts = parts(node, node.rank(x))?;
    let count = parts.len();
    for (i, part) in parts.into_iter().enumerate() {
        x = node.push_as(&node.part_name(i, count), part, vec![x])?;
    }
    Ok(node.computed(x))
}

fn split(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let axis = node.axis(0, node.rank(x))?;
    let outputs = node.outputs();
    let count = outputs.len() as i64;
    let lens = match node.integers("split", 1)? {
        Some(lens) => lens,
        None => {
            let extent = node.extent(x, axis).context("split: expected lengths, since the axis is symbolic, found none")? as i64;
            let len = (extent + count - 1) / count;
            (0..count).map(|i| len.min(extent - i * len)).collect()
        }
    };
    ensure!(
        lens.len() as i64 == count && lens.iter().all(|&l| l >= 0),
        "split: expected a length for each of {count} outputs, found {lens:?}"
    );
    let (mut start, mut first) = (0i64, None);
    for (output, len) in outputs.iter().zip(lens) {
        let end = start.checked_add(len).context("split: too long")?;
        let part = node.push_as(output, Slice { axis: axis as u32, start, end, step: 1 }, vec![x])?;
        let part = node.computed(part);
        match first {
            None => first = Some(part),
            Some(_) => node.further_output(part),
        }
        start = end;
    }
    first.context("expected an output, found none")
}

fn gather(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let indices = node.tensor(1, "indices")?.context("indices (input 1): expected constant integers, found none")?.clone();
    let of_rank = |node: &OnnxNode<'_>, rank: usize| -> Result<Gather> {
        let axis = node.axis(0, rank)?;
        Ok(Gather { axis: axis as u32, indices: indices.ints()?.to_vec() })
    };
    if let Some(t) = node.tensor_if_known(0) {
        return stored::gathered(t, of_rank(node, t.dims.len())?, &indices.dims).map(Binding::Tensor);
    }
    let x = node.value(0)?;
    let gather = of_rank(node, node.rank(x))?;
    let axis = gather.axis as usize;
    if indices.dims.len() == 1 {
        return node.push(gather, vec![x]);
    }
    // The axis becomes those of the indices: none, or several.
    let mut target = node.extents_of(x).to_vec();
    target.splice(axis..=axis, Extent::of_dims(&indices.dims));
    let gathered = node.push_as(&node.inner_name("gathered"), gather, vec![x])?;
    layout::reshape_to(node, gathered, &target)
}

fn gather_extents(node: &mut OnnxNode<'_>, list: Vec<Extent>) -> Result<Binding> {
    let indices = node.extents(1)?.context("indices (input 1): expected integers, found none")?;
    let pick = |e: &Extent| {
        let i = e.known()?;
        usize::try_from(if i < 0 { i + list.len() as i64 } else { i }).ok().and_then(|i| list.get(i)).copied()
    };
    let picked = |e: &Extent| pick(e).with_context(|| format!("indices: expected known ones below {}", list.len()));
    let mut found = Binding::of_extents(indices.iter().map(picked).collect::<Result<_>>()?)?;
    if let (Binding::Tensor(found), Some(indices)) = (&mut found, node.tensor_if_known(1)) {
        found.dims.clone_from(&indices.dims);
    }
    Ok(found)
}

impl Convert for Slice {
    without_weights!();

    fn mover(&self) -> Option<Mover<'_>> {
        Some(Box::new(|x| stored::sliced(x, self.clone())))
    }

    fn reordered(&self, at: &Reordering<'_>) -> Option<Op> {
        Some(Slice { axis: at.axis(self.axis)?, ..self.clone() }.into())
    }

    fn takes_constants(&self) -> bool {
        true
    }
}

impl Convert for Gather {
    without_weights!();

    fn mover(&self) -> Option<Mover<'_>> {
        Some(Box::new(|x| stored::gathered(x, self.clone(), &[self.indices.len()])))
    }

    fn reordered(&self, at: &Reordering<'_>) -> Option<Op> {
        Some(Gather { axis: at.axis(self.axis)?, ..self.clone() }.into())
    }

    fn takes_constants(&self) -> bool {
        true
    }
}

impl Write for Slice {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let bounds = [self.start, self.end, i64::from(self.axis), self.step].map(|n| w.integers(&[n]));
        w.push("Slice", &[call.inputs[0], &bounds[0], &bounds[1], &bounds[2], &bounds[3]], call.output, vec![]);
        Ok(())
    }
}

impl Write for Gather {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let indices = w.integers(&self.indices);
        w.push("Gather", &[call.inputs[0], &indices], call.output, vec![int("axis", self.axis.into())]);
        Ok(())
    }
}
