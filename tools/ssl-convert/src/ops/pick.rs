//! Some positions of an axis: Slice, Split and Gather.

use super::{index, layout};
use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, int};
use crate::import::binding::Binding;
use crate::import::checks;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::import::stored;
use crate::operator::{Convert, Mover, Reordering, without_weights};
use crate::weights::Op;
use anyhow::{Context, Result, ensure};
use sslm_format::{Extent, Gather, Slice, shape};

pub(super) const IMPORTS: &[Import] =
    &[Import::moving("Slice", slice), Import::moving("Split", split), Import::moving("Gather", gather)];

/// The parts of a Slice, one for each axis that it cuts of a tensor of `rank` axes.
fn parts(node: &OnnxNode<'_>, rank: usize) -> Result<Vec<Slice>> {
    let starts = node.sizes("starts", 1)?.context("starts: expected constant integers, found none")?;
    let ends = node.sizes("ends", 2)?.context("ends: expected constant integers, found none")?;
    let axes = node.integers("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = node.integers("steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
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
        let bound = |b: &Extent| b.integer().map_or_else(|| b.clone(), |b| Extent::from(b.clamp(-(1 << 41), 1 << 41)));
        let step = steps[i].clamp(-(1 << 40) + 1, (1 << 40) - 1);
        Ok(Slice { axis: checks::axis(axes[i], rank)? as u32, start: bound(&starts[i]), end: bound(&ends[i]), step })
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
    let tensor = node.tensor_if_known(0).cloned();
    let extents = match &tensor {
        Some(t) => shape::of(&t.dims),
        None => {
            let x = node.value(0)?;
            node.extents_of(x).to_vec()
        }
    };
    let axis = node.axis(0, extents.len())?;
    let outputs = node.outputs();
    let count = outputs.len();
    let ends = split_ends(node, &extents[axis], count)?;
    let (mut start, mut first) = (Extent::from(0usize), None);
    for (output, end) in outputs.iter().zip(ends) {
        let slice = Slice { axis: axis as u32, start, end: end.clone(), step: 1 };
        let part = match &tensor {
            Some(t) => Binding::Tensor(stored::sliced(t, slice)?),
            None => {
                let x = node.value(0)?;
                let part = node.push_as(output, slice, vec![x])?;
                node.computed(part)
            }
        };
        match first {
            None => first = Some(part),
            Some(_) => node.further_output(part),
        }
        start = end;
    }
    first.context("expected an output, found none")
}

/// Where each of `count` parts of an axis ends: as lengths say, or at equal lengths, of which the last one may be shorter.
fn split_ends(node: &OnnxNode<'_>, extent: &Extent, count: usize) -> Result<Vec<Extent>> {
    let lens = match node.attribute("split") {
        Some(_) => Some(node.ints("split")?.iter().map(|&len| Extent::from(len)).collect()),
        None if node.input(1).is_some() => {
            Some(node.extents(1)?.context("split (input 1): expected constant integers or sizes, found others")?)
        }
        None => None,
    };
    let Some(lens) = lens else {
        let len = extent.quotient_up(&Extent::from(count));
        return Ok((1..=count).map(|i| (&len * i as i64).least(extent)).collect());
    };
    let legal = lens.len() == count && lens.iter().all(|len| len.integer().is_none_or(|len| len >= 0));
    ensure!(legal, "split: expected a length for each of {count} outputs, found {lens:?}");
    let ends = lens.iter().scan(Extent::from(0usize), |end, len| {
        *end = &*end + len;
        Some(end.clone())
    });
    Ok(ends.collect())
}

fn gather(node: &mut OnnxNode<'_>) -> Result<Binding> {
    if let Some(Binding::Integers(_)) = node.input(1) {
        return index::gather(node);
    }
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
    target.splice(axis..=axis, shape::of(&indices.dims));
    let gathered = node.push_as(&node.inner_name("gathered"), gather, vec![x])?;
    layout::reshape_to(node, gathered, &target)
}

impl Convert for Slice {
    fn ignores_rows(&self) -> bool {
        self.axis < 2
    }

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
    fn ignores_rows(&self) -> bool {
        self.axis < 2
    }

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
        let [start, end] = [&self.start, &self.end].map(|bound| w.sizes(std::slice::from_ref(bound)));
        let [axis, step] = [i64::from(self.axis), self.step].map(|n| w.integers(&[n]));
        w.push("Slice", &[call.inputs[0], &start, &end, &axis, &step], call.output, vec![]);
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
