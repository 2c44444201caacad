//! What a name in the ONNX graph stands for while the graph is imported.

use crate::onnx::tensor::Tensor;
use sslm_format::ValueId;

/// What a name in the ONNX graph stands for.
#[derive(Clone)]
pub(crate) enum Binding {
    /// Computed at run time.
    Value(ValueId),
    /// Computed at run time, and integers in ONNX: what an ArgMax yields.
    Integers(ValueId),
    /// Known now, or as soon as the sizes of inputs are.
    Tensor(Tensor),
    /// The output of a node that could not be converted.
    Missing,
}

/// Marks errors that only follow from an earlier one.
#[derive(Debug, thiserror::Error)]
#[error("an input could not be converted")]
pub(crate) struct Follows;
