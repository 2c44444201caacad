//! Convolutions as onnxruntime writes them when it saves what it optimised: with a sum and an activation behind them, or with channels
//! last. They are imported as what they are made of.

use super::record;
use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::weights::Op;
use anyhow::{Context, Result, bail};
use sslm_format::{Activation, Binary, Transpose, ValueId};

/// FusedConv, and with channels last NhwcConv and NhwcFusedConv, whose weights lie as those of any other convolution.
pub(super) fn fused_conv(node: &mut OnnxNode<'_>, channels_last: bool) -> Result<Binding> {
    let mut x = given(node, 0, channels_last)?;
    let mut steps: Vec<(Op, Option<ValueId>)> = vec![(record(node, x)?.into(), None)];
    if node.input(3).is_some() {
        let added = given(node, 3, channels_last)?;
        steps.push((Binary::Add.into(), Some(added)));
    }
    steps.extend(activation(node)?.map(|function| (function.into(), None)));
    if channels_last {
        steps.push((Transpose { axes: vec![0, 2, 3, 1] }.into(), None));
    }
    let count = steps.len();
    for (i, (op, other)) in steps.into_iter().enumerate() {
        x = node.push_as(&node.part_name(i, count), op, [x].into_iter().chain(other).collect())?;
    }
    Ok(node.computed(x))
}

/// Input `i` with its channels in front.
fn given(node: &mut OnnxNode<'_>, i: usize, channels_last: bool) -> Result<ValueId> {
    let x = node.value(i)?;
    if !channels_last {
        return Ok(x);
    }
    node.push_as(&node.inner_name(&format!("input{i}")), Transpose { axes: vec![0, 3, 1, 2] }, vec![x])
}

/// The function that is applied last.
fn activation(node: &OnnxNode<'_>) -> Result<Option<Activation>> {
    let (name, parameters) = (node.text("activation", "")?, node.floats("activation_params")?);
    let parameter = |i: usize| {
        let found = parameters.get(i).copied();
        found.with_context(|| format!("activation_params: expected {} for {name}, found {}", i + 1, parameters.len()))
    };
    Ok(Some(match name {
        "" => return Ok(None),
        "Relu" => Activation::Relu,
        "Sigmoid" => Activation::Sigmoid,
        "Tanh" => Activation::Tanh,
        "LeakyRelu" => Activation::LeakyRelu { alpha: parameter(0)? },
        "Clip" => Activation::Clip { low: parameter(0)?, high: parameter(1)? },
        "HardSigmoid" => Activation::HardSigmoid { alpha: parameter(0)?, beta: parameter(1)? },
        other => bail!("activation: expected Relu, Sigmoid, Tanh, LeakyRelu, Clip or HardSigmoid, found {other}"),
    }))
}
