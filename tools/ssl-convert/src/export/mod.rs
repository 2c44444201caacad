//! The compact network as standard ONNX, so that users of other runtimes gain too. Filters, channels and layers that were removed
//! are gone; a kernel position cannot be left out of an ONNX convolution, so removed columns of channels that stay are zeros.
//!
//! Here is the walk over the graph. How an operator is written stands beside its import, in `ops`; which channels it is given is
//! decided in `exporter`. What constant channels add at the borders of a padded convolution is computed from a plane of ones, so the
//! model serves every image size.

pub(crate) mod exporter;
mod sizes;
pub(crate) mod writer;

use crate::graph::Graph;
use crate::onnx::proto::*;
use anyhow::{Context, Result};
use exporter::{Exporter, export_of};
use sslm_format::{Dim, ElementType, Extent, Operator, infer};
use writer::{OPSET, int};

/// The message of a compacted graph, with the metadata of its source.
///
/// # Errors
/// If something cannot be said in ONNX, naming the node.
pub fn export(g: &Graph, metadata: &[StringStringEntryProto]) -> Result<ModelProto> {
    let inputs: Vec<_> = g.graph.inputs.iter().map(infer::of_input).collect();
    let shapes = infer::infer(&g.graph, &inputs).context("shapes of the exported graph")?;
    let mut e = Exporter::new(g);
    e.w.graph.name = "compact".into();
    for (input, &element_type) in g.graph.inputs.iter().zip(&g.types.inputs) {
        let dim = |d: &Dim| match d {
            Dim::Fixed { size } => DimensionProto { dim_value: Some(*size as i64), dim_param: None },
            Dim::Symbolic { name } => DimensionProto { dim_value: None, dim_param: Some(name.clone()) },
        };
        let shape = TensorShapeProto { dim: input.dims.iter().map(dim).collect() };
        let name = &g.graph.values[input.value.index()].name;
        e.w.graph.input.push(value_info(name, shape, data_type::of(element_type)));
        if element_type != ElementType::F32 {
            e.w.push("Cast", &[name], &e.name(input.value), vec![int("to", data_type::FLOAT.into())]);
        }
    }
    for node in &g.graph.nodes {
        if e.compaction(node.output).is_some_and(|c| c.kept.is_empty()) {
            continue;
        }
        let done = export_of(node).export(&mut e, node);
        done.with_context(|| format!("node '{}' ({}) cannot be exported", node.name, node.op.name()))?;
    }
    for (&output, &element_type) in g.graph.outputs.iter().zip(&g.types.outputs) {
        let name = g.graph.values[output.index()].name.clone();
        let whole = e.all_channels(output).with_context(|| format!("output '{name}' cannot be exported"))?;
        if element_type != ElementType::F32 {
            e.w.push("Cast", &[&whole], &name, vec![int("to", data_type::of(element_type).into())]);
        } else if whole != name {
            e.w.push("Identity", &[&whole], &name, vec![]);
        }
        // An extent that is computed from the input's is left open.
        let dim = |extent: &Extent| {
            let own = extent.symbols().into_iter().next().filter(|name| *extent == Extent::symbol(name));
            DimensionProto { dim_value: extent.integer(), dim_param: own.map(str::to_owned) }
        };
        let shape = TensorShapeProto { dim: shapes[output.index()].iter().map(dim).collect() };
        e.w.graph.output.push(value_info(&name, shape, data_type::of(element_type)));
    }
    Ok(ModelProto {
        ir_version: 8,
        producer_name: concat!("ssl-convert ", env!("CARGO_PKG_VERSION")).into(),
        graph: Some(e.w.graph),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: metadata.to_vec(),
        ..Default::default()
    })
}

fn value_info(name: &str, shape: TensorShapeProto, elem_type: i32) -> ValueInfoProto {
    let tensor_type = Some(TensorTypeProto { elem_type, shape: Some(shape) });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}
