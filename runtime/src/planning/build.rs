//! From nodes to steps: what is computed for each node, on which physical channels, and where every activation lies.
//!
//! A value's channels may be partly removed; operators are defined on all of them. Each operator's rule says
//! which channels it wants to see, and [`Builder::channels_of`] provides just those, by a `Select` step where they differ from
//! what exists. Nodes whose output keeps no channel yield no step at all.

use super::Steps;
use super::arena::{self, Buffer};
use super::layouts::{self, LayoutRules, Site};
use crate::error::Result;
use crate::limits::Meter;
use crate::model::Model;
use crate::step::{About, Place, Step};
use sslm_format::{BlobId, Compaction, ValueId};
use sslm_kernels::Task;
use sslm_kernels::channels::{SelectTask, Source};
use sslm_kernels::layout::{Extents, Layout, Layouts};
use sslm_kernels::reorder::ReorderTask;
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
    layouts: Layouts,
    /// The sizes of what it writes, if that lies in blocks.
    blocks: Option<Extents>,
    /// As [`Step::listed`].
    listed: usize,
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
    /// What the plan may take.
    meter: &'m Meter,
    /// Bytes counted of lists that no step has yet.
    listed: usize,
}

impl<'m> Builder<'m> {
    /// For values of these shapes. `can_be_had` is asked whether there is room for so many elements.
    ///
    /// # Errors
    /// If there is none for the largest value: better now than after tables were made whose size depends on it.
    pub(crate) fn new(
        model: &'m Model,
        shapes: Vec<Vec<usize>>,
        can_be_had: fn(usize) -> Result<()>,
        meter: &'m Meter,
    ) -> Result<Self> {
        let places = vec![None; shapes.len()];
        let (steps, buffers, selected) = Default::default();
        let builder = Builder { model, shapes, steps, buffers, places, selected, meter, listed: 0 };
        let largest = (0..builder.places.len()).map(|i| builder.physical_len(ValueId(i as u32))).max().unwrap_or(0);
        meter.expect_room(largest.saturating_mul(size_of::<f32>()), "the largest tensor")?;
        can_be_had(largest)?;
        Ok(builder)
    }

    /// Counts the most bytes of a list that a step is about to make.
    ///
    /// # Errors
    /// If the plan may not take so many.
    pub(crate) fn list(&mut self, bytes: usize) -> Result<()> {
        self.meter.take(bytes, "lists of positions")?;
        self.listed = self.listed.saturating_add(bytes);
        Ok(())
    }

    /// How many steps there are so far.
    pub(crate) fn step_count(&self) -> usize {
        self.steps.len()
    }

    /// The last of the steps of a node, which are those from `first` on, has the lists that were counted for them: what kernels keep of
    /// lists, they count themselves.
    pub(crate) fn settle_lists(&mut self, first: usize) {
        let listed = std::mem::take(&mut self.listed);
        match self.steps[first..].last_mut() {
            Some(step) => step.listed = listed,
            None => self.meter.give_back(listed),
        }
    }

    /// # Errors
    /// If preparing has taken too long.
    pub(crate) fn expect_time(&self) -> Result<()> {
        self.meter.expect_time()
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

    /// What all steps take together, as [`About::counted`] has it.
    pub(crate) fn counted(&self) -> usize {
        self.steps.iter().fold(0, |sum, step| sum.saturating_add(step.about.counted()))
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
                let empty = self.nothing();
                self.define(value, empty);
                empty
            }
        }
    }

    /// A place for nothing.
    pub(crate) fn nothing(&mut self) -> Operand {
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
        let about = About {
            name: name.to_owned(),
            op: op.to_owned(),
            node,
            kind: task.kind(),
            macs,
            operations: task.operations(len),
            elements,
        };
        self.steps.push(Draft { about, task, reads, parameters, write, adds, layouts: Layouts::PLANES, blocks: None, listed: 0 });
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
            return self.nothing();
        }
        let from = self.place_of(value);
        let (channels, plane) = (self.physical_channels(value), self.plane(value));
        let images = self.shape(value)[0];
        let len = images * sources.len() * plane;
        self.emit(Emit::new(name, op, SelectTask { images, channels, plane, sources }, vec![from], len))
    }

    pub(crate) fn all_channels_of(&mut self, value: ValueId) -> Operand {
        self.channels_of(value, None)
    }

    /// Defines `value`, all channels of which `place` holds, by those that it keeps.
    pub(crate) fn define_from_all(&mut self, value: ValueId, place: Operand) {
        let Some(c) = self.compaction(value) else { return self.define(value, place) };
        let sources: Vec<Source> = c.kept.iter().map(|&c| Source::Channel(c as usize)).collect();
        let (channels, plane, len) = (self.shape(value)[1], self.plane(value), self.physical_len(value));
        let images = self.shape(value)[0];
        let (name, task) = (self.model.name(value), SelectTask { images, channels, plane, sources });
        let place = self.emit(Emit::new(name, "Select", task, vec![place], len));
        self.define(value, place);
    }

    /// What all steps compute, with the index of the node that each one is of.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = (Option<usize>, &dyn Task)> {
        self.steps.iter().map(|step| (step.about.node, &*step.task as &dyn Task))
    }

    /// Chooses layouts of activations by what a backend says of them, and adds the steps that convert them.
    pub(crate) fn choose_layouts(&mut self, rules: &dyn LayoutRules) {
        let site = |step: &Draft<'m>| {
            let id = |read: &Operand| if let Operand::Buffer(BufferId(id)) = read { Some(*id) } else { None };
            let reads = step.reads.iter().map(id).collect();
            Site { forms: rules.forms(&*step.task, step.about.node), reads, write: step.write.0 }
        };
        let sites: Vec<Site> = self.steps.iter().map(site).collect();
        let keeps: Vec<bool> = self.buffers.iter().map(|buffer| buffer.last == usize::MAX).collect();
        let lens: Vec<usize> = self.buffers.iter().map(|buffer| buffer.len).collect();
        let Some(chosen) = layouts::choose(&sites, &lens, &keeps, rules) else { return };
        // Where each activation lies as planes and as blocks, as soon as it does. What no step writes is given as planes.
        let mut held: Vec<[Option<BufferId>; 2]> = (0..lens.len()).map(|id| [Some(BufferId(id)), None]).collect();
        sites.iter().for_each(|site| held[site.write] = [None; 2]);
        for (mut step, &layouts) in std::mem::take(&mut self.steps).into_iter().zip(&chosen.layouts) {
            for (i, read) in step.reads.iter_mut().enumerate() {
                let wanted = layouts.of_read(i);
                if let Operand::Buffer(BufferId(id)) = *read
                    && let Some(extents) = chosen.extents[id]
                {
                    *read = Operand::Buffer(self.convert(&step.about.name, id, extents, wanted, &mut held[id], rules));
                }
            }
            let BufferId(id) = step.write;
            let blocks = chosen.extents[id].filter(|_| layouts.writes == Layout::Blocks);
            if let Some(extents) = blocks {
                step.write = self.new_buffer(rules.len(extents, Layout::Blocks), 0);
                held[id][1] = Some(step.write);
            } else {
                held[id][0] = Some(step.write);
            }
            let name = step.about.name.clone();
            self.steps.push(Draft { layouts, blocks, ..step });
            if let (true, Some(extents)) = (keeps[id], chosen.extents[id]) {
                self.convert(&name, id, extents, Layout::Planes, &mut held[id], rules);
            }
        }
        self.find_lives(&keeps);
    }

    /// The buffer that holds activation `id` in the layout that is wanted, by a step that converts it if there is none yet.
    fn convert(
        &mut self,
        name: &str,
        id: usize,
        extents: Extents,
        to: Layout,
        held: &mut [Option<BufferId>; 2],
        rules: &dyn LayoutRules,
    ) -> BufferId {
        let [wanted, other] = if to == Layout::Planes { [0, 1] } else { [1, 0] };
        if let Some(buffer) = held[wanted] {
            return buffer;
        }
        let from = held[other].expect("written before it is read");
        let write = if to == Layout::Planes { BufferId(id) } else { self.new_buffer(rules.len(extents, to), 0) };
        let task = ReorderTask { extents, to };
        let elements = self.buffers[from.0].len + self.buffers[write.0].len;
        let about = About {
            name: name.to_owned(),
            op: "Reorder".to_owned(),
            node: None,
            kind: task.kind(),
            macs: 0,
            operations: 0,
            elements,
        };
        let (reads, parameters, layouts) = (vec![Operand::Buffer(from)], Vec::new(), Layouts::PLANES);
        let blocks = (to == Layout::Blocks).then_some(extents);
        self.steps.push(Draft { about, task: Box::new(task), reads, parameters, write, adds: false, layouts, blocks, listed: 0 });
        held[wanted] = Some(write);
        write
    }

    /// From when to when each buffer must exist, by the steps as they are now. What no step writes or reads takes no room, if it was
    /// not there before the first one.
    fn find_lives(&mut self, keeps: &[bool]) {
        let given: Vec<bool> = self.buffers.iter().map(|buffer| buffer.first == 0).collect();
        let mut written = vec![false; self.buffers.len()];
        for (i, step) in self.steps.iter().enumerate() {
            let buffer = &mut self.buffers[step.write.0];
            (buffer.first, buffer.last) = (i + 1, i + 1);
            written[step.write.0] = true;
            for read in &step.reads {
                if let Operand::Buffer(BufferId(read)) = *read {
                    self.buffers[read].last = i + 1;
                }
            }
        }
        for (id, buffer) in self.buffers.iter_mut().enumerate() {
            if keeps.get(id) == Some(&true) {
                buffer.last = usize::MAX;
            }
            if !written[id] && !given[id] {
                buffer.len = 0;
            }
        }
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
        let placed = |Draft { about, task, reads, parameters, write, layouts, blocks, listed, .. }| {
            let reads = reads.into_iter().map(|operand| places.of(operand)).collect();
            Step { about, task, reads, parameters, write: places.of_buffer(write), layouts, blocks, listed }
        };
        let steps = self.steps.into_iter().map(placed).collect();
        (Steps { steps, arena_len }, places)
    }
}
