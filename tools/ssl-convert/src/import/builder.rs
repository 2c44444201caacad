//! The graph that is being built: its values with their shapes and where their extents come from, and what each name in the ONNX
//! graph stands for so far.

use crate::graph::Graph;
use crate::import::binding::{Binding, Follows};
use crate::import::extent::{self, Extent};
use crate::onnx::proto::{DimensionProto, GraphProto, ValueInfoProto, data_type};
use crate::onnx::tensor::Tensor;
use crate::weights::{Node, Op};
use anyhow::{Context, Result, bail, ensure};
use sslm_format::shape::{self, Shape};
use sslm_format::{self as format, Constant, Dim, Input, Operator, Value, ValueId, infer};
use std::collections::HashMap;

/// A dense graph in the making.
pub(crate) struct Builder {
    graph: Graph,
    /// The extents of each value, as `graph.shapes` has them, and where those that are not known come from.
    extents: Vec<Vec<Extent>>,
    /// What the names that are defined so far stand for.
    names: HashMap<String, Binding>,
}

impl Builder {
    /// An empty graph.
    pub(crate) fn new() -> Self {
        let graph = Graph { graph: format::Graph::default(), shapes: Vec::new(), output_names: Vec::new() };
        Builder { graph, extents: Vec::new(), names: HashMap::new() }
    }

    /// Defines a name.
    pub(crate) fn bind(&mut self, name: &str, binding: Binding) {
        self.names.insert(name.to_owned(), binding);
    }

    /// Whether `name` stands for integers that are computed at run time.
    pub(crate) fn is_integers(&self, name: &str) -> bool {
        matches!(self.names.get(name), Some(Binding::Integers(_)))
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

    /// The extents of `v`, known or not.
    pub(crate) fn extents(&self, v: ValueId) -> &[Extent] {
        &self.extents[v.index()]
    }

    /// Says of each unknown extent of `v` where it comes from, as far as that is known.
    pub(crate) fn set_origins(&mut self, v: ValueId, origins: &[Option<Extent>]) {
        for (own, origin) in self.extents[v.index()].iter_mut().zip(origins) {
            if let (None, Some(origin)) = (own.known(), origin) {
                *own = *origin;
            }
        }
    }

    /// Adds an input of the model.
    pub(crate) fn add_input(&mut self, info: &ValueInfoProto) -> Result<()> {
        let tensor =
            info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).context("expected a tensor, found another type")?;
        ensure!(tensor.elem_type == data_type::FLOAT, "expected float32, found {}", data_type::name(tensor.elem_type));
        let shape = tensor.shape.as_ref().context("expected a shape (its dims may be symbolic), found none")?;
        let dim = |(axis, d): (usize, &DimensionProto)| match (d.dim_value, &d.dim_param) {
            (Some(size), _) if size > 0 => Dim::Fixed { size: size as u64 },
            (_, Some(name)) if !name.is_empty() => Dim::Symbolic { name: name.clone() },
            _ => Dim::Symbolic { name: format!("{}_{axis}", info.name) },
        };
        let dims: Vec<Dim> = shape.dim.iter().enumerate().map(dim).collect();
        ensure!(!dims.is_empty(), "expected at least one axis, found a scalar");
        let input = Input { value: ValueId(0), dims };
        let value = self.add_value(&info.name, infer::of_input(&input))?;
        self.graph.graph.inputs.push(Input { value, ..input });
        self.join_equal_dims(value);
        self.bind(&info.name, Binding::Value(value));
        Ok(())
    }

    /// Dims of one name are equal: those of the newest input, `value`, become those of the first axis that has the name.
    fn join_equal_dims(&mut self, value: ValueId) {
        let inputs = &self.graph.graph.inputs;
        let first = |dim: &Dim| {
            let place = |input: &Input| Some((input.value, input.dims.iter().position(|d| d == dim)?));
            inputs.iter().find_map(place).map(|(v, axis)| Extent::Axis(v, axis))
        };
        for (extent, dim) in self.extents[value.index()].iter_mut().zip(&inputs[inputs.len() - 1].dims) {
            if let (None, Some(first)) = (extent.known(), first(dim)) {
                *extent = first;
            }
        }
    }

    fn add_value(&mut self, name: &str, shape: Shape) -> Result<ValueId> {
        shape::check_size(&shape)?;
        if let Some(&Some(channels)) = shape.get(1) {
            let most = shape::MAX_CHANNELS as usize;
            ensure!(channels < most, "axis 1: expected fewer than {most} channels, found {channels}");
        }
        let value = ValueId(self.graph.graph.values.len() as u32);
        let extent = |(axis, e): (usize, &Option<usize>)| e.map_or(Extent::Axis(value, axis), |e| Extent::Known(e as i64));
        self.extents.push(shape.iter().enumerate().map(extent).collect());
        self.graph.graph.values.push(Value { name: name.to_owned(), compaction: None });
        self.graph.shapes.push(shape);
        Ok(value)
    }

    /// Adds a node; its output is named `output`.
    pub(crate) fn push(&mut self, name: &str, output: &str, op: Op, inputs: Vec<ValueId>) -> Result<ValueId> {
        let shapes: Vec<&Shape> = inputs.iter().map(|v| self.shape(*v)).collect();
        let shape = infer::of_node(&op, &shapes)?;
        let maps = op.axes(&shapes, &shape);
        let operands: Vec<&[Extent]> = inputs.iter().map(|v| self.extents(*v)).collect();
        let origins: Vec<Option<Extent>> = (0..shape.len()).map(|axis| extent::origin(&maps, &operands, &shape, axis)).collect();
        let output = self.add_value(output, shape)?;
        self.set_origins(output, &origins);
        self.graph.graph.nodes.push(Node { name: name.to_owned(), inputs, output, op });
        Ok(output)
    }

    /// Adds a Constant node of at least `rank` axes, by extents of 1 in front.
    pub(crate) fn constant(&mut self, name: &str, tensor: &Tensor, rank: usize) -> Result<ValueId> {
        let floats = tensor.floats().with_context(|| format!("'{name}'"))?.clone();
        let missing = rank.saturating_sub(tensor.dims.len());
        let dims = std::iter::repeat_n(1, missing).chain(tensor.dims.iter().map(|&d| d as u64)).collect();
        self.push(name, name, Constant { dims, data: floats }.into(), Vec::new())
    }

    /// The graph with the outputs of the model.
    pub(crate) fn finish(mut self, graph: &GraphProto) -> Result<Graph> {
        for output in &graph.output {
            let value = match self.names.get(&output.name).cloned() {
                Some(Binding::Value(v) | Binding::Integers(v)) => v,
                Some(Binding::Tensor(t)) => {
                    self.constant(&output.name, &t, 0).with_context(|| format!("output '{}'", output.name))?
                }
                Some(Binding::Extents(_) | Binding::Missing) | None => {
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
