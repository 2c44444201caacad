//! What an operator states about how it is imported: a row of a table beside the function that does it. The lists of operators
//! that are supported, and of those that take integers, follow from these rows.

use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use anyhow::Result;

/// Yields the first output of a node.
pub(crate) type ImportFn = fn(&mut OnnxNode<'_>) -> Result<Binding>;

/// How an ONNX operator is imported.
pub(crate) struct Import {
    /// The operator's name in ONNX, behind that of its domain if it has one.
    pub(crate) name: &'static str,
    /// Whether it also takes the integers of an ArgMax: then it moves elements. Arithmetic with them is not that of float32.
    pub(crate) takes_integers: bool,
    /// Yields the first output.
    pub(crate) import: ImportFn,
}

impl Import {
    /// An operator that computes.
    pub(crate) const fn computing(name: &'static str, import: ImportFn) -> Self {
        Import { name, takes_integers: false, import }
    }

    /// An operator that moves elements, whatever they are.
    pub(crate) const fn moving(name: &'static str, import: ImportFn) -> Self {
        Import { name, takes_integers: true, import }
    }
}
