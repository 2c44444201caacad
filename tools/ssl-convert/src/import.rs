//! ONNX to a dense [`Graph`]. What is known at conversion (initialisers, Constant nodes, Identity and Reshape of them) becomes
//! tensors; what depends on the input becomes nodes. Everything that cannot be converted is collected, so that one error names
//! all of it.

use crate::graph::{Graph, Matrix, UNASSIGNED, Weights};
use crate::onnx::attributes::Attributes;
use crate::onnx::load::{ExternalData, OnnxFile};
use crate::onnx::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto, data_type};
use crate::onnx::tensor::{Data, Floats, Tensor};
use anyhow::{Context, Result, anyhow, bail, ensure};
use sslm_format::shape::{self, Shape};
use sslm_format::{
    self as format, AveragePool, BatchNorm, Concat, Constant, Conv, Dim, Flatten, Gemm, Kept, Lrn, MaxPool, Node, Op, Padding,
    Reshape, Softmax, Value, ValueId, Window,
};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Operator sets that are understood.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=25;

/// Operators that are understood, for the error that lists those that are not.
pub const OPERATORS: [&str; 18] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "Dropout",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "Identity",
    "LRN",
    "MatMul",
    "MaxPool",
    "Relu",
    "Reshape",
    "Softmax",
];

/// Builds the dense graph of an ONNX model.
///
/// # Errors
/// One error that names every node that cannot be converted, and why.
pub fn import(file: &mut OnnxFile) -> Result<Graph> {
    let opset = opset(&file.model)?;
    let Some(graph) = &file.model.graph else { bail!("expected a graph, found none") };
    let needed = reachable(graph);
    let mut importer = Importer { opset, env: HashMap::new(), graph: empty(), external: &mut file.external };

    let used: HashSet<&str> =
        graph.node.iter().zip(&needed).filter(|(_, n)| **n).flat_map(|(n, _)| n.input.iter()).map(String::as_str).collect();
    let mut problems: Vec<String> = Vec::new();
    for proto in graph.initializer.iter().filter(|t| used.contains(t.name.as_str())) {
        match Tensor::from_proto(proto, importer.external) {
            Ok(tensor) => drop(importer.env.insert(proto.name.clone(), Binding::Tensor(tensor))),
            Err(e) => problems.push(format!("{e:#}")),
        }
    }
    ensure!(problems.is_empty(), "{}", list("weights cannot be read", &problems));
    // Files of IR version 3 list initialisers among the inputs.
    for input in &graph.input {
        if !importer.env.contains_key(&input.name) {
            importer.add_input(input).with_context(|| format!("input '{}'", input.name))?;
        }
    }

    let mut unsupported: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (i, node) in graph.node.iter().enumerate().filter(|(i, _)| needed[*i]) {
        let name = if node.name.is_empty() { format!("{}_{i}", node.op_type) } else { node.name.clone() };
        let known = matches!(node.domain.as_str(), "" | "ai.onnx") && OPERATORS.contains(&node.op_type.as_str());
        let result = if known { importer.add_node(node, &name) } else { Ok(None) };
        let outputs = match result {
            Ok(Some(binding)) => {
                importer.env.insert(node.output[0].clone(), binding);
                &node.output[1..]
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
    /// Known now.
    Tensor(Tensor),
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
    external: &'a mut ExternalData,
}

impl Importer<'_> {
    fn add_input(&mut self, info: &ValueInfoProto) -> Result<()> {
        let tensor =
            info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).context("expected a tensor, found another type")?;
        ensure!(tensor.elem_type == data_type::FLOAT, "expected float32, found {}", data_type::name(tensor.elem_type));
        let shape = tensor.shape.as_ref().context("expected a shape (its dims may be symbolic), found none")?;
        let dim = |(axis, d): (usize, &crate::onnx::proto::DimensionProto)| match (d.dim_value, &d.dim_param) {
            (Some(size), _) if size > 0 => Dim::Fixed { size: size as u64 },
            (_, Some(name)) if !name.is_empty() => Dim::Symbolic { name: name.clone() },
            _ => Dim::Symbolic { name: format!("{}_{axis}", info.name) },
        };
        let dims: Vec<Dim> = shape.dim.iter().enumerate().map(dim).collect();
        ensure!(!dims.is_empty(), "expected at least one axis, found a scalar");
        let input = format::Input { value: ValueId(0), dims };
        let value = self.add_value(&info.name, shape::of_input(&input));
        self.graph.graph.inputs.push(format::Input { value, ..input });
        self.env.insert(info.name.clone(), Binding::Value(value));
        Ok(())
    }

    fn add_value(&mut self, name: &str, shape: Shape) -> ValueId {
        self.graph.graph.values.push(Value { name: name.to_owned(), compaction: None });
        self.graph.shapes.push(shape);
        ValueId(self.graph.graph.values.len() as u32 - 1)
    }

    fn push(&mut self, name: &str, output: &str, op: Op, inputs: Vec<ValueId>, weights: Weights) -> Result<Option<Binding>> {
        let shapes: Vec<&Shape> = inputs.iter().map(|v| self.graph.shape(*v)).collect();
        let shape = shape::of_node(&op, &shapes)?;
        let output = self.add_value(output, shape);
        self.graph.graph.nodes.push(Node { name: name.to_owned(), inputs, output, op });
        self.graph.weights.push(weights);
        Ok(Some(Binding::Value(output)))
    }

    fn finish(mut self, graph: &GraphProto) -> Result<Graph> {
        for output in &graph.output {
            let value = match self.env.get(&output.name).cloned() {
                Some(Binding::Value(v)) => v,
                Some(Binding::Tensor(t)) => self.constant(&output.name, &t)?,
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
        match self.input(node, i)? {
            Some(Binding::Value(v)) => Ok(v),
            Some(Binding::Tensor(t)) => self.constant(&node.input[i], &t),
            _ => bail!("input {i}: expected a tensor, found none"),
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

    fn constant(&mut self, name: &str, tensor: &Tensor) -> Result<ValueId> {
        let floats = tensor.floats().with_context(|| format!("'{name}'"))?.clone();
        let op = Op::Constant(Constant { dims: tensor.dims.iter().map(|&d| d as u64).collect(), data: UNASSIGNED });
        match self.push(name, name, op, Vec::new(), Weights::Tensor(floats))? {
            Some(Binding::Value(v)) => {
                self.env.insert(name.to_owned(), Binding::Value(v));
                Ok(v)
            }
            _ => bail!("constant '{name}' has no value"),
        }
    }

    fn add_node(&mut self, node: &NodeProto, name: &str) -> Result<Option<Binding>> {
        let attributes = Attributes(node);
        let output = node.output.first().context("expected an output, found none")?.as_str();
        let plain = |this: &mut Self, op: Op| {
            let x = this.value(node, 0)?;
            this.push(name, output, op, vec![x], Weights::None)
        };
        match node.op_type.as_str() {
            "Constant" => self.constant_node(attributes).map(|t| Some(Binding::Tensor(t))),
            "ConstantOfShape" => self.constant_of_shape(node).map(|t| Some(Binding::Tensor(t))),
            "Identity" => self.input(node, 0)?.context("input 0: expected a tensor, found none").map(Some),
            "Dropout" => {
                if let Some(mode) = self.tensor_if_known(node, 2)? {
                    ensure!(mode.ints().is_ok_and(|i| i.iter().all(|&i| i == 0)), "expected inference, found training_mode");
                }
                self.input(node, 0)?.context("input 0: expected a tensor, found none").map(Some)
            }
            "Conv" => self.conv(node, name, output),
            "Gemm" => self.gemm(node, name, output),
            "MatMul" => self.matmul(node, name, output),
            "Add" => {
                let inputs = vec![self.value(node, 0)?, self.value(node, 1)?];
                self.push(name, output, Op::Add, inputs, Weights::None)
            }
            "Relu" => plain(self, Op::Relu),
            "GlobalAveragePool" => plain(self, Op::GlobalAveragePool),
            "BatchNormalization" => self.batch_norm(node, name, output),
            "MaxPool" => {
                ensure!(node.output.len() < 2 || node.output[1].is_empty(), "expected one output, found Indices");
                let (window, ceil_mode) = pool_window(attributes)?;
                plain(self, Op::MaxPool(MaxPool { window, ceil_mode }))
            }
            "AveragePool" => {
                let (window, ceil_mode) = pool_window(attributes)?;
                let count_include_pad = attributes.int("count_include_pad", 0)? != 0;
                plain(self, Op::AveragePool(AveragePool { window, ceil_mode, count_include_pad }))
            }
            "LRN" => {
                let size = small(attributes.int("size", 0)?, "size")?;
                let (alpha, beta) = (attributes.float("alpha", 1e-4)?, attributes.float("beta", 0.75)?);
                plain(self, Op::Lrn(Lrn { size, alpha, beta, bias: attributes.float("bias", 1.0)? }))
            }
            "Softmax" => {
                let x = self.value(node, 0)?;
                let rank = self.graph.shape(x).len();
                let start = axis(attributes.int("axis", if self.opset < 13 { 1 } else { -1 })?, rank)?;
                let end = if self.opset < 13 { rank } else { start + 1 };
                let op = Op::Softmax(Softmax { start: start as u32, end: end as u32 });
                self.push(name, output, op, vec![x], Weights::None)
            }
            "Flatten" => {
                let x = self.value(node, 0)?;
                // One past the last axis is legal here.
                let at = attributes.int("axis", 1)?;
                let rank = self.graph.shape(x).len();
                let axis = if at == rank as i64 { rank } else { axis(at, rank)? };
                self.push(name, output, Op::Flatten(Flatten { axis: axis as u32 }), vec![x], Weights::None)
            }
            "Reshape" => self.reshape(node, name, output),
            "Concat" => {
                let inputs: Vec<ValueId> = (0..node.input.len()).map(|i| self.value(node, i)).collect::<Result<_>>()?;
                let rank = inputs.first().map_or(0, |&v| self.graph.shape(v).len());
                let axis = axis(attributes.int("axis", 1)?, rank)?;
                self.push(name, output, Op::Concat(Concat { axis: axis as u32 }), inputs, Weights::None)
            }
            _ => Ok(None),
        }
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
        let len = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= shape::MAX_ELEMENTS);
        let len = len.with_context(|| format!("shape: expected at most {} elements, found {dims:?}", shape::MAX_ELEMENTS))?;
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

    fn conv(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<Option<Binding>> {
        let attributes = Attributes(node);
        let x = self.value(node, 0)?;
        let weights = self.tensor(node, 1, "weights")?.context("weights (input 1): expected a constant, found none")?;
        let [filters, group_channels, kernel_height, kernel_width] = weights.dims[..] else {
            bail!("weights: expected 4 axes (2-D convolution), found dims {:?}", weights.dims);
        };
        ensure!(!weights.dims.contains(&0), "weights: expected extents of at least 1, found dims {:?}", weights.dims);
        let group = attributes.int("group", 1)?;
        ensure!(group >= 1 && filters as i64 % group == 0, "group: expected a divisor of the {filters} filters, found {group}");
        let channels = (group as usize).checked_mul(group_channels).context("group: too large")?;
        let window = window(attributes, Some([kernel_height, kernel_width]))?;
        let bias = self.bias(node, 2, filters)?;
        let conv = Conv {
            group: small(group, "group")?,
            channels: small(channels as i64, "channels")?,
            filters: small(filters as i64, "filters")?,
            columns: vec![Kept::All; group as usize],
            window,
            weights: UNASSIGNED,
            bias: UNASSIGNED,
            taps: None,
        };
        let columns = group_channels * kernel_height * kernel_width;
        let matrix = Matrix { rows: filters, columns, data: weights.floats()?.clone(), transposed: false, row_scale: Vec::new() };
        self.push(name, output, Op::Conv(conv), vec![x], Weights::Matrix { matrix, bias, taps: Vec::new() })
    }

    fn bias(&self, node: &NodeProto, i: usize, count: usize) -> Result<Vec<f32>> {
        let Some(tensor) = self.tensor(node, i, "bias")? else { return Ok(vec![0.0; count]) };
        let floats = tensor.floats()?;
        ensure!(floats.len() == count, "bias: expected {count} numbers, found {}", floats.len());
        Ok(floats.iter().collect())
    }

    fn gemm(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<Option<Binding>> {
        let attributes = Attributes(node);
        ensure!(attributes.int("transA", 0)? == 0, "transA: expected 0, found 1");
        let transposed = attributes.int("transB", 0)? == 0;
        let (alpha, beta) = (attributes.float("alpha", 1.0)?, attributes.float("beta", 1.0)?);
        let x = self.value(node, 0)?;
        let rank = self.graph.shape(x).len();
        ensure!(rank == 2, "input: expected 2 axes, found {rank}");
        let weights = self.tensor(node, 1, "weights")?.context("weights (input 1): expected a constant, found none")?;
        let (op, mut matrix) = fully_connected(&weights, transposed)?;
        let rows = matrix.rows;
        if alpha != 1.0 {
            matrix.scale_rows(&vec![alpha; rows]);
        }
        let bias = match self.tensor(node, 2, "bias")? {
            None => vec![0.0; rows],
            Some(tensor) => {
                let floats = tensor.floats()?;
                let fits = tensor.dims.iter().rev().skip(1).all(|&d| d == 1) && (floats.len() == rows || floats.len() == 1);
                ensure!(fits, "bias: expected {rows} numbers for every row of the batch, found dims {:?}", tensor.dims);
                (0..rows).map(|i| beta * floats.at(if floats.len() == 1 { 0 } else { i })).collect()
            }
        };
        self.push(name, output, op, vec![x], Weights::Matrix { matrix, bias, taps: Vec::new() })
    }

    fn matmul(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<Option<Binding>> {
        let x = self.value(node, 0)?;
        let weights = self.tensor(node, 1, "weights")?.context("weights (input 1): expected a constant, found none")?;
        let (op, matrix) = fully_connected(&weights, true)?;
        let bias = vec![0.0; matrix.rows];
        self.push(name, output, op, vec![x], Weights::Matrix { matrix, bias, taps: Vec::new() })
    }

    fn batch_norm(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<Option<Binding>> {
        let attributes = Attributes(node);
        ensure!(attributes.int("training_mode", 0)? == 0, "expected inference, found training_mode");
        ensure!(attributes.int("spatial", 1)? == 1, "spatial: expected 1, found 0");
        let x = self.value(node, 0)?;
        let epsilon = f64::from(attributes.float("epsilon", 1e-5)?);
        let parameter = |i: usize, what: &str| -> Result<Vec<f64>> {
            let tensor =
                self.tensor(node, i, what)?.with_context(|| format!("{what} (input {i}): expected a constant, found none"))?;
            Ok(tensor.floats()?.iter().map(f64::from).collect())
        };
        let (gamma, beta, mean, variance) =
            (parameter(1, "scale")?, parameter(2, "B")?, parameter(3, "mean")?, parameter(4, "var")?);
        let channels = self.graph.shape(x).get(1).copied().context("input: expected at least 2 axes, found fewer")?;
        for (what, found) in [("scale", &gamma), ("B", &beta), ("mean", &mean), ("var", &variance)] {
            let expected = channels.unwrap_or(gamma.len());
            ensure!(found.len() == expected, "{what}: expected {expected} numbers, found {}", found.len());
        }
        // In f64, so that folding loses no more than the one rounding at its end.
        let factor: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
        let shift = factor.iter().zip(beta.iter().zip(&mean)).map(|(f, (b, m))| (b - m * f) as f32).collect();
        let scale: Vec<f32> = factor.iter().map(|&f| f as f32).collect();
        let op = Op::BatchNorm(BatchNorm { scale: UNASSIGNED, shift: UNASSIGNED });
        self.push(name, output, op, vec![x], Weights::ScaleShift { scale, shift })
    }

    fn reshape(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<Option<Binding>> {
        let attributes = Attributes(node);
        let dims = self.tensor(node, 1, "shape")?.context("shape (input 1): expected a constant, found none")?;
        let dims = dims.ints()?.to_vec();
        if attributes.int("allowzero", 0)? != 0 {
            ensure!(!dims.contains(&0), "shape: expected extents of at least 1, found 0 with allowzero");
        }
        let op = Op::Reshape(Reshape { dims });
        if let Some(Binding::Tensor(t)) = self.input(node, 0)? {
            let shape: Shape = t.dims.iter().map(|&d| Some(d)).collect();
            let dims: Option<Vec<usize>> = shape::of_node(&op, &[&shape])?.into_iter().collect();
            return Tensor::new(dims.context("shape: expected known extents")?, t.data).map(|t| Some(Binding::Tensor(t)));
        }
        let x = self.value(node, 0)?;
        self.push(name, output, op, vec![x], Weights::None)
    }
}

/// The operator and matrix of stored weights: `K x M` if `transposed`, else `M x K`.
fn fully_connected(weights: &Tensor, transposed: bool) -> Result<(Op, Matrix)> {
    let [a, b] = weights.dims[..] else { bail!("weights: expected 2 axes, found dims {:?}", weights.dims) };
    ensure!(a > 0 && b > 0, "weights: expected extents of at least 1, found dims {:?}", weights.dims);
    let (rows, columns) = if transposed { (b, a) } else { (a, b) };
    let op = Op::Gemm(Gemm {
        features: small(columns as i64, "features")?,
        rows: small(rows as i64, "rows")?,
        columns: Kept::All,
        weights: UNASSIGNED,
        bias: UNASSIGNED,
    });
    Ok((op, Matrix { rows, columns, data: weights.floats()?.clone(), transposed, row_scale: Vec::new() }))
}

fn pool_window(attributes: Attributes) -> Result<(Window, bool)> {
    ensure!(attributes.int("storage_order", 0)? == 0, "storage_order: expected 0, found 1");
    Ok((window(attributes, None)?, attributes.int("ceil_mode", 0)? != 0))
}

/// Geometry from attributes. `weights` are the kernel's sizes where a weight tensor gives them.
fn window(attributes: Attributes, weights: Option<[usize; 2]>) -> Result<Window> {
    let pair = |name: &str, default: Option<[u32; 2]>| -> Result<[u32; 2]> {
        match (attributes.ints(name)?, default) {
            ([], Some(default)) => Ok(default),
            (&[a, b], _) => Ok([small(a, name)?, small(b, name)?]),
            (other, _) => bail!("{name}: expected 2 numbers (2-D), found {other:?}"),
        }
    };
    let from_weights = match weights {
        Some([h, w]) => Some([small(h as i64, "kernel")?, small(w as i64, "kernel")?]),
        None => None,
    };
    let kernel = pair("kernel_shape", from_weights)?;
    if let Some(expected) = from_weights {
        ensure!(kernel == expected, "kernel_shape: expected {expected:?} (of the weights), found {kernel:?}");
    }
    let padding = match attributes.text("auto_pad", "NOTSET")? {
        "NOTSET" => match attributes.ints("pads")? {
            [] => Padding::Explicit { top: 0, left: 0, bottom: 0, right: 0 },
            &[top, left, bottom, right] => {
                Padding::Explicit { top: pad(top)?, left: pad(left)?, bottom: pad(bottom)?, right: pad(right)? }
            }
            other => bail!("pads: expected 4 numbers (2-D), found {other:?}"),
        },
        "VALID" => Padding::Explicit { top: 0, left: 0, bottom: 0, right: 0 },
        "SAME_UPPER" => Padding::SameUpper,
        "SAME_LOWER" => Padding::SameLower,
        other => bail!("auto_pad: expected NOTSET, VALID, SAME_UPPER or SAME_LOWER, found {other}"),
    };
    Ok(Window { kernel, strides: pair("strides", Some([1, 1]))?, dilations: pair("dilations", Some([1, 1]))?, padding })
}

fn pad(amount: i64) -> Result<u32> {
    u32::try_from(amount).map_err(|_| anyhow!("pads: expected no negative amount, found {amount}"))
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
