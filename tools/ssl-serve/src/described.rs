//! What both protocols say of the server and of its models.

use crate::repository::{Listed, State};
use crate::served::Served;
use crate::server::Server;
use crate::tensors::datatype;
use sslm::{Dim, ElementType, TensorInfo};

/// Extensions of the protocol that this server speaks.
pub(crate) const EXTENSIONS: [&str; 6] =
    ["binary_tensor_data", "classification", "model_configuration", "model_repository", "parameters", "statistics"];

/// What the protocol calls a framework and its kind of files.
pub(crate) const PLATFORM: &str = "sslm_sslm";
/// What runs models.
pub(crate) const BACKEND: &str = "sslm";

/// Extents as the protocol has them: -1 where requests may choose.
pub(crate) fn shape(info: &TensorInfo) -> Vec<i64> {
    let extent = |dim: &Dim| match dim {
        Dim::Fixed { size } => i64::try_from(*size).unwrap_or(i64::MAX),
        Dim::Symbolic { .. } => -1,
    };
    info.dims.iter().map(extent).collect()
}

/// The most images of a request, if axis 0 of all that a model takes and yields is that of images: as many as its body has room for.
pub(crate) fn max_batch_size(served: &Served, server: &Server) -> Option<i32> {
    let axes = || served.inputs.iter().chain(&served.outputs).map(|info| info.dims.first().and_then(Dim::symbol));
    let batch = axes().next()??;
    let fixed = |dim: &Dim| match dim {
        Dim::Fixed { size } => usize::try_from(*size).unwrap_or(usize::MAX),
        Dim::Symbolic { .. } => 1,
    };
    let bytes = |info: &TensorInfo| {
        let elements = info.dims[1..].iter().map(fixed).fold(1usize, usize::saturating_mul);
        elements.saturating_mul(info.element_type.size())
    };
    axes().all(|axis| axis == Some(batch)).then(|| {
        let image = served.inputs.iter().map(bytes).fold(0usize, usize::saturating_add).max(1);
        i32::try_from(server.terms.max_body / image).unwrap_or(i32::MAX).max(1)
    })
}

/// Extents as configurations have them: without the axis of images, where there is one.
pub(crate) fn config_dims(info: &TensorInfo, max_batch_size: Option<i32>) -> Vec<i64> {
    let mut dims = shape(info);
    if max_batch_size.is_some() {
        dims.remove(0);
    }
    dims
}

/// A type of elements as configurations have it.
pub(crate) fn config_type(element_type: ElementType) -> String {
    format!("TYPE_{}", datatype(element_type))
}

/// How requests are joined to batches: the size of these and for how many microseconds a worker waits, if it is done.
pub(crate) fn joining(served: &Served, server: &Server) -> Option<(i32, u64)> {
    let size = i32::try_from(served.max_batch).unwrap_or(i32::MAX);
    let delay = u64::try_from(server.queue.max_delay().as_micros()).unwrap_or(u64::MAX);
    (size > 1).then_some((size, delay))
}

impl Listed {
    /// What the protocol calls its state, and why it is so.
    pub(crate) fn words(&self) -> (&'static str, &str) {
        match &self.state {
            State::Ready(_) => ("READY", self.trouble.as_deref().unwrap_or_default()),
            State::Failed(why) => ("UNAVAILABLE", why),
            State::Unloaded => ("UNAVAILABLE", "unloaded"),
        }
    }
}
