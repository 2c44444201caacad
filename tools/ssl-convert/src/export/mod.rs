//! The compact network as standard ONNX, so that users of other runtimes gain too. Filters, channels and layers that were removed
//! are gone; a kernel position cannot be left out of an ONNX convolution, so removed columns of channels that stay are zeros.
//!
//! Here is the walk over the graph. How an operator is written stands beside its import, in `ops`; which channels it is given is
//! decided in `exporter`. What constant channels add at the borders of a padded convolution is computed from a plane of ones, so the
//! model serves every image size.

pub(crate) mod exporter;
pub(crate) mod writer;

use crate::graph::Graph;
use crate::onnx::proto::*;
use anyhow::{Context, Result};
use exporter::{Exporter, export_of};
use sslm_format::{Dim, Operator, infer};
use writer::OPSET;

/// The message of a compacted graph, with the metadata of its source.
///
/// # Errors
/// If something cannot be said in ONNX, naming the node.
pub fn export(g: &Graph, metadata: &[StringStringEntryProto]) -> Result<ModelProto> {
    let inputs: Vec<_> = g.graph.inputs.iter().map(infer::of_input).collect();
    let shapes = infer::infer(&g.graph, &inputs).context("shapes of the exported graph")?;
    let mut e = Exporter::new(g);
    e.w.graph.name = "compact".into();
    for input in &g.graph.inputs {
        let dim = |d: &Dim| match d {
            Dim::Fixed { size } => DimensionProto { dim_value: Some(*size as i64), dim_param: None },
            Dim::Symbolic { name } => DimensionProto { dim_value: None, dim_param: Some(name.clone()) },
        };
        let shape = TensorShapeProto { dim: input.dims.iter().map(dim).collect() };
        e.w.graph.input.push(value_info(&g.graph.values[input.value.index()].name, shape, data_type::FLOAT));
    }
    for node in &g.graph.nodes {
        if e.compaction(node.output).is_some_and(|c| c.kept.is_empty()) {
            continue;
        }
        let done = export_of(node).export(&mut e, node);
        done.with_context(|| format!("node '{}' ({}) cannot be exported", node.name, node.op.name()))?;
    }
    for &output in &g.graph.outputs {
        let name = g.graph.values[output.index()].name.clone();
        if e.compaction(output).is_some() {
            let whole = e.all_channels(output).with_context(|| format!("output '{name}' cannot be exported"))?;
            e.w.push("Identity", &[&whole], &name, vec![]);
        }
        let producer = g.producers()[output.index()].map(|p| &g.graph.nodes[p]);
        let integers = producer.is_some_and(|node| export_of(node).yields_integers());
        let elements = if integers { data_type::INT64 } else { data_type::FLOAT };
        // An extent that depends on the input's is left open.
        let dim = |extent: &Option<usize>| DimensionProto { dim_value: extent.map(|extent| extent as i64), dim_param: None };
        let shape = TensorShapeProto { dim: shapes[output.index()].iter().map(dim).collect() };
        e.w.graph.output.push(value_info(&name, shape, elements));
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
