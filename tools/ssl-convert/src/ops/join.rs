//! Concat: tensors one behind the other along an axis.

use crate::import::binding::Binding;
use crate::import::extent::Extent;
use crate::import::node::Node;
use crate::import::registry::Import;
use crate::import::stored;
use crate::onnx::tensor::Tensor;
use anyhow::{Context, Result};
use sslm_format::{Concat, Op};

pub(super) const IMPORTS: &[Import] = &[Import::moving("Concat", concat).or_extents(extents)];

fn concat(node: &mut Node<'_>) -> Result<Binding> {
    let all = 0..node.input_count();
    if all.clone().any(|i| matches!(node.input(i), Some(Binding::Extents(_)))) {
        let first = node.extents(0)?.context("input 0: expected integers, found numbers")?;
        return extents(node, first);
    }
    if let Some(tensors) = all.map(|i| node.tensor_if_known(i)).collect::<Option<Vec<&Tensor>>>() {
        let axis = node.axis(1, tensors.first().map_or(0, |t| t.dims.len()))?;
        return stored::joined(&tensors, axis).map(Binding::Tensor);
    }
    let inputs = node.values()?;
    let axis = node.axis(1, inputs.first().map_or(0, |&v| node.rank(v)))?;
    node.push(Op::Concat(Concat { axis: axis as u32 }), inputs)
}

fn extents(node: &mut Node<'_>, mut list: Vec<Extent>) -> Result<Binding> {
    for i in 1..node.input_count() {
        list.extend(node.extents(i)?.with_context(|| format!("input {i}: expected integers, found numbers"))?);
    }
    Binding::of_extents(list)
}
