//! Writing: a `.sslm` model from a graph, its weights packed into panels some at a time.

use crate::blobs::Blobs;
use crate::graph::Graph;
use anyhow::{Context, Result};
use sslm_format::{self as format, Model, Preprocessing, Provenance};
use std::io::{Seek, Write};

/// What a file says besides the network.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// Class names.
    pub labels: Vec<String>,
    /// From images to inputs.
    pub preprocessing: Option<Preprocessing>,
    /// Where the network came from.
    pub provenance: Option<Provenance>,
}

/// Writes `g` to `out`.
///
/// # Errors
/// If `out` fails, or the graph breaks a rule of the format.
pub fn write(g: &Graph, metadata: Metadata, out: &mut (impl Write + Seek)) -> Result<()> {
    let format::Graph { values, inputs, outputs, nodes, .. } = &g.graph;
    let mut blobs = Blobs::default();
    let mut stored = |(i, node): (usize, &crate::weights::Node)| format::Node {
        name: node.name.clone(),
        inputs: node.inputs.clone(),
        output: node.output,
        op: g.op(i).stored(&values[node.output.index()], &mut blobs),
    };
    let nodes = nodes.iter().enumerate().map(&mut stored).collect();
    let graph = format::Graph {
        blobs: blobs.places.clone(),
        values: values.clone(),
        inputs: inputs.clone(),
        outputs: outputs.clone(),
        nodes,
    };
    let own_names = outputs.iter().map(|v| &values[v.index()].name);
    let output_names = if own_names.eq(&g.output_names) { Vec::new() } else { g.output_names.clone() };
    let Metadata { labels, preprocessing, provenance } = metadata;
    let model = Model { graph, types: Some(g.types.clone()), output_names, labels, preprocessing, provenance };
    format::write(out, &model, |blob, sink| blobs.fill(blob, sink)).context("the model cannot be written")?;
    Ok(out.flush()?)
}
