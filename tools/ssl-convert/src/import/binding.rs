//! What a name in the ONNX graph stands for while the graph is imported.

use crate::import::extent::Extent;
use crate::onnx::tensor::{Data, Tensor};
use anyhow::Result;
use sslm_format::ValueId;

/// What a name in the ONNX graph stands for.
#[derive(Clone)]
pub(crate) enum Binding {
    /// Computed at run time.
    Value(ValueId),
    /// Computed at run time, and integers in ONNX: what an ArgMax yields.
    Integers(ValueId),
    /// Known now.
    Tensor(Tensor),
    /// A list of extents, of which some depend on symbolic dims.
    Extents(Vec<Extent>),
    /// The output of a node that could not be converted.
    Missing,
}

impl Binding {
    /// A list of extents, which is a stored tensor if all of them are known.
    pub(crate) fn of_extents(list: Vec<Extent>) -> Result<Binding> {
        let known: Option<Vec<i64>> = list.iter().map(|e| e.known()).collect();
        Ok(match known {
            Some(known) => Binding::Tensor(Tensor::new(vec![known.len()], Data::Ints(known.into()))?),
            None => Binding::Extents(list),
        })
    }
}

/// Marks errors that only follow from an earlier one.
#[derive(Debug, thiserror::Error)]
#[error("an input could not be converted")]
pub(crate) struct Follows;
