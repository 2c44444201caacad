//! The graph that is being built: its values with their shapes and where their extents come from, and what each name in the ONNX
//! graph stands for so far.

use crate::graph::Graph;
use crate::import::binding::{Binding, Follows};
use crate::import::reach::{EXACT, Reaches};
use crate::import::sizes::Extents;
use crate::import::types::{self, Types};
use crate::onnx::proto::{DimensionProto, GraphProto, ValueInfoProto};
use crate::onnx::tensor::{Data, Tensor};
use crate::weights::{Node, Op};
use anyhow::{Context, Result, bail, ensure};
use sslm_format::shape::{self, Shape};
use sslm_format::{
    self as format, Binary, Constant, Dim, ElementType, ElementTypes, Extent, Input, Operator, Sizes, Value, ValueId, infer,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How far a graph had come.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    nodes: usize,
    values: usize,
}

/// A dense graph in the making.
pub(crate) struct Builder {
    graph: Graph,
    /// Symbolic dims that are fixed, by name.
    dims: BTreeMap<String, usize>,
    /// Those that were met.
    met: BTreeSet<String>,
    /// What the names that are defined so far stand for.
    names: HashMap<String, Binding>,
    /// Those of all values.
    extents: Extents,
    /// Those of integers that are computed.
    reaches: Reaches,
}

impl Builder {
    /// An empty graph, in which symbolic dims of these names have these extents.
    pub(crate) fn new(dims: BTreeMap<String, usize>) -> Self {
        let types = ElementTypes { inputs: Vec::new(), outputs: Vec::new() };
        let graph = Graph { graph: format::Graph::default(), types, shapes: Vec::new(), output_names: Vec::new() };
        Builder {
            graph,
            dims,
            met: BTreeSet::new(),
            names: HashMap::new(),
            extents: Extents::default(),
            reaches: Reaches::default(),
        }
    }

    /// Defines a name.
    pub(crate) fn bind(&mut self, name: &str, binding: Binding) {
        self.names.insert(name.to_owned(), binding);
    }

    /// What `name` stands for, if it is defined.
    pub(crate) fn binding(&self, name: &str) -> Option<&Binding> {
        self.names.get(name)
    }

    /// What input `i` of a node stands for; `None` if it is left out, which its name says by being empty.
    pub(crate) fn input(&self, i: usize, name: &str) -> Result<Option<Binding>> {
        match self.names.get(name) {
            _ if name.is_empty() => Ok(None),
            Some(Binding::Missing) => Err(Follows.into()),
            Some(found) => Ok(Some(found.clone())),
            None => bail!("input {i}: expected a value that is defined before, found '{name}'"),
        }
    }

    /// The shape of `v`.
    pub(crate) fn shape(&self, v: ValueId) -> &Shape {
        self.graph.shape(v)
    }

    /// How large the integers of a value of type `of` may be, as far as that is known.
    pub(crate) fn reach(&self, v: ValueId, of: ElementType) -> f64 {
        self.reaches.of(v, of)
    }

    /// Says how large the integers of a value may be.
    pub(crate) fn set_reach(&mut self, v: ValueId, reach: f64) {
        self.reaches.set(v, reach);
    }

    /// Says how large those of `outputs` are at most of which nothing is said.
    pub(crate) fn reach_at_most(&mut self, outputs: &[Binding], reach: f64) {
        for output in outputs {
            if let Binding::Integers(v) = output {
                self.reaches.set_if_new(*v, reach);
            }
        }
    }

    /// The extents of all values.
    pub(crate) fn extents(&self) -> &Extents {
        &self.extents
    }

    /// The node that defines `v`; `None` if that is an input of the model.
    pub(crate) fn definition(&self, v: ValueId) -> Option<&Node> {
        self.graph.graph.nodes.iter().rev().find(|node| node.output == v)
    }

    /// Adds an input of the model, and yields the type of its elements.
    pub(crate) fn add_input(&mut self, info: &ValueInfoProto) -> Result<ElementType> {
        let tensor =
            info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).context("expected a tensor, found another type")?;
        let element_type = types::at_border(tensor.elem_type)?;
        let shape = tensor.shape.as_ref().context("expected a shape (its dims may be symbolic), found none")?;
        let dims = shape.dim.iter().enumerate().map(|(axis, dim)| self.dim(&info.name, axis, dim));
        let dims: Vec<Dim> = dims.collect::<Result<_>>()?;
        let input = Input { value: ValueId(0), dims };
        let value = self.add_value(&info.name, infer::of_input(&input))?;
        self.graph.graph.inputs.push(Input { value, ..input });
        self.graph.types.inputs.push(element_type);
        if element_type.is_integer() && element_type.size() >= 4 {
            self.reaches.set(value, EXACT);
        }
        self.bind(&info.name, if element_type.is_float() { Binding::Value(value) } else { Binding::Integers(value) });
        Ok(element_type)
    }

    /// A dim of input `input`. Those of one name are equal, but for names by which exporters say that there is none, as they do by -1 and 0.
    fn dim(&mut self, input: &str, axis: usize, dim: &DimensionProto) -> Result<Dim> {
        let name = match (dim.dim_value, dim.dim_param.as_deref().map(str::trim)) {
            (Some(size), _) if size > 0 => return Ok(Dim::Fixed { size: size as u64 }),
            (Some(size), _) if size < -1 => bail!("axis {axis}: expected a positive extent, or -1 for an open one, found {size}"),
            (_, Some(name)) if !["", "?", "-1", "None", "unk", "unknown"].contains(&name) => name.to_owned(),
            _ => format!("{input}_{axis}"),
        };
        let fixed = self.dims.get(&name).map(|&size| Dim::Fixed { size: size as u64 });
        self.met.insert(name.clone());
        Ok(fixed.unwrap_or(Dim::Symbolic { name }))
    }

    /// That the dims which are to be fixed are there.
    pub(crate) fn expect_dims(&self) -> Result<()> {
        let Some(other) = self.dims.keys().find(|name| !self.met.contains(*name)) else { return Ok(()) };
        let names: Vec<&str> = self.met.iter().map(String::as_str).collect();
        let there = if names.is_empty() { "the model has none".to_owned() } else { names.join(", ") };
        bail!("--dim: expected the name of a symbolic dim ({there}), found '{other}'")
    }

    fn add_value(&mut self, name: &str, shape: Shape) -> Result<ValueId> {
        shape::check_size(&shape)?;
        if let Some(channels) = shape.get(1).and_then(format::Extent::known) {
            let most = shape::MAX_CHANNELS as usize;
            ensure!(channels < most, "axis 1: expected fewer than {most} channels, found {channels}");
        }
        let value = ValueId(self.graph.graph.values.len() as u32);
        self.extents.add(&shape);
        self.graph.graph.values.push(Value { name: name.to_owned(), compaction: None });
        self.graph.shapes.push(shape);
        Ok(value)
    }

    /// Adds a node; its output is named `output`.
    pub(crate) fn push(&mut self, name: &str, output: &str, op: Op, inputs: Vec<ValueId>) -> Result<ValueId> {
        let shapes: Vec<&Shape> = inputs.iter().map(|v| self.shape(*v)).collect();
        let shape = infer::of_node(&op, &shapes)?;
        let output = self.add_value(output, shape)?;
        self.graph.graph.nodes.push(Node { name: name.to_owned(), inputs, output, op });
        Ok(output)
    }

    /// Adds a node that yields a stored tensor, of at least `rank` axes, by extents of 1 in front. Integers become their float32.
    pub(crate) fn constant(&mut self, name: &str, tensor: &Tensor, rank: usize) -> Result<ValueId> {
        let missing = rank.saturating_sub(tensor.dims.len());
        let dims = std::iter::repeat_n(1, missing).chain(tensor.dims.iter().copied());
        let whole = |elements: Vec<Extent>| Sizes { dims: dims.clone().map(Extent::from).collect(), elements };
        match &tensor.data {
            Data::Floats(floats) => {
                let constant = Constant { dims: dims.map(|d| d as u64).collect(), data: floats.clone() };
                self.push(name, name, constant.into(), Vec::new())
            }
            Data::Ints(ints) => {
                let most = 1 << f32::MANTISSA_DIGITS;
                if let Some(i) = ints.iter().find(|i| i.unsigned_abs() > most) {
                    bail!("'{name}': expected integers that float32 has, up to {most}, found {i}");
                }
                let floats: Vec<f32> = ints.iter().map(|&i| i as f32).collect();
                let constant = Constant { dims: dims.map(|d| d as u64).collect(), data: floats.into() };
                self.push(name, name, constant.into(), Vec::new())
            }
            Data::Sizes(sizes) => {
                let sizes = whole(sizes.to_vec());
                self.push(name, name, sizes.into(), Vec::new())
            }
            Data::Scaled(scaled) => {
                let sizes = whole(scaled.iter().map(|(extent, _)| extent.clone()).collect());
                let factors: Vec<f32> = scaled.iter().map(|(_, factor)| *factor as f32).collect();
                let factors = Constant { dims: dims.map(|d| d as u64).collect(), data: factors.into() };
                let sizes = self.push(name, &format!("{name}.sizes"), sizes.into(), Vec::new())?;
                let factors = self.push(name, &format!("{name}.factors"), factors.into(), Vec::new())?;
                self.push(name, name, Binary::Mul.into(), vec![sizes, factors])
            }
        }
    }

    /// How much there is so far, to go back to by [`Self::take_back`].
    pub(crate) fn mark(&self) -> Mark {
        Mark { nodes: self.graph.graph.nodes.len(), values: self.graph.graph.values.len() }
    }

    /// What was added since `mark`, as a graph that depends on nothing before it and yields `outputs`; the graph itself forgets it. `None`
    /// where it does depend on something.
    pub(crate) fn take_back(&mut self, mark: Mark, outputs: Vec<ValueId>) -> Option<Graph> {
        let nodes = &self.graph.graph.nodes[mark.nodes..];
        let is_new = |v: &ValueId| v.index() >= mark.values;
        if !nodes.iter().flat_map(|node| &node.inputs).chain(&outputs).all(is_new) {
            return None;
        }
        let types = ElementTypes { inputs: vec![ElementType::F32], outputs: vec![ElementType::F32; outputs.len()] };
        let mut taken = Graph {
            graph: format::Graph { outputs, ..format::Graph::default() },
            types,
            shapes: Vec::new(),
            output_names: Vec::new(),
        };
        taken.graph.nodes = self.graph.graph.nodes.split_off(mark.nodes);
        taken.graph.values = self.graph.graph.values.split_off(mark.values);
        taken.shapes = self.graph.shapes.split_off(mark.values);
        self.reaches.forget(mark.values);
        let renumber = |v: &mut ValueId| v.0 -= mark.values as u32;
        taken.graph.outputs.iter_mut().for_each(renumber);
        for node in &mut taken.graph.nodes {
            node.inputs.iter_mut().for_each(renumber);
            renumber(&mut node.output);
        }
        Some(taken)
    }

    /// The graph with the outputs of the model.
    pub(crate) fn finish(mut self, graph: &GraphProto, types: &Types) -> Result<Graph> {
        for output in &graph.output {
            let element_type = types.of_output(output, self.names.get(&output.name));
            let element_type = element_type.with_context(|| format!("output '{}'", output.name))?;
            self.graph.types.outputs.push(element_type);
            let value = match self.names.get(&output.name).cloned() {
                Some(Binding::Value(v) | Binding::Integers(v)) => v,
                Some(Binding::Tensor(t)) => {
                    self.constant(&output.name, &t, 0).with_context(|| format!("output '{}'", output.name))?
                }
                Some(Binding::Missing) | None => {
                    bail!("output '{}': expected a node or input that defines it, found none", output.name)
                }
            };
            let Graph { graph, output_names, .. } = &mut self.graph;
            // What an Identity hands out is known by the name that users of the model know.
            if !graph.outputs.contains(&value) && graph.inputs.iter().all(|input| input.value != value) {
                graph.values[value.index()].name.clone_from(&output.name);
            }
            graph.outputs.push(value);
            output_names.push(output.name.clone());
        }
        ensure!(!graph.output.is_empty(), "expected at least one output, found none");
        for (i, node) in self.graph.graph.nodes.iter().enumerate() {
            let finite = self.graph.op(i).is_finite();
            ensure!(finite, "node '{}' ({}): expected finite weights, found NaN or infinity", node.name, node.op.name());
        }
        Ok(self.graph)
    }
}
