//! From a logical graph to the steps of a plan. Here it is decided which kernel runs each node, on which physical channels, and
//! where every activation lies.
//!
//! A value's channels may be partly removed; operators are defined on all of them. Each operator's rule below says which
//! channels it wants to see, and [`Builder::channels_of`] provides just those, by a `Select` step where they differ from what
//! exists. Nodes whose output keeps no channel yield no step at all.

use crate::arena::{self, Buffer};
use crate::error::{Error, ErrorKind, Result};
use crate::map::Line;
use crate::model::Model;
use crate::options::{Options, Threads};
use crate::plan::{Binding, Inner, Plan};
use crate::step::{Kernel, Place, Step};
use sslm_format::{self as format, BlobId, Compaction, Node, Op, ValueId, Window, shape};
use sslm_kernels::channels::Source;
use sslm_kernels::conv::{Column, Conv, Geometry, Group};
use sslm_kernels::elementwise::Add;
use sslm_kernels::fully_connected::FullyConnected;
use sslm_kernels::normalize::Lrn;
use sslm_kernels::pool::{Pool, Reduce};
use std::collections::HashMap;
use std::sync::Arc;

const _: () = assert!(format::panels::ROWS == sslm_kernels::gemm::PANEL_ROWS, "the file's panels are the kernels'");

/// Runs with fewer multiply-accumulates stay on one thread under [`Threads::Auto`]: handing work to another thread costs several
/// microseconds a step, in which one core computes about this much.
const SHARE_FROM_MACS: usize = 4_000_000;

pub(crate) fn plan(model: &Model, options: &Options) -> Result<Plan> {
    let graph = model.graph();
    let input_shapes = model.input_shapes(options)?;
    let known: Vec<shape::Shape> = input_shapes.iter().map(|s| s.iter().copied().map(Some).collect()).collect();
    let mut shapes = Vec::with_capacity(graph.values.len());
    for (value, inferred) in graph.values.iter().zip(shape::infer(graph, &known)?) {
        let extents: Option<Vec<usize>> = inferred.iter().copied().collect();
        match extents {
            Some(s) if s.iter().all(|&e| e > 0) => shapes.push(s),
            _ => {
                return Err(Error::input(format!("shape of '{}'", value.name), "extents of at least 1", format!("{inferred:?}")));
            }
        }
    }

    let mut builder = Builder::new(model, shapes);
    for input in &graph.inputs {
        let buffer = builder.new_buffer(builder.physical_len(input.value), 0);
        builder.define(input.value, buffer);
    }
    for (i, node) in graph.nodes.iter().enumerate() {
        builder.add_node(i, node).map_err(|e| e.within(format!("node '{}' ({})", node.name, node.op.name())))?;
    }
    let outputs: Vec<Operand> = graph.outputs.iter().map(|&v| builder.all_channels_of(v)).collect();
    for output in &outputs {
        if let Operand::Buffer(b) = output {
            builder.buffers[*b].last = usize::MAX;
        }
    }
    builder.finish(options, &outputs)
}

/// Where a value lies while buffers have no addresses yet.
#[derive(Clone, Copy)]
enum Operand {
    Buffer(usize),
    Blob(BlobId),
}

struct Builder<'m> {
    model: &'m Model,
    /// Logical shape of each value.
    shapes: Vec<Vec<usize>>,
    steps: Vec<Step<Operand, usize>>,
    buffers: Vec<Buffer>,
    /// Where each value lies, with the channels that it keeps.
    places: Vec<Option<Operand>>,
    /// Where a value lies with other channels.
    selected: HashMap<(ValueId, Option<Vec<u32>>), Operand>,
    /// For a node that its one reader, a Relu, can be fused into: that Relu's output.
    fused_relu: Vec<Option<ValueId>>,
}

impl<'m> Builder<'m> {
    fn new(model: &'m Model, shapes: Vec<Vec<usize>>) -> Self {
        let places = vec![None; shapes.len()];
        let fused_relu = fuse_relus(model.graph());
        Builder { model, shapes, steps: Vec::new(), buffers: Vec::new(), places, selected: HashMap::new(), fused_relu }
    }

    /// Steps are numbered from 1: buffers of number 0 are filled before the first one.
    fn next_step(&self) -> usize {
        self.steps.len() + 1
    }

    fn new_buffer(&mut self, len: usize, step: usize) -> Operand {
        self.buffers.push(Buffer { len, first: step, last: step });
        Operand::Buffer(self.buffers.len() - 1)
    }

    fn define(&mut self, value: ValueId, place: Operand) {
        self.places[value.index()] = Some(place);
    }

    fn compaction(&self, value: ValueId) -> Option<&'m Compaction> {
        self.model.graph().values[value.index()].compaction.as_ref()
    }

    fn shape(&self, value: ValueId) -> &[usize] {
        &self.shapes[value.index()]
    }

    /// Numbers of one channel.
    fn plane(&self, value: ValueId) -> usize {
        self.shape(value).iter().skip(2).product()
    }

    /// Channels that physically exist.
    fn physical_channels(&self, value: ValueId) -> usize {
        self.compaction(value).map_or_else(|| self.shape(value).get(1).copied().unwrap_or(1), |c| c.kept.len())
    }

    fn physical_len(&self, value: ValueId) -> usize {
        match self.compaction(value) {
            None => self.shape(value).iter().product(),
            Some(c) => self.shape(value)[0] * c.kept.len() * self.plane(value),
        }
    }

    /// The place of `value` as it is; empty if nothing of it exists.
    fn place_of(&mut self, value: ValueId) -> Operand {
        match self.places[value.index()] {
            Some(place) => place,
            None => {
                let empty = self.new_buffer(0, self.next_step());
                self.define(value, empty);
                empty
            }
        }
    }

    /// Appends a step and yields what it writes.
    fn emit(&mut self, name: &str, op: &'static str, kernel: Kernel, macs: usize, reads: Vec<Operand>, len: usize) -> Operand {
        let now = self.next_step();
        for read in &reads {
            if let Operand::Buffer(b) = read {
                self.buffers[*b].last = now;
            }
        }
        let place = self.new_buffer(len, now);
        let write = self.buffers.len() - 1;
        self.steps.push(Step { name: name.to_owned(), op, kernel, macs, reads, write });
        place
    }

    /// `value` with exactly the channels `wanted` (`None`: all), removed ones filled with their constants.
    fn channels_of(&mut self, value: ValueId, wanted: Option<&[u32]>) -> Operand {
        let have = self.compaction(value);
        if have.map(|c| c.kept.as_slice()) == wanted {
            return self.place_of(value);
        }
        if wanted.is_some_and(<[u32]>::is_empty) {
            return self.new_buffer(0, self.next_step());
        }
        let key = (value, wanted.map(<[u32]>::to_vec));
        if let Some(&place) = self.selected.get(&key) {
            return place;
        }
        let logical = self.shape(value)[1];
        let mut physical = 0;
        let source = |constant: Option<f32>| match constant {
            Some(constant) => Source::Constant(constant),
            None => {
                physical += 1;
                Source::Channel(physical - 1)
            }
        };
        let all: Vec<Source> = match have {
            Some(c) => c.constant_of().into_iter().map(source).collect(),
            None => (0..logical).map(Source::Channel).collect(),
        };
        let sources: Vec<Source> = match wanted {
            Some(wanted) => wanted.iter().map(|&c| all[c as usize]).collect(),
            None => all,
        };
        let from = self.place_of(value);
        let (channels, plane) = (self.physical_channels(value), self.plane(value));
        let len = self.shape(value)[0] * sources.len() * plane;
        let name = self.model.name(value);
        let place = self.emit(name, "Select", Kernel::Select { channels, plane, sources }, 0, vec![from], len);
        self.selected.insert(key, place);
        place
    }

    fn all_channels_of(&mut self, value: ValueId) -> Operand {
        self.channels_of(value, None)
    }

    /// Defines `value`, all channels of which `place` holds, by those that it keeps.
    fn define_from_all(&mut self, value: ValueId, place: Operand) {
        let Some(c) = self.compaction(value) else { return self.define(value, place) };
        let sources: Vec<Source> = c.kept.iter().map(|&c| Source::Channel(c as usize)).collect();
        let (channels, plane, len) = (self.shape(value)[1], self.plane(value), self.physical_len(value));
        let name = self.model.name(value);
        let place = self.emit(name, "Select", Kernel::Select { channels, plane, sources }, 0, vec![place], len);
        self.define(value, place);
    }

    fn add_node(&mut self, index: usize, node: &Node) -> Result<()> {
        if self.places[node.output.index()].is_some() {
            return Ok(()); // a Relu that its producer already applied
        }
        if self.compaction(node.output).is_some_and(|c| c.kept.is_empty()) {
            return Ok(());
        }
        let fused = self.fused_relu[index];
        let output = fused.unwrap_or(node.output);
        let relu = fused.is_some();
        let kept = self.compaction(node.output).map(|c| c.kept.as_slice());
        let len = self.physical_len(node.output);
        let name = node.name.as_str();
        let input = node.inputs.first().copied();
        match (&node.op, input) {
            (Op::Constant(constant), _) => self.define(output, Operand::Blob(constant.data)),
            (Op::Conv(conv), Some(x)) => {
                let kernel = self.conv(conv, x, node.output, relu);
                let macs = kernel.macs() * self.shape(x)[0];
                let kernel = Kernel::Conv { conv: kernel, weights: conv.weights, bias: conv.bias };
                let reads = vec![self.place_of(x)];
                let place = self.emit(name, if relu { "Conv+Relu" } else { "Conv" }, kernel, macs, reads, len);
                self.define(output, place);
            }
            (Op::Gemm(gemm), Some(x)) => {
                let features = self.compaction(x).map_or(gemm.features as usize, |c| c.kept.len());
                let columns = gemm.columns.iter(gemm.features as usize).map(|f| physical(self.compaction(x), f)).collect();
                let rows = self.compaction(node.output).map_or(gemm.rows as usize, |c| c.kept.len());
                let layer = FullyConnected::new(features, rows, columns, relu);
                let macs = layer.macs() * (len / rows);
                let kernel = Kernel::FullyConnected { layer, weights: gemm.weights, bias: gemm.bias };
                let reads = vec![self.place_of(x)];
                let place = self.emit(name, if relu { "Gemm+Relu" } else { "Gemm" }, kernel, macs, reads, len);
                self.define(output, place);
            }
            (Op::Relu, Some(x)) => {
                // Without an axis 1 there is nothing to choose from, and nothing is removed.
                let reads = vec![if self.shape(x).len() < 2 { self.place_of(x) } else { self.channels_of(x, kept) }];
                let place = self.emit(name, "Relu", Kernel::Relu, 0, reads, len);
                self.define(output, place);
            }
            (Op::MaxPool(pool), Some(x)) => {
                let kernel = Kernel::Pool(self.pool(&pool.window, x, node.output, Reduce::Max)?);
                let reads = vec![self.channels_of(x, kept)];
                let place = self.emit(name, "MaxPool", kernel, 0, reads, len);
                self.define(output, place);
            }
            (Op::AveragePool(pool), Some(x)) => {
                let [_, _, bottom, right] = self.padding(&pool.window, x);
                let reduce =
                    if pool.count_include_pad { Reduce::MeanWithPadding { pad_after: [bottom, right] } } else { Reduce::Mean };
                let kernel = Kernel::Pool(self.pool(&pool.window, x, node.output, reduce)?);
                let reads = vec![self.channels_of(x, kept)];
                let place = self.emit(name, "AveragePool", kernel, 0, reads, len);
                self.define(output, place);
            }
            (Op::GlobalAveragePool, Some(x)) => {
                let kernel = Kernel::GlobalAverage { plane: self.plane(x) };
                let reads = vec![self.channels_of(x, kept)];
                let place = self.emit(name, "GlobalAveragePool", kernel, 0, reads, len);
                self.define(output, place);
            }
            (Op::BatchNorm(norm), Some(x)) => {
                let channels = self.physical_channels(node.output);
                let found = self.model.graph().blobs[norm.scale.index()].len as usize;
                if found != channels {
                    return Err(Error::input("numbers of scale", channels, found));
                }
                let kernel = Kernel::ScaleShift { plane: self.plane(x), scale: norm.scale, shift: norm.shift };
                let reads = vec![self.channels_of(x, kept)];
                let place = self.emit(name, "BatchNormalization", kernel, 0, reads, len);
                self.define(output, place);
            }
            (Op::Lrn(lrn), Some(x)) => {
                let (channels, plane) = (self.shape(x)[1], self.plane(x));
                let format::Lrn { size, alpha, beta, bias } = *lrn;
                let kernel = Kernel::Lrn(Lrn { channels, plane, size: size as usize, alpha, beta, bias });
                let reads = vec![self.all_channels_of(x)];
                let len = self.shape(x).iter().product();
                let place = self.emit(name, "LRN", kernel, 0, reads, len);
                self.define_from_all(output, place);
            }
            (Op::Softmax(softmax), Some(x)) => {
                let (start, end) = (softmax.start as usize, softmax.end as usize);
                let shape = self.shape(x);
                let (axis, inner) = (shape[start..end].iter().product(), shape[end..].iter().product());
                let len = shape.iter().product();
                let reads = vec![self.all_channels_of(x)];
                let place = self.emit(name, "Softmax", Kernel::Softmax { axis, inner }, 0, reads, len);
                self.define_from_all(output, place);
            }
            (Op::Flatten(_) | Op::Reshape(_), Some(x)) => self.reshape(x, output),
            (Op::Concat(concat), _) => self.concat(name, node, concat.axis as usize),
            (Op::Add, _) => {
                let (a, b) = (node.inputs[0], node.inputs[1]);
                let op = if relu { "Add+Relu" } else { "Add" };
                if self.shape(a) == self.shape(b) && self.shape(a).len() >= 2 {
                    let kernel = Kernel::Add(Add::new(&[len], &[len], relu));
                    let reads = vec![self.channels_of(a, kept), self.channels_of(b, kept)];
                    let place = self.emit(name, op, kernel, 0, reads, len);
                    self.define(output, place);
                } else {
                    let kernel = Kernel::Add(Add::new(self.shape(a), self.shape(b), relu));
                    let reads = vec![self.all_channels_of(a), self.all_channels_of(b)];
                    let len = self.shape(node.output).iter().product();
                    let place = self.emit(name, op, kernel, 0, reads, len);
                    self.define_from_all(output, place);
                }
            }
            (op, input) => return Err(Error::new(ErrorKind::Input, format!("no kernel for {} on {input:?}", op.name()))),
        }
        Ok(())
    }

    fn padding(&self, window: &Window, x: ValueId) -> [usize; 4] {
        shape::resolve_padding(window, self.shape(x)[2], self.shape(x)[3])
    }

    fn geometry(&self, window: &Window, x: ValueId, output: ValueId) -> Geometry {
        let [top, left, ..] = self.padding(window, x);
        let (input, output) = (self.shape(x), self.shape(output));
        Geometry {
            channels: self.physical_channels(x),
            input: [input[2], input[3]],
            output: [output[2], output[3]],
            kernel: window.kernel.map(|n| n as usize),
            strides: window.strides.map(|n| n as usize),
            dilations: window.dilations.map(|n| n as usize),
            pad_before: [top, left],
        }
    }

    fn pool(&self, window: &Window, x: ValueId, output: ValueId, reduce: Reduce) -> Result<Pool> {
        let geometry = self.geometry(window, x, output);
        if !geometry.every_window_sees_input() {
            let found = format!("dilated windows that lie wholly in the padding of a {:?} input", geometry.input);
            return Err(Error::input("window", "at least one position of the input in every window", found));
        }
        Ok(Pool::new(geometry, reduce))
    }

    fn conv(&self, conv: &format::Conv, x: ValueId, output: ValueId, relu: bool) -> Conv {
        let [kernel_height, kernel_width] = conv.window.kernel.map(|n| n as usize);
        let taps = kernel_height * kernel_width;
        let (columns, channels) = (conv.columns_per_group(), (conv.channels / conv.group) as usize);
        let filters = conv.kept_filters(&self.model.graph().values[output.index()]);
        let group = |(g, (kept, filters)): (usize, (&format::Kept, usize))| Group {
            filters,
            // A group without filters stores no weights, so nothing in the file bounds the columns that it lists as kept.
            columns: kept
                .iter(if filters == 0 { 0 } else { columns })
                .map(|c| Column {
                    channel: physical(self.compaction(x), g * channels + c / taps),
                    kh: c % taps / kernel_width,
                    kw: c % kernel_width,
                })
                .collect(),
        };
        let groups = conv.columns.iter().zip(filters).enumerate().map(group).collect();
        Conv::new(self.geometry(&conv.window, x, output), groups, conv.taps.map(|t| self.model.blob(t)), relu)
    }

    /// Flatten and Reshape copy nothing where the removed channels fall out of the result in the same way.
    fn reshape(&mut self, x: ValueId, output: ValueId) {
        let (from, to) = (self.shape(x), self.shape(output));
        let same_channels = from.len() >= 2 && to.len() >= 2 && from[..2] == to[..2];
        let flattened = from.len() >= 2 && to.len() == 2 && from[0] == to[0];
        let run = if same_channels { 1 } else { self.plane(x) };
        let same_content = match (self.compaction(x), self.compaction(output)) {
            (None, None) => true,
            (Some(before), Some(after)) if same_channels || flattened => {
                let expected = before.kept.iter().flat_map(|&c| c as usize * run..(c as usize + 1) * run);
                after.kept.len() == before.kept.len() * run && expected.eq(after.kept.iter().map(|&c| c as usize))
            }
            _ => false,
        };
        if same_content {
            let place = self.place_of(x);
            self.define(output, place);
        } else {
            let place = if from.len() < 2 { self.place_of(x) } else { self.all_channels_of(x) };
            self.define_from_all(output, place);
        }
    }

    fn concat(&mut self, name: &str, node: &Node, axis: usize) {
        let kept = self.compaction(node.output).map(|c| c.kept.as_slice());
        let (mut reads, mut lens, mut first) = (Vec::new(), Vec::new(), 0);
        for &x in &node.inputs {
            let extent = self.shape(x)[axis];
            let wanted: Option<Vec<u32>> = match kept {
                Some(kept) if axis == 1 => {
                    let part =
                        kept.partition_point(|&c| (c as usize) < first)..kept.partition_point(|&c| (c as usize) < first + extent);
                    Some(kept[part].iter().map(|&c| c - first as u32).collect())
                }
                Some(kept) => Some(kept.to_vec()),
                None => None,
            };
            let channels = wanted.as_ref().map_or(self.shape(x).get(1).copied().unwrap_or(1), Vec::len);
            // An input that keeps all of its channels may not say so by a list.
            let all = wanted.as_ref().is_some_and(|w| w.len() == self.shape(x)[1]);
            let mut physical = self.shape(x).to_vec();
            if let Some(extent) = physical.get_mut(1) {
                *extent = channels;
            }
            lens.push(physical[axis..].iter().product());
            let rank = physical.len();
            reads.push(match (rank < 2, all) {
                (true, _) => self.place_of(x),
                (_, true) => self.all_channels_of(x),
                _ => self.channels_of(x, wanted.as_deref()),
            });
            first += extent;
        }
        let len = self.physical_len(node.output);
        let place = self.emit(name, "Concat", Kernel::Concat { lens }, 0, reads, len);
        self.define(node.output, place);
    }

    fn finish(self, options: &Options, outputs: &[Operand]) -> Result<Plan> {
        let graph = self.model.graph();
        let (places, arena_len) = arena::place(&self.buffers);
        let place = |operand: Operand| match operand {
            Operand::Buffer(b) => Place::Arena(places[b].clone()),
            Operand::Blob(id) => Place::Blob(id),
        };
        let binding = |value: ValueId, operand: Operand| Binding {
            name: self.model.name(value).to_owned(),
            shape: self.shapes[value.index()].clone(),
            place: place(operand),
        };
        let inputs = graph.inputs.iter().filter_map(|i| self.places[i.value.index()].map(|p| binding(i.value, p))).collect();
        let outputs = graph.outputs.iter().zip(outputs).map(|(&v, &o)| binding(v, o)).collect();
        let scratch = |step: &Step<Operand, usize>| match &step.kernel {
            Kernel::Conv { conv, .. } => conv.scratch_len(),
            Kernel::FullyConnected { layer, .. } => layer.scratch_len(self.buffers[step.write].len / layer.rows()),
            _ => 0,
        };
        let scratch_len = self.steps.iter().map(scratch).max().unwrap_or(0);
        let steps: Vec<Step> = self
            .steps
            .into_iter()
            .map(|s| Step {
                name: s.name,
                op: s.op,
                kernel: s.kernel,
                macs: s.macs,
                reads: s.reads.into_iter().map(place).collect(),
                write: places[s.write].clone(),
            })
            .collect();

        // Sessions allocate without a way to fail: ask here whether so much can be had at all.
        let lines = arena_len.div_ceil(Line::FLOATS) + scratch_len.div_ceil(Line::FLOATS);
        if let Err(e) = Vec::<Line>::new().try_reserve_exact(lines) {
            let what = format!("activations of {} MiB: {e}", (lines * size_of::<Line>()) >> 20);
            return Err(Error::new(ErrorKind::Resources, what));
        }
        let macs: usize = steps.iter().map(|s| s.macs).sum();
        let threads = match options.threads {
            Threads::Single => 1,
            Threads::Count(n) => n,
            Threads::Auto if macs < SHARE_FROM_MACS => 1,
            Threads::Auto => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let new_pool = || {
            let builder = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("sslm-{i}"));
            builder.build().map_err(|e| Error::new(ErrorKind::Resources, format!("a pool of {threads} threads: {e}")))
        };
        let pool = if threads > 1 { Some(new_pool()?) } else { None };
        let inner = Inner { model: self.model.clone(), steps, inputs, outputs, arena_len, scratch_len, pool };
        Ok(Plan { inner: Arc::new(inner) })
    }
}

/// The physical number of logical channel `channel`, which validation found to be kept.
fn physical(compaction: Option<&Compaction>, channel: usize) -> usize {
    compaction.map_or(channel, |c| c.kept.partition_point(|&k| (k as usize) < channel))
}

/// For each node that can apply a Relu itself and whose output only a Relu reads: that Relu's output.
fn fuse_relus(graph: &format::Graph) -> Vec<Option<ValueId>> {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); graph.values.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        node.inputs.iter().for_each(|v| readers[v.index()].push(i));
    }
    let kept = |v: ValueId| graph.values[v.index()].compaction.as_ref().map(|c| &c.kept);
    let relu = |node: &Node| {
        let can = matches!(node.op, Op::Conv(_) | Op::Gemm(_) | Op::Add);
        let [reader] = readers[node.output.index()][..] else { return None };
        let reader = &graph.nodes[reader];
        let fits =
            can && reader.op == Op::Relu && !graph.outputs.contains(&node.output) && kept(node.output) == kept(reader.output);
        fits.then_some(reader.output)
    };
    graph.nodes.iter().map(relu).collect()
}
