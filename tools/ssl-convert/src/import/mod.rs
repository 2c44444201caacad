//! ONNX to a dense [`Graph`]. What is known at conversion becomes tensors, shapes that are computed from shapes become lists of
//! extents, and what depends on the input becomes nodes. Everything that cannot be converted is collected, so that one error
//! names all of it.
//!
//! Here is the walk over the graph; `layers` has the operators with weights and windows, `layout` those that compute with
//! shapes or move numbers around, `stored` those whose operands are all known.

mod layers;
mod layout;
mod stored;

use crate::graph::{Graph, UNASSIGNED, Weights};
use crate::onnx::attributes::Attributes;
use crate::onnx::load::{ExternalData, OnnxFile};
use crate::onnx::proto::{DimensionProto, GraphProto, ModelProto, NodeProto, ValueInfoProto, data_type};
use crate::onnx::tensor::{Data, Floats, Tensor};
use anyhow::{Context, Result, bail, ensure};
use layout::ExtentOf;
use sslm_format::shape::{self, Shape};
use sslm_format::{self as format, ArgMax, Binary, Concat, Constant, Dim, Lrn, Node, Op, Softmax, Unary, Value, ValueId};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Operator sets that are understood.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=25;

/// A ConstantOfShape costs nothing to state but time and memory to use: the largest real layers have a tenth of this.
const MAX_REPEATED: usize = 1 << 30;

/// Operators that are understood, for the error that lists those that are not.
pub const OPERATORS: [&str; 49] = [
    "Add",
    "ArgMax",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvTranspose",
    "Div",
    "Dropout",
    "Elu",
    "Expand",
    "Flatten",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LRN",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mish",
    "Mul",
    "PRelu",
    "Pad",
    "Pow",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Resize",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
    "Unsqueeze",
];

/// Operators that also take the integers of an ArgMax: they move numbers. Arithmetic with them is not that of float32.
const OF_INTEGERS: [&str; 13] = [
    "Cast",
    "Concat",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "Reshape",
    "Shape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// Builds the dense graph of an ONNX model.
///
/// # Errors
/// One error that names every node that cannot be converted, and why.
pub fn import(file: &mut OnnxFile) -> Result<Graph> {
    let opset = opset(&file.model)?;
    let Some(graph) = &file.model.graph else { bail!("expected a graph, found none") };
    let needed = reachable(graph);
    let mut importer = Importer { opset, env: HashMap::new(), graph: empty(), extents: Vec::new(), external: &mut file.external };

    let read = graph.node.iter().zip(&needed).filter(|(_, n)| **n).flat_map(|(n, _)| &n.input);
    let used: HashSet<&str> = read.chain(graph.output.iter().map(|o| &o.name)).map(String::as_str).collect();
    let mut problems: Vec<String> = Vec::new();
    for proto in graph.initializer.iter().filter(|t| used.contains(t.name.as_str())) {
        match Tensor::from_proto(proto, importer.external) {
            Ok(tensor) => drop(importer.env.insert(proto.name.clone(), Binding::Tensor(tensor))),
            Err(e) => problems.push(format!("{e:#}")),
        }
    }
    ensure!(problems.is_empty(), "{}", list("weights cannot be read", &problems));
    // Files of IR version 3 list initialisers among the inputs, used or not.
    let stored: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    for input in graph.input.iter().filter(|i| !stored.contains(i.name.as_str())) {
        importer.add_input(input).with_context(|| format!("input '{}'", input.name))?;
    }

    let mut unsupported: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (i, node) in graph.node.iter().enumerate().filter(|(i, _)| needed[*i]) {
        let name = if node.name.is_empty() { format!("{}_{i}", node.op_type) } else { node.name.clone() };
        let known = matches!(node.domain.as_str(), "" | "ai.onnx") && OPERATORS.contains(&node.op_type.as_str());
        let result = if known { importer.add_node(node, &name) } else { Ok(None) };
        let outputs = match result {
            Ok(Some(bindings)) => {
                let made = bindings.len().min(node.output.len());
                importer.env.extend(node.output.iter().cloned().zip(bindings));
                &node.output[made..]
            }
            Ok(None) => {
                let prefix = if known || node.domain.is_empty() { String::new() } else { format!("{}.", node.domain) };
                unsupported.entry(format!("{prefix}{}", node.op_type)).or_default().push(name);
                &node.output[..]
            }
            Err(e) => {
                // What follows from this node is not reported on its own.
                if !e.is::<Follows>() {
                    problems.push(format!("node '{name}' ({}): {e:#}", node.op_type));
                }
                &node.output[..]
            }
        };
        outputs.iter().for_each(|o| drop(importer.env.insert(o.clone(), Binding::Missing)));
    }
    for (op, nodes) in unsupported {
        problems.push(format!(
            "operator {op} is not supported: node{} '{}'",
            if nodes.len() > 1 { "s" } else { "" },
            nodes.join("', '")
        ));
    }
    if !problems.is_empty() {
        bail!("{}\nSupported operators: {}", list("the model cannot be converted", &problems), OPERATORS.join(", "));
    }
    importer.finish(graph)
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

fn empty() -> Graph {
    Graph { graph: format::Graph::default(), weights: Vec::new(), shapes: Vec::new() }
}

/// What a name in the ONNX graph stands for.
#[derive(Clone)]
enum Binding {
    /// Computed at run time.
    Value(ValueId),
    /// Computed at run time, and integers in ONNX: what an ArgMax yields.
    Integers(ValueId),
    /// Known now.
    Tensor(Tensor),
    /// A list of extents, of which some depend on symbolic dims.
    Extents(Vec<ExtentOf>),
    /// The output of a node that could not be converted.
    Missing,
}

/// Marks errors that only follow from an earlier one.
#[derive(Debug, thiserror::Error)]
#[error("an input could not be converted")]
struct Follows;

struct Importer<'a> {
    opset: i64,
    env: HashMap<String, Binding>,
    graph: Graph,
    /// Of each value, as `graph.shapes`, and where those that are not known come from.
    extents: Vec<Vec<ExtentOf>>,
    external: &'a mut ExternalData,
}

impl Importer<'_> {
    fn add_input(&mut self, info: &ValueInfoProto) -> Result<()> {
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
        let input = format::Input { value: ValueId(0), dims };
        let value = self.add_value(&info.name, shape::of_input(&input))?;
        self.graph.graph.inputs.push(format::Input { value, ..input });
        // Dims of one name are equal.
        let inputs = &self.graph.graph.inputs;
        let first = |dim: &Dim| {
            let place = |input: &format::Input| Some((input.value, input.dims.iter().position(|d| d == dim)?));
            inputs.iter().find_map(place).map(|(v, axis)| ExtentOf::Axis(v, axis))
        };
        for (extent, dim) in self.extents[value.index()].iter_mut().zip(&inputs[inputs.len() - 1].dims) {
            if let (ExtentOf::Axis(..), Some(first)) = (&extent, first(dim)) {
                *extent = first;
            }
        }
        self.env.insert(info.name.clone(), Binding::Value(value));
        Ok(())
    }

    fn add_value(&mut self, name: &str, shape: Shape) -> Result<ValueId> {
        shape::check_size(&shape)?;
        if let Some(&Some(channels)) = shape.get(1) {
            let most = shape::MAX_CHANNELS as usize;
            ensure!(channels < most, "axis 1: expected fewer than {most} channels, found {channels}");
        }
        let value = ValueId(self.graph.graph.values.len() as u32);
        let extent = |(axis, e): (usize, &Option<usize>)| e.map_or(ExtentOf::Axis(value, axis), |e| ExtentOf::Known(e as i64));
        self.extents.push(shape.iter().enumerate().map(extent).collect());
        self.graph.graph.values.push(Value { name: name.to_owned(), compaction: None });
        self.graph.shapes.push(shape);
        Ok(value)
    }

    /// Adds a node; its output is named `output`.
    fn push(&mut self, name: &str, output: &str, op: Op, inputs: Vec<ValueId>, weights: Weights) -> Result<ValueId> {
        let shapes: Vec<&Shape> = inputs.iter().map(|v| self.graph.shape(*v)).collect();
        let shape = shape::of_node(&op, &shapes)?;
        let output = self.add_value(output, shape)?;
        let operands: Vec<&[ExtentOf]> = inputs.iter().map(|v| &self.extents[v.index()][..]).collect();
        let own = &self.extents[output.index()];
        let rank = own.len();
        let origin = |(axis, own): (usize, &ExtentOf)| match own {
            ExtentOf::Axis(..) => layout::origin(&op, &operands, rank, axis).unwrap_or(*own),
            ExtentOf::Known(_) => *own,
        };
        self.extents[output.index()] = own.iter().enumerate().map(origin).collect();
        self.graph.graph.nodes.push(Node { name: name.to_owned(), inputs, output, op });
        self.graph.weights.push(weights);
        Ok(output)
    }

    fn finish(mut self, graph: &GraphProto) -> Result<Graph> {
        for output in &graph.output {
            let value = match self.env.get(&output.name).cloned() {
                Some(Binding::Value(v) | Binding::Integers(v)) => v,
                Some(Binding::Tensor(t)) => {
                    self.constant(&output.name, &t, 0).with_context(|| format!("output '{}'", output.name))?
                }
                _ => bail!("output '{}': expected a node or input that defines it, found none", output.name),
            };
            self.graph.graph.outputs.push(value);
        }
        ensure!(!graph.output.is_empty(), "expected at least one output, found none");
        let finite = |mut numbers: &mut dyn Iterator<Item = f32>| (&mut numbers).all(f32::is_finite);
        for (node, weights) in self.graph.graph.nodes.iter().zip(&self.graph.weights) {
            let ok = match weights {
                Weights::None => true,
                Weights::Matrix { matrix, bias, .. } => finite(&mut matrix.data.iter()) && finite(&mut bias.iter().copied()),
                Weights::ScaleShift { scale, shift } => finite(&mut scale.iter().chain(shift).copied()),
                Weights::Tensor(data) => finite(&mut data.iter()),
            };
            ensure!(ok, "node '{}' ({}): expected finite weights, found NaN or infinity", node.name, node.op.name());
        }
        Ok(self.graph)
    }

    /// The binding of input `i`; `None` if it is left out.
    fn input(&self, node: &NodeProto, i: usize) -> Result<Option<Binding>> {
        let Some(name) = node.input.get(i).filter(|n| !n.is_empty()) else { return Ok(None) };
        match self.env.get(name) {
            Some(Binding::Missing) => Err(Follows.into()),
            Some(found) => Ok(Some(found.clone())),
            None => bail!("input {i}: expected a value that is defined before, found '{name}'"),
        }
    }

    /// Input `i`, which must be there. A stored tensor becomes a Constant node.
    fn value(&mut self, node: &NodeProto, i: usize) -> Result<ValueId> {
        self.value_of_rank(node, i, 0)
    }

    /// As [`Self::value`]; a stored tensor gets at least `rank` axes, by extents of 1 in front.
    fn value_of_rank(&mut self, node: &NodeProto, i: usize, rank: usize) -> Result<ValueId> {
        match self.input(node, i)? {
            Some(Binding::Value(v) | Binding::Integers(v)) => Ok(v),
            Some(Binding::Tensor(t)) => self.constant(&node.input[i], &t, rank),
            Some(_) => bail!("input {i}: expected numbers, found a shape with symbolic extents"),
            None => bail!("input {i}: expected a tensor, found none"),
        }
    }

    /// Input `i`, if it is there, which must be known at conversion.
    fn tensor(&self, node: &NodeProto, i: usize, what: &str) -> Result<Option<Tensor>> {
        match self.input(node, i)? {
            Some(Binding::Tensor(t)) => Ok(Some(t)),
            Some(_) => bail!("{what} (input {i}): expected a constant, found a computed tensor ('{}')", node.input[i]),
            None => Ok(None),
        }
    }

    /// A Constant node of at least `rank` axes.
    fn constant(&mut self, name: &str, tensor: &Tensor, rank: usize) -> Result<ValueId> {
        let floats = tensor.floats().with_context(|| format!("'{name}'"))?.clone();
        let missing = rank.saturating_sub(tensor.dims.len());
        let dims = std::iter::repeat_n(1, missing).chain(tensor.dims.iter().map(|&d| d as u64)).collect();
        self.push(name, name, Op::Constant(Constant { dims, data: UNASSIGNED }), Vec::new(), Weights::Tensor(floats))
    }

    /// The bindings of a node's outputs; `None` if the operator is not known.
    fn add_node(&mut self, node: &NodeProto, name: &str) -> Result<Option<Vec<Binding>>> {
        let is_integers = |name: &String| matches!(self.env.get(name), Some(Binding::Integers(_)));
        let Some(i) = node.input.iter().position(is_integers) else { return self.add_node_of(node, name) };
        ensure!(
            OF_INTEGERS.contains(&node.op_type.as_str()),
            "input {i}: expected float32 (as of a Cast), found integers that an ArgMax yields"
        );
        let moved = |binding: Binding| match binding {
            Binding::Value(v) if node.op_type != "Cast" => Binding::Integers(v),
            other => other,
        };
        Ok(self.add_node_of(node, name)?.map(|bindings| bindings.into_iter().map(moved).collect()))
    }

    /// As [`Self::add_node`], whether numbers are float32 or integers.
    fn add_node_of(&mut self, node: &NodeProto, name: &str) -> Result<Option<Vec<Binding>>> {
        let attributes = Attributes(node);
        let output = node.output.first().context("expected an output, found none")?.as_str();
        let unary = |this: &mut Self, op: Op| {
            let x = this.value(node, 0)?;
            this.push(name, output, op, vec![x], Weights::None).map(Binding::Value)
        };
        let activation = |this: &mut Self, function: Unary| unary(this, Op::Activation(function));
        let binary = |this: &mut Self, function: Binary| {
            // What shapes are computed by; also of stored weights.
            let folds = function.of_integers().is_some();
            if let (true, Some(a), Some(b)) = (folds, this.tensor_if_known(node, 0)?, this.tensor_if_known(node, 1)?) {
                return stored::combined(function, &a, &b).map(Binding::Tensor);
            }
            let operands = this.operands(node)?;
            this.push(name, output, Op::Binary(function), operands.to_vec(), Weights::None).map(Binding::Value)
        };
        if let Some(binding) = self.shape_arithmetic(node)? {
            return Ok(Some(vec![binding]));
        }
        let binding = match node.op_type.as_str() {
            "Constant" => Binding::Tensor(self.constant_node(attributes)?),
            "ConstantOfShape" => Binding::Tensor(self.constant_of_shape(node)?),
            "Identity" => self.input(node, 0)?.context("input 0: expected a tensor, found none")?,
            "Dropout" => {
                if let Some(mode) = self.tensor_if_known(node, 2)? {
                    ensure!(mode.ints().is_ok_and(|i| i.iter().all(|&i| i == 0)), "expected inference, found training_mode");
                }
                self.input(node, 0)?.context("input 0: expected a tensor, found none")?
            }
            "Cast" => {
                let to = attributes.int("to", 0)? as i32;
                match (self.input(node, 0)?.context("input 0: expected a tensor, found none")?, to) {
                    (Binding::Tensor(Tensor { dims, data: Data::Ints(ints) }), data_type::FLOAT) => {
                        let floats: Vec<f32> = ints.iter().map(|&i| i as f32).collect();
                        Binding::Tensor(Tensor::new(dims, Data::Floats(floats.into()))?)
                    }
                    (t @ Binding::Tensor(Tensor { data: Data::Ints(_), .. }), data_type::INT64 | data_type::INT32) => t,
                    (Binding::Integers(v), data_type::FLOAT) => Binding::Value(v),
                    (v @ Binding::Integers(_), data_type::INT64 | data_type::INT32) => v,
                    (x, data_type::FLOAT) => x,
                    (_, to) => bail!("to: expected float32 (or int64 or int32 of integers), found {}", data_type::name(to)),
                }
            }
            "Conv" => Binding::Value(self.conv(node, name, output)?),
            "ConvTranspose" => Binding::Value(self.conv_transpose(node, name, output)?),
            "Gemm" => Binding::Value(self.gemm(node, name, output)?),
            "MatMul" => Binding::Value(self.matmul(node, name, output)?),
            "BatchNormalization" => Binding::Value(self.batch_norm(node, name, output)?),
            "InstanceNormalization" => Binding::Value(self.instance_norm(node, name, output)?),
            "MaxPool" => unary(self, layers::max_pool(node)?)?,
            "AveragePool" => unary(self, layers::average_pool(node)?)?,
            "GlobalAveragePool" => unary(self, Op::GlobalAveragePool)?,
            "GlobalMaxPool" => unary(self, Op::GlobalMaxPool)?,
            "Add" => binary(self, Binary::Add)?,
            "Sub" => binary(self, Binary::Sub)?,
            "Mul" => binary(self, Binary::Mul)?,
            "Div" => binary(self, Binary::Div)?,
            "Pow" => binary(self, Binary::Pow)?,
            "PRelu" => binary(self, Binary::PRelu)?,
            "Sum" => self.sum(node, name, output)?,
            "Relu" => activation(self, Unary::Relu)?,
            "LeakyRelu" => activation(self, Unary::LeakyRelu { alpha: attributes.float("alpha", 0.01)? })?,
            "Clip" => {
                let (low, high) = self.clip_bounds(node)?;
                activation(self, Unary::Clip { low, high })?
            }
            "Sigmoid" => activation(self, Unary::Sigmoid)?,
            "Tanh" => activation(self, Unary::Tanh)?,
            "HardSigmoid" => {
                let (alpha, beta) = (attributes.float("alpha", 0.2)?, attributes.float("beta", 0.5)?);
                activation(self, Unary::HardSigmoid { alpha, beta })?
            }
            "HardSwish" => activation(self, Unary::HardSwish)?,
            "Elu" => activation(self, Unary::Elu { alpha: attributes.float("alpha", 1.0)? })?,
            "Mish" => activation(self, Unary::Mish)?,
            "Sqrt" => activation(self, Unary::Sqrt)?,
            "LRN" => {
                let size = small(attributes.int("size", 0)?, "size")?;
                let (alpha, beta) = (attributes.float("alpha", 1e-4)?, attributes.float("beta", 0.75)?);
                unary(self, Op::Lrn(Lrn { size, alpha, beta, bias: attributes.float("bias", 1.0)? }))?
            }
            "Softmax" => {
                let x = self.value(node, 0)?;
                let rank = self.graph.shape(x).len();
                let start = axis(attributes.int("axis", if self.opset < 13 { 1 } else { -1 })?, rank)?;
                let end = if self.opset < 13 { rank } else { start + 1 };
                unary(self, Op::Softmax(Softmax { start: start as u32, end: end as u32 }))?
            }
            "ArgMax" => {
                let x = self.value(node, 0)?;
                let axis = axis(attributes.int("axis", 0)?, self.graph.shape(x).len())? as u32;
                let (keep, last) = (attributes.int("keepdims", 1)? != 0, attributes.int("select_last_index", 0)? != 0);
                Binding::Integers(self.push(name, output, Op::ArgMax(ArgMax { axis, keep, last }), vec![x], Weights::None)?)
            }
            "Concat" => {
                let stored = (0..node.input.len()).map(|i| self.tensor_if_known(node, i)).collect::<Result<Option<Vec<_>>>>()?;
                if let Some(tensors) = stored {
                    let axis = axis(attributes.int("axis", 1)?, tensors.first().map_or(0, |t| t.dims.len()))?;
                    return Ok(Some(vec![Binding::Tensor(stored::joined(&tensors, axis)?)]));
                }
                let inputs: Vec<ValueId> = (0..node.input.len()).map(|i| self.value(node, i)).collect::<Result<_>>()?;
                let rank = inputs.first().map_or(0, |&v| self.graph.shape(v).len());
                let axis = axis(attributes.int("axis", 1)?, rank)?;
                Binding::Value(self.push(name, output, Op::Concat(Concat { axis: axis as u32 }), inputs, Weights::None)?)
            }
            "Flatten" => self.flatten(node, name, output)?,
            "Reshape" => self.reshape(node, name, output)?,
            "Squeeze" => self.squeeze(node, name, output)?,
            "Unsqueeze" => self.unsqueeze(node, name, output)?,
            "Transpose" => self.transpose(node, name, output)?,
            "Slice" => self.slice(node, name, output)?,
            "Split" => return self.split(node, name).map(Some),
            "Gather" => self.gather(node, name, output)?,
            "Pad" => self.pad(node, name, output)?,
            "Resize" => self.resize(node, name, output)?,
            "ReduceMean" => self.reduce_mean(node, name, output)?,
            "Expand" => self.expand(node, name, output)?,
            _ => return Ok(None),
        };
        Ok(Some(vec![binding]))
    }

    /// Both operands of a broadcast; a stored one gets the rank of the other, so that channels meet channels.
    fn operands(&mut self, node: &NodeProto) -> Result<[ValueId; 2]> {
        let rank = |this: &Self, i: usize| -> Result<usize> {
            Ok(match this.input(node, i)? {
                Some(Binding::Value(v)) => this.graph.shape(v).len(),
                Some(Binding::Tensor(t)) => t.dims.len(),
                _ => 0,
            })
        };
        let rank = rank(self, 0)?.max(rank(self, 1)?);
        Ok([self.value_of_rank(node, 0, rank)?, self.value_of_rank(node, 1, rank)?])
    }

    fn sum(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<Binding> {
        let mut sum = self.value(node, 0)?;
        for i in 1..node.input.len() {
            let next = self.value_of_rank(node, i, self.graph.shape(sum).len())?;
            let part = if i + 1 == node.input.len() { output.to_owned() } else { format!("{output}.{i}") };
            sum = self.push(name, &part, Op::Binary(Binary::Add), vec![sum, next], Weights::None)?;
        }
        Ok(Binding::Value(sum))
    }

    /// From attributes before opset 11, from inputs since.
    fn clip_bounds(&self, node: &NodeProto) -> Result<(f32, f32)> {
        let attributes = Attributes(node);
        let bound = |i: usize, what: &str, none: f32| -> Result<f32> {
            if self.opset < 11 {
                return attributes.float(what, none);
            }
            match self.tensor(node, i, what)? {
                Some(t) if t.floats()?.len() == 1 => Ok(t.floats()?.at(0)),
                Some(t) => bail!("{what}: expected one number, found dims {:?}", t.dims),
                None => Ok(none),
            }
        };
        Ok((bound(1, "min", f32::MIN)?, bound(2, "max", f32::MAX)?))
    }

    fn tensor_if_known(&self, node: &NodeProto, i: usize) -> Result<Option<Tensor>> {
        Ok(match self.input(node, i)? {
            Some(Binding::Tensor(t)) => Some(t),
            _ => None,
        })
    }

    fn constant_node(&mut self, attributes: Attributes) -> Result<Tensor> {
        if let Some(t) = attributes.get("value").and_then(|a| a.t.as_ref()) {
            return Tensor::from_proto(t, self.external);
        }
        let found = ["value_float", "value_floats", "value_int", "value_ints"].iter().find_map(|n| attributes.get(n));
        let a = found.context("expected a value of float32 or integers, found none")?;
        match a.name.as_str() {
            "value_float" => Tensor::new(vec![], Data::Floats(vec![a.f].into())),
            "value_floats" => Tensor::new(vec![a.floats.len()], Data::Floats(a.floats.clone().into())),
            "value_int" => Tensor::new(vec![], Data::Ints([a.i].into())),
            _ => Tensor::new(vec![a.ints.len()], Data::Ints(a.ints.clone().into())),
        }
    }

    fn constant_of_shape(&mut self, node: &NodeProto) -> Result<Tensor> {
        let shape = self.tensor(node, 0, "shape")?.context("shape (input 0): expected a constant, found none")?;
        let extent = |&d: &i64| usize::try_from(d).with_context(|| format!("shape: expected no negative extent, found {d}"));
        let dims: Vec<usize> = shape.ints()?.iter().map(extent).collect::<Result<_>>()?;
        let len = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= MAX_REPEATED);
        let len = len.with_context(|| format!("shape: expected at most {MAX_REPEATED} elements, found {dims:?}"))?;
        let value = match Attributes(node).get("value").and_then(|a| a.t.as_ref()) {
            Some(t) => Tensor::from_proto(t, self.external)?,
            None => Tensor::new(vec![1], Data::Floats(vec![0.0].into()))?,
        };
        match &value.data {
            Data::Floats(f) if f.len() == 1 => Tensor::new(dims, Data::Floats(Floats::Repeated { value: f.at(0), len })),
            Data::Ints(i) if i.len() == 1 && len <= 1 << 16 => Tensor::new(dims, Data::Ints(vec![i[0]; len].into())),
            _ => bail!("value: expected one number"),
        }
    }
}

/// A count that must be at least 1.
fn small(n: i64, what: &str) -> Result<u32> {
    u32::try_from(n).ok().filter(|&n| n > 0).with_context(|| format!("{what}: expected a positive number, found {n}"))
}

/// An axis counted from either end.
fn axis(axis: i64, rank: usize) -> Result<usize> {
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(counted)
        .ok()
        .filter(|&a| a < rank)
        .with_context(|| format!("axis: expected -{rank} to {rank} (exclusive), found {axis}"))
}
