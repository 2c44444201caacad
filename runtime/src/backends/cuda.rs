//! Plans that a CUDA device runs: weights and tables lie on the device, and so do activations from the inputs to the outputs.
//!
//! The first run of a session launches step after step, which makes the libraries ready; the second one records that as a graph, and
//! all others replay it.

use crate::build::Planned;
use crate::error::Result;
use crate::model::Model;
use crate::options::Options;
use crate::plan::{Binding, StepInfo};
use crate::step::{Place, Step};
use crate::tensor::TensorView;
use crate::work::{Convolution, Form, Pooling, Prepare, RebuiltAxis, Selection, Work};
use sslm_format::BlobId;
use sslm_kernels::axis::From;
use sslm_kernels::channels::Source;
use sslm_kernels::cuda::operators::{self, Along};
use sslm_kernels::cuda::{Buffer, Choice, Device, Gpu, Precision, PreparedConv, Stream, Tensors, View, fits};
use sslm_kernels::fully_connected;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

/// The kernels of a device, and what it takes to bring their weights and tables there.
pub(crate) struct Cuda {
    model: Model,
    device: Arc<dyn Device>,
    stream: Box<dyn Stream>,
    precision: Precision,
}

impl Form for Cuda {
    type Conv = PreparedConv;
    type FullyConnected = PreparedConv;
    type Pool = operators::Pool;
    type Select = operators::Remap;
    type Remap = operators::Remap;
}

impl Cuda {
    fn choice(&self) -> Choice {
        Choice { precision: self.precision, method: None }
    }

    fn upload(&mut self, blob: BlobId) -> Result<Buffer> {
        let numbers = self.model.blob(blob);
        let buffer = self.device.allocate(numbers.len())?;
        self.stream.upload(numbers, buffer.view())?;
        Ok(buffer)
    }
}

impl Prepare for Cuda {
    fn conv(&mut self, conv: Convolution<'_>) -> Result<PreparedConv> {
        let parameters = conv.parameters.map(|id| self.model.blob(id));
        Ok(PreparedConv::new(&conv.layer, conv.images, parameters, self.choice(), &*self.device, &mut *self.stream)?)
    }

    fn fully_connected(&mut self, layer: fully_connected::GemmTask, parameters: [BlobId; 2]) -> Result<PreparedConv> {
        let parameters = parameters.map(|id| self.model.blob(id));
        Ok(PreparedConv::fully_connected(&layer, parameters, self.choice(), &*self.device, &mut *self.stream)?)
    }

    fn pool(&mut self, Pooling { geometry, reduce, activation }: Pooling) -> Result<operators::Pool> {
        Ok(operators::Pool::new(&geometry, reduce, activation)?)
    }

    fn select(&mut self, Selection { channels, plane, sources }: Selection) -> Result<operators::Remap> {
        let from = |source: Source| match source {
            Source::Channel(channel) => From::Position(channel),
            Source::Constant(value) => From::Constant(value),
        };
        let sources = sources.into_iter().map(from).collect();
        self.remap(RebuiltAxis { extent: channels, inner: plane, sources })
    }

    fn remap(&mut self, RebuiltAxis { extent, inner, sources }: RebuiltAxis) -> Result<operators::Remap> {
        Ok(operators::Remap::new(extent, inner, &sources, &*self.device, &mut *self.stream)?)
    }
}

/// All that sessions share.
pub(crate) struct Program {
    device: Arc<dyn Device>,
    pub(crate) steps: Vec<Step<Cuda>>,
    /// What steps read of the file, but for the weights of convolutions.
    blobs: HashMap<BlobId, Buffer>,
    arena_len: usize,
    scratch_len: usize,
}

/// The device that `options` name, opened unless it is open already.
pub(crate) fn device(options: &Options) -> Result<Arc<dyn Device>> {
    match &options.device {
        Some(device) => Ok(Arc::clone(device)),
        None => Ok(Arc::new(Gpu::open(0)?)),
    }
}

impl Program {
    pub(crate) fn new(planned: Planned<'_>, model: &Model, options: &Options, device: Arc<dyn Device>) -> Result<Self> {
        let stream = device.stream()?;
        let mut cuda = Cuda { model: model.clone(), device, stream, precision: options.precision };
        let mut blobs = HashMap::new();
        let mut prepare = |step: Step<_>| -> Result<Step<Cuda>> {
            let Step { about, work, reads, write } = step;
            fits("tensor", write.len())?;
            let read = reads.iter().filter_map(|place| if let Place::Blob(id) = place { Some(*id) } else { None });
            let parameters = match &work {
                Work::Conv { .. } | Work::FullyConnected { .. } => [None, None],
                other => other.parameters(),
            };
            for id in read.chain(parameters.into_iter().flatten()) {
                if let Entry::Vacant(entry) = blobs.entry(id) {
                    entry.insert(cuda.upload(id)?);
                }
            }
            let node = format!("node '{}'", about.name);
            Ok(Step { work: work.prepare(&mut cuda).map_err(|e| e.within(node))?, about, reads, write })
        };
        let steps: Vec<Step<Cuda>> = planned.steps.into_iter().map(&mut prepare).collect::<Result<_>>()?;
        cuda.stream.wait()?;
        let scratch = |step: &Step<Cuda>| match &step.work {
            Work::Conv { conv, .. } | Work::FullyConnected { layer: conv, .. } => conv.scratch_len(),
            _ => 0,
        };
        let scratch_len = steps.iter().map(scratch).max().unwrap_or(0);
        // Sessions take their memory when they first run: say now if there is none.
        drop(cuda.device.allocate(planned.arena_len + scratch_len)?);
        Ok(Program { device: cuda.device, steps, blobs, arena_len: planned.arena_len, scratch_len })
    }

    pub(crate) fn name(&self) -> String {
        self.device.name()
    }

    /// Numbers of device memory that each session owns.
    pub(crate) fn session_len(&self) -> usize {
        self.arena_len + self.scratch_len
    }
}

/// A session on the device.
pub(crate) struct State {
    /// Taken by the first run, and given back by one that failed.
    memory: Option<Taken>,
    /// What the outputs were in the last run.
    outputs: Vec<Vec<f32>>,
}

/// The stream comes first: it waits for what it runs before the memory is freed.
struct Taken {
    stream: Box<dyn Stream>,
    arena: Buffer,
    scratch: Buffer,
    runs: Runs,
}

/// How far a session has come.
enum Runs {
    None,
    One,
    Recorded,
}

impl State {
    pub(crate) fn new(outputs: &[Binding]) -> Self {
        let room = |binding: &Binding| match &binding.place {
            Place::Arena(range) => vec![0.0; range.len()],
            Place::Blob(_) => Vec::new(),
        };
        State { memory: None, outputs: outputs.iter().map(room).collect() }
    }

    /// Runs all steps on inputs that fit; `times` are those of the steps, if they are asked for. A run that fails may leave recordings
    /// and marks behind that lack something, so the next one begins as the first one did.
    pub(crate) fn run(
        &mut self,
        program: &Program,
        bindings: [&[Binding]; 2],
        values: &[TensorView<'_>],
        times: Option<&mut [Duration]>,
    ) -> Result<()> {
        self.try_run(program, bindings, values, times).inspect_err(|_| self.memory = None)
    }

    fn try_run(
        &mut self,
        program: &Program,
        [inputs, outputs]: [&[Binding]; 2],
        values: &[TensorView<'_>],
        times: Option<&mut [Duration]>,
    ) -> Result<()> {
        let taken = match &mut self.memory {
            Some(taken) => taken,
            none => none.insert(Taken::new(program)?),
        };
        for (binding, value) in inputs.iter().zip(values) {
            if let Place::Arena(range) = &binding.place {
                taken.stream.upload(value.data(), taken.arena.part(range.clone()))?;
            }
        }
        match times {
            Some(times) => taken.run_timed(program, times)?,
            None => taken.run(program)?,
        }
        for (binding, output) in outputs.iter().zip(&mut self.outputs) {
            if let Place::Arena(range) = &binding.place {
                taken.stream.download(taken.arena.part(range.clone()), output)?;
            }
        }
        taken.stream.wait()?;
        Ok(())
    }

    /// Output number `index`, which lies at `place`.
    pub(crate) fn output<'a>(&'a self, model: &'a Model, index: usize, place: &Place) -> &'a [f32] {
        match place {
            Place::Arena(_) => &self.outputs[index],
            Place::Blob(id) => model.blob(*id),
        }
    }
}

impl Taken {
    fn new(program: &Program) -> Result<Self> {
        let Program { device, arena_len, scratch_len, .. } = program;
        let (arena, scratch) = (device.allocate(*arena_len)?, device.allocate(*scratch_len)?);
        Ok(Taken { stream: device.stream()?, arena, scratch, runs: Runs::None })
    }

    fn run(&mut self, program: &Program) -> Result<()> {
        match self.runs {
            Runs::None => {
                self.launch(program)?;
                self.runs = Runs::One;
                return Ok(());
            }
            Runs::One => {
                self.stream.begin_recording()?;
                let launched = self.launch(program);
                let ended = self.stream.end_recording();
                // Why something could not be launched says more than that it could not be recorded.
                launched.and(ended.map_err(Into::into))?;
                self.runs = Runs::Recorded;
            }
            Runs::Recorded => {}
        }
        // SAFETY: the recorded launches use the weights and tables of `program`, and the arena and scratch memory of this session, all of
        // which are still there; each reads what one before it or an upload wrote.
        Ok(unsafe { self.stream.replay() }?)
    }

    fn run_timed(&mut self, program: &Program, times: &mut [Duration]) -> Result<()> {
        self.stream.mark()?;
        for step in &program.steps {
            self.step(program, step)?;
            self.stream.mark()?;
        }
        times.copy_from_slice(&self.stream.laps()?);
        Ok(())
    }

    fn launch(&mut self, program: &Program) -> Result<()> {
        program.steps.iter().try_for_each(|step| self.step(program, step))
    }

    fn step(&mut self, program: &Program, step: &Step<Cuda>) -> Result<()> {
        let Taken { stream, arena, scratch, .. } = self;
        let stream = &mut **stream;
        let blob = |id: &BlobId| program.blobs[id].view();
        let read = |i: usize| -> View<'_> {
            match &step.reads[i] {
                Place::Arena(range) => arena.part(range.clone()),
                Place::Blob(id) => blob(id),
            }
        };
        let out = arena.part(step.write.clone());
        match &step.work {
            Work::Conv { conv, .. } | Work::FullyConnected { layer: conv, .. } => {
                let residual = (step.reads.len() > 1).then(|| read(1));
                conv.run(stream, Tensors { x: read(0), residual, out, scratch: scratch.view() })
            }
            Work::Pool(pool) => pool.run(stream, read(0), out),
            Work::GlobalAverage { plane } => operators::along(stream, Along::Mean, read(0), [*plane, 1], out),
            Work::GlobalMax { plane } => operators::along(stream, Along::Largest, read(0), [*plane, 1], out),
            Work::InstanceNorm { plane, scale, shift, epsilon } => {
                operators::instance_norm(stream, read(0), *plane, [blob(scale), blob(shift)], *epsilon, out)
            }
            Work::Lrn(lrn) => operators::lrn(stream, lrn, read(0), out),
            Work::Softmax { axis, inner } => operators::along(stream, Along::Softmax, read(0), [*axis, *inner], out),
            Work::ScaleShift { plane, scale, shift } => {
                operators::scale_shift(stream, read(0), *plane, [blob(scale), blob(shift)], out)
            }
            Work::Activation(function) => operators::map(stream, read(0), out, *function),
            Work::Binary { operation, broadcast, relu } => {
                operators::binary(stream, broadcast, [read(0), read(1)], out, *operation, *relu)
            }
            Work::Select(remap) | Work::Remap(remap) => remap.run(stream, read(0), out),
            Work::Mean { extent, inner } => operators::along(stream, Along::Mean, read(0), [*extent, *inner], out),
            Work::ArgMax { extent, inner, last } => {
                operators::along(stream, Along::ArgMax { last: *last }, read(0), [*extent, *inner], out)
            }
            Work::StridedCopy(copy) => operators::strided_copy(stream, copy, read(0), out),
            Work::Concat { lens } => {
                let total = lens.iter().sum();
                let mut offset = 0;
                for (i, &len) in lens.iter().enumerate() {
                    operators::insert(stream, read(i), len, out, offset, total)?;
                    offset += len;
                }
                Ok(())
            }
        }?;
        Ok(())
    }
}

impl Step<Cuda> {
    pub(crate) fn info(&self) -> StepInfo<'_> {
        let kernel = match &self.work {
            Work::Conv { conv, .. } | Work::FullyConnected { layer: conv, .. } => format!("{} cuda", conv.describe()),
            other => format!("{} cuda", other.kind()),
        };
        self.about.info(kernel, 1)
    }
}
