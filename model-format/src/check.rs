//! Every rule of the format about a model: the same ones are checked after reading and before writing, so this crate never writes what
//! it would not read.

use crate::container::ALIGN;
use crate::error::{Error, Result};
use crate::graph::{Dim, Graph, Model, Node};
use crate::infer;
use crate::metadata::{Color, Preprocessing, Resize};
use crate::op::{Check, Operator};
use crate::rules::{Site, at_least_one, below, check_list, equal};
use crate::shape::{MAX_CHANNELS, Shape};
use crate::value::{Compaction, ValueId};
use crate::window::MAX_WINDOW;
use std::collections::HashSet;

/// Every rule about a model whose weight section has `weights_len` bytes.
pub(crate) fn check_model(model: &Model, weights_len: u64) -> Result<()> {
    let graph = &model.graph;
    for (i, blob) in graph.blobs.iter().enumerate() {
        let end = blob.len.checked_mul(4).and_then(|bytes| blob.offset.checked_add(bytes));
        if !blob.offset.is_multiple_of(ALIGN) || end.is_none_or(|end| end > weights_len) {
            let expected = format!("a multiple of {ALIGN} and an end within the {weights_len} bytes of weights");
            return Err(Error::invalid(format!("blob {i}"), expected, format!("offset {}, {} elements", blob.offset, blob.len)));
        }
    }
    for (i, value) in graph.values.iter().enumerate() {
        if let Some(c) = &value.compaction {
            check_compaction(c).map_err(|e| e.within(format!("value {i} '{}'", value.name)))?;
        }
    }
    check_flow(graph)?;
    if !model.output_names.is_empty() {
        equal("output names", graph.outputs.len(), model.output_names.len())?;
    }
    let symbols = symbols(graph);
    for node in &graph.nodes {
        check_node(graph, node).and_then(|()| check_extents(node, &symbols)).map_err(|e| e.within(describe(node)))?;
    }
    let input_shapes: Vec<Shape> = graph.inputs.iter().map(infer::of_input).collect();
    let shapes = infer::infer(graph, &input_shapes)?;
    for (value, shape) in graph.values.iter().zip(&shapes) {
        let Some(c) = &value.compaction else { continue };
        if shape.len() < 2 || shape[1].known() != Some(c.logical as usize) {
            let expected = format!("axis 1 of extent {} (its logical channels)", c.logical);
            return Err(Error::invalid(format!("value '{}'", value.name), expected, format!("shape {shape:?}")));
        }
    }
    for node in &graph.nodes {
        let operands: Vec<&Shape> = node.inputs.iter().map(|v| &shapes[v.index()]).collect();
        let check = node.op.check_shapes(&site(graph, node), &operands, &shapes[node.output.index()]);
        check.map_err(|e| e.within(describe(node)))?;
    }
    if let Some(types) = &model.types {
        equal("types of inputs", graph.inputs.len(), types.inputs.len())?;
        equal("types of outputs", graph.outputs.len(), types.outputs.len())?;
    }
    model.preprocessing.as_ref().map_or(Ok(()), check_preprocessing)
}

fn check_compaction(c: &Compaction) -> Result<()> {
    below("logical channels", c.logical, MAX_CHANNELS)?;
    check_list("kept channels", &c.kept, c.logical as usize)?;
    equal("constants", c.logical as usize - c.kept.len(), c.constants.len())?;
    match c.constants.iter().find(|x| !x.is_finite()) {
        Some(x) => Err(Error::invalid("constants", "finite numbers", x)),
        None => Ok(()),
    }
}

/// Every value is defined once, before it is used.
fn check_flow(graph: &Graph) -> Result<()> {
    let mut defined = vec![false; graph.values.len()];
    for (i, input) in graph.inputs.iter().enumerate() {
        define(&mut defined, &|| format!("input {i}"), input.value)?;
        if graph.values[input.value.index()].compaction.is_some() {
            return Err(Error::invalid(format!("input {i}"), "every channel present", "a kept list"));
        }
        if input.dims.iter().any(|d| matches!(d, Dim::Fixed { size: 0 })) {
            return Err(Error::invalid(format!("input {i}"), "extents of at least 1", 0));
        }
    }
    let unknown = |defined: &[bool], v: &ValueId| !defined.get(v.index()).copied().unwrap_or(false);
    for node in &graph.nodes {
        let at = || format!("node '{}'", node.name);
        if let Some(v) = node.inputs.iter().find(|v| unknown(&defined, v)) {
            return Err(Error::invalid(at(), "inputs that are defined before it", format!("value {}", v.0)));
        }
        define(&mut defined, &at, node.output)?;
    }
    if let Some(v) = graph.outputs.iter().find(|v| unknown(&defined, v)) {
        return Err(Error::invalid("outputs", "values that an input or a node defines", format!("value {}", v.0)));
    }
    if graph.inputs.is_empty() || graph.outputs.is_empty() {
        let found = format!("{} inputs, {} outputs", graph.inputs.len(), graph.outputs.len());
        return Err(Error::invalid("graph", "at least one input and one output", found));
    }
    match defined.iter().position(|defined| !defined) {
        Some(i) => Err(Error::invalid(format!("value {i} '{}'", graph.values[i].name), "a definition", "none")),
        None => Ok(()),
    }
}

/// A value is defined here, and was not before.
fn define(defined: &mut [bool], at: &dyn Fn() -> String, id: ValueId) -> Result<()> {
    let count = defined.len();
    match defined.get_mut(id.index()) {
        Some(true) => Err(Error::invalid(at(), "a value that nothing else defines", format!("value {}", id.0))),
        Some(defined) => {
            *defined = true;
            Ok(())
        }
        None => Err(Error::invalid(at(), format!("a value below {count}"), id.0)),
    }
}

/// The names of the symbolic dims of inputs.
fn symbols(graph: &Graph) -> HashSet<&str> {
    graph.inputs.iter().flat_map(|input| &input.dims).filter_map(Dim::symbol).collect()
}

/// What extents are computed from is there.
fn check_extents(node: &Node, symbols: &HashSet<&str>) -> Result<()> {
    for extent in node.op.extents() {
        if let Some(other) = extent.symbols().into_iter().find(|name| !symbols.contains(name)) {
            return Err(Error::invalid("extents", "symbolic dims of inputs", format!("'{other}'")));
        }
    }
    Ok(())
}

fn describe(node: &Node) -> String {
    format!("node '{}' ({})", node.name, node.op.name())
}

/// What rules about a node may look at; its inputs exist.
fn site<'g>(graph: &'g Graph, node: &Node) -> Site<'g> {
    let value = |id: ValueId| &graph.values[id.index()];
    Site { inputs: node.inputs.iter().map(|&v| value(v)).collect(), output: value(node.output), blobs: &graph.blobs }
}

fn check_node(graph: &Graph, node: &Node) -> Result<()> {
    let arity = node.op.arity();
    if !arity.contains(&node.inputs.len()) {
        return Err(Error::invalid("inputs", format!("{} to {}", arity.start(), arity.end()), node.inputs.len()));
    }
    node.op.check(&site(graph, node))
}

fn check_preprocessing(p: &Preprocessing) -> Result<()> {
    let at = "preprocessing";
    let channels = if p.color == Color::Gray { 1 } else { 3 };
    equal("preprocessing: length of mean", channels, p.mean.len())?;
    equal("preprocessing: length of std", channels, p.std.len())?;
    let usable = |x: &f32| x.is_finite() && *x != 0.0;
    if !usable(&p.scale) || !p.std.iter().all(usable) || !p.mean.iter().all(|x| x.is_finite()) {
        return Err(Error::invalid(
            at,
            "finite numbers, and neither scale nor std 0",
            format!("scale {}, mean {:?}, std {:?}", p.scale, p.mean, p.std),
        ));
    }
    match p.resize {
        Resize::CenterCrop { short_side } => {
            at_least_one("preprocessing: short_side", short_side)?;
            below("preprocessing: short_side", short_side, MAX_WINDOW)
        }
        Resize::Stretch => Ok(()),
    }
}
