//! ONNX to a dense [`Graph`]. What is known at conversion becomes tensors; so does what is computed from shapes, whose elements may be
//! expressions of symbolic dims; what depends on the input becomes nodes. Everything that cannot be converted is collected, so that one
//! error names all of it.
//!
//! Here is the walk over the graph. What it does with a node is said beside the operator, in `ops`: by a function that reads a
//! `node::OnnxNode` and adds to a `builder`.

pub(crate) mod binding;
mod builder;
pub(crate) mod checks;
mod cut;
mod defined;
mod evaluate;
mod inline;
pub(crate) mod node;
pub(crate) mod reach;
pub(crate) mod registry;
pub(crate) mod sizes;
pub(crate) mod stored;
pub(crate) mod types;

use crate::graph::Graph;
use crate::onnx::attributes::Attributes;
use crate::onnx::load::{ExternalData, OnnxFile};
use crate::onnx::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto, data_type};
use crate::onnx::tensor::Tensor;
use crate::ops;
use anyhow::{Context, Result, anyhow, bail, ensure};
use binding::{Binding, Follows};
use builder::Builder;
use inline::{Inlined, inline};
use node::{Facts, OnnxNode};
use registry::Import;
use sslm_format::ElementType;
use std::collections::{BTreeMap, HashSet};
use types::Types;

/// Operator sets that are understood.
const OPSETS: std::ops::RangeInclusive<i64> = 1..=28;

/// Builds the dense graph of an ONNX model, with symbolic dims of these names fixed.
///
/// # Errors
/// One error that names every node that cannot be converted, and why.
pub fn import(file: &mut OnnxFile, dims: &BTreeMap<String, usize>) -> Result<Graph> {
    let opset = opset(&file.model)?;
    defined::once(&file.model)?;
    let Inlined { graph, opsets } = inline(&file.model, opset)?;
    opsets.iter().try_for_each(|&version| check_opset(version))?;
    let needed = reachable(&graph);
    let mut read: HashSet<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    graph.node.iter().zip(&needed).filter(|(_, needed)| **needed).for_each(|(node, _)| add_reads(node, &mut read));
    let mut importer = Importer {
        graph: &graph,
        opset,
        builder: Builder::new(dims.clone()),
        types: Types::default(),
        external: &mut file.external,
        problems: Problems::default(),
        read,
    };
    importer.add_stored(&graph);
    // Files of IR version 3 list initialisers among the inputs, used or not.
    let sparse = graph.sparse_initializer.iter().filter_map(|t| t.values.as_ref());
    let stored: HashSet<&str> = graph.initializer.iter().chain(sparse).map(|t| t.name.as_str()).collect();
    for input in graph.input.iter().filter(|i| !stored.contains(i.name.as_str())) {
        importer.add_input(input);
    }
    importer.builder.expect_dims()?;
    for (i, node) in graph.node.iter().enumerate().filter(|(i, _)| needed[*i]) {
        importer.opset = opsets[i];
        importer.add_node(node, &name_of(node, i));
    }
    importer.problems.into_result()?;
    importer.builder.finish(&graph, &importer.types)
}

/// What a node is called that is at place `i` of its graph.
fn name_of(node: &NodeProto, i: usize) -> String {
    if node.name.is_empty() { format!("{}_{i}", node.op_type) } else { node.name.clone() }
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
    /// The version of the operator set that the next node is of.
    opset: i64,
    builder: Builder,
    types: Types,
    external: &'a mut ExternalData,
    problems: Problems,
    /// The names that some needed node reads or that are outputs.
    read: HashSet<&'a str>,
}

impl Importer<'_> {
    /// Binds the initialisers that something reads.
    fn add_stored(&mut self, graph: &GraphProto) {
        let dense = graph.initializer.iter().map(|t| (t, None));
        let sparse = graph.sparse_initializer.iter().filter_map(|t| Some((t.values.as_ref()?, Some(t))));
        for (proto, sparse) in dense.chain(sparse).filter(|(t, _)| self.read.contains(t.name.as_str())) {
            let tensor = match sparse {
                None => Tensor::from_proto(proto, self.external),
                Some(sparse) => Tensor::from_sparse(sparse, self.external),
            };
            let binding = tensor.map(Binding::Tensor).unwrap_or_else(|e| {
                self.problems.unread.push(format!("{e:#}"));
                Binding::Missing
            });
            self.builder.bind(&proto.name, binding);
            data_type::element_type(proto.data_type).into_iter().for_each(|t| self.types.set(&proto.name, t));
        }
    }

    /// Adds an input of the model.
    fn add_input(&mut self, input: &ValueInfoProto) {
        match self.builder.add_input(input) {
            Ok(element_type) => self.types.set(&input.name, element_type),
            Err(e) => {
                self.problems.unread.push(format!("input '{}': {e:#}", input.name));
                self.builder.bind(&input.name, Binding::Missing);
            }
        }
    }

    /// Imports a node, or keeps why that is not possible. Outputs that it does not define are missing from then on.
    fn add_node(&mut self, node: &NodeProto, name: &str) {
        let operator = match node.domain.as_str() {
            domain if inline::is_standard(domain) => node.op_type.clone(),
            domain => format!("{domain}.{}", node.op_type),
        };
        let outputs = match operator.as_str() {
            "If" => Some(self.branch(node, name)),
            "Loop" | "Scan" => {
                Some(Err(anyhow!("expected nodes that run once, found one whose body runs as often as its input says")))
            }
            _ => ops::import_of(&operator).map(|import| self.outputs(import, node, name)),
        };
        let outputs = match outputs {
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
                match cut::advice(self.graph, node) {
                    Some(advice) => self.problems.refused.push(format!("node '{name}' ({operator}): {advice}")),
                    None => self.problems.unsupported.entry(operator).or_default().push(name.to_owned()),
                }
                Vec::new()
            }
        };
        let outputs = outputs.into_iter().chain(std::iter::repeat(Binding::Missing));
        node.output.iter().zip(outputs).for_each(|(name, output)| self.builder.bind(name, output));
    }

    /// What the outputs of a node stand for.
    fn outputs(&mut self, import: &Import, node: &NodeProto, name: &str) -> Result<Vec<Binding>> {
        let read: Vec<Option<&Binding>> = node.input.iter().map(|name| self.builder.binding(name)).collect();
        let computed = read.iter().position(|binding| matches!(binding, Some(Binding::Integers(_))));
        if let (Some(i), false) = (computed, import.takes_integers) {
            let found = self.types.of(&node.input[i], read[i]);
            bail!("input {i}: expected float32 (as of a Cast), found {found}");
        }
        let tensors = || read.iter().flatten().map(|binding| if let Binding::Tensor(t) = binding { Some(t) } else { None });
        let all_integers = !read.is_empty() && tensors().all(|t| t.is_some_and(Tensor::is_integers));
        let all_known = !read.is_empty() && tensors().all(|t| t.is_some_and(Tensor::is_known));
        let types: Vec<ElementType> = node.input.iter().zip(&read).map(|(name, read)| self.types.of(name, *read)).collect();
        let mark = self.builder.mark();
        let facts = Facts { opset: self.opset, integers: computed.is_some() || all_integers, types, read: &self.read };
        let mut node = OnnxNode::new(node, name, facts, &mut self.builder, self.external)?;
        let computed = |i: &usize| matches!(node.input(*i), Some(Binding::Integers(_)));
        let computed: Vec<usize> = (0..node.input_count()).filter(computed).collect();
        for &i in computed.iter().filter(|_| !import.moves) {
            reach::expect_exact(node.reach(i), node.input_type(i)).with_context(|| format!("input {i}"))?;
        }
        let reach = computed.iter().map(|&i| node.reach(i)).fold(0.0, f64::max);
        let first = (import.import)(&mut node)?;
        // What moves integers leaves them as they are.
        let moved = import.takes_integers.then(|| node.moved_type());
        for (i, name) in node.outputs().iter().enumerate() {
            node.output_type(i).or(moved).into_iter().for_each(|t| self.types.set(name, t));
        }
        let outputs = node.into_outputs(first);
        if reach > reach::EXACT {
            self.builder.reach_at_most(&outputs, reach);
        }
        if all_known { evaluate::evaluate(&mut self.builder, mark, outputs) } else { Ok(outputs) }
    }
}

/// Graphs within nodes.
impl Importer<'_> {
    /// What the outputs of an If stand for, whose condition must be known: those of one of its branches.
    fn branch(&mut self, node: &NodeProto, name: &str) -> Result<Vec<Binding>> {
        let condition = node.input.first().map_or("", String::as_str);
        let known = match self.builder.input(0, condition)? {
            Some(Binding::Tensor(t)) => t.ints().ok().filter(|ints| ints.len() == 1).map(|ints| ints[0] != 0),
            _ => None,
        };
        let holds =
            known.with_context(|| format!("cond (input 0): expected a constant, found a computed tensor ('{condition}')"))?;
        let which = if holds { "then_branch" } else { "else_branch" };
        let graph = Attributes(node).graph(which)?.with_context(|| format!("{which}: expected a graph, found none"))?;
        let needed = reachable(graph);
        self.add_stored(graph);
        for (i, node) in graph.node.iter().enumerate().filter(|(i, _)| needed[*i]) {
            self.add_node(node, &format!("{name}/{}", name_of(node, i)));
        }
        let output = |output: &ValueInfoProto| {
            self.builder
                .input(0, &output.name)?
                .with_context(|| format!("{which}: expected outputs with names, found one without"))
        };
        graph.output.iter().map(output).collect()
    }
}

/// Adds all names that a node reads, those included that graphs within it may read of what is around them.
fn add_reads<'a>(node: &'a NodeProto, names: &mut HashSet<&'a str>) {
    names.extend(node.input.iter().map(String::as_str));
    for graph in node.attribute.iter().filter_map(|a| a.g.as_ref()) {
        names.extend(graph.output.iter().map(|o| o.name.as_str()));
        graph.node.iter().for_each(|node| add_reads(node, names));
    }
}

/// Why a model cannot be converted.
#[derive(Default)]
struct Problems {
    /// Inputs and stored tensors of types that are not supported.
    unread: Vec<String>,
    /// Nodes that were refused.
    refused: Vec<String>,
    /// The nodes of each operator that is not supported.
    unsupported: BTreeMap<String, Vec<String>>,
}

impl Problems {
    /// One error for all of them.
    fn into_result(self) -> Result<()> {
        let mut problems = self.unread;
        problems.extend(self.refused);
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
    let default = model.opset_import.iter().find(|o| inline::is_standard(&o.domain));
    let version = default.map(|o| o.version).context("expected an opset_import of the default domain, found none")?;
    check_opset(version)?;
    Ok(version)
}

fn check_opset(version: i64) -> Result<()> {
    ensure!(OPSETS.contains(&version), "opset: expected {} to {}, found {version}", OPSETS.start(), OPSETS.end());
    Ok(())
}

/// Which nodes some output of the graph depends on.
fn reachable(graph: &GraphProto) -> Vec<bool> {
    let mut wanted: HashSet<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    let mut needed = vec![false; graph.node.len()];
    for (i, node) in graph.node.iter().enumerate().rev() {
        if node.output.iter().any(|o| wanted.contains(o.as_str())) {
            needed[i] = true;
            add_reads(node, &mut wanted);
        }
    }
    needed
}
