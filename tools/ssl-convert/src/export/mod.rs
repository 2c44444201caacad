//! The compact network as standard ONNX, so that users of other runtimes gain too. Filters, channels and layers that were removed are
//! gone as far as the original's nodes can do without them (`existing` has the rule); a kernel position cannot be left out of an ONNX
//! convolution, so removed columns of channels that stay are zeros.
//!
//! Here is the walk over the graph. How an operator is written stands beside its import, in `ops`; which channels it is given is
//! decided in `existing`, and said in `exporter`.

pub(crate) mod existing;
pub(crate) mod exporter;
mod sizes;
mod tidy;
pub(crate) mod writer;

use crate::graph::Graph;
use crate::onnx::proto::*;
use crate::verify::{Reference, Verification};
use anyhow::{Context, Result};
use exporter::{Exporter, export_of};
use serde::Serialize;
use ssl_cli::PartialFile;
use sslm_format::{Dim, ElementType, Extent, Operator, infer};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use writer::{OPSET, int};

/// What the exported model has of a layer, and how much of that is there only because the original's nodes cannot do without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LayerExport {
    /// Filters (rows).
    pub filters: usize,
    /// Input channels.
    pub channels: usize,
    /// Filters that the `.sslm` file does not have: they are zeros.
    pub dense_filters: usize,
    /// Input channels that the `.sslm` file does not have.
    pub dense_channels: usize,
}

/// What became of the export.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Size of the ONNX file in bytes.
    pub bytes: u64,
    /// Why it is not written, if it is not.
    pub refused: Option<String>,
    /// How it compares with the original when it is read back; absent if that was turned off.
    pub verification: Option<Verification>,
}

/// An exported network.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The message.
    pub model: ModelProto,
    /// What it has of each layer with weights, by the layer's index among the nodes. Those of which nothing is left are missing.
    pub layers: LayerExports,
}

/// What an exported model has of each layer, by the layer's index among the nodes.
pub type LayerExports = HashMap<usize, LayerExport>;

/// An exported file that is complete, but not in place.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// The file, unless it was refused.
    pub(crate) file: Option<PartialFile>,
    pub(crate) layers: LayerExports,
    pub(crate) report: Report,
}

impl Written {
    /// Exports the graph `dense`, whose compact form is `g`, to `path`. What has no form in ONNX makes a report, not an error.
    pub(crate) fn new(dense: &Graph, g: &Graph, metadata: &[StringStringEntryProto], path: &Path) -> Result<Self> {
        let mut file = ssl_cli::file_beside(path)?;
        let Exported { model, layers } = match export(dense, g, metadata) {
            Ok(exported) => exported,
            Err(e) => {
                let report = Report { refused: Some(format!("{e:#}")), ..Report::default() };
                return Ok(Written { report, ..Written::default() });
            }
        };
        let message = prost::Message::encode_to_vec(&model);
        file.write_all(&message)?;
        let report = Report { bytes: message.len() as u64, ..Report::default() };
        Ok(Written { file: Some(file), layers, report })
    }

    /// Reads the file back and compares it; where it differs, it is refused, unless somebody insists.
    pub(crate) fn verify(&mut self, reference: &Reference<'_>, force: bool) {
        let Some(file) = &self.file else { return };
        match reference.compare_onnx(&file.path()) {
            Err(e) => self.report.refused = Some(format!("it cannot be read back: {e:#}")),
            Ok(verification) => {
                self.report.refused = (!verification.passed && !force).then(|| verification.difference());
                self.report.verification = Some(verification);
            }
        }
        if self.report.refused.is_some() {
            self.file = None;
        }
    }
}

/// The message of the graph `dense` with what its compact form `g` removed left out, and the metadata of its source.
///
/// # Errors
/// If something cannot be said in ONNX, naming the node.
pub fn export(dense: &Graph, g: &Graph, metadata: &[StringStringEntryProto]) -> Result<Exported> {
    let inputs: Vec<_> = g.graph.inputs.iter().map(infer::of_input).collect();
    let shapes = infer::infer(&g.graph, &inputs).context("shapes of the exported graph")?;
    let mut e = Exporter::new(dense, g);
    e.w.graph.name = "sslm".into();
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
    let mut layers = HashMap::new();
    for (i, node) in dense.graph.nodes.iter().enumerate() {
        if e.existing.is_stored(node.output) || e.existing.is_empty(node.output) {
            continue;
        }
        let done = export_of(node).export(&mut e, node);
        done.with_context(|| format!("node '{}' ({}) has no form in ONNX", node.name, node.op.name()))?;
        if let Some(layer) = g.layer(i) {
            let [filters, dense_filters] = e.existing.counts(node.output, layer.groups * layer.filters);
            let [channels, dense_channels] = e.existing.counts(node.inputs[0], layer.groups * layer.columns / layer.taps);
            layers.insert(i, LayerExport { filters, channels, dense_filters, dense_channels });
        }
    }
    for ((&output, name), &element_type) in g.graph.outputs.iter().zip(&g.output_names).zip(&g.types.outputs) {
        let tensor = e.tensor(output)?;
        // A tensor that is listed twice is defined once.
        let is_new = e.w.graph.output.iter().all(|other| other.name != *name);
        if is_new && element_type != ElementType::F32 {
            e.w.push("Cast", &[&tensor], name, vec![int("to", data_type::of(element_type).into())]);
        } else if is_new && tensor != *name {
            e.w.push("Identity", &[&tensor], name, vec![]);
        }
        // An extent that is computed from the input's is left open.
        let dim = |extent: &Extent| {
            let own = extent.symbols().into_iter().next().filter(|name| *extent == Extent::symbol(name));
            DimensionProto { dim_value: extent.integer(), dim_param: own.map(str::to_owned) }
        };
        let shape = TensorShapeProto { dim: shapes[output.index()].iter().map(dim).collect() };
        e.w.graph.output.push(value_info(name, shape, data_type::of(element_type)));
    }
    tidy::join_transposes(&mut e.w.graph);
    let model = ModelProto {
        ir_version: 8,
        producer_name: "sslm".into(),
        graph: Some(e.w.graph),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: metadata.to_vec(),
        ..Default::default()
    };
    Ok(Exported { model, layers })
}

fn value_info(name: &str, shape: TensorShapeProto, elem_type: i32) -> ValueInfoProto {
    let tensor_type = Some(TensorTypeProto { elem_type, shape: Some(shape) });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}
