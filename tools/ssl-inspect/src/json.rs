//! What a `.sslm` file holds, for programs: whole names and exact counts.

use serde_json::{Value, json};
use sslm::{Dim, KeptCount, LayerInfo, Model};

pub(crate) fn of(model: &Model) -> Value {
    let [major, minor] = model.version();
    let sections = model.sections();
    let section =
        |s: &sslm::Section| json!({ "name": s.name(), "offset": s.offset, "bytes": s.len, "crc": format!("{:08x}", s.crc) });
    let dim = |dim: &Dim| match dim {
        Dim::Fixed { size } => json!(size),
        Dim::Symbolic { name } => json!(name),
    };
    let inputs = model.inputs();
    let input = |input: &sslm::TensorInfo| {
        let dims: Vec<Value> = input.dims.iter().map(dim).collect();
        json!({ "name": input.name, "type": input.element_type.name(), "dims": dims })
    };
    let outputs = model.output_names().into_iter().zip(model.output_types());
    let outputs: Vec<Value> = outputs.map(|(name, of)| json!({ "name": name, "type": of.name() })).collect();
    let provenance = model.provenance().map(|p| {
        let sha256: String = p.source_sha256.iter().map(|b| format!("{b:02x}")).collect();
        json!({ "tool": p.tool, "dense": p.dense, "source": p.source, "source_bytes": p.source_bytes, "source_sha256": sha256 })
    });
    let preprocessing = model.preprocessing().map(|p| {
        let [color, resize] = [p.color.to_string(), p.resize.to_string()];
        json!({ "color": color, "resize": resize, "scale": p.scale, "mean": p.mean, "std": p.std })
    });
    json!({
        "version": format!("{major}.{minor}"),
        "bytes": model.file_bytes(),
        "sections": sections.iter().map(section).collect::<Vec<_>>(),
        "made_by": provenance,
        "inputs": inputs.iter().map(input).collect::<Vec<_>>(),
        "outputs": outputs,
        "preprocessing": preprocessing,
        "labels": model.labels(),
        "nodes": model.layers().map(|layer| node(&layer)).collect::<Vec<_>>(),
    })
}

fn node(layer: &LayerInfo<'_>) -> Value {
    let LayerInfo { name, op, sizes, channels, .. } = layer;
    let kept = |count: Option<KeptCount>| count.map(|KeptCount { kept, of }| json!({ "kept": kept, "of": of }));
    json!({
        "name": name,
        "op": op,
        "window": sizes.window,
        "filters": kept(sizes.filters),
        "columns": kept(sizes.columns),
        "weights": sizes.weights,
        "has_border_constants": sizes.has_border_constants,
        // `null` where all channels are kept.
        "channels": kept(*channels),
    })
}
