//! The CPU as a backend: which kernel computes each step, with which instructions and how many threads.

use crate::backend::{Backend, Program, State};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Deadline, Meter, Until};
use crate::map::Line;
use crate::memory::Memory;
use crate::model::Model;
use crate::options::{Methods, Options, Threads, TransformedWeights};
use crate::planning::{Draft, LayoutRules, Planned, PlannedImages, Signature, Steps};
use crate::report::StepInfo;
use crate::step::{About, Place, Step};
use crate::tensor::TensorView;
use crate::trace;
use crate::watch::{Notes, Watch, Written};
use get_size2::GetSize;
use sslm_format::BlobId;
use sslm_kernels::conv::Method;
use sslm_kernels::cpu::{self, Call, KeptWeights, Kernel, Slices, Target, WeightsFrom};
use sslm_kernels::layout::{Extents, Forms, Layout};
use sslm_kernels::{Exec, Isa, Task, Team, Threading};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Runs of less work stay on one thread under [`Threads::Auto`], in multiply-accumulates: about 100 us. Waking helpers that fell
/// asleep between runs costs the caller 5 us, and they come so late that runs of 45 us gain nothing; at 80 us they gain a fifth, at
/// 240 us a third.
const SHARE_FROM: usize = 10_000_000;

/// Threads take images of their own if a batch has at least this part of the images that all of them could compute in the same time;
/// else they share each step of one image after the other.
const EVEN: f64 = 0.9;

/// Bytes of transformed weights that [`TransformedWeights::Auto`] allows for any network: about what a program and the activations of a
/// small network take, too.
const SMALL: usize = 8 << 20;

/// The machine's CPU.
pub(crate) struct Cpu;

impl Backend for Cpu {
    fn prepare(&self, model: &Model, options: &Options, deadline: Deadline) -> Result<(Signature, Arc<dyn Program>)> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = match options.threads {
            // Before plans are made for so many.
            Threads::Count(n) if n > Team::MAX => return Err(Error::input("threads", format!("at most {}", Team::MAX), n)),
            Threads::Count(n) if cpus > 1 => n.max(1),
            Threads::Auto => cpus.min(Team::MAX),
            Threads::Count(_) | Threads::Single => 1,
        };
        let meter = &Meter::new(&options.limits, deadline);
        let mut draft = Draft::new(model, options, true, can_be_had, meter)?;
        let is_short = options.threads == Threads::Auto && draft.work() < SHARE_FROM;
        let threads = if is_short { 1 } else { threads };
        let budget = match options.transformed_weights {
            TransformedWeights::Auto => model.weight_bytes().max(SMALL),
            TransformedWeights::AtMost(bytes) => bytes,
        };
        let (isa, file) = (options.isa.unwrap_or_else(Isa::best), model.weight_bytes());
        // Most transformed weights are four times as large as those of the file.
        let weights_from = WeightsFrom::of(file.saturating_add(budget.min(file.saturating_mul(3))));
        let mut targets = Targets { isa, methods: &options.methods, weights_from, keeps_weights: HashSet::new() };
        for (node, task) in draft.tasks() {
            meter.expect_room(cpu::Task::most_table_bytes(task, &targets.of(node, threads)), "tables of a step")?;
        }
        targets.keeps_weights = targets.choose_kept(draft.tasks(), budget / size_of::<f32>());
        draft.choose_layouts(&targets);
        let (signature, planned) = draft.finish();
        Ok((signature, Arc::new(CpuProgram::new(planned, model, &targets, threads, options.spin, meter)?)))
    }
}

/// What kernels of each step are prepared for, before threads and layouts are known.
struct Targets<'a> {
    isa: Isa,
    methods: &'a Methods,
    weights_from: WeightsFrom,
    /// The nodes whose steps keep transformed weights.
    keeps_weights: HashSet<usize>,
}

impl Targets<'_> {
    /// For the step of a node.
    fn of(&self, node: Option<usize>, threads: usize) -> Target {
        Target {
            method: node.and_then(|node| self.methods.of(node).0),
            keeps_weights: node.is_some_and(|node| self.keeps_weights.contains(&node)),
            weights_from: self.weights_from,
            ..Target::new(self.isa, threads)
        }
    }

    /// Of steps with their nodes, those that are to keep transformed weights: the ones that gain most for their room, as long as all
    /// of them have room for no more elements than `budget`.
    fn choose_kept<'t>(&self, tasks: impl Iterator<Item = (Option<usize>, &'t dyn Task)>, mut budget: usize) -> HashSet<usize> {
        let of_node = |(node, task): (Option<usize>, &dyn Task)| {
            let kept = cpu::Task::kept_weights(task, &self.of(node, 1))?;
            Some((node?, kept))
        };
        let mut all: Vec<(usize, KeptWeights)> = if budget > 0 { tasks.filter_map(of_node).collect() } else { Vec::new() };
        let rate = |kept: &KeptWeights| kept.saving / kept.len as f64;
        all.sort_by(|(_, a), (_, b)| rate(b).total_cmp(&rate(a)));
        all.retain(|(_, kept)| {
            let fits = kept.len <= budget;
            budget -= if fits { kept.len } else { 0 };
            fits
        });
        all.into_iter().map(|(node, _)| node).collect()
    }
}

impl LayoutRules for Targets<'_> {
    fn forms(&self, task: &dyn Task, node: Option<usize>) -> Forms {
        cpu::Task::forms(task, &self.of(node, 1))
    }

    fn len(&self, extents: Extents, layout: Layout) -> usize {
        extents.len(layout, self.isa)
    }

    fn conversion_cost(&self, extents: Extents) -> f64 {
        extents.conversion_cost(self.isa)
    }
}

/// All that sessions share.
struct CpuProgram {
    model: Model,
    /// Where the inputs lie: one image of them, where images are computed one by one.
    inputs: Vec<Place>,
    outputs: Vec<Place>,
    /// What comes first, where a batch begins image by image.
    images: Option<Images>,
    /// The steps that compute the whole batch.
    rest: Sequence,
    isa: Isa,
    /// Transformed weights of all steps.
    kept: Memory,
    /// Absent where everything runs on the caller's thread.
    team: Option<Team>,
}

/// Where steps find their weights.
#[derive(Clone, Copy)]
struct Weights<'a> {
    /// Those of the file.
    model: &'a Model,
    /// Transformed ones, of all steps.
    kept: &'a [f32],
}

/// Prepared steps with memory laid out for them.
#[derive(GetSize)]
struct Sequence {
    steps: Vec<PreparedStep>,
    arena_len: usize,
    scratch_len: usize,
}

/// A kernel with the places that it is applied to.
#[derive(GetSize)]
struct PreparedStep {
    about: About,
    #[get_size(size_fn = of_kernel)]
    kernel: Box<dyn Kernel>,
    reads: Vec<Place>,
    #[get_size(size_fn = of_parameters)]
    parameters: Vec<BlobId>,
    write: Range<usize>,
    /// The sizes of what it writes and the channels of a block, if that lies in blocks.
    #[get_size(ignore)]
    blocks: Option<(Extents, usize)>,
    /// Where its transformed weights lie.
    kept: Range<usize>,
    /// Threads that share it.
    threads: usize,
    /// Whether its method was measured to be fastest.
    timed: bool,
}

/// Bytes of a kernel and all that it owns.
#[expect(clippy::borrowed_box, reason = "what `GetSize` calls is given the field")]
fn of_kernel(kernel: &Box<dyn Kernel>) -> usize {
    size_of_val(&**kernel) + kernel.table_bytes()
}

fn of_parameters(parameters: &Vec<BlobId>) -> usize {
    parameters.capacity() * size_of::<BlobId>()
}

/// What is computed image by image: on threads that take images of their own, or on one that the others help with each step.
#[derive(GetSize)]
struct Images {
    /// The steps for one image.
    steps: Sequence,
    batch: usize,
    /// Images that each thread takes; the last one perhaps fewer.
    each: usize,
    /// Threads that take images.
    shares: usize,
    /// Where what an image yields lies in its arena, and how many elements that are.
    yields: Place,
    len: usize,
    /// Where that of all images lies in the batch's arena.
    all: Range<usize>,
}

impl Images {
    /// Elements of memory that a thread computes in.
    fn share_len(&self) -> usize {
        self.steps.arena_len.next_multiple_of(Line::FLOATS) + self.steps.scratch_len.next_multiple_of(Line::FLOATS)
    }

    /// Elements of memory that all threads compute in.
    fn memory_len(&self) -> usize {
        self.shares.saturating_mul(self.share_len())
    }

    /// Computes all images; `out` is what they yield.
    fn run(&self, given: Given<'_>, out: &mut [f32], memory: &mut [f32], running: Running<'_, '_>) {
        let Images { steps, each, yields, len, .. } = self;
        let threading = if self.shares > 1 { Threading::Single } else { running.exec.threading };
        let exec = Exec { threading, ..running.exec };
        running.exec.threading.zip_with_scratch(out, each * len, memory, self.share_len(), |share, out, memory| {
            let (arena, scratch) = memory.split_at_mut(steps.arena_len.next_multiple_of(Line::FLOATS));
            for (i, out) in out.chunks_exact_mut(*len).enumerate() {
                let image = share * each + i;
                given.copy(image, arena);
                let notes = running.notes.map(|notes| Notes { image: Some(image), ..notes });
                steps.run(Running { exec, notes, ..running }, arena, scratch);
                out.copy_from_slice(at(yields, arena, running.weights.model));
            }
        });
    }
}

impl CpuProgram {
    /// For `threads` threads at most, which look for work for a time of the caller's choice or the usual one.
    fn new(
        planned: Planned<'_>,
        model: &Model,
        targets: &Targets<'_>,
        threads: usize,
        spin: Option<Duration>,
        meter: &Meter,
    ) -> Result<Self> {
        let Planned { images, rest, inputs, outputs } = planned;
        let mut kept_len = 0;
        let prepared = |PlannedImages { steps, batch, work, yields, all }: PlannedImages<'_>| {
            let shares = Target::new(targets.isa, threads).threads_for(work).min(batch);
            let is_even = batch as f64 >= EVEN * (batch.div_ceil(shares) * shares) as f64;
            let shares = if is_even { shares } else { 1 };
            let steps = Sequence::new(steps, targets, if shares > 1 { 1 } else { threads }, &mut kept_len, meter)?;
            Ok::<_, Error>(Images { steps, batch, each: batch.div_ceil(shares), shares, yields, len: all.len() / batch, all })
        };
        let images = images.map(prepared).transpose()?;
        let rest = Sequence::new(rest, targets, threads, &mut kept_len, meter)?;
        meter.take(Memory::bytes_of(kept_len), "transformed weights")?;
        let kept = memory(kept_len, "transformed weights")?;
        let (model, isa) = (model.clone(), targets.isa);
        let mut program = CpuProgram { model, inputs, outputs, images, rest, isa, kept, team: None };
        program.transform_weights();
        // Sessions take their memory when they first run: say now if there is none.
        meter.expect_room(program.session_bytes(), "a session")?;
        can_be_had(program.session_lens().into_iter().fold(0, usize::saturating_add))?;
        let no_team = |e| Error::new(ErrorKind::Resources, format!("cannot start {threads} threads: {e}"));
        let spin = spin.unwrap_or(Team::SPIN);
        let team = if threads > 1 { Some(Team::with_spin(threads, spin).map_err(no_team)?) } else { None };
        Ok(CpuProgram { team, ..program })
    }

    /// Elements of memory that a session owns: of the whole batch, of scratch memory, and of threads that take images.
    fn session_lens(&self) -> [usize; 3] {
        [self.rest.arena_len, self.rest.scratch_len, self.images.as_ref().map_or(0, Images::memory_len)]
    }

    fn transform_weights(&mut self) {
        let CpuProgram { images, rest, model, kept, .. } = self;
        let of_images = images.as_ref().map_or(&[][..], |images| &images.steps.steps);
        for PreparedStep { kernel, parameters, kept: place, .. } in of_images.iter().chain(&rest.steps) {
            let parameter = |i: usize| model.blob(parameters[i]);
            let parameters = Slices::Found { count: parameters.len(), find: &parameter };
            kernel.transform_weights(parameters, &mut kept.as_mut_slice()[place.clone()]);
        }
    }

    fn of_images(&self) -> &[PreparedStep] {
        self.images.as_ref().map_or(&[], |images| &images.steps.steps)
    }

    /// The step of this index, in the order in which they run.
    fn prepared(&self, index: usize) -> &PreparedStep {
        let of_images = self.of_images();
        of_images.get(index).unwrap_or_else(|| &self.rest.steps[index - of_images.len()])
    }
}

impl Program for CpuProgram {
    fn state(self: Arc<Self>) -> Box<dyn State> {
        Box::new(CpuState { program: self, memory: None })
    }

    fn step_count(&self) -> usize {
        self.of_images().len() + self.rest.steps.len()
    }

    fn step(&self, index: usize) -> StepInfo<'_> {
        let info = self.prepared(index).info();
        match &self.images {
            Some(images) if index < images.steps.steps.len() => {
                let (macs, bytes) = (info.macs * images.batch, info.bytes * images.batch);
                let threads = if images.shares > 1 { images.shares } else { info.threads };
                StepInfo { macs, bytes, threads, by_image: true, ..info }
            }
            _ => info,
        }
    }

    fn method(&self, index: usize) -> Option<(usize, Method)> {
        let step = self.prepared(index);
        step.about.node.zip(step.kernel.method())
    }

    fn session_bytes(&self) -> usize {
        let maps = self.session_lens().map(Memory::bytes_of);
        maps.into_iter().fold(size_of::<CpuState>(), usize::saturating_add)
    }

    fn bytes(&self) -> usize {
        // A shared object begins with two counts.
        let own = 2 * size_of::<usize>() + size_of::<Self>() + Memory::bytes_of(self.kept.as_slice().len());
        own + self.inputs.get_heap_size() + self.outputs.get_heap_size() + self.images.get_heap_size() + self.rest.get_heap_size()
    }

    fn threads(&self) -> usize {
        self.team.as_ref().map_or(1, Team::threads)
    }

    fn device(&self) -> Option<String> {
        None
    }

    fn target(&self) -> String {
        self.isa.to_string()
    }
}

/// So much work, as [`About::work`](crate::step::About::work) has it, is done at most between two looks at whether a run may go on, but for
/// the step that ends it: some ten microseconds of a core with vectors, beside which a look at the clock takes no time.
const LOOK: usize = 1 << 19;

impl Sequence {
    /// For `threads` threads at most. `kept_len` elements of transformed weights lie before its own.
    fn new(planned: Steps<'_>, targets: &Targets<'_>, threads: usize, kept_len: &mut usize, meter: &Meter) -> Result<Self> {
        let prepare = |step: Step<'_>| {
            meter.expect_time()?;
            let Step { about, task, reads, parameters, write, layouts, blocks, listed } = step;
            let target = targets.of(about.node, threads);
            let (task, target): (Box<dyn cpu::Task + '_>, Target) = (task, Target { layouts, ..target });
            meter.expect_room(task.most_table_bytes(&target), "tables of a step")?;
            let kernel = task.prepare(&target);
            meter.give_back(listed);
            meter.take(kernel.table_bytes(), "tables of all steps")?;
            let timed = kernel.method().is_some() && about.node.is_some_and(|node| targets.methods.of(node).1);
            let kept = *kept_len..*kept_len + kernel.kept_len();
            *kept_len = kept.end.next_multiple_of(Line::FLOATS);
            let threads = target.threads_for(about.work());
            let blocks = blocks.map(|extents| (extents, targets.isa.lanes()));
            Ok(PreparedStep { about, kernel, reads, parameters, write, blocks, kept, threads, timed })
        };
        let steps: Vec<PreparedStep> = planned.steps.into_iter().map(prepare).collect::<Result<_>>()?;
        let scratch_len = steps.iter().map(|step| step.kernel.scratch_len()).max().unwrap_or(0);
        Ok(Sequence { steps, arena_len: planned.arena_len, scratch_len })
    }

    /// Runs all steps, as far as it may, and notes what is asked for.
    fn run(&self, Running { weights, exec, notes, until }: Running<'_, '_>, arena: &mut [f32], scratch: &mut [f32]) {
        let mut unseen = LOOK;
        for (i, step) in self.steps.iter().enumerate() {
            if unseen >= LOOK {
                if until.is_over() {
                    return;
                }
                unseen = 0;
            }
            unseen = unseen.saturating_add(step.about.work());
            let _span = trace::step(&step.about);
            let start = notes.map(|_| Instant::now());
            step.run(weights, arena, scratch, exec);
            if let (Some(notes), Some(start)) = (notes, start) {
                let written = Written { elements: &arena[step.write.clone()], blocks: step.blocks };
                notes.note(i, start, step.about.node.map(|_| written));
            }
        }
    }
}

impl PreparedStep {
    fn info(&self) -> StepInfo<'_> {
        let timed = if self.timed { ", timed" } else { "" };
        self.about.info(self.kernel.describe().map(|how| how + timed), self.threads)
    }

    /// Reads and writes the places of this step. `arena` and `scratch` are as long as the program says.
    fn run(&self, Weights { model, kept }: Weights<'_>, arena: &mut [f32], scratch: &mut [f32], exec: Exec) {
        let PreparedStep { kernel, reads, parameters, write, .. } = self;
        let threading = if self.threads > 1 { exec.threading } else { Threading::Single };
        // The planner gave the output a range of its own, so every input lies wholly before or behind it.
        let (before, rest) = arena.split_at_mut(write.start);
        let (out, behind) = rest.split_at_mut(write.len());
        let (before, behind) = (&*before, &*behind);
        let read = |i: usize| match &reads[i] {
            Place::Blob(id) => model.blob(*id),
            Place::Arena(range) if range.end <= write.start => &before[range.clone()],
            Place::Arena(range) => &behind[range.start - write.end..range.end - write.end],
        };
        let parameter = |i: usize| model.blob(parameters[i]);
        let (mut few_reads, mut few_parameters) = ([&[][..]; FEW], [&[][..]; FEW]);
        kernel.compute(Call {
            reads: slices(reads.len(), &read, &mut few_reads),
            parameters: slices(parameters.len(), &parameter, &mut few_parameters),
            kept: &kept[self.kept.clone()],
            out,
            scratch,
            exec: Exec { threading, ..exec },
        });
    }
}

/// Slices that are listed on the stack, if they are no more.
const FEW: usize = 4;

/// So many slices, without allocating.
#[inline(always)]
fn slices<'a>(count: usize, find: &'a impl Fn(usize) -> &'a [f32], few: &'a mut [&'a [f32]; FEW]) -> Slices<'a> {
    let Some(listed) = few.get_mut(..count) else { return Slices::Found { count, find } };
    listed.iter_mut().enumerate().for_each(|(i, slice)| *slice = find(i));
    Slices::Listed(listed)
}

/// What lies at `place`.
fn at<'a>(place: &Place, arena: &'a [f32], model: &'a Model) -> &'a [f32] {
    match place {
        Place::Arena(range) => &arena[range.clone()],
        Place::Blob(id) => model.blob(*id),
    }
}

/// Whether memory for so many elements can be had.
fn can_be_had(elements: usize) -> Result<()> {
    memory(elements, "activations").map(drop)
}

fn memory(elements: usize, of: &str) -> Result<Memory> {
    Memory::new(elements).map_err(|e| {
        let what = format!("{of} of {} MiB: {e}", elements.saturating_mul(size_of::<f32>()) >> 20);
        Error::new(ErrorKind::Resources, what)
    })
}

/// A session on the CPU.
struct CpuState {
    program: Arc<CpuProgram>,
    /// Taken by the first run.
    memory: Option<Taken>,
}

struct Taken {
    /// Activations of the whole batch.
    arena: Memory,
    scratch: Memory,
    /// Memory of the threads that take images.
    of_images: Memory,
}

impl Taken {
    /// What a session has taken, or takes now.
    fn of<'a>(memory: &'a mut Option<Taken>, program: &CpuProgram) -> Result<&'a mut Taken> {
        match memory {
            Some(taken) => Ok(taken),
            none => Ok(none.insert(Taken::new(program)?)),
        }
    }

    fn new(program: &CpuProgram) -> Result<Self> {
        let [arena, scratch, of_images] = program.session_lens();
        Ok(Taken {
            arena: memory(arena, "activations")?,
            scratch: memory(scratch, "scratch memory")?,
            of_images: memory(of_images, "activations")?,
        })
    }
}

/// What all steps of a run have in common.
#[derive(Clone, Copy)]
struct Running<'a, 't> {
    weights: Weights<'a>,
    exec: Exec<'a>,
    /// Where what is asked for is noted.
    notes: Option<Notes<'a, 't>>,
    until: &'a Until<'a>,
}

/// The inputs of a run, and where they are to lie.
#[derive(Clone, Copy)]
struct Given<'a> {
    places: &'a [Place],
    inputs: &'a [TensorView<'a>],
}

impl Given<'_> {
    /// Puts the inputs where they are to lie: of their equal parts, as long as there is room for, the one of this index.
    fn copy(self, part: usize, arena: &mut [f32]) {
        for (input, place) in self.inputs.iter().zip(self.places) {
            if let Place::Arena(range) = place {
                arena[range.clone()].copy_from_slice(&input.data()[part * range.len()..][..range.len()]);
            }
        }
    }
}

impl State for CpuState {
    fn reserve(&mut self) -> Result<()> {
        let Taken { arena, scratch, of_images } = Taken::of(&mut self.memory, &self.program)?;
        // Pages come from the system when they are written to.
        for memory in [arena, scratch, of_images] {
            memory.as_mut_slice().fill(0.0);
        }
        Ok(())
    }

    fn run(&mut self, inputs: &[TensorView<'_>], watch: Option<Watch<'_>>, until: &Until<'_>) -> Result<()> {
        let program = &*self.program;
        let taken = Taken::of(&mut self.memory, program)?;
        let weights = Weights { model: &program.model, kept: program.kept.as_slice() };
        let given = Given { places: &program.inputs, inputs };
        let arena = taken.arena.as_mut_slice();
        let threading = program.team.as_ref().map_or(Threading::Single, Threading::Team);
        let exec = Exec { isa: program.isa, threading };
        let _run = threading.begin();
        let watch = watch.map(|mut watch| {
            watch.begin();
            Mutex::new(watch)
        });
        let notes = watch.as_ref().map(|watch| Notes { watch, first: 0, image: None });
        if let Some(images) = &program.images {
            let running = Running { weights, exec, notes, until };
            images.run(given, &mut arena[images.all.clone()], taken.of_images.as_mut_slice(), running);
        } else {
            given.copy(0, arena);
        }
        let of_images = program.of_images().len();
        let notes = notes.map(|notes| Notes { first: of_images, ..notes });
        program.rest.run(Running { weights, exec, notes, until }, arena, taken.scratch.as_mut_slice());
        if let (Some(images), Some(watch)) = (&program.images, watch) {
            let watch = watch.into_inner().unwrap_or_else(PoisonError::into_inner);
            watch.share_times(of_images, images.shares);
        }
        until.check()
    }

    fn output(&self, index: usize) -> &[f32] {
        let arena = self.memory.as_ref().map_or(&[][..], |taken| taken.arena.as_slice());
        at(&self.program.outputs[index], arena, &self.program.model)
    }
}
