//! Operators that hand on what they read: Identity, Dropout and Cast.

use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::import::sizes;
use crate::onnx::proto::data_type;
use crate::onnx::tensor::{Data, Tensor};
use anyhow::{Result, bail, ensure};

pub(super) const IMPORTS: &[Import] =
    &[Import::moving("Identity", |node| node.first()), Import::computing("Dropout", dropout), Import::moving("Cast", cast)];

fn dropout(node: &mut OnnxNode<'_>) -> Result<Binding> {
    if let Some(mode) = node.tensor_if_known(2) {
        ensure!(mode.ints().is_ok_and(|i| i.iter().all(|&i| i == 0)), "expected inference, found training_mode");
    }
    node.first()
}

fn cast(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let to = node.int("to", 0)? as i32;
    let to_integers = match to {
        data_type::FLOAT => false,
        data_type::INT64 | data_type::INT32 => true,
        other => bail!("to: expected float32, int64 or int32, found {}", data_type::name(other)),
    };
    Ok(match (node.first()?, to_integers) {
        (Binding::Tensor(t), _) => Binding::Tensor(cast_tensor(t, to_integers)?),
        (Binding::Integers(v), false) => Binding::Value(v),
        (v @ Binding::Integers(_), true) | (v, false) => v,
        (Binding::Value(_) | Binding::Missing, true) => bail!("to: expected float32, found integers of computed elements"),
    })
}

/// Floats become integers towards zero.
fn cast_tensor(t: Tensor, to_integers: bool) -> Result<Tensor> {
    let Tensor { dims, data } = t;
    match (data, to_integers) {
        (Data::Ints(ints), false) => Tensor::new(dims, Data::Floats(ints.iter().map(|&i| i as f32).collect::<Vec<_>>().into())),
        (Data::Sizes(sizes), false) => Tensor::of_scaled(dims, sizes.iter().map(|size| (size.clone(), 1.0)).collect()),
        (Data::Floats(floats), true) => Tensor::new(dims, Data::Ints(floats.iter().map(|x| x as i64).collect())),
        (Data::Scaled(sizes), true) => Tensor::of_sizes(dims, sizes.iter().map(sizes::floor).collect::<Result<_>>()?),
        (data, _) => Tensor::new(dims, data),
    }
}
