//! A CUDA device as a backend: weights and tables lie on the device, and so do activations from the inputs to the outputs. A device
//! computes the whole batch in every step.
//!
//! The first run of a session launches step after step, which makes the libraries ready; the second one records that as a graph, and
//! all others replay it.

use crate::backend::{Backend, Program, State};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Deadline, Meter, Until};
use crate::model::Model;
use crate::options::{Methods, Options};
use crate::planning::{Draft, Planned, Signature};
use crate::report::StepInfo;
use crate::step::{About, Place, Step};
use crate::tensor::TensorView;
use crate::trace;
use crate::watch::{Watch, Written};
use sslm_format::BlobId;
use sslm_kernels::conv::Method;
use sslm_kernels::cuda::{self, Buffer, Call, Device, Gpu, Kernel, Preparing, Stream, View, fits};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A device that is open.
pub(crate) struct Cuda {
    device: Arc<dyn Device>,
}

impl Cuda {
    /// The device that `options` name, opened unless it is open already.
    pub(crate) fn open(options: &Options) -> Result<Self> {
        let device = match &options.device {
            Some(device) => Arc::clone(device),
            None => Arc::new(Gpu::open(0)?),
        };
        Ok(Cuda { device })
    }
}

impl Backend for Cuda {
    fn prepare(&self, model: &Model, options: &Options, deadline: Deadline) -> Result<(Signature, Arc<dyn Program>)> {
        if matches!(options.methods, Methods::Tuned(_)) {
            let what = format!("tuning made for another backend: expected {}, found a CPU", self.device.name());
            return Err(Error::new(ErrorKind::Tuning, what));
        }
        let meter = Meter::new(&options.limits, deadline);
        let draft = Draft::new(model, options, false, |elements| Ok(fits("activation", elements)?), &meter)?;
        let (signature, planned) = draft.finish();
        Ok((signature, Arc::new(CudaProgram::new(planned, model, options, Arc::clone(&self.device))?)))
    }
}

/// All that sessions share.
struct CudaProgram {
    model: Model,
    inputs: Vec<Place>,
    outputs: Vec<Place>,
    device: Arc<dyn Device>,
    steps: Vec<PreparedStep>,
    /// What steps read of the file besides parameters.
    blobs: HashMap<BlobId, Buffer>,
    arena_len: usize,
    scratch_len: usize,
}

/// A kernel with the places that it is applied to.
struct PreparedStep {
    about: About,
    kernel: Box<dyn Kernel>,
    reads: Vec<Place>,
    write: Range<usize>,
}

impl CudaProgram {
    fn new(planned: Planned<'_>, model: &Model, options: &Options, device: Arc<dyn Device>) -> Result<Self> {
        let Planned { rest, inputs, outputs, .. } = planned;
        let mut stream = device.stream()?;
        let mut blobs = HashMap::new();
        let mut steps = Vec::with_capacity(rest.steps.len());
        for Step { about, task, reads, parameters, write, .. } in rest.steps {
            fits("tensor", write.len())?;
            for place in &reads {
                if let Place::Blob(id) = place
                    && let Entry::Vacant(entry) = blobs.entry(*id)
                {
                    let elements = model.blob(*id);
                    let buffer = device.allocate(elements.len())?;
                    stream.upload(elements, buffer.view())?;
                    entry.insert(buffer);
                }
            }
            let parameters: Vec<&[f32]> = parameters.iter().map(|&id| model.blob(id)).collect();
            let (device, precision) = (&*device, options.precision);
            let preparing = &mut Preparing { device, stream: &mut *stream, precision, parameters: &parameters };
            let task: Box<dyn cuda::Task + '_> = task;
            let kernel = task.prepare(preparing).map_err(|e| Error::from(e).within(format!("node '{}'", about.name)))?;
            steps.push(PreparedStep { about, kernel, reads, write });
        }
        stream.wait()?;
        let arena_len = rest.arena_len;
        let scratch_len = steps.iter().map(|step| step.kernel.scratch_len()).max().unwrap_or(0);
        // Sessions take their memory when they first run: say now if there is none.
        drop(device.allocate(arena_len + scratch_len)?);
        Ok(CudaProgram { model: model.clone(), inputs, outputs, device, steps, blobs, arena_len, scratch_len })
    }
}

impl Program for CudaProgram {
    fn state(self: Arc<Self>) -> Box<dyn State> {
        let room = |place: &Place| match place {
            Place::Arena(range) => vec![0.0; range.len()],
            Place::Blob(_) => Vec::new(),
        };
        Box::new(CudaState { memory: None, outputs: self.outputs.iter().map(room).collect(), program: self })
    }

    fn step_count(&self) -> usize {
        self.steps.len()
    }

    fn step(&self, index: usize) -> StepInfo<'_> {
        let PreparedStep { about, kernel, .. } = &self.steps[index];
        let how = kernel.describe().unwrap_or_else(|| about.kind.to_owned());
        about.info(Some(format!("{how} cuda")), 1)
    }

    fn method(&self, _: usize) -> Option<(usize, Method)> {
        None
    }

    fn session_bytes(&self) -> usize {
        (self.arena_len + self.scratch_len) * size_of::<f32>()
    }

    /// What lies on the device is not counted.
    fn bytes(&self) -> usize {
        0
    }

    fn threads(&self) -> usize {
        1
    }

    fn device(&self) -> Option<String> {
        Some(self.device.name())
    }

    fn target(&self) -> String {
        self.device.name()
    }
}

/// A session on the device.
struct CudaState {
    /// Taken by the first run, and given back by one that failed.
    memory: Option<Taken>,
    /// What the outputs were in the last run.
    outputs: Vec<Vec<f32>>,
    program: Arc<CudaProgram>,
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

impl State for CudaState {
    fn reserve(&mut self) -> Result<()> {
        Taken::of(&mut self.memory, &self.program).map(drop)
    }

    /// A run that fails may leave recordings and marks behind that lack something, so the next one begins as the first one did.
    fn run(&mut self, inputs: &[TensorView<'_>], watch: Option<Watch<'_>>, until: &Until<'_>) -> Result<()> {
        until.check()?;
        self.try_run(inputs, watch).inspect_err(|_| self.memory = None)
    }

    fn output(&self, index: usize) -> &[f32] {
        match &self.program.outputs[index] {
            Place::Arena(_) => &self.outputs[index],
            Place::Blob(id) => self.program.model.blob(*id),
        }
    }
}

impl CudaState {
    fn try_run(&mut self, inputs: &[TensorView<'_>], mut watch: Option<Watch<'_>>) -> Result<()> {
        let program = &*self.program;
        let taken = Taken::of(&mut self.memory, program)?;
        for (place, input) in program.inputs.iter().zip(inputs) {
            if let Place::Arena(range) = place {
                taken.stream.upload(input.data(), taken.arena.part(range.clone()))?;
            }
        }
        watch.iter_mut().for_each(Watch::begin);
        match watch {
            Some(Watch::Times(times)) => taken.run_timed(program, times)?,
            Some(watch @ Watch::Finite(_)) => taken.run_checked(program, watch)?,
            None => taken.run(program)?,
        }
        for (place, output) in program.outputs.iter().zip(&mut self.outputs) {
            if let Place::Arena(range) = place {
                taken.stream.download(taken.arena.part(range.clone()), output)?;
            }
        }
        taken.stream.wait()?;
        Ok(())
    }
}

impl Taken {
    /// What a session has taken, or takes now.
    fn of<'a>(memory: &'a mut Option<Taken>, program: &CudaProgram) -> Result<&'a mut Taken> {
        match memory {
            Some(taken) => Ok(taken),
            none => Ok(none.insert(Taken::new(program)?)),
        }
    }

    fn new(program: &CudaProgram) -> Result<Self> {
        let CudaProgram { device, arena_len, scratch_len, .. } = program;
        let (arena, scratch) = (device.allocate(*arena_len)?, device.allocate(*scratch_len)?);
        Ok(Taken { stream: device.stream()?, arena, scratch, runs: Runs::None })
    }

    fn run(&mut self, program: &CudaProgram) -> Result<()> {
        match self.runs {
            // Where outputs are inputs, there is nothing to record.
            _ if program.steps.is_empty() => return Ok(()),
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

    fn run_timed(&mut self, program: &CudaProgram, times: &mut [Duration]) -> Result<()> {
        self.stream.mark()?;
        for step in &program.steps {
            self.step(program, step)?;
            self.stream.mark()?;
        }
        times.copy_from_slice(&self.stream.laps()?);
        Ok(())
    }

    /// Brings back what each step yields, to look at it.
    fn run_checked(&mut self, program: &CudaProgram, mut watch: Watch<'_>) -> Result<()> {
        for (i, step) in program.steps.iter().enumerate() {
            self.step(program, step)?;
            // Others just move elements.
            if step.about.node.is_none() {
                continue;
            }
            let mut elements = vec![0.0; step.write.len()];
            self.stream.download(self.arena.part(step.write.clone()), &mut elements)?;
            self.stream.wait()?;
            if let Some(found) = (Written { elements: &elements, blocks: None }).not_finite(i, None) {
                watch.take(found);
            }
        }
        Ok(())
    }

    fn launch(&mut self, program: &CudaProgram) -> Result<()> {
        program.steps.iter().try_for_each(|step| self.step(program, step))
    }

    fn step(&mut self, program: &CudaProgram, step: &PreparedStep) -> Result<()> {
        let _span = trace::step(&step.about);
        let Taken { stream, arena, scratch, .. } = self;
        let view = |place: &Place| match place {
            Place::Arena(range) => arena.part(range.clone()),
            Place::Blob(id) => program.blobs[id].view(),
        };
        let reads: Vec<View<'_>> = step.reads.iter().map(view).collect();
        let call = Call { reads: &reads, out: arena.part(step.write.clone()), scratch: scratch.view() };
        Ok(step.kernel.start(&mut **stream, call)?)
    }
}
