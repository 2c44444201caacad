//! Plans that the CPU runs: which kernel computes each step, with which instructions and how many threads.

use crate::build::Planned;
use crate::error::{Error, ErrorKind, Result};
use crate::map::Line;
use crate::memory::Memory;
use crate::model::Model;
use crate::options::{Methods, Options};
use crate::plan::{Binding, StepInfo};
use crate::prepare::{Drafted, DraftedImages};
use crate::step::{Place, Step};
use crate::tensor::TensorView;
use crate::work::{Convolution, Form, Pooling, Prepare, RebuiltAxis, Selection, Work};
use sslm_format::BlobId;
use sslm_kernels::axis::{self, Remap};
use sslm_kernels::channels;
use sslm_kernels::conv::PreparedConv;
use sslm_kernels::elementwise;
use sslm_kernels::fully_connected::{self, PreparedGemm};
use sslm_kernels::normalize;
use sslm_kernels::pool::{self, Pool};
use sslm_kernels::{Exec, Isa, Team, Threading};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A step's work is shared by as many threads as get this much of it each, in multiply-accumulates: about a microsecond. Measured
/// on two Zen 5 cores, sharing costs 0.3 us: steps of 2 us become a sixth faster, those of 0.8 us slower.
const GRAIN: usize = 100_000;

/// The kernels of the CPU, and what they are prepared for.
pub(crate) struct Cpu {
    isa: Isa,
    threads: usize,
    methods: Methods,
}

/// A convolution and whether its method was measured to be fastest.
pub(crate) struct Prepared {
    pub(crate) conv: Box<PreparedConv>,
    /// Number of the node in the graph.
    pub(crate) node: usize,
    timed: bool,
}

impl Form for Cpu {
    type Conv = Prepared;
    type FullyConnected = PreparedGemm;
    type Pool = Pool;
    type Select = Selection;
    type Remap = Remap;
}

impl Cpu {
    /// How many threads share so much work, in multiply-accumulates.
    fn threads_for(&self, work: usize) -> usize {
        (work / GRAIN).clamp(1, self.threads)
    }
}

impl Prepare for Cpu {
    fn conv(&mut self, conv: Convolution<'_>) -> Result<Prepared> {
        let Convolution { layer, macs, node, .. } = conv;
        let threads = self.threads_for(macs);
        let (method, timed) = self.methods.of(node);
        let conv = match method {
            None => PreparedConv::new(layer, self.isa, threads),
            Some(method) => PreparedConv::with_method(layer, self.isa, threads, method),
        };
        Ok(Prepared { conv: Box::new(conv), node, timed })
    }

    fn fully_connected(&mut self, layer: fully_connected::GemmTask, _: [BlobId; 2]) -> Result<PreparedGemm> {
        Ok(PreparedGemm::new(layer, self.isa, self.threads))
    }

    fn pool(&mut self, Pooling { geometry, reduce, activation }: Pooling) -> Result<Pool> {
        Ok(Pool::new(geometry, reduce, activation, self.threads))
    }

    fn select(&mut self, selection: Selection) -> Result<Selection> {
        Ok(selection)
    }

    fn remap(&mut self, RebuiltAxis { extent, inner, sources }: RebuiltAxis) -> Result<Remap> {
        Ok(Remap::new(extent, inner, &sources))
    }
}

/// All that sessions share.
pub(crate) struct Program {
    /// What comes first, where a batch begins image by image.
    images: Option<Images>,
    /// Of the whole batch.
    rest: Steps,
    pub(crate) isa: Isa,
    /// Absent where everything runs on the caller's thread.
    team: Option<Team>,
}

/// Steps with memory laid out for them.
struct Steps {
    steps: Vec<Shared>,
    arena_len: usize,
    scratch_len: usize,
}

/// A step and how many threads share it.
pub(crate) struct Shared {
    pub(crate) step: Step<Cpu>,
    threads: usize,
}

/// What is computed image by image, on threads that take images of their own.
struct Images {
    /// For one image.
    steps: Steps,
    batch: usize,
    /// Images that each thread takes; the last one perhaps fewer.
    each: usize,
    /// Threads that take images.
    lanes: usize,
    /// What it yields: where that lies in the image's arena, and where that of all images lies in the batch's arena.
    one: Range<usize>,
    all: Range<usize>,
}

impl Images {
    /// Numbers of memory that a thread computes in.
    fn lane_len(&self) -> usize {
        self.steps.arena_len.next_multiple_of(Line::FLOATS) + self.steps.scratch_len.next_multiple_of(Line::FLOATS)
    }

    /// Numbers of memory that all threads compute in.
    fn memory_len(&self) -> usize {
        self.lanes.saturating_mul(self.lane_len())
    }
}

impl Program {
    /// For `threads` threads at most.
    pub(crate) fn new(Drafted { images, rest }: Drafted<'_>, options: &Options, threads: usize) -> Result<Self> {
        let isa = options.isa.unwrap_or_else(Isa::best);
        let cpu = |threads| Cpu { isa, threads, methods: options.methods.clone() };
        let of_batch = cpu(threads);
        let images = match images {
            None => None,
            Some(DraftedImages { one: planned, batch, work, yields: [one, all] }) => {
                let lanes = of_batch.threads_for(work).min(batch);
                Some(Images { steps: Steps::new(planned, cpu(1))?, batch, each: batch.div_ceil(lanes), lanes, one, all })
            }
        };
        let rest = Steps::new(rest, of_batch)?;
        let program = Program { images, rest, isa, team: None };
        // Sessions take their memory when they first run: say now if there is none.
        can_be_had(program.session_len())?;
        let no_team = |e| Error::new(ErrorKind::Resources, format!("cannot start {threads} threads: {e}"));
        let team = if threads > 1 { Some(Team::new(threads).map_err(no_team)?) } else { None };
        Ok(Program { team, ..program })
    }

    /// In the order in which they run.
    pub(crate) fn steps(&self) -> impl ExactSizeIterator<Item = &Shared> {
        let images = self.images.as_ref().map_or(&[][..], |images| &images.steps.steps);
        let count = images.len();
        (0..count + self.rest.steps.len()).map(move |i| if i < count { &images[i] } else { &self.rest.steps[i - count] })
    }

    /// What reports say of step number `i`.
    pub(crate) fn info(&self, i: usize) -> StepInfo<'_> {
        match &self.images {
            Some(images) if i < images.steps.steps.len() => {
                let info = images.steps.steps[i].info();
                let (macs, bytes) = (info.macs * images.batch, info.bytes * images.batch);
                StepInfo { macs, bytes, threads: images.lanes, by_image: true, ..info }
            }
            Some(images) => self.rest.steps[i - images.steps.steps.len()].info(),
            None => self.rest.steps[i].info(),
        }
    }

    /// Numbers of memory that each session owns.
    pub(crate) fn session_len(&self) -> usize {
        let of_images = self.images.as_ref().map_or(0, Images::memory_len);
        self.rest.arena_len.saturating_add(self.rest.scratch_len).saturating_add(of_images)
    }

    /// Threads that a run uses at most.
    pub(crate) fn threads(&self) -> usize {
        self.team.as_ref().map_or(1, Team::threads)
    }
}

impl Steps {
    fn new(planned: Planned<'_>, mut cpu: Cpu) -> Result<Self> {
        let mut prepare = |Step { about, work, reads, write }: Step<_>| {
            let step = Step { work: work.prepare(&mut cpu)?, about, reads, write };
            Ok(Shared { threads: cpu.threads_for(step.about.work()), step })
        };
        let steps: Vec<Shared> = planned.steps.into_iter().map(&mut prepare).collect::<Result<_>>()?;
        let scratch_len = steps.iter().map(|s| s.step.work.scratch_len()).max().unwrap_or(0);
        Ok(Steps { steps, arena_len: planned.arena_len, scratch_len })
    }

    /// Runs all steps and adds their times.
    fn run(&self, model: &Model, arena: &mut [f32], scratch: &mut [f32], exec: Exec, times: Option<&Mutex<&mut [Duration]>>) {
        for (i, step) in self.steps.iter().enumerate() {
            let start = times.map(|_| Instant::now());
            step.run(model, arena, scratch, exec);
            if let (Some(times), Some(start)) = (times, start) {
                times.lock().unwrap_or_else(PoisonError::into_inner)[i] += start.elapsed();
            }
        }
    }
}

/// Whether memory for so many numbers can be had.
pub(crate) fn can_be_had(numbers: usize) -> Result<()> {
    memory(numbers).map(drop)
}

fn memory(numbers: usize) -> Result<Memory> {
    Memory::new(numbers).map_err(|e| {
        let what = format!("activations of {} MiB: {e}", numbers.saturating_mul(size_of::<f32>()) >> 20);
        Error::new(ErrorKind::Resources, what)
    })
}

/// A session on the CPU.
#[derive(Default)]
pub(crate) struct State {
    /// Taken by the first run.
    memory: Option<Taken>,
}

struct Taken {
    /// Of the whole batch.
    arena: Memory,
    scratch: Memory,
    /// Of the threads that take images.
    lanes: Memory,
}

/// What a run is given: the model and, bound to places, its inputs.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) model: &'a Model,
    pub(crate) bindings: &'a [Binding],
    pub(crate) inputs: &'a [TensorView<'a>],
}

impl Given<'_> {
    /// Puts the inputs where they are bound to: number `part` of their equal parts, as long as what is bound.
    fn copy(self, part: usize, arena: &mut [f32]) {
        for (input, binding) in self.inputs.iter().zip(self.bindings) {
            if let Place::Arena(range) = &binding.place {
                arena[range.clone()].copy_from_slice(&input.data()[part * range.len()..][..range.len()]);
            }
        }
    }
}

impl State {
    /// Runs all steps on inputs that fit; `times` are those of the steps, if they are asked for.
    pub(crate) fn run(&mut self, program: &Program, given: Given<'_>, mut times: Option<&mut [Duration]>) -> Result<()> {
        let taken = match &mut self.memory {
            Some(taken) => taken,
            none => none.insert(Taken::new(program)?),
        };
        let arena = taken.arena.as_mut_slice();
        let threading = program.team.as_ref().map_or(Threading::Single, Threading::Team);
        let exec = Exec { isa: program.isa, threading };
        if let Some(times) = &mut times {
            times.fill(Duration::ZERO);
        }
        if let Some(images) = &program.images {
            let (of_images, rest) = times.map(|times| times.split_at_mut(images.steps.steps.len())).unzip();
            images.run(given, &mut arena[images.all.clone()], taken.lanes.as_mut_slice(), exec, of_images);
            times = rest;
        } else {
            given.copy(0, arena);
        }
        let times = times.map(Mutex::new);
        program.rest.run(given.model, arena, taken.scratch.as_mut_slice(), exec, times.as_ref());
        Ok(())
    }

    /// What lies at `place` after a run.
    pub(crate) fn output<'a>(&'a self, model: &'a Model, place: &Place) -> &'a [f32] {
        match place {
            Place::Arena(range) => &self.memory.as_ref().expect("it has run").arena.as_slice()[range.clone()],
            Place::Blob(id) => model.blob(*id),
        }
    }
}

impl Taken {
    fn new(program: &Program) -> Result<Self> {
        let lanes = program.images.as_ref().map_or(0, Images::memory_len);
        Ok(Taken { arena: memory(program.rest.arena_len)?, scratch: memory(program.rest.scratch_len)?, lanes: memory(lanes)? })
    }
}

impl Images {
    /// Computes all images; `out` is what they yield.
    fn run(&self, given: Given<'_>, out: &mut [f32], memory: &mut [f32], exec: Exec, times: Option<&mut [Duration]>) {
        let Images { steps, each, lanes, one, .. } = self;
        let alone = Exec { threading: Threading::Single, ..exec };
        let times = times.map(Mutex::new);
        exec.threading.zip_with_scratch(out, each * one.len(), memory, self.lane_len(), |lane, out, memory| {
            let (arena, scratch) = memory.split_at_mut(steps.arena_len.next_multiple_of(Line::FLOATS));
            for (i, out) in out.chunks_exact_mut(one.len()).enumerate() {
                given.copy(lane * each + i, arena);
                steps.run(given.model, arena, scratch, alone, times.as_ref());
                out.copy_from_slice(&arena[one.clone()]);
            }
        });
        if let Some(times) = times {
            let times = times.into_inner().unwrap_or_else(PoisonError::into_inner);
            times.iter_mut().for_each(|time| *time /= *lanes as u32);
        }
    }
}

impl Work<Cpu> {
    fn scratch_len(&self) -> usize {
        match self {
            Work::Conv { conv, .. } => conv.conv.scratch_len(),
            Work::Pool(pool) => pool.scratch_len(),
            Work::FullyConnected { layer, .. } => layer.scratch_len(),
            _ => 0,
        }
    }
}

impl Shared {
    fn info(&self) -> StepInfo<'_> {
        let kernel = match &self.step.work {
            Work::Conv { conv: Prepared { conv, timed, .. }, .. } => conv.describe() + if *timed { ", timed" } else { "" },
            other => other.kind().to_owned(),
        };
        self.step.about.info(kernel, self.threads)
    }

    /// Reads and writes the places of this step. `arena` and `scratch` are as long as the program says.
    fn run(&self, model: &Model, arena: &mut [f32], scratch: &mut [f32], exec: Exec) {
        let threading = if self.threads > 1 { exec.threading } else { Threading::Single };
        let exec = Exec { threading, ..exec };
        let Step { reads, write, work, .. } = &self.step;
        // The planner gave the output a range of its own, so every input lies wholly before or behind it.
        let (before, rest) = arena.split_at_mut(write.start);
        let (out, behind) = rest.split_at_mut(write.len());
        let read = |i: usize| match &reads[i] {
            Place::Blob(id) => model.blob(*id),
            Place::Arena(range) if range.end <= write.start => &before[range.clone()],
            Place::Arena(range) => &behind[range.start - write.end..range.end - write.end],
        };
        match work {
            Work::Conv { conv, weights, bias } => {
                if reads.len() > 1 {
                    out.copy_from_slice(read(1));
                }
                conv.conv.run(read(0), model.blob(*weights), model.blob(*bias), out, scratch, threading);
            }
            Work::FullyConnected { layer, weights, bias } => {
                layer.run(read(0), model.blob(*weights), model.blob(*bias), out, scratch, threading);
            }
            Work::Pool(pool) => pool.run(read(0), out, scratch, exec),
            Work::GlobalAverage { plane } => axis::mean(read(0), *plane, 1, out, exec),
            Work::GlobalMax { plane } => pool::global_max(read(0), *plane, out, exec),
            Work::InstanceNorm { plane, scale, shift, epsilon } => {
                let parameters = [model.blob(*scale), model.blob(*shift)];
                normalize::instance_norm(read(0), *plane, parameters, *epsilon, out, exec);
            }
            Work::Lrn(lrn) => lrn.run(read(0), out, exec),
            Work::Softmax { axis, inner } => normalize::softmax(read(0), *axis, *inner, out, exec),
            Work::ScaleShift { plane, scale, shift } => {
                normalize::scale_shift(read(0), *plane, model.blob(*scale), model.blob(*shift), out, exec);
            }
            Work::Activation(function) => elementwise::map(read(0), out, *function, exec),
            Work::Binary { operation, broadcast, relu } => broadcast.run([read(0), read(1)], out, *operation, *relu, exec),
            Work::Remap(remap) => remap.run(read(0), out, exec),
            Work::Mean { extent, inner } => axis::mean(read(0), *extent, *inner, out, exec),
            Work::ArgMax { extent, inner, last } => axis::arg_max(read(0), *extent, *inner, *last, out, exec),
            Work::StridedCopy(copy) => copy.run(read(0), out, exec),
            Work::Concat { lens } => {
                let total = lens.iter().sum();
                let mut offset = 0;
                for (i, &len) in lens.iter().enumerate() {
                    channels::insert(read(i), len, out, offset, total);
                    offset += len;
                }
            }
            Work::Select(Selection { channels, plane, sources }) => {
                channels::select(read(0), *channels, *plane, sources, out, exec);
            }
        }
    }
}
