//! Operators that hand on what they read: Identity, Dropout and Cast.

use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::onnx::proto::data_type;
use crate::onnx::tensor::{Data, Tensor};
use anyhow::{Result, bail, ensure};

pub(super) const IMPORTS: &[Import] = &[
    Import::moving("Identity", |node| node.first()).or_extents(|_, list| Binding::of_extents(list)),
    Import::computing("Dropout", dropout),
    Import::moving("Cast", cast).or_extents(|node, list| match node.int("to", 0)? as i32 {
        data_type::INT64 | data_type::INT32 => Binding::of_extents(list),
        other => bail!("to: expected int64 or int32 for symbolic extents, found {}", data_type::name(other)),
    }),
];

fn dropout(node: &mut OnnxNode<'_>) -> Result<Binding> {
    if let Some(mode) = node.tensor_if_known(2) {
        ensure!(mode.ints().is_ok_and(|i| i.iter().all(|&i| i == 0)), "expected inference, found training_mode");
    }
    node.first()
}

fn cast(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let to = node.int("to", 0)? as i32;
    Ok(match (node.first()?, to) {
        (Binding::Tensor(Tensor { dims, data: Data::Ints(ints) }), data_type::FLOAT) => {
            let floats: Vec<f32> = ints.iter().map(|&i| i as f32).collect();
            Binding::Tensor(Tensor::new(dims, Data::Floats(floats.into()))?)
        }
        (t @ Binding::Tensor(Tensor { data: Data::Ints(_), .. }), data_type::INT64 | data_type::INT32) => t,
        (Binding::Integers(v), data_type::FLOAT) => Binding::Value(v),
        (v @ Binding::Integers(_), data_type::INT64 | data_type::INT32) => v,
        (x, data_type::FLOAT) => x,
        (_, to) => bail!("to: expected float32 (or int64 or int32 of integers), found {}", data_type::name(to)),
    })
}
