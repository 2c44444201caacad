//! Operators that hand on what they read: Identity and Dropout.

use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::onnx::tensor::{Data, Tensor};
use anyhow::{Result, ensure};
use sslm_format::{ElementType, Expand};

pub(super) const IMPORTS: &[Import] = &[Import::moving("Identity", |node| node.first()), Import::computing("Dropout", dropout)];

/// What it reads, with a mask that says that nothing is dropped. In training it would drop some elements at random.
fn dropout(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let trains = match node.opset() {
        ..7 => !node.flag("is_test", false)?,
        _ => node.tensor(2, "training_mode")?.is_some_and(|mode| !mode.ints().is_ok_and(|ints| ints.iter().all(|&i| i == 0))),
    };
    if trains {
        let ratio = if node.opset() < 12 { Some(node.float("ratio", 0.5)?) } else { node.element(1, "ratio")? };
        ensure!(ratio == Some(0.0), "expected inference, found training, in which elements are dropped at random");
    }
    if node.opset() < 10 {
        node.one_output("mask")?;
    } else if let Some(name) = node.outputs().get(1).filter(|name| !name.is_empty()) {
        node.yields(1, ElementType::Bool);
        let x = node.value(0)?;
        let one = node.constant("one", &Tensor::new(Vec::new(), Data::Ints([1].into()))?, node.rank(x))?;
        let mask = node.push_as(name, Expand { dims: node.extents_of(x).to_vec() }, vec![one])?;
        node.further_output(Binding::Integers(mask));
    }
    node.first()
}
