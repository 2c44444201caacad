//! From nodes to steps: what is computed for each node, on which physical channels, and where every activation lies.
//!
//! A value's channels may be partly removed; operators are defined on all of them. Each operator's rule says
//! which channels it wants to see, and [`Builder::channels_of`] provides just those, by a `Select` step where they differ from
//! what exists. Nodes whose output keeps no channel yield no step at all.

use super::Steps;
use super::arena::{self, Buffer};
use crate::error::Result;
use crate::model::Model;
use crate::step::{About, Place, Step};
use sslm_format::{BlobId, Compaction, ValueId};
use sslm_kernels::Task;
use sslm_kernels::channels::{SelectTask, Source};
use std::collections::HashMap;
use std::ops::Range;

/// Memory that has no address yet.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct BufferId(usize);

/// Where a value lies while buffers have no addresses yet.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Operand {
    Buffer(BufferId),
    Blob(BlobId),
}

/// What becomes a [`Step`] when memory is laid out.
struct Draft<'m> {
    about: About,
    task: Box<dyn Task + 'm>,
    reads: Vec<Operand>,
    parameters: Vec<BlobId>,
    write: BufferId,
    adds: bool,
}

/// A step to be added.
pub(crate) struct Emit<'a, 'm> {
    pub(crate) name: &'a str,
    /// What runs, in ONNX's words.
    pub(crate) op: &'a str,
    /// The index in the graph of the node that it computes.
    pub(crate) node: Option<usize>,
    pub(crate) task: Box<dyn Task + 'm>,
    pub(crate) macs: usize,
    pub(crate) reads: Vec<Operand>,
    pub(crate) parameters: Vec<BlobId>,
    /// Whether the second of what it reads is what its output starts from, and may lie there already.
    pub(crate) adds: bool,
    /// Elements that it yields.
    pub(crate) len: usize,
}

impl<'a, 'm> Emit<'a, 'm> {
    /// A step of a task without products and parameters.
    pub(crate) fn new(name: &'a str, op: &'a str, task: impl Task + 'm, reads: Vec<Operand>, len: usize) -> Self {
        let parameters = Vec::new();
        Emit { name, op, node: None, task: Box::new(task), macs: 0, reads, parameters, adds: false, len }
    }
}

/// Where everything lies.
pub(crate) struct Places(Vec<Range<usize>>);

impl Places {
    pub(crate) fn of_buffer(&self, BufferId(buffer): BufferId) -> Range<usize> {
        self.0[buffer].clone()
    }

    pub(crate) fn of(&self, operand: Operand) -> Place {
        match operand {
            Operand::Buffer(buffer) => Place::Arena(self.of_buffer(buffer)),
            Operand::Blob(id) => Place::Blob(id),
        }
    }
}

pub(crate) struct Builder<'m> {
    pub(crate) model: &'m Model,
    /// Logical shape of each value.
    shapes: Vec<Vec<usize>>,
    steps: Vec<Draft<'m>>,
    buffers: Vec<Buffer>,
    /// Where each value lies, with the channels that it keeps.
    places: Vec<Option<Operand>>,
    /// Where a value lies with other channels.
    selected: HashMap<(ValueId, Option<Vec<u32>>), Operand>,
}

impl<'m> Builder<'m> {
    /// For values of these shapes. `can_be_had` is asked whether there is room for so many elements.
    ///
    /// # Errors
    /// If there is none for the largest value: better now than after tables were made whose size depends on it.
    pub(crate) fn new(model: &'m Model, shapes: Vec<Vec<usize>>, can_be_had: fn(usize) -> Result<()>) -> Result<Self> {
        let places = vec![None; shapes.len()];
        let (steps, buffers, selected) = Default::default();
        let builder = Builder { model, shapes, steps, buffers, places, selected };
        let largest = (0..builder.places.len()).map(|i| builder.physical_len(ValueId(i as u32))).max().unwrap_or(0);
        can_be_had(largest)?;
        Ok(builder)
    }

    /// Makes room for a value that is there before the first step.
    pub(crate) fn given(&mut self, value: ValueId) -> Operand {
        Operand::Buffer(self.room_for(value))
    }

    /// As [`Self::given`].
    pub(crate) fn room_for(&mut self, value: ValueId) -> BufferId {
        let buffer = self.new_buffer(self.physical_len(value), 0);
        self.define(value, Operand::Buffer(buffer));
        buffer
    }

    /// Keeps what lies there to the end.
    pub(crate) fn keep(&mut self, place: Operand) {
        if let Operand::Buffer(BufferId(buffer)) = place {
            self.buffers[buffer].last = usize::MAX;
        }
    }

    /// What all steps cost, as [`About::work`] has it.
    pub(crate) fn work(&self) -> usize {
        self.steps.iter().map(|step| step.about.work()).sum()
    }

    /// Steps count from 1: what is there at 0 is filled before the first one.
    fn next_step(&self) -> usize {
        self.steps.len() + 1
    }

    fn new_buffer(&mut self, len: usize, step: usize) -> BufferId {
        self.buffers.push(Buffer { len, first: step, last: step, takes_over: None });
        BufferId(self.buffers.len() - 1)
    }

    pub(crate) fn define(&mut self, value: ValueId, place: Operand) {
        self.places[value.index()] = Some(place);
    }

    pub(crate) fn compaction(&self, value: ValueId) -> Option<&'m Compaction> {
        self.model.graph().values[value.index()].compaction.as_ref()
    }

    /// Logical shapes of all values.
    pub(crate) fn shapes(&self) -> &[Vec<usize>] {
        &self.shapes
    }

    pub(crate) fn shape(&self, value: ValueId) -> &[usize] {
        &self.shapes[value.index()]
    }

    /// Elements of one channel.
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
                let empty = self.empty();
                self.define(value, empty);
                empty
            }
        }
    }

    /// A place for nothing.
    fn empty(&mut self) -> Operand {
        Operand::Buffer(self.new_buffer(0, self.next_step()))
    }

    fn len_of(&self, operand: Operand) -> usize {
        match operand {
            Operand::Buffer(BufferId(buffer)) => self.buffers[buffer].len,
            Operand::Blob(id) => self.model.blob(id).len(),
        }
    }

    /// Appends a step and yields what it writes.
    pub(crate) fn emit(&mut self, emit: Emit<'_, 'm>) -> Operand {
        let Emit { name, op, node, task, macs, reads, parameters, adds, len } = emit;
        let now = self.next_step();
        for read in &reads {
            if let Operand::Buffer(BufferId(buffer)) = *read {
                self.buffers[buffer].last = now;
            }
        }
        let of_parameters = parameters.iter().copied().map(Operand::Blob);
        let elements = reads.iter().copied().chain(of_parameters).map(|operand| self.len_of(operand)).sum::<usize>() + len;
        let write = self.new_buffer(len, now);
        let about = About { name: name.to_owned(), op: op.to_owned(), node, kind: task.kind(), macs, elements };
        self.steps.push(Draft { about, task, reads, parameters, write, adds });
        Operand::Buffer(write)
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
            return self.empty();
        }
        let from = self.place_of(value);
        let (channels, plane) = (self.physical_channels(value), self.plane(value));
        let len = self.shape(value)[0] * sources.len() * plane;
        self.emit(Emit::new(name, op, SelectTask { channels, plane, sources }, vec![from], len))
    }

    pub(crate) fn all_channels_of(&mut self, value: ValueId) -> Operand {
        self.channels_of(value, None)
    }

    /// Defines `value`, all channels of which `place` holds, by those that it keeps.
    pub(crate) fn define_from_all(&mut self, value: ValueId, place: Operand) {
        let Some(c) = self.compaction(value) else { return self.define(value, place) };
        let sources: Vec<Source> = c.kept.iter().map(|&c| Source::Channel(c as usize)).collect();
        let (channels, plane, len) = (self.shape(value)[1], self.plane(value), self.physical_len(value));
        let (name, task) = (self.model.name(value), SelectTask { channels, plane, sources });
        let place = self.emit(Emit::new(name, "Select", task, vec![place], len));
        self.define(value, place);
    }

    /// Lets a step that adds to a tensor do so where that lies, if nothing else needs it any more.
    fn add_in_place(&mut self) {
        for (i, step) in self.steps.iter_mut().enumerate() {
            if let (true, &[x, Operand::Buffer(residual)]) = (step.adds, &step.reads[..])
                && x != Operand::Buffer(residual)
                && self.buffers[residual.0].last == i + 1
            {
                self.buffers[step.write.0].takes_over = Some(residual.0);
                step.reads.truncate(1);
            }
        }
    }

    /// The steps with memory laid out for them, and where everything lies.
    pub(crate) fn finish(mut self) -> (Steps<'m>, Places) {
        self.add_in_place();
        let (places, arena_len) = arena::place(&self.buffers);
        let places = Places(places);
        let placed = |Draft { about, task, reads, parameters, write, .. }| {
            let reads = reads.into_iter().map(|operand| places.of(operand)).collect();
            Step { about, task, reads, parameters, write: places.of_buffer(write) }
        };
        let steps = self.steps.into_iter().map(placed).collect();
        (Steps { steps, arena_len }, places)
    }
}
