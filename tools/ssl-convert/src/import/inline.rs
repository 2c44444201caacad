//! Calls of the model's own functions are replaced by the functions' nodes, before anything else looks at the graph. What that may grow
//! to is bounded: a few functions that call each other twice are enough to say more nodes than any memory holds.

use crate::onnx::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto};
use anyhow::{Context, Result, ensure};
use prost::Message;
use std::borrow::Cow;
use std::collections::HashMap;

/// Calls within calls.
const MAX_DEPTH: usize = 32;

/// Nodes that come from functions. The largest networks have a tenth of this.
const MAX_NODES: usize = 100_000;

/// Bytes of such nodes, besides tensors, which are not copied.
const MAX_BYTES: usize = 64 << 20;

/// The nodes of a graph without calls of functions, and the version of the operator set that each is of.
pub(super) struct Inlined<'a> {
    pub(super) graph: Cow<'a, GraphProto>,
    pub(super) opsets: Vec<i64>,
}

/// The graph of a model whose operator set is `opset`.
///
/// # Errors
/// If functions call each other too deeply or grow too large.
pub(super) fn inline(model: &ModelProto, opset: i64) -> Result<Inlined<'_>> {
    let graph = model.graph.as_ref().context("expected a graph, found none")?;
    if model.functions.is_empty() {
        return Ok(Inlined { graph: Cow::Borrowed(graph), opsets: vec![opset; graph.node.len()] });
    }
    let functions = model.functions.iter().map(|f| ([&*f.domain, &*f.name, &*f.overload], f)).collect();
    let mut inliner = Inliner { functions, nodes: 0, bytes: 0, names: 0 };
    let mut graph = graph.clone();
    let nodes = inliner.all(std::mem::take(&mut graph.node), opset, 0)?;
    let (nodes, opsets) = nodes.into_iter().unzip();
    graph.node = nodes;
    Ok(Inlined { graph: Cow::Owned(graph), opsets })
}

/// Whether a domain is ONNX's own.
pub(super) fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

struct Inliner<'a> {
    /// By domain, name and overload.
    functions: HashMap<[&'a str; 3], &'a FunctionProto>,
    /// What came from functions so far.
    nodes: usize,
    bytes: usize,
    /// Calls whose names were made up.
    names: usize,
}

impl Inliner<'_> {
    /// These nodes, of operator set `opset`, with calls replaced.
    fn all(&mut self, nodes: Vec<NodeProto>, opset: i64, depth: usize) -> Result<Vec<(NodeProto, i64)>> {
        let mut all = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            // What bears the name of an operator of ONNX's own is that operator, whatever functions there are.
            let own = is_standard(&node.domain);
            let function = self.functions.get(&[&*node.domain, &*node.op_type, &*node.overload]).filter(|_| !own);
            if let Some(&function) = function {
                let place = || format!("node '{}' (function {})", node.name, node.op_type);
                ensure!(depth < MAX_DEPTH, "{}: expected at most {MAX_DEPTH} calls within calls, found more", place());
                let version = function.opset_import.iter().find(|o| is_standard(&o.domain));
                let body = self.body(function, &node).with_context(place)?;
                all.extend(self.all(body, version.map_or(opset, |o| o.version), depth + 1)?);
                continue;
            }
            for graph in node.attribute.iter_mut().filter_map(|a| a.g.as_mut()) {
                let nodes = self.all(std::mem::take(&mut graph.node), opset, depth + 1)?;
                let same = nodes.iter().all(|(_, version)| *version == opset);
                ensure!(same, "node '{}': expected functions of the operator set {opset} within it, found another", node.name);
                graph.node = nodes.into_iter().map(|(node, _)| node).collect();
            }
            all.push((node, opset));
        }
        Ok(all)
    }

    /// The nodes of a function as the call `node` has them.
    fn body(&mut self, function: &FunctionProto, node: &NodeProto) -> Result<Vec<NodeProto>> {
        ensure!(
            node.input.len() <= function.input.len() && node.output.len() <= function.output.len(),
            "expected at most {} inputs and {} outputs, found {} and {}",
            function.input.len(),
            function.output.len(),
            node.input.len(),
            node.output.len()
        );
        self.names += 1;
        let prefix = if node.name.is_empty() { format!("{}_{}", node.op_type, self.names) } else { node.name.clone() };
        let inputs = node.input.iter().map(String::as_str).chain(std::iter::repeat(""));
        let mut names: HashMap<&str, String> = function.input.iter().map(String::as_str).zip(inputs.map(str::to_owned)).collect();
        let mut body = Vec::new();
        for (inner, outer) in function.output.iter().zip(&node.output).filter(|(_, outer)| !outer.is_empty()) {
            if let Some(given) = names.get(inner.as_str()) {
                let (input, output) = (vec![given.clone()], vec![outer.clone()]);
                body.push(NodeProto { input, output, op_type: "Identity".into(), name: outer.clone(), ..Default::default() });
            } else {
                names.insert(inner, outer.clone());
            }
        }
        let call = Call { function, node, names, prefix };
        for (i, inner) in function.node.iter().enumerate() {
            let copy = call.copy(inner, i);
            let tensors: usize = copy.attribute.iter().filter_map(|a| a.t.as_ref()).map(|t| t.raw_data.len()).sum();
            (self.nodes, self.bytes) = (self.nodes + 1, self.bytes + copy.encoded_len() - tensors);
            let found = "found more";
            ensure!(self.nodes <= MAX_NODES, "expected at most {MAX_NODES} nodes in all calls of functions, {found}");
            ensure!(self.bytes <= MAX_BYTES, "expected at most {MAX_BYTES} bytes of nodes in all calls of functions, {found}");
            body.push(copy);
        }
        Ok(body)
    }
}

/// A call of a function.
struct Call<'a> {
    function: &'a FunctionProto,
    node: &'a NodeProto,
    /// What inputs and outputs of the function are called outside.
    names: HashMap<&'a str, String>,
    /// Stands before the names of everything else.
    prefix: String,
}

impl Call<'_> {
    /// What is called `name` in the function. An empty name stands for nothing.
    fn name(&self, name: &str) -> String {
        match self.names.get(name) {
            Some(outer) => outer.clone(),
            None if name.is_empty() => String::new(),
            None => format!("{}/{name}", self.prefix),
        }
    }

    /// Node `i` of the function, or of a graph within it.
    fn copy(&self, node: &NodeProto, i: usize) -> NodeProto {
        let own = if node.name.is_empty() { format!("{}_{i}", node.op_type) } else { node.name.clone() };
        let names = |all: &[String]| all.iter().map(|name| self.name(name)).collect();
        NodeProto {
            name: format!("{}/{own}", self.prefix),
            input: names(&node.input),
            output: names(&node.output),
            attribute: node.attribute.iter().filter_map(|a| self.attribute(a)).collect(),
            op_type: node.op_type.clone(),
            domain: node.domain.clone(),
            overload: node.overload.clone(),
        }
    }

    /// An attribute of a node in the function: that of the call, or the function's default, where it refers to one; `None` if there is
    /// neither.
    fn attribute(&self, attribute: &AttributeProto) -> Option<AttributeProto> {
        let name = attribute.name.clone();
        if !attribute.ref_attr_name.is_empty() {
            let given = self.node.attribute.iter().chain(&self.function.attribute_proto);
            let given = given.into_iter().find(|a| a.name == attribute.ref_attr_name)?.clone();
            return Some(AttributeProto { name, ..given });
        }
        let mut copy = attribute.clone();
        if let Some(graph) = &mut copy.g {
            self.rename(graph);
        }
        Some(copy)
    }

    /// Renames all that a graph within the function defines and reads.
    fn rename(&self, graph: &mut GraphProto) {
        graph.initializer.iter_mut().for_each(|t| t.name = self.name(&t.name));
        graph.input.iter_mut().chain(&mut graph.output).for_each(|v| v.name = self.name(&v.name));
        graph.node = graph.node.iter().enumerate().map(|(i, node)| self.copy(node, i)).collect();
    }
}
