//! What both protocols say of the server and of its models.

use crate::repository::State;
use sslm::{Dim, TensorInfo};

/// Extensions of the protocol that this server speaks.
pub(crate) const EXTENSIONS: [&str; 4] = ["binary_tensor_data", "classification", "model_repository", "parameters"];

/// What the protocol calls a framework and its kind of files.
pub(crate) const PLATFORM: &str = "sslm_sslm";

/// Extents as the protocol has them: -1 where requests may choose.
pub(crate) fn shape(info: &TensorInfo) -> Vec<i64> {
    let extent = |dim: &Dim| match dim {
        Dim::Fixed { size } => i64::try_from(*size).unwrap_or(i64::MAX),
        Dim::Symbolic { .. } => -1,
    };
    info.dims.iter().map(extent).collect()
}

impl State {
    /// What the protocol calls it, and why it is so.
    pub(crate) fn words(&self) -> (&'static str, &str) {
        match self {
            State::Ready(_) => ("READY", ""),
            State::Failed(why) => ("UNAVAILABLE", why),
            State::Unloaded => ("UNAVAILABLE", "unloaded"),
        }
    }
}
