//! Joining values: Concat puts them one behind the other along an axis. Repeating one: Expand.

use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, int};
use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::import::stored;
use crate::onnx::tensor::Tensor;
use crate::operator::{Convert, MIXES_CHANNELS, Reordering, without_weights};
use crate::weights::Op;
use anyhow::{Context, Result, bail};
use sslm_format::{Concat, Expand, Extent};

pub(super) const IMPORTS: &[Import] = &[Import::moving("Concat", concat), Import::moving("Expand", expand)];

fn concat(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let tensors: Option<Vec<&Tensor>> = (0..node.input_count()).map(|i| node.tensor_if_known(i)).collect();
    if let Some(tensors) = tensors {
        let axis = node.axis(1, tensors.first().map_or(0, |t| t.dims.len()))?;
        return stored::joined(&tensors, axis).map(Binding::Tensor);
    }
    let inputs = node.values()?;
    let axis = node.axis(1, inputs.first().map_or(0, |&v| node.rank(v)))?;
    node.push(Concat { axis: axis as u32 }, inputs)
}

fn expand(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let target = node.extents(1)?.context("shape (input 1): expected constant integers or extents, found others")?;
    if let Some(negative) = target.iter().find(|e| e.integer().is_some_and(|e| e < 0)) {
        bail!("shape: expected no negative extent, found {negative}");
    }
    if let Some(t) = node.tensor_if_known(0)
        && target.iter().all(|e| e.known().is_some())
    {
        return stored::expanded(t, Expand { dims: target }).map(Binding::Tensor);
    }
    let x = node.value(0)?;
    let own = node.extents_of(x);
    // An extent that is the input's own one need not be said.
    let extent = |(i, e): (usize, &Extent)| match (i + own.len()).checked_sub(target.len()).and_then(|i| own.get(i)) {
        Some(own) if own == e => Extent::from(1usize),
        _ => e.clone(),
    };
    let dims = target.iter().enumerate().map(extent).collect();
    node.push(Expand { dims }, vec![x])
}

impl Convert for Concat {
    fn ignores_rows(&self) -> bool {
        self.axis < 2
    }

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
        let dims = at.x.axes().map(|axis| axis.map_or(Extent::from(1usize), |axis| self.dims[axis].clone()));
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
        let mut dims = self.dims.clone();
        // Where channels are missing there are as many on both sides.
        if let (Some(_), Some(axis)) = (call.kept, (dims.len() + 1).checked_sub(call.rank)) {
            dims[axis] = Extent::from(1usize);
        }
        let dims = w.sizes(&dims);
        w.push("Expand", &[call.inputs[0], &dims], call.output, vec![]);
        Ok(())
    }
}
