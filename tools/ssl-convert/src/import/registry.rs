//! What an operator states about how it is imported: a row of a table beside the function that does it. The lists of operators
//! that are supported, and of those that take integers, follow from these rows.

use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use anyhow::Result;

/// Yields the first output of a node.
pub(crate) type ImportFn = fn(&mut OnnxNode<'_>) -> Result<Binding>;

/// How an ONNX operator is imported.
pub(crate) struct Import {
    /// The operator's name in ONNX, behind that of its domain and a dot if that is not ONNX's own.
    pub(crate) name: &'static str,
    /// Whether it also takes integers that are computed at run time (those of an ArgMax, the truth of a comparison): it moves them, or
    /// computes with the float32 that stand for them, which are exact below 2^24.
    pub(crate) takes_integers: bool,
    /// Whether it moves elements, or says itself which ones it takes.
    pub(crate) moves: bool,
    /// Yields the first output.
    pub(crate) import: ImportFn,
}

impl Import {
    /// An operator that computes.
    pub(crate) const fn computing(name: &'static str, import: ImportFn) -> Self {
        Import { name, takes_integers: false, moves: false, import }
    }

    /// An operator that moves elements, whatever they are.
    pub(crate) const fn moving(name: &'static str, import: ImportFn) -> Self {
        Import { name, takes_integers: true, moves: true, import }
    }

    /// That the operator also computes with integers.
    pub(crate) const fn of_integers(self) -> Self {
        Import { takes_integers: true, ..self }
    }
}
