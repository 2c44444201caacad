//! What a model says of itself: shapes of inputs and outputs, and what its file holds.

use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use serde_json::{Value, json};
use sslm::{Dim, KeptCount, TensorInfo};

/// The shape of an input that leaves nothing open but the batch.
pub(crate) fn usual(input: &TensorInfo, batch: usize) -> Option<Vec<usize>> {
    let extent = |(axis, dim): (usize, &Dim)| match dim {
        Dim::Fixed { size } => usize::try_from(*size).ok(),
        Dim::Symbolic { .. } => (axis == 0).then_some(batch),
    };
    input.dims.iter().enumerate().map(extent).collect()
}

/// Name, shape and type of an input or output.
pub(crate) fn info<'py>(py: Python<'py>, input: &TensorInfo) -> PyResult<Bound<'py, PyTuple>> {
    let dims = PyList::empty(py);
    for dim in &input.dims {
        match dim {
            Dim::Fixed { size } => dims.append(size)?,
            Dim::Symbolic { name } => dims.append(name)?,
        }
    }
    (input.name.as_str(), dims, input.element_type.name()).into_pyobject(py)
}

/// What a file holds.
pub(crate) fn describe(model: &sslm::Model) -> Value {
    let count = |count: Option<KeptCount>| count.map(|c| json!({"kept": c.kept, "of": c.of}));
    let layers = model.layers().map(|layer| {
        json!({
            "name": layer.name, "op": layer.op, "window": layer.sizes.window, "filters": count(layer.sizes.filters),
            "columns": count(layer.sizes.columns), "weights": layer.sizes.weights, "channels": count(layer.channels),
        })
    });
    let sections = model.sections().into_iter().map(|s| json!({"name": s.name(), "offset": s.offset, "bytes": s.len}));
    let provenance = model.provenance().map(|p| {
        let sha256: String = p.source_sha256.iter().map(|b| format!("{b:02x}")).collect();
        json!({"tool": p.tool, "source": p.source, "source_bytes": p.source_bytes, "source_sha256": sha256, "dense": p.dense})
    });
    let preprocessing = model.preprocessing().map(
        |p| json!({"color": p.color.to_string(), "resize": p.resize.to_string(), "scale": p.scale, "mean": p.mean, "std": p.std}),
    );
    json!({
        "version": model.version(), "bytes": model.file_bytes(), "weight_bytes": model.weight_bytes(),
        "sections": sections.collect::<Vec<_>>(), "provenance": provenance, "preprocessing": preprocessing,
        "layers": layers.collect::<Vec<_>>(),
    })
}
