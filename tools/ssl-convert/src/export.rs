//! The compact network as standard ONNX, so that users of other runtimes gain too. Filters, channels and layers that were removed
//! are gone; a kernel position cannot be left out of an ONNX convolution, so removed columns of channels that stay are zeros.
//!
//! Each value becomes a tensor of just its kept channels. Where an operator needs other ones, they are selected by Gather, or,
//! where constants must be put back, by a 1x1 convolution of zeros and ones. What constant channels add at the borders of a padded
//! convolution is computed from a plane of ones, so the model serves every image size.

use crate::graph::{Graph, Weights};
use crate::onnx::proto::*;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use sslm_format::{
    Compaction, Conv, ConvTranspose, Coordinates, Dim, Fill, Gather, Interpolation, Kept, Op, Pad, Padding, Slice, Target, Unary,
    ValueId, Window,
};
use std::ops::Range;

/// The operator set that is written.
const OPSET: i64 = 17;

/// The message of a compacted graph, with the metadata of its source.
///
/// # Errors
/// If something cannot be said in ONNX, naming the node.
pub fn export(g: &Graph, metadata: &[StringStringEntryProto]) -> Result<ModelProto> {
    let names = g.graph.values.iter().enumerate().map(|(i, v)| {
        // An output that lacks channels is completed under its own name at the end.
        let incomplete = v.compaction.is_some() && g.graph.outputs.contains(&ValueId(i as u32));
        if incomplete { format!("{}.kept", v.name) } else { v.name.clone() }
    });
    let mut e = Exporter { g, names: names.collect(), graph: GraphProto::default(), count: 0 };
    e.graph.name = "compact".into();
    for input in &g.graph.inputs {
        let dim = |d: &Dim| match d {
            Dim::Fixed { size } => DimensionProto { dim_value: Some(*size as i64), dim_param: None },
            Dim::Symbolic { name } => DimensionProto { dim_value: None, dim_param: Some(name.clone()) },
        };
        let shape = TensorShapeProto { dim: input.dims.iter().map(dim).collect() };
        e.graph.input.push(value_info(&g.graph.values[input.value.index()].name, Some(shape), data_type::FLOAT));
    }
    for (i, node) in g.graph.nodes.iter().enumerate() {
        e.add_node(i).with_context(|| format!("node '{}' ({}) cannot be exported", node.name, node.op.name()))?;
    }
    for &output in &g.graph.outputs {
        let name = g.graph.values[output.index()].name.clone();
        if g.graph.values[output.index()].compaction.is_some() {
            let whole = e.all_channels(output).with_context(|| format!("output '{name}' cannot be exported"))?;
            e.push("Identity", &[&whole], &name, vec![]);
        }
        let producer = g.producers()[output.index()];
        let positions = producer.is_some_and(|p| matches!(g.graph.nodes[p].op, Op::ArgMax(_)));
        let elements = if positions { data_type::INT64 } else { data_type::FLOAT };
        e.graph.output.push(value_info(&name, None, elements));
    }
    Ok(ModelProto {
        ir_version: 8,
        producer_name: concat!("ssl-convert ", env!("CARGO_PKG_VERSION")).into(),
        graph: Some(e.graph),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: metadata.to_vec(),
    })
}

fn value_info(name: &str, shape: Option<TensorShapeProto>, elem_type: i32) -> ValueInfoProto {
    let tensor_type = Some(TensorTypeProto { elem_type, shape });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i, r#type: 2, ..Default::default() }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f, r#type: 1, ..Default::default() }
}

fn text(name: &str, s: &'static str) -> AttributeProto {
    AttributeProto { name: name.into(), s: Bytes::from_static(s.as_bytes()), r#type: 3, ..Default::default() }
}

fn ints<T: Copy + Into<i64>>(name: &str, numbers: &[T]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: numbers.iter().map(|&n| n.into()).collect(), r#type: 7, ..Default::default() }
}

fn window_attributes(window: &Window) -> Vec<AttributeProto> {
    let mut all =
        vec![ints("kernel_shape", &window.kernel), ints("strides", &window.strides), ints("dilations", &window.dilations)];
    all.push(match window.padding {
        Padding::Explicit { top, left, bottom, right } => ints("pads", &[top, left, bottom, right]),
        Padding::SameUpper => text("auto_pad", "SAME_UPPER"),
        Padding::SameLower => text("auto_pad", "SAME_LOWER"),
    });
    all
}

/// Whether output channel c of an operator without weights depends on input channel c alone, whichever channels there are.
fn is_of_each_channel(op: &Op) -> bool {
    match op {
        Op::MaxPool(_) | Op::AveragePool(_) | Op::GlobalAveragePool | Op::GlobalMaxPool | Op::Resize(_) => true,
        Op::Transpose(t) => t.axes.starts_with(&[0, 1]),
        Op::Slice(Slice { axis, .. }) | Op::Gather(Gather { axis, .. }) => *axis >= 2,
        Op::Pad(pad) => pad.amounts.iter().take(2).all(|a| *a == [0, 0]),
        Op::ReduceMean(r) => r.axes.iter().all(|&a| a >= 2),
        _ => false,
    }
}

fn is_kept(kept: &Kept, column: usize) -> bool {
    match kept {
        Kept::All => true,
        Kept::List(list) => list.binary_search(&(column as u32)).is_ok(),
    }
}

struct Exporter<'a> {
    g: &'a Graph,
    /// The tensor that holds each value's kept channels.
    names: Vec<String>,
    graph: GraphProto,
    count: usize,
}

/// What one convolution of the exported model computes: filters of one group on physical channels.
struct Part {
    /// Logical filters.
    filters: Vec<usize>,
    /// Physical channels of the input, and the logical ones inside the group.
    channels: Vec<(usize, usize)>,
    group: usize,
}

impl<'a> Exporter<'a> {
    fn fresh(&mut self, hint: &str) -> String {
        self.count += 1;
        format!("{hint}.{}", self.count)
    }

    fn push(&mut self, op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&s| s.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: output.to_owned(),
            op_type: op.to_owned(),
            attribute,
            domain: String::new(),
        });
    }

    /// A node whose output has a name of its own.
    fn make(&mut self, op: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> String {
        let output = self.fresh(op);
        self.push(op, inputs, &output, attribute);
        output
    }

    fn floats(&mut self, dims: &[usize], numbers: impl IntoIterator<Item = f32>) -> String {
        let raw: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
        self.initializer(dims, data_type::FLOAT, raw)
    }

    fn integers(&mut self, numbers: &[i64]) -> String {
        let raw = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.initializer(&[numbers.len()], data_type::INT64, raw)
    }

    fn initializer(&mut self, dims: &[usize], data_type: i32, raw: Vec<u8>) -> String {
        let name = self.fresh("constant");
        let dims = dims.iter().map(|&d| d as i64).collect();
        self.graph.initializer.push(TensorProto {
            dims,
            data_type,
            name: name.clone(),
            raw_data: raw.into(),
            ..Default::default()
        });
        name
    }

    fn compaction(&self, v: ValueId) -> Option<&'a Compaction> {
        self.g.graph.values[v.index()].compaction.as_ref()
    }

    fn name(&self, v: ValueId) -> String {
        self.names[v.index()].clone()
    }

    /// Extent of axis 1.
    fn channels(&self, v: ValueId) -> Result<usize> {
        self.g.shape(v).get(1).copied().flatten().context("expected a known number of channels, found a symbolic one")
    }

    fn physical(&self, v: ValueId) -> Result<Vec<usize>> {
        Ok(match self.compaction(v) {
            Some(c) => c.kept.iter().map(|&c| c as usize).collect(),
            None => (0..self.channels(v)?).collect(),
        })
    }

    fn all_channels(&mut self, v: ValueId) -> Result<String> {
        if self.compaction(v).is_none() {
            return Ok(self.name(v));
        }
        let all: Vec<usize> = (0..self.channels(v)?).collect();
        self.select(v, &all)
    }

    /// `v` with the channels that `of` keeps.
    fn channels_like(&mut self, v: ValueId, of: ValueId) -> Result<String> {
        match (self.compaction(v), self.compaction(of)) {
            (None, None) => Ok(self.name(v)),
            (Some(a), Some(b)) if a.kept == b.kept => Ok(self.name(v)),
            (_, None) => self.all_channels(v),
            (_, Some(b)) => self.select(v, &b.kept.iter().map(|&c| c as usize).collect::<Vec<_>>()),
        }
    }

    /// The given channels of `v`, in the given order.
    fn select(&mut self, v: ValueId, wanted: &[usize]) -> Result<String> {
        let physical = self.physical(v)?;
        let at: Vec<Option<usize>> = wanted.iter().map(|c| physical.binary_search(c).ok()).collect();
        let name = self.name(v);
        if let Some(at) = at.iter().map(|p| p.map(|p| p as i64)).collect::<Option<Vec<i64>>>() {
            let indices = self.integers(&at);
            return Ok(self.make("Gather", &[&name, &indices], vec![int("axis", 1)]));
        }
        let constants = self.compaction(v).map(Compaction::constant_of).unwrap_or_default();
        let constant = |c: &usize| constants.get(*c).copied().flatten().unwrap_or(0.0);
        let rank = self.g.shape(v).len();
        if physical.is_empty() {
            let dims: Vec<usize> = [1, wanted.len()].into_iter().chain(vec![1; rank - 2]).collect();
            let numbers = self.floats(&dims, wanted.iter().map(constant));
            let shape = self.shape_of_removed(v, wanted.len())?;
            return Ok(self.make("Expand", &[&numbers, &shape], vec![]));
        }
        let columns = physical.len();
        let one = |row: usize, column: usize| if at[row] == Some(column) { 1.0 } else { 0.0 };
        let matrix = (0..wanted.len() * columns).map(|i| one(i / columns, i % columns));
        let bias = self.floats(&[wanted.len()], wanted.iter().map(constant));
        match rank {
            4 => {
                let weights = self.floats(&[wanted.len(), columns, 1, 1], matrix);
                Ok(self.make("Conv", &[&name, &weights, &bias], vec![ints("kernel_shape", &[1, 1])]))
            }
            2 => {
                let weights = self.floats(&[wanted.len(), columns], matrix);
                Ok(self.make("Gemm", &[&name, &weights, &bias], vec![int("transB", 1)]))
            }
            _ => bail!("constants among the channels of a tensor of {rank} axes"),
        }
    }

    /// The shape of a value of which nothing exists, with `channels` channels.
    fn shape_of_removed(&mut self, v: ValueId, channels: usize) -> Result<String> {
        let g = self.g;
        let rest: Option<Vec<i64>> = g.shape(v).iter().skip(2).map(|e| e.map(|e| e as i64)).collect();
        if let Some(rest) = rest {
            // Only the batch may be symbolic, and that is the input's.
            let input = g.graph.inputs.iter().find(|i| g.shape(i.value).first() == g.shape(v).first());
            let input = self.name(input.context("expected an input of the same batch, found none")?.value);
            let batch = self.make("Shape", &[&input], vec![int("start", 0), int("end", 1)]);
            let rest = self.integers(&[&[channels as i64], rest.as_slice()].concat());
            return Ok(self.make("Concat", &[&batch, &rest], vec![int("axis", 0)]));
        }
        let carrier = self.carrier(v)?;
        let batch = self.make("Shape", &[&carrier], vec![int("start", 0), int("end", 1)]);
        let size = self.make("Shape", &[&carrier], vec![int("start", 2)]);
        let channels = self.integers(&[channels as i64]);
        Ok(self.make("Concat", &[&batch, &channels, &size], vec![int("axis", 0)]))
    }

    /// A tensor of any channels whose other extents are those of `v`, of which maybe nothing exists: what removed layers do to
    /// sizes is done to one channel that does exist.
    fn carrier(&mut self, v: ValueId) -> Result<String> {
        if !self.physical(v)?.is_empty() {
            return Ok(self.name(v));
        }
        let g = self.g;
        if g.shape(v).iter().skip(2).all(Option::is_some) {
            let (one, shape) = (self.floats(&vec![1; g.shape(v).len()], [1.0]), self.shape_of_removed(v, 1)?);
            return Ok(self.make("Expand", &[&one, &shape], vec![]));
        }
        let producer = g.producers()[v.index()].context("expected a node, found an input without channels")?;
        let node = &g.graph.nodes[producer];
        if let Op::Concat(concat) = &node.op
            && concat.axis != 1
        {
            let parts: Vec<String> = node.inputs.iter().map(|&x| self.one_channel(x)).collect::<Result<_>>()?;
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            return Ok(self.make("Concat", &parts, vec![int("axis", concat.axis.into())]));
        }
        let same_size = |x: &&ValueId| g.shape(**x).get(2..) == g.shape(v).get(2..) && g.shape(**x).first() == g.shape(v).first();
        let x = *node.inputs.iter().find(same_size).or(node.inputs.first()).context("expected an input, found none")?;
        Ok(match &node.op {
            op @ (Op::Conv(conv) | Op::ConvTranspose(ConvTranspose { conv, .. })) => {
                let channel = self.one_channel(x)?;
                let [height, width] = conv.window.kernel.map(|n| n as usize);
                let zeros = self.floats(&[1, 1, height, width], vec![0.0; height * width]);
                let mut attributes = window_attributes(&conv.window);
                if let Op::ConvTranspose(t) = op {
                    attributes.push(ints("output_padding", &t.output_padding));
                }
                self.make(op.name(), &[&channel, &zeros], attributes)
            }
            Op::Flatten(_) | Op::Reshape(_) if g.shape(v).len() == 2 => {
                let x = self.carrier(x)?;
                self.make("Flatten", &[&x], vec![int("axis", 1)])
            }
            Op::Activation(_)
            | Op::Binary(_)
            | Op::BatchNorm(_)
            | Op::InstanceNorm(_)
            | Op::Lrn(_)
            | Op::Concat(_)
            | Op::Gemm(_)
            | Op::Slice(Slice { axis: 1, .. })
            | Op::Gather(Gather { axis: 1, .. }) => self.carrier(x)?,
            op if is_of_each_channel(op) => {
                let (x, output) = (self.carrier(x)?, self.fresh("carrier"));
                self.of_each_channel(op, &x, &output)?;
                output
            }
            op => bail!("a constant tensor behind {}", op.name()),
        })
    }

    /// The first channel of a [`Self::carrier`].
    fn one_channel(&mut self, v: ValueId) -> Result<String> {
        let (carrier, first) = (self.carrier(v)?, self.integers(&[0]));
        Ok(self.make("Gather", &[&carrier, &first], vec![int("axis", 1)]))
    }

    fn add_node(&mut self, i: usize) -> Result<()> {
        let g = self.g;
        let node = &g.graph.nodes[i];
        if self.compaction(node.output).is_some_and(|c| c.kept.is_empty()) {
            return Ok(());
        }
        let output = self.name(node.output);
        let Some(&x) = node.inputs.first() else {
            if let (Op::Constant(c), Weights::Tensor(data)) = (&node.op, &g.weights[i]) {
                let raw = data.iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>().into();
                let dims = c.dims.iter().map(|&d| d as i64).collect();
                self.graph.initializer.push(TensorProto {
                    dims,
                    data_type: data_type::FLOAT,
                    name: output,
                    raw_data: raw,
                    ..Default::default()
                });
            }
            return Ok(());
        };
        let out = node.output;
        if is_of_each_channel(&node.op) {
            let x = self.channels_like(x, out)?;
            return self.of_each_channel(&node.op, &x, &output);
        }
        match (&node.op, &g.weights[i]) {
            (Op::Conv(_) | Op::ConvTranspose(_), _) => self.convolution(i)?,
            (Op::Gemm(_), _) => self.gemm(i)?,
            (Op::Activation(function), _) => {
                let x = self.channels_like(x, out)?;
                self.activation(*function, &x, &output);
            }
            (Op::BatchNorm(_), Weights::ScaleShift { scale, shift }) => {
                let (x, physical, rank) = (self.channels_like(x, out)?, self.physical(out)?, g.shape(out).len());
                let dims: Vec<usize> = [physical.len()].into_iter().chain(vec![1; rank - 2]).collect();
                let scale = self.floats(&dims, physical.iter().map(|&c| scale[c]));
                let shift = self.floats(&dims, physical.iter().map(|&c| shift[c]));
                let scaled = self.make("Mul", &[&x, &scale], vec![]);
                self.push("Add", &[&scaled, &shift], &output, vec![]);
            }
            (Op::InstanceNorm(norm), Weights::ScaleShift { scale, shift }) => {
                let (x, physical) = (self.channels_like(x, out)?, self.physical(out)?);
                let scale = self.floats(&[physical.len()], physical.iter().map(|&c| scale[c]));
                let shift = self.floats(&[physical.len()], physical.iter().map(|&c| shift[c]));
                self.push("InstanceNormalization", &[&x, &scale, &shift], &output, vec![float("epsilon", norm.epsilon)]);
            }
            (Op::Lrn(l), _) => {
                let attributes =
                    vec![int("size", l.size.into()), float("alpha", l.alpha), float("beta", l.beta), float("bias", l.bias)];
                self.whole("LRN", x, out, &[], attributes)?;
            }
            (Op::Softmax(s), _) if s.end == s.start + 1 => {
                self.whole("Softmax", x, out, &[], vec![int("axis", s.start.into())])?
            }
            (Op::Softmax(s), _) => {
                ensure!(s.end as usize == g.shape(x).len(), "Softmax over axes in the middle");
                let x = self.all_channels(x)?;
                let (flat, shape) =
                    (self.make("Flatten", &[&x], vec![int("axis", s.start.into())]), self.make("Shape", &[&x], vec![]));
                let flat = self.make("Softmax", &[&flat], vec![int("axis", 1)]);
                let all = self.make("Reshape", &[&flat, &shape], vec![]);
                self.keep(&all, out);
            }
            (Op::ArgMax(a), _) => {
                let attributes =
                    vec![int("axis", a.axis.into()), int("keepdims", a.keep.into()), int("select_last_index", a.last.into())];
                ensure!(g.readers()[out.index()].is_empty(), "positions that are computed with");
                self.whole("ArgMax", x, out, &[], attributes)?;
            }
            (Op::Flatten(_) | Op::Reshape(_), _) => self.reshape(&node.op, x, out)?,
            (Op::Concat(c), _) => self.concat(&node.inputs, out, c.axis as usize)?,
            (Op::Binary(_), _) => {
                let shape = g.shape(out);
                let aligned = |v: &ValueId| {
                    let own = g.shape(*v);
                    own.len() == shape.len() && own.len() >= 2 && (own[1] == shape[1] || own[1] == Some(1))
                };
                let per_channel = node.inputs.iter().all(aligned);
                let mut operands = Vec::new();
                for &v in &node.inputs {
                    let same = per_channel && g.shape(v)[1] == shape[1];
                    operands.push(if same { self.channels_like(v, out)? } else { self.all_channels(v)? });
                }
                let op = node.op.name();
                if per_channel {
                    self.push(op, &[&operands[0], &operands[1]], &output, vec![]);
                } else {
                    let all = self.make(op, &[&operands[0], &operands[1]], vec![]);
                    self.keep(&all, out);
                }
            }
            (Op::Transpose(t), _) => self.whole("Transpose", x, out, &[], vec![ints("perm", &t.axes)])?,
            (Op::Slice(s), _) if s.axis == 1 => {
                let positions: Vec<usize> = s.positions(self.channels(x)?).collect();
                self.pick(x, out, &positions)?;
            }
            (Op::Gather(s), _) if s.axis == 1 => {
                let positions = s.positions(self.channels(x)?).context("indices outside the axis")?;
                self.pick(x, out, &positions)?;
            }
            (Op::Pad(pad), _) => {
                let (attributes, inputs) = self.padding(pad);
                let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
                self.whole("Pad", x, out, &inputs, attributes)?;
            }
            (Op::ReduceMean(r), _) => {
                let attributes = vec![ints("axes", &r.axes), int("keepdims", r.keep.into())];
                self.whole("ReduceMean", x, out, &[], attributes)?;
            }
            (Op::Expand(e), _) => {
                let dims = self.integers(&e.dims.iter().map(|&d| d as i64).collect::<Vec<_>>());
                self.whole("Expand", x, out, &[&dims], vec![])?;
            }
            (op, _) => bail!("no counterpart of {}", op.name()),
        }
        Ok(())
    }

    /// An operator that treats each channel on its own, on a tensor of any channels.
    fn of_each_channel(&mut self, op: &Op, x: &str, output: &str) -> Result<()> {
        match op {
            Op::MaxPool(p) => {
                let attributes = [window_attributes(&p.window), vec![int("ceil_mode", p.ceil_mode.into())]].concat();
                self.push("MaxPool", &[x], output, attributes);
            }
            Op::AveragePool(p) => {
                ensure!(p.window.dilations == [1, 1], "dilations of an AveragePool need opset 19, this is opset {OPSET}");
                let mut attributes = window_attributes(&p.window);
                attributes.retain(|a| a.name != "dilations");
                attributes.extend([int("ceil_mode", p.ceil_mode.into()), int("count_include_pad", p.count_include_pad.into())]);
                self.push("AveragePool", &[x], output, attributes);
            }
            Op::GlobalAveragePool => self.push("GlobalAveragePool", &[x], output, vec![]),
            Op::GlobalMaxPool => self.push("GlobalMaxPool", &[x], output, vec![]),
            Op::Transpose(t) => self.push("Transpose", &[x], output, vec![ints("perm", &t.axes)]),
            Op::Slice(s) => {
                let bounds = [s.start, s.end, i64::from(s.axis), s.step].map(|n| self.integers(&[n]));
                self.push("Slice", &[x, &bounds[0], &bounds[1], &bounds[2], &bounds[3]], output, vec![]);
            }
            Op::Gather(s) => {
                let indices = self.integers(&s.indices);
                self.push("Gather", &[x, &indices], output, vec![int("axis", s.axis.into())]);
            }
            Op::Pad(pad) => {
                let (attributes, [amounts, value]) = self.padding(pad);
                self.push("Pad", &[x, &amounts, &value], output, attributes);
            }
            Op::ReduceMean(r) => {
                let attributes = vec![ints("axes", &r.axes), int("keepdims", r.keep.into())];
                self.push("ReduceMean", &[x], output, attributes);
            }
            Op::Resize(r) => {
                let (mode, nearest) = match r.interpolation {
                    Interpolation::Linear => ("linear", "floor"),
                    Interpolation::NearestPreferFloor => ("nearest", "round_prefer_floor"),
                    Interpolation::NearestPreferCeil => ("nearest", "round_prefer_ceil"),
                    Interpolation::Floor => ("nearest", "floor"),
                    Interpolation::Ceil => ("nearest", "ceil"),
                };
                let coordinates = match r.coordinates {
                    Coordinates::HalfPixel => "half_pixel",
                    Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
                    Coordinates::Asymmetric => "asymmetric",
                    Coordinates::AlignCorners => "align_corners",
                };
                let attributes =
                    vec![text("mode", mode), text("nearest_mode", nearest), text("coordinate_transformation_mode", coordinates)];
                match r.target {
                    Target::Scales { factors: [vertical, horizontal] } => {
                        let scales = self.floats(&[4], [1.0, 1.0, vertical, horizontal]);
                        self.push("Resize", &[x, "", &scales], output, attributes);
                    }
                    Target::Sizes { extents } => {
                        let own = self.make("Shape", &[x], vec![int("start", 0), int("end", 2)]);
                        let new = self.integers(&extents.map(i64::from));
                        let sizes = self.make("Concat", &[&own, &new], vec![int("axis", 0)]);
                        self.push("Resize", &[x, "", "", &sizes], output, attributes);
                    }
                }
            }
            op => bail!("no counterpart of {}", op.name()),
        }
        Ok(())
    }

    /// Attributes and further inputs of a Pad.
    fn padding(&mut self, pad: &Pad) -> (Vec<AttributeProto>, [String; 2]) {
        let amounts: Vec<i64> = (0..2).flat_map(|side| pad.amounts.iter().map(move |a| i64::from(a[side]))).collect();
        let (mode, value) = match pad.fill {
            Fill::Constant { value } => ("constant", value),
            Fill::Reflect => ("reflect", 0.0),
            Fill::Edge => ("edge", 0.0),
        };
        (vec![text("mode", mode)], [self.integers(&amounts), self.floats(&[], [value])])
    }

    /// An operator from all channels to all channels.
    fn whole(&mut self, op: &str, x: ValueId, out: ValueId, more: &[&str], attributes: Vec<AttributeProto>) -> Result<()> {
        let x = self.all_channels(x)?;
        let all = self.make(op, &[&[x.as_str()], more].concat(), attributes);
        self.keep(&all, out);
        Ok(())
    }

    /// Defines `out` by its kept channels of a tensor that has all.
    fn keep(&mut self, all: &str, out: ValueId) {
        let output = self.name(out);
        match self.compaction(out) {
            None => self.push("Identity", &[all], &output, vec![]),
            Some(c) => {
                let indices = self.integers(&c.kept.iter().map(|&c| i64::from(c)).collect::<Vec<_>>());
                self.push("Gather", &[all, &indices], &output, vec![int("axis", 1)]);
            }
        }
    }

    /// Defines `out`, whose channel c is channel `positions[c]` of x.
    fn pick(&mut self, x: ValueId, out: ValueId, positions: &[usize]) -> Result<()> {
        let wanted: Vec<usize> = match self.compaction(out) {
            Some(c) => c.kept.iter().map(|&c| positions[c as usize]).collect(),
            None => positions.to_vec(),
        };
        let (picked, output) = (self.select(x, &wanted)?, self.name(out));
        self.push("Identity", &[&picked], &output, vec![]);
        Ok(())
    }

    fn activation(&mut self, function: Unary, x: &str, output: &str) {
        let (op, attributes) = match function {
            Unary::Relu => ("Relu", vec![]),
            Unary::LeakyRelu { alpha } => ("LeakyRelu", vec![float("alpha", alpha)]),
            Unary::Clip { low, high } => {
                let (low, high) = (self.floats(&[], [low]), self.floats(&[], [high]));
                return self.push("Clip", &[x, &low, &high], output, vec![]);
            }
            Unary::Sigmoid => ("Sigmoid", vec![]),
            Unary::Tanh => ("Tanh", vec![]),
            Unary::HardSigmoid { alpha, beta } => ("HardSigmoid", vec![float("alpha", alpha), float("beta", beta)]),
            Unary::HardSwish => ("HardSwish", vec![]),
            Unary::Elu { alpha } => ("Elu", vec![float("alpha", alpha)]),
            Unary::Mish => {
                // Before opset 18, by its definition.
                let soft = self.make("Softplus", &[x], vec![]);
                let gate = self.make("Tanh", &[&soft], vec![]);
                return self.push("Mul", &[x, &gate], output, vec![]);
            }
            Unary::Sqrt => ("Sqrt", vec![]),
        };
        self.push(op, &[x], output, attributes);
    }

    fn reshape(&mut self, op: &Op, x: ValueId, out: ValueId) -> Result<()> {
        let (from, to, output) = (self.g.shape(x), self.g.shape(out), self.name(out));
        let (before, after) = (self.compaction(x), self.compaction(out));
        // Where each kept channel became a run of kept ones, the compact tensor is reshaped as it is.
        let physical = match (before, after) {
            (Some(before), Some(after)) if from[0] == to[0] && after.logical.is_multiple_of(before.logical) => {
                let run = after.logical / before.logical;
                let same = before.kept.iter().flat_map(|&c| c * run..(c + 1) * run).eq(after.kept.iter().copied());
                same.then_some(after.kept.len() as i64)
            }
            _ => None,
        };
        let plain = match op {
            Op::Reshape(r) => r.dims.clone(),
            _ => vec![],
        };
        if before.is_some() != after.is_some() || (before.is_some() && physical.is_none()) {
            let x = self.all_channels(x)?;
            let all = match op {
                Op::Flatten(f) => self.make("Flatten", &[&x], vec![int("axis", f.axis.into())]),
                _ => {
                    let dims = self.integers(&plain);
                    self.make("Reshape", &[&x, &dims], vec![])
                }
            };
            self.keep(&all, out);
            return Ok(());
        }
        let x = self.name(x);
        match (op, physical) {
            (Op::Flatten(f), _) => self.push("Flatten", &[&x], &output, vec![int("axis", f.axis.into())]),
            (_, physical) => {
                let mut dims = plain;
                if let Some(channels) = physical {
                    (dims[0], dims[1]) = (0, channels);
                }
                let dims = self.integers(&dims);
                self.push("Reshape", &[&x, &dims], &output, vec![]);
            }
        }
        Ok(())
    }

    fn concat(&mut self, inputs: &[ValueId], out: ValueId, axis: usize) -> Result<()> {
        let output = self.name(out);
        let mut parts = Vec::new();
        let mut first = 0;
        for &v in inputs {
            match self.compaction(out) {
                Some(c) if axis == 1 => {
                    let range = first..first + self.channels(v)?;
                    let wanted: Vec<usize> =
                        c.kept.iter().map(|&c| c as usize).filter(|c| range.contains(c)).map(|c| c - first).collect();
                    first = range.end;
                    if wanted == self.physical(v)? && !wanted.is_empty() {
                        parts.push(self.name(v));
                    } else if !wanted.is_empty() {
                        parts.push(self.select(v, &wanted)?);
                    }
                }
                Some(_) => parts.push(self.channels_like(v, out)?),
                None => parts.push(self.all_channels(v)?),
            }
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        self.push("Concat", &parts, &output, vec![int("axis", axis as i64)]);
        Ok(())
    }

    fn gemm(&mut self, i: usize) -> Result<()> {
        let (node, output) = (&self.g.graph.nodes[i], self.name(self.g.graph.nodes[i].output));
        let (Op::Gemm(gemm), Weights::Matrix { matrix, bias, .. }) = (&node.op, &self.g.weights[i]) else {
            bail!("expected weights, found none")
        };
        let (x, out) = (node.inputs[0], node.output);
        if self.g.shape(out).len() != 2 {
            let weights = self.floats(
                &[matrix.columns, matrix.rows],
                (0..matrix.columns * matrix.rows).map(|i| matrix.at(i % matrix.rows, i / matrix.rows)),
            );
            let bias = self.floats(&[matrix.rows], bias.iter().copied());
            let x = self.name(x);
            let product = self.make("MatMul", &[&x, &weights], vec![]);
            self.push("Add", &[&product, &bias], &output, vec![]);
            return Ok(());
        }
        let (rows, features) = (self.physical(out)?, self.physical(x)?);
        let kept: Vec<bool> = features.iter().map(|&f| is_kept(&gemm.columns, f)).collect();
        let numbers = rows
            .iter()
            .flat_map(|&r| features.iter().zip(&kept).map(move |(&f, &kept)| if kept { matrix.at(r, f) } else { 0.0 }));
        let weights = self.floats(&[rows.len(), features.len()], numbers);
        let bias = self.floats(&[rows.len()], rows.iter().map(|&r| bias[r]));
        let x = if features.is_empty() { bail!("a layer without inputs") } else { self.name(x) };
        self.push("Gemm", &[&x, &weights, &bias], &output, vec![int("transB", 1)]);
        Ok(())
    }

    fn convolution(&mut self, i: usize) -> Result<()> {
        let g = self.g;
        let (x, out) = (g.graph.nodes[i].inputs[0], g.graph.nodes[i].output);
        let conv = g.graph.nodes[i].op.conv().context("expected a convolution, found none")?;
        let Weights::Matrix { taps, .. } = &g.weights[i] else { bail!("expected weights, found none") };
        let (filters, physical) = (self.physical(out)?, self.physical(x)?);
        let (per_group, group_channels) = (conv.filters_per_group(), (conv.channels / conv.group) as usize);
        let within =
            |range: Range<usize>, list: &[usize]| -> Vec<usize> { list.iter().copied().filter(|c| range.contains(c)).collect() };
        let part = |group: usize| {
            let first = group * group_channels;
            let at = |&c: &usize| (physical.partition_point(|&p| p < c), c - first);
            let channels = within(first..first + group_channels, &physical).iter().map(at).collect();
            Part { filters: within(group * per_group..(group + 1) * per_group, &filters), channels, group }
        };
        let parts: Vec<Part> = (0..conv.group as usize).map(part).filter(|p| !p.filters.is_empty()).collect();
        let border = |p: &Part| {
            p.filters.iter().any(|&f| taps.chunks(conv.window.taps()).nth(f).is_some_and(|t| t.iter().any(|&t| t != 0.0)))
        };
        let name = self.carrier(x)?;
        let alike =
            parts.iter().all(|p| (p.filters.len(), p.channels.len()) == (parts[0].filters.len(), parts[0].channels.len()));
        if alike && !parts[0].channels.is_empty() && !parts.iter().any(border) {
            let used: Vec<i64> = parts.iter().flat_map(|p| p.channels.iter().map(|c| c.0 as i64)).collect();
            let from = if used.len() == physical.len() {
                name
            } else {
                let indices = self.integers(&used);
                self.make("Gather", &[&name, &indices], vec![int("axis", 1)])
            };
            let output = self.name(out);
            return self.convolve(i, &parts, &from, false, &output);
        }
        let mut results = Vec::new();
        for part in &parts {
            let ones = border(part) || part.channels.is_empty();
            let indices: Vec<i64> = part.channels.iter().map(|c| c.0 as i64).collect();
            let mut from = Vec::new();
            if indices.len() == physical.len() && !indices.is_empty() {
                from.push(name.clone());
            } else if !indices.is_empty() {
                let indices = self.integers(&indices);
                from.push(self.make("Gather", &[&name, &indices], vec![int("axis", 1)]));
            }
            if ones {
                let (batch, size) = (
                    self.make("Shape", &[&name], vec![int("start", 0), int("end", 1)]),
                    self.make("Shape", &[&name], vec![int("start", 2)]),
                );
                let one = self.integers(&[1]);
                let shape = self.make("Concat", &[&batch, &one, &size], vec![int("axis", 0)]);
                let value = self.floats(&[1, 1, 1, 1], [1.0]);
                from.push(self.make("Expand", &[&value, &shape], vec![]));
            }
            let from = match &from[..] {
                [one] => one.clone(),
                both => self.make("Concat", &both.iter().map(String::as_str).collect::<Vec<_>>(), vec![int("axis", 1)]),
            };
            let output = self.fresh("part");
            self.convolve(i, std::slice::from_ref(part), &from, ones, &output)?;
            results.push(output);
        }
        let (results, output): (Vec<&str>, String) = (results.iter().map(String::as_str).collect(), self.name(out));
        self.push("Concat", &results, &output, vec![int("axis", 1)]);
        Ok(())
    }

    /// One Conv or ConvTranspose of alike parts on `from`; with `ones`, the last channel of `from` is a plane of ones.
    fn convolve(&mut self, i: usize, parts: &[Part], from: &str, ones: bool, output: &str) -> Result<()> {
        let g = self.g;
        let op = &g.graph.nodes[i].op;
        let conv: &Conv = op.conv().context("expected a convolution, found none")?;
        let Weights::Matrix { matrix, bias, taps } = &g.weights[i] else { bail!("expected weights, found none") };
        let [height, width] = conv.window.kernel.map(|n| n as usize);
        let per_filter = conv.window.taps();
        let weight = |p: &Part, filter: usize, channel: usize, tap: usize| match p.channels.get(channel) {
            Some((_, logical)) => {
                let column = logical * per_filter + tap;
                if is_kept(&conv.columns[p.group], column) { matrix.at(p.filters[filter], column) } else { 0.0 }
            }
            None => taps.get(p.filters[filter] * per_filter + tap).copied().unwrap_or(0.0),
        };
        let (filters, channels) = (parts[0].filters.len(), parts[0].channels.len() + usize::from(ones));
        let transposed = matches!(op, Op::ConvTranspose(_));
        let mut numbers = Vec::with_capacity(parts.len() * filters * channels * per_filter);
        for p in parts {
            // OIHW, or for a transposed convolution IOHW.
            let (outer, inner) = if transposed { (channels, filters) } else { (filters, channels) };
            for (a, b) in (0..outer).flat_map(|a| (0..inner).map(move |b| (a, b))) {
                let (filter, channel) = if transposed { (b, a) } else { (a, b) };
                numbers.extend((0..per_filter).map(|tap| weight(p, filter, channel, tap)));
            }
        }
        let dims = if transposed {
            [parts.len() * channels, filters, height, width]
        } else {
            [parts.len() * filters, channels, height, width]
        };
        let weights = self.floats(&dims, numbers);
        let bias = self.floats(&[parts.len() * filters], parts.iter().flat_map(|p| p.filters.iter().map(|&f| bias[f])));
        let mut attributes = window_attributes(&conv.window);
        attributes.push(int("group", parts.len() as i64));
        if let Op::ConvTranspose(t) = op {
            attributes.push(ints("output_padding", &t.output_padding));
        }
        self.push(if transposed { "ConvTranspose" } else { "Conv" }, &[from, &weights, &bias], output, attributes);
        Ok(())
    }
}
