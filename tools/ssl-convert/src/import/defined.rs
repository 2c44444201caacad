//! That each name of a model is defined once, as ONNX has it: what is defined twice means one thing to one reader, and another to the next.

use crate::onnx::proto::{GraphProto, ModelProto, NodeProto};
use anyhow::{Context, Result, ensure};
use std::collections::HashSet;

/// Checks the names of all graphs and functions.
///
/// # Errors
/// If one is defined twice, naming it.
pub(super) fn once(model: &ModelProto) -> Result<()> {
    for function in &model.functions {
        let mut names = Names::default();
        let defined = names.define_all(&function.input).and_then(|()| names.nodes(&function.node));
        defined.with_context(|| format!("function {}", function.name))?;
    }
    model.graph.iter().try_for_each(|graph| Names::default().graph(graph))
}

/// What is defined so far.
#[derive(Default)]
struct Names<'a> {
    names: HashSet<&'a str>,
    /// The same, one after the other.
    order: Vec<&'a str>,
}

impl<'a> Names<'a> {
    fn define(&mut self, name: &'a str) -> Result<()> {
        ensure!(self.names.insert(name), "tensor '{name}': expected one definition, found two");
        self.order.push(name);
        Ok(())
    }

    /// Names of what is left out are empty.
    fn define_all(&mut self, names: &'a [String]) -> Result<()> {
        names.iter().filter(|name| !name.is_empty()).try_for_each(|name| self.define(name))
    }

    fn graph(&mut self, graph: &'a GraphProto) -> Result<()> {
        graph.input.iter().try_for_each(|input| self.define(&input.name))?;
        let inputs: HashSet<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
        let mut defaults = HashSet::new();
        let sparse = graph.sparse_initializer.iter().filter_map(|tensor| tensor.values.as_ref());
        for tensor in graph.initializer.iter().chain(sparse) {
            // An input may have a default.
            let is_default = inputs.contains(tensor.name.as_str()) && defaults.insert(tensor.name.as_str());
            if !is_default {
                self.define(&tensor.name)?;
            }
        }
        self.nodes(&graph.node)
    }

    /// Graphs within a node see what is defined before it, and what they define is not seen outside.
    fn nodes(&mut self, nodes: &'a [NodeProto]) -> Result<()> {
        for node in nodes {
            for graph in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
                let outside = self.order.len();
                self.graph(graph)?;
                for name in self.order.drain(outside..) {
                    self.names.remove(name);
                }
            }
            self.define_all(&node.output)?;
        }
        Ok(())
    }
}
