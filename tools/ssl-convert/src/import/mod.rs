//! ONNX to a dense [`Graph`]. What is known at conversion becomes tensors, shapes that are computed from shapes become lists of
//! extents, and what depends on the input becomes nodes. Everything that cannot be converted is collected, so that one error
//! names all of it.
//!
//! Here is the walk over the graph. What it does with a node is said beside the operator, in `ops`: by a function that reads a
//! `node::OnnxNode` and adds to a `builder`.

pub(crate) mod binding;
mod builder;
pub(crate) mod checks;
mod cut;
pub(crate) mod extent;
pub(crate) mod node;
pub(crate) mod registry;
pub(crate) mod stored;

use crate::graph::Graph;
use crate::onnx::load::{ExternalData, OnnxFile};
use crate::onnx::proto::{GraphProto, ModelProto, NodeProto};
use crate::onnx::tensor::Tensor;
use crate::ops;
use anyhow::{Context, Result, bail, ensure};
use binding::{Binding, Follows};
use builder::Builder;
use node::OnnxNode;
use registry::Import;
use std::collections::{BTreeMap, HashSet};

/// Operator sets that are understood.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=25;

/// Builds the dense graph of an ONNX model.
///
/// # Errors
/// One error that names every node that cannot be converted, and why.
pub fn import(file: &mut OnnxFile) -> Result<Graph> {
    let opset = opset(&file.model)?;
    let Some(graph) = &file.model.graph else { bail!("expected a graph, found none") };
    let needed = reachable(graph);
    let mut importer =
        Importer { graph, opset, builder: Builder::new(), external: &mut file.external, problems: Problems::default() };
    importer.add_stored(graph, &needed)?;
    // Files of IR version 3 list initialisers among the inputs, used or not.
    let stored: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    for input in graph.input.iter().filter(|i| !stored.contains(i.name.as_str())) {
        importer.builder.add_input(input).with_context(|| format!("input '{}'", input.name))?;
    }
    for (i, node) in graph.node.iter().enumerate().filter(|(i, _)| needed[*i]) {
        let name = if node.name.is_empty() { format!("{}_{i}", node.op_type) } else { node.name.clone() };
        importer.add_node(node, &name);
    }
    importer.problems.into_result()?;
    importer.builder.finish(graph)
}

/// Ends the model at the tensors of these names, which become its outputs.
///
/// # Errors
/// If there is none of such a name.
pub fn cut(file: &mut OnnxFile, names: &[String]) -> Result<()> {
    file.model.graph.as_mut().map_or(Ok(()), |graph| cut::at(graph, names))
}

struct Importer<'a> {
    graph: &'a GraphProto,
    opset: i64,
    builder: Builder,
    external: &'a mut ExternalData,
    problems: Problems,
}

impl Importer<'_> {
    /// Binds the initialisers that something reads: nodes that are `needed`, or outputs.
    fn add_stored(&mut self, graph: &GraphProto, needed: &[bool]) -> Result<()> {
        let read = graph.node.iter().zip(needed).filter(|(_, n)| **n).flat_map(|(n, _)| &n.input);
        let used: HashSet<&str> = read.chain(graph.output.iter().map(|o| &o.name)).map(String::as_str).collect();
        let mut problems: Vec<String> = Vec::new();
        for proto in graph.initializer.iter().filter(|t| used.contains(t.name.as_str())) {
            match Tensor::from_proto(proto, self.external) {
                Ok(tensor) => self.builder.bind(&proto.name, Binding::Tensor(tensor)),
                Err(e) => problems.push(format!("{e:#}")),
            }
        }
        ensure!(problems.is_empty(), "{}", list("weights cannot be read", &problems));
        Ok(())
    }

    /// Imports a node, or keeps why that is not possible. Outputs that it does not define are missing from then on.
    fn add_node(&mut self, node: &NodeProto, name: &str) {
        let is_standard = matches!(node.domain.as_str(), "" | "ai.onnx");
        let import = if is_standard { ops::import_of(&node.op_type) } else { None };
        let outputs = match import.map(|import| self.outputs(import, node, name)) {
            Some(Ok(outputs)) => outputs,
            Some(Err(e)) => {
                // What follows from this node is not reported on its own.
                if !e.is::<Follows>() {
                    let advice = cut::advice(self.graph, node).map(|advice| format!("; {advice}")).unwrap_or_default();
                    self.problems.refused.push(format!("node '{name}' ({}): {e:#}{advice}", node.op_type));
                }
                Vec::new()
            }
            None => {
                let prefix = if node.domain.is_empty() { String::new() } else { format!("{}.", node.domain) };
                match cut::advice(self.graph, node) {
                    Some(advice) => self.problems.refused.push(format!("node '{name}' ({prefix}{}): {advice}", node.op_type)),
                    None => {
                        let nodes = self.problems.unsupported.entry(format!("{prefix}{}", node.op_type)).or_default();
                        nodes.push(name.to_owned());
                    }
                }
                Vec::new()
            }
        };
        let outputs = outputs.into_iter().chain(std::iter::repeat(Binding::Missing));
        node.output.iter().zip(outputs).for_each(|(name, output)| self.builder.bind(name, output));
    }

    /// What the outputs of a node stand for.
    fn outputs(&mut self, import: &Import, node: &NodeProto, name: &str) -> Result<Vec<Binding>> {
        let integers = node.input.iter().position(|name| self.builder.is_integers(name));
        if let (Some(i), false) = (integers, import.takes_integers) {
            bail!("input {i}: expected float32 (as of a Cast), found integers that an ArgMax yields");
        }
        let mut node = OnnxNode::new(node, name, self.opset, integers.is_some(), &mut self.builder, self.external)?;
        let first = match (import.of_extents, node.input(0)) {
            (Some(of_extents), Some(Binding::Extents(list))) => {
                let list = list.clone();
                of_extents(&mut node, list)?
            }
            _ => (import.import)(&mut node)?,
        };
        Ok(node.into_outputs(first))
    }
}

/// Why a model cannot be converted.
#[derive(Default)]
struct Problems {
    /// Nodes that were refused.
    refused: Vec<String>,
    /// The nodes of each operator that is not supported.
    unsupported: BTreeMap<String, Vec<String>>,
}

impl Problems {
    /// One error for all of them.
    fn into_result(self) -> Result<()> {
        let mut problems = self.refused;
        for (op, nodes) in self.unsupported {
            let plural = if nodes.len() > 1 { "s" } else { "" };
            problems.push(format!("operator {op} is not supported: node{plural} '{}'", nodes.join("', '")));
        }
        let supported = ops::supported().join(", ");
        ensure!(problems.is_empty(), "{}\nSupported operators: {supported}", list("the model cannot be converted", &problems));
        Ok(())
    }
}

fn list(title: &str, problems: &[String]) -> String {
    problems.iter().fold(title.to_owned() + ":", |text, p| text + "\n  - " + p)
}

fn opset(model: &ModelProto) -> Result<i64> {
    let default = model.opset_import.iter().find(|o| matches!(o.domain.as_str(), "" | "ai.onnx"));
    let version = default.map(|o| o.version).context("expected an opset_import of the default domain, found none")?;
    ensure!(OPSETS.contains(&version), "opset: expected {} to {}, found {version}", OPSETS.start(), OPSETS.end());
    Ok(version)
}

/// Which nodes some output of the graph depends on.
fn reachable(graph: &GraphProto) -> Vec<bool> {
    let mut wanted: HashSet<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    let mut needed = vec![false; graph.node.len()];
    for (i, node) in graph.node.iter().enumerate().rev() {
        if node.output.iter().any(|o| wanted.contains(o.as_str())) {
            needed[i] = true;
            wanted.extend(node.input.iter().map(String::as_str));
        }
    }
    needed
}
