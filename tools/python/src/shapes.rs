//! What a model says of itself: shapes of inputs and outputs, and what its file holds.

use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use serde_json::{Value, json};
use sslm::{Dim, KeptCount, Options, TensorInfo, Threads, TransformedWeights};
use std::collections::HashMap;

/// An extent of an output.
#[derive(Clone, Debug, IntoPyObject)]
pub(crate) enum Extent {
    /// The same for all inputs.
    Fixed(usize),
    /// That of an input.
    Symbol(String),
}

/// The shape of an input that leaves nothing open but the batch.
pub(crate) fn usual(input: &TensorInfo, batch: usize) -> Option<Vec<usize>> {
    let extent = |(axis, dim): (usize, &Dim)| match dim {
        Dim::Fixed { size } => usize::try_from(*size).ok(),
        Dim::Symbolic { .. } => (axis == 0).then_some(batch),
    };
    input.dims.iter().enumerate().map(extent).collect()
}

/// Name, shape and type of an input.
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

/// A shape, of which an extent is `None` that depends on the inputs' in another way than being the same.
pub(crate) type Extents = Vec<Option<Extent>>;

/// Shapes of the outputs, by how they follow from two sets of extents of the inputs: nothing is computed. `None` where the model takes none
/// of those that are tried, or they are beyond the options' limits.
pub(crate) fn of_outputs(model: &sslm::Model, options: &Options) -> Vec<Option<Extents>> {
    // What networks for images take, and what is enough for others.
    const TRIED: [[usize; 2]; 2] = [[224, 384], [32, 64]];
    let found = TRIED.into_iter().find_map(|sizes| probed(model, options, sizes).ok());
    found.map_or_else(|| vec![None; model.output_names().len()], |shapes| shapes.into_iter().map(Some).collect())
}

/// Shapes of the outputs, where open extents that are no batch are near these.
fn probed(model: &sslm::Model, options: &Options, sizes: [usize; 2]) -> sslm::Result<Vec<Extents>> {
    let inputs = model.inputs();
    type Probed<'a> = (HashMap<&'a str, usize>, Vec<Vec<usize>>);
    let probe = |batch: usize, size: usize| -> sslm::Result<Probed<'_>> {
        let mut extents: HashMap<&str, usize> = HashMap::new();
        for (axis, dim) in inputs.iter().flat_map(|input| input.dims.iter().enumerate()) {
            if let Dim::Symbolic { name } = dim {
                let count = extents.len();
                extents.entry(name).or_insert(if axis == 0 { batch + count } else { size + 32 * count });
            }
        }
        let extent = |dim: &Dim| match dim {
            Dim::Fixed { size } => usize::try_from(*size).unwrap_or(usize::MAX),
            Dim::Symbolic { name } => extents[name.as_str()],
        };
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|input| input.dims.iter().map(extent).collect()).collect();
        let options = options.clone().threads(Threads::Single).transformed_weights(TransformedWeights::AtMost(0));
        let plan = model.prepare(&options.shapes(model, &shapes)?)?;
        Ok((extents, plan.output_shapes().map(<[usize]>::to_vec).collect()))
    };
    let ((first, shapes), (second, others)) = (probe(3, sizes[0])?, probe(11, sizes[1])?);
    let extent = |(&a, &b): (&usize, &usize)| {
        let symbol = first.iter().find(|(name, extent)| **extent == a && second[*name] == b);
        symbol.map(|(name, _)| Extent::Symbol((*name).to_owned())).or((a == b).then_some(Extent::Fixed(a)))
    };
    Ok(shapes.iter().zip(&others).map(|(shape, other)| shape.iter().zip(other).map(extent).collect()).collect())
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
