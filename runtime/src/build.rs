//! From nodes to steps: what is computed for each node, on which physical channels, and where every activation lies.
//!
//! A value's channels may be partly removed; operators are defined on all of them. Each operator's rule (in `operators`) says
//! which channels it wants to see, and [`Builder::channels_of`] provides just those, by a `Select` step where they differ from
//! what exists. Nodes whose output keeps no channel yield no step at all.

use crate::arena::{self, Buffer};
use crate::error::Result;
use crate::fuse::Fused;
use crate::model::Model;
use crate::operators;
use crate::step::{About, Place, Step};
use crate::work::{Described, Selection, Work};
use sslm_format::{BlobId, Compaction, Node, ValueId};
use sslm_kernels::channels::Source;
use std::collections::HashMap;

/// Steps with places for all that they read and write, for any backend.
pub(crate) struct Planned<'m> {
    pub(crate) steps: Vec<Step<Described<'m>>>,
    pub(crate) arena_len: usize,
}

/// Where a value lies while buffers have no addresses yet.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Operand {
    Buffer(usize),
    Blob(BlobId),
}

pub(crate) struct Builder<'m> {
    pub(crate) model: &'m Model,
    /// Logical shape of each value.
    shapes: Vec<Vec<usize>>,
    steps: Vec<Step<Described<'m>, Operand, usize>>,
    buffers: Vec<Buffer>,
    /// Where each value lies, with the channels that it keeps.
    pub(crate) places: Vec<Option<Operand>>,
    /// Where a value lies with other channels.
    selected: HashMap<(ValueId, Option<Vec<u32>>), Operand>,
}

impl<'m> Builder<'m> {
    /// For values of these shapes. `can_be_had` is asked whether there is room for so many numbers.
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
        let place = self.new_buffer(self.physical_len(value), 0);
        self.define(value, place);
        place
    }

    /// Appends the steps of all these nodes.
    pub(crate) fn add_all(&mut self, groups: &[Fused<'_>]) -> Result<()> {
        groups.iter().try_for_each(|group| self.add(group))
    }

    /// Appends the steps of a node and of what is fused into it.
    pub(crate) fn add(&mut self, group: &Fused<'_>) -> Result<()> {
        let Node { name, op, .. } = group.node;
        operators::add(self, group).map_err(|e| e.within(format!("node '{name}' ({})", op.name())))
    }

    /// Keeps what lies there to the end.
    pub(crate) fn keep(&mut self, place: Operand) {
        if let Operand::Buffer(b) = place {
            self.buffers[b].last = usize::MAX;
        }
    }

    /// What all steps cost, as [`About::work`] has it.
    pub(crate) fn work(&self) -> usize {
        self.steps.iter().map(|step| step.about.work()).sum()
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

    fn len_of(&self, operand: Operand) -> usize {
        match operand {
            Operand::Buffer(b) => self.buffers[b].len,
            Operand::Blob(id) => self.model.blob(id).len(),
        }
    }

    /// Appends a step and yields what it writes.
    pub(crate) fn emit(
        &mut self,
        name: &str,
        op: &str,
        work: Work<Described<'m>>,
        macs: usize,
        reads: Vec<Operand>,
        len: usize,
    ) -> Operand {
        let now = self.next_step();
        for read in &reads {
            if let Operand::Buffer(b) = read {
                self.buffers[*b].last = now;
            }
        }
        let parameters = work.parameters().into_iter().flatten().map(Operand::Blob);
        let numbers = reads.iter().copied().chain(parameters).map(|operand| self.len_of(operand)).sum::<usize>() + len;
        let place = self.new_buffer(len, now);
        let write = self.buffers.len() - 1;
        let about = About { name: name.to_owned(), op: op.to_owned(), macs, numbers };
        self.steps.push(Step { about, work, reads, write });
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
        self.emit(name, op, Work::Select(Selection { channels, plane, sources }), 0, vec![from], len)
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
        let place = self.emit(name, "Select", Work::Select(Selection { channels, plane, sources }), 0, vec![place], len);
        self.define(value, place);
    }

    /// Lets a convolution that is added to a residual add to it where it lies, if nothing else needs it any more.
    fn add_in_place(&mut self) {
        for (i, step) in self.steps.iter_mut().enumerate() {
            if let (Work::Conv { .. }, &[x, Operand::Buffer(residual)]) = (&step.work, &step.reads[..])
                && x != Operand::Buffer(residual)
                && self.buffers[residual].last == i + 1
            {
                self.buffers[step.write].takes_over = Some(residual);
                step.reads.truncate(1);
            }
        }
    }

    /// The steps with memory laid out for them, and where everything lies.
    pub(crate) fn finish(mut self) -> (Planned<'m>, impl Fn(Operand) -> Place) {
        self.add_in_place();
        let (places, arena_len) = arena::place(&self.buffers);
        let writes: Vec<_> = self.steps.iter().map(|s| places[s.write].clone()).collect();
        let place = move |operand: Operand| match operand {
            Operand::Buffer(b) => Place::Arena(places[b].clone()),
            Operand::Blob(id) => Place::Blob(id),
        };
        let placed = |(Step { about, work, reads, .. }, write): (Step<_, Operand, usize>, _)| Step {
            about,
            work,
            reads: reads.into_iter().map(&place).collect(),
            write,
        };
        let steps = self.steps.into_iter().zip(writes).map(placed).collect();
        (Planned { steps, arena_len }, place)
    }
}
