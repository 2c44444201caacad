//! Operators that hand on what they read: Identity and Dropout.

use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use anyhow::{Result, ensure};

pub(super) const IMPORTS: &[Import] = &[Import::moving("Identity", |node| node.first()), Import::computing("Dropout", dropout)];

fn dropout(node: &mut OnnxNode<'_>) -> Result<Binding> {
    if let Some(mode) = node.tensor_if_known(2) {
        ensure!(mode.ints().is_ok_and(|i| i.iter().all(|&i| i == 0)), "expected inference, found training_mode");
    }
    node.first()
}
