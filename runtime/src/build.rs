//! From a logical graph to the steps of a plan. Here it is decided which kernel runs each node, on which physical channels, and
//! where every activation lies.
//!
//! A value's channels may be partly removed; operators are defined on all of them. Each operator's rule (in `operators`) says
//! which channels it wants to see, and [`Builder::channels_of`] provides just those, by a `Select` step where they differ from
//! what exists. Nodes whose output keeps no channel yield no step at all.

use crate::arena::{self, Buffer};
use crate::error::{Error, ErrorKind, Result};
use crate::fuse::fuse;
use crate::memory::Memory;
use crate::model::Model;
use crate::operators;
use crate::options::{Methods, Options, Threads};
use crate::plan::{Binding, Inner, Plan};
use crate::step::{Kernel, Place, Step};
use sslm_format::{self as format, BlobId, Compaction, Node, ValueId, shape};
use sslm_kernels::channels::Source;
use sslm_kernels::{Isa, Team};
use std::collections::HashMap;
use std::sync::Arc;

const _: () = assert!(format::panels::ROWS == sslm_kernels::PANEL_ROWS, "the file's panels are the kernels'");

/// A step's work is shared by as many threads as get this much of it each, in multiply-accumulates: about a microsecond. Measured
/// on two Zen 5 cores, sharing costs 0.3 us: steps of 2 us become a sixth faster, those of 0.8 us slower.
const GRAIN: usize = 100_000;

/// Runs of less work stay on one thread under [`Threads::Auto`]: about 100 us. Waking helpers that fell asleep between runs costs
/// the caller 5 us, and they come so late that runs of 45 us gain nothing; at 80 us they gain a fifth, at 240 us a third.
const SHARE_FROM: usize = 100 * GRAIN;

pub(crate) fn plan(model: &Model, options: &Options) -> Result<Plan> {
    let threads = match options.threads {
        Threads::Single => 1,
        Threads::Count(n) => n.max(1),
        Threads::Auto => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let mut builder = build(model, options, threads)?;
    if options.threads == Threads::Auto && threads > 1 && builder.steps.iter().map(Step::work).sum::<usize>() < SHARE_FROM {
        builder = build(model, options, 1)?;
    }
    let plan = builder.finish()?;
    if let Methods::Tuned(tuning) = &options.methods {
        tuning.check(&plan)?;
    }
    Ok(plan)
}

/// All steps, for at most `threads` threads.
fn build<'m>(model: &'m Model, options: &'m Options, threads: usize) -> Result<Builder<'m>> {
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

    let isa = options.isa.unwrap_or_else(Isa::best);
    let groups = fuse(graph, &shapes);
    let mut builder = Builder::new(model, shapes, isa, threads, &options.methods);
    // Ask for the largest activation before tables are made whose size depends on it.
    let largest = (0..graph.values.len()).map(|i| builder.physical_len(ValueId(i as u32))).max().unwrap_or(0);
    can_be_had(largest)?;
    for input in &graph.inputs {
        let buffer = builder.new_buffer(builder.physical_len(input.value), 0);
        builder.define(input.value, buffer);
    }
    for fused in &groups {
        let Node { name, op, .. } = fused.node;
        operators::add(&mut builder, fused).map_err(|e| e.within(format!("node '{name}' ({})", op.name())))?;
    }
    for &value in &graph.outputs {
        let output = builder.all_channels_of(value);
        if let Operand::Buffer(b) = output {
            builder.buffers[b].last = usize::MAX;
        }
        builder.outputs.push(output);
    }
    Ok(builder)
}

/// Where a value lies while buffers have no addresses yet.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Operand {
    Buffer(usize),
    Blob(BlobId),
}

pub(crate) struct Builder<'m> {
    pub(crate) model: &'m Model,
    pub(crate) isa: Isa,
    pub(crate) threads: usize,
    pub(crate) methods: &'m Methods,
    /// Logical shape of each value.
    shapes: Vec<Vec<usize>>,
    steps: Vec<Step<Operand, usize>>,
    buffers: Vec<Buffer>,
    /// Where each value lies, with the channels that it keeps.
    pub(crate) places: Vec<Option<Operand>>,
    /// Where a value lies with other channels.
    selected: HashMap<(ValueId, Option<Vec<u32>>), Operand>,
    /// Where the network's outputs lie.
    outputs: Vec<Operand>,
}

impl<'m> Builder<'m> {
    fn new(model: &'m Model, shapes: Vec<Vec<usize>>, isa: Isa, threads: usize, methods: &'m Methods) -> Self {
        let places = vec![None; shapes.len()];
        let (steps, buffers, selected, outputs) = Default::default();
        Builder { model, isa, threads, methods, shapes, steps, buffers, places, selected, outputs }
    }

    /// Steps are numbered from 1: buffers of number 0 are filled before the first one.
    fn next_step(&self) -> usize {
        self.steps.len() + 1
    }

    fn new_buffer(&mut self, len: usize, step: usize) -> Operand {
        self.buffers.push(Buffer { len, first: step, last: step, takes_over: None });
        Operand::Buffer(self.buffers.len() - 1)
    }

    pub(crate) fn define(&mut self, value: ValueId, place: Operand) {
        self.places[value.index()] = Some(place);
    }

    pub(crate) fn compaction(&self, value: ValueId) -> Option<&'m Compaction> {
        self.model.graph().values[value.index()].compaction.as_ref()
    }

    pub(crate) fn shape(&self, value: ValueId) -> &[usize] {
        &self.shapes[value.index()]
    }

    /// Numbers of one channel.
    pub(crate) fn plane(&self, value: ValueId) -> usize {
        self.shape(value).iter().skip(2).product()
    }

    /// Channels that physically exist.
    pub(crate) fn physical_channels(&self, value: ValueId) -> usize {
        self.compaction(value).map_or_else(|| self.shape(value).get(1).copied().unwrap_or(1), |c| c.kept.len())
    }

    pub(crate) fn physical_len(&self, value: ValueId) -> usize {
        match self.compaction(value) {
            None => self.shape(value).iter().product(),
            Some(c) => self.shape(value)[0] * c.kept.len() * self.plane(value),
        }
    }

    /// The place of `value` as it is; empty if nothing of it exists.
    pub(crate) fn place_of(&mut self, value: ValueId) -> Operand {
        match self.places[value.index()] {
            Some(place) => place,
            None => {
                let empty = self.new_buffer(0, self.next_step());
                self.define(value, empty);
                empty
            }
        }
    }

    /// How many threads share so much work, in multiply-accumulates.
    pub(crate) fn threads_for(&self, work: usize) -> usize {
        (work / GRAIN).clamp(1, self.threads)
    }

    fn len_of(&self, operand: Operand) -> usize {
        match operand {
            Operand::Buffer(b) => self.buffers[b].len,
            Operand::Blob(id) => self.model.blob(id).len(),
        }
    }

    /// Appends a step and yields what it writes.
    pub(crate) fn emit(&mut self, name: &str, op: &str, kernel: Kernel, macs: usize, reads: Vec<Operand>, len: usize) -> Operand {
        let now = self.next_step();
        for read in &reads {
            if let Operand::Buffer(b) = read {
                self.buffers[*b].last = now;
            }
        }
        let parameters = kernel.parameters().into_iter().flatten().map(Operand::Blob);
        let numbers = reads.iter().copied().chain(parameters).map(|operand| self.len_of(operand)).sum::<usize>() + len;
        let place = self.new_buffer(len, now);
        let write = self.buffers.len() - 1;
        let mut step = Step { name: name.to_owned(), op: op.to_owned(), kernel, macs, numbers, threads: 1, reads, write };
        step.threads = self.threads_for(step.work());
        self.steps.push(step);
        place
    }

    /// `value` with exactly the channels `wanted` (`None`: all), removed ones filled with their constants.
    pub(crate) fn channels_of(&mut self, value: ValueId, wanted: Option<&[u32]>) -> Operand {
        let have = self.compaction(value);
        if have.map(|c| c.kept.as_slice()) == wanted {
            return self.place_of(value);
        }
        let key = (value, wanted.map(<[u32]>::to_vec));
        if let Some(&place) = self.selected.get(&key) {
            return place;
        }
        let place = match wanted {
            Some(wanted) => self.select(self.model.name(value), "Select", value, wanted.iter().map(|&c| c as usize)),
            None => self.select(self.model.name(value), "Select", value, 0..self.shape(value)[1]),
        };
        self.selected.insert(key, place);
        place
    }

    /// The given channels of `value`, in the given order.
    pub(crate) fn select(&mut self, name: &str, op: &str, value: ValueId, wanted: impl Iterator<Item = usize>) -> Operand {
        let mut physical = 0;
        let source = |constant: Option<f32>| match constant {
            Some(constant) => Source::Constant(constant),
            None => {
                physical += 1;
                Source::Channel(physical - 1)
            }
        };
        let sources: Vec<Source> = match self.compaction(value) {
            Some(c) => {
                let all: Vec<Source> = c.constant_of().into_iter().map(source).collect();
                wanted.map(|c| all[c]).collect()
            }
            None => wanted.map(Source::Channel).collect(),
        };
        if sources.is_empty() {
            return self.new_buffer(0, self.next_step());
        }
        let from = self.place_of(value);
        let (channels, plane) = (self.physical_channels(value), self.plane(value));
        let len = self.shape(value)[0] * sources.len() * plane;
        self.emit(name, op, Kernel::Select { channels, plane, sources }, 0, vec![from], len)
    }

    pub(crate) fn all_channels_of(&mut self, value: ValueId) -> Operand {
        self.channels_of(value, None)
    }

    /// Defines `value`, all channels of which `place` holds, by those that it keeps.
    pub(crate) fn define_from_all(&mut self, value: ValueId, place: Operand) {
        let Some(c) = self.compaction(value) else { return self.define(value, place) };
        let sources: Vec<Source> = c.kept.iter().map(|&c| Source::Channel(c as usize)).collect();
        let (channels, plane, len) = (self.shape(value)[1], self.plane(value), self.physical_len(value));
        let name = self.model.name(value);
        let place = self.emit(name, "Select", Kernel::Select { channels, plane, sources }, 0, vec![place], len);
        self.define(value, place);
    }

    /// Lets a convolution that is added to a residual add to it where it lies, if nothing else needs it any more.
    fn add_in_place(&mut self) {
        for (i, step) in self.steps.iter_mut().enumerate() {
            if let (Kernel::Conv { .. }, &[x, Operand::Buffer(residual)]) = (&step.kernel, &step.reads[..])
                && x != Operand::Buffer(residual)
                && self.buffers[residual].last == i + 1
            {
                self.buffers[step.write].takes_over = Some(residual);
                step.reads.truncate(1);
            }
        }
    }

    fn finish(mut self) -> Result<Plan> {
        self.add_in_place();
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
        let outputs = graph.outputs.iter().zip(&self.outputs).map(|(&v, &o)| binding(v, o)).collect();
        let scratch = |step: &Step<Operand, usize>| match &step.kernel {
            Kernel::Conv { conv, .. } => conv.scratch_len(),
            Kernel::Pool(pool) => pool.scratch_len(),
            Kernel::FullyConnected { layer, .. } => layer.scratch_len(),
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
                numbers: s.numbers,
                threads: s.threads,
                reads: s.reads.into_iter().map(place).collect(),
                write: places[s.write].clone(),
            })
            .collect();

        // Sessions have no way to fail: ask here whether so much can be had at all.
        can_be_had(arena_len.saturating_add(scratch_len))?;
        let threads = self.threads;
        let no_team = |e| Error::new(ErrorKind::Resources, format!("{threads} threads: {e}"));
        let team = if threads > 1 { Some(Team::new(threads).map_err(no_team)?) } else { None };
        let inner = Inner { model: self.model.clone(), steps, inputs, outputs, arena_len, scratch_len, isa: self.isa, team };
        Ok(Plan { inner: Arc::new(inner) })
    }
}

/// Whether memory for so many numbers can be had.
fn can_be_had(numbers: usize) -> Result<()> {
    Memory::new(numbers).map(drop).map_err(|e| {
        let what = format!("activations of {} MiB: {e}", numbers.saturating_mul(size_of::<f32>()) >> 20);
        Error::new(ErrorKind::Resources, what)
    })
}
