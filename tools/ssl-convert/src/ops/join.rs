//! Joining values: Concat puts them one behind the other along an axis. Repeating one: Expand.

use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, int};
use crate::import::binding::Binding;
use crate::import::extent::Extent;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::import::stored;
use crate::onnx::tensor::Tensor;
use crate::operator::{Convert, MIXES_CHANNELS, Reordering, without_weights};
use crate::weights::Op;
use anyhow::{Context, Result, anyhow, bail};
use sslm_format::{Concat, Expand};

pub(super) const IMPORTS: &[Import] = &[Import::moving("Concat", concat).or_extents(extents), Import::moving("Expand", expand)];

fn concat(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let all = 0..node.input_count();
    if all.clone().any(|i| matches!(node.input(i), Some(Binding::Extents(_)))) {
        let first = node.extents(0)?.context("input 0: expected integers, found other elements")?;
        return extents(node, first);
    }
    if let Some(tensors) = all.map(|i| node.tensor_if_known(i)).collect::<Option<Vec<&Tensor>>>() {
        let axis = node.axis(1, tensors.first().map_or(0, |t| t.dims.len()))?;
        return stored::joined(&tensors, axis).map(Binding::Tensor);
    }
    let inputs = node.values()?;
    let axis = node.axis(1, inputs.first().map_or(0, |&v| node.rank(v)))?;
    node.push(Concat { axis: axis as u32 }, inputs)
}

fn extents(node: &mut OnnxNode<'_>, mut list: Vec<Extent>) -> Result<Binding> {
    for i in 1..node.input_count() {
        list.extend(node.extents(i)?.with_context(|| format!("input {i}: expected integers, found other elements"))?);
    }
    Binding::of_extents(list)
}

fn expand(node: &mut OnnxNode<'_>) -> Result<Binding> {
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
    node.push(Expand { dims }, vec![x])
}

impl Convert for Concat {
    without_weights!();

    fn reordered(&self, at: &Reordering<'_>) -> Option<Op> {
        Some(Concat { axis: at.axis(self.axis)? }.into())
    }

    fn takes_constants(&self) -> bool {
        true
    }
}

impl Convert for Expand {
    without_weights!();

    fn reordered(&self, at: &Reordering<'_>) -> Option<Op> {
        let all = self.dims.len() == at.input.len();
        let dims = at.x.axes().map(|axis| axis.map_or(1, |axis| self.dims[axis]));
        all.then(|| Expand { dims: dims.collect() }.into())
    }

    fn why_lost(&self) -> &'static str {
        MIXES_CHANNELS
    }
}

impl Write for Concat {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        w.push("Concat", call.inputs, call.output, vec![int("axis", self.axis.into())]);
        Ok(())
    }
}

impl Write for Expand {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let mut dims: Vec<i64> = self.dims.iter().map(|&d| d as i64).collect();
        // Where channels are missing there are as many on both sides.
        if let (Some(_), Some(axis)) = (call.kept, (dims.len() + 1).checked_sub(call.rank)) {
            dims[axis] = 1;
        }
        let dims = w.integers(&dims);
        w.push("Expand", &[call.inputs[0], &dims], call.output, vec![]);
        Ok(())
    }
}
