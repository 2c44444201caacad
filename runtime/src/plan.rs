//! A prepared model: immutable, shareable between threads.

use crate::model::Model;
use crate::session::Session;
use crate::step::Place;
use crate::{cpu, cuda, prepare};
use std::fmt;
use std::sync::Arc;

/// A model with batch, shapes, kernels, memory and threads fixed. Cloning is cheap.
#[derive(Clone)]
pub struct Plan {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) model: Model,
    pub(crate) inputs: Vec<Binding>,
    pub(crate) outputs: Vec<Binding>,
    pub(crate) program: Program,
    /// Why it is the CPU's although a device was asked for first.
    pub(crate) fallback: Option<String>,
}

/// What computes it.
pub(crate) enum Program {
    Cpu(cpu::Program),
    Cuda(cuda::Program),
}

/// An input or output of the network and where it lies.
pub(crate) struct Binding {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) place: Place,
}

/// One step of a plan, for reports.
#[derive(Clone, Debug)]
pub struct StepInfo<'a> {
    /// Name of the node.
    pub name: &'a str,
    /// What runs, in ONNX's words; `Select` puts removed channels back or leaves unread ones out.
    pub op: &'a str,
    /// What computes it: a convolution's method, register tile and instruction set, such as `packed 8x48 avx512`. The method is the
    /// one that is expected to be fastest; `packed 8x48 avx512, timed` was measured to be.
    pub kernel: String,
    /// Multiply-accumulates of one run of the whole batch.
    pub macs: usize,
    /// Bytes of its inputs, weights and output, each counted once.
    pub bytes: usize,
    /// Threads that share it: one where it is too short for more. Image by image, threads that take images of their own.
    pub threads: usize,
    /// Whether it runs image by image, with the steps before and behind it: images of a batch that is better computed so.
    pub by_image: bool,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [inputs, outputs] =
            [&self.inner.inputs, &self.inner.outputs].map(|all| all.iter().map(|b| &b.shape).collect::<Vec<_>>());
        let plan = &mut f.debug_struct("Plan");
        plan.field("model", &self.inner.model).field("inputs", &inputs).field("outputs", &outputs).finish_non_exhaustive()
    }
}

impl Plan {
    /// A session with memory of its own, which its first run takes.
    pub fn session(&self) -> Session {
        Session::new(self.clone())
    }

    /// What runs, in order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = StepInfo<'_>> {
        (0..self.steps_len()).map(|i| match &self.inner.program {
            Program::Cpu(program) => program.info(i),
            Program::Cuda(program) => program.steps[i].info(),
        })
    }

    pub(crate) fn steps_len(&self) -> usize {
        match &self.inner.program {
            Program::Cpu(program) => program.steps().len(),
            Program::Cuda(program) => program.steps.len(),
        }
    }

    /// Shapes that [`Session::run_all`] expects, in order.
    pub fn input_shapes(&self) -> impl ExactSizeIterator<Item = &[usize]> {
        self.inner.inputs.iter().map(|b| b.shape.as_slice())
    }

    /// Shapes that [`Session::run_all`] yields, in order.
    pub fn output_shapes(&self) -> impl ExactSizeIterator<Item = &[usize]> {
        self.inner.outputs.iter().map(|b| b.shape.as_slice())
    }

    /// Whether an image of the outputs may depend on other images of the batch: then a batch cannot be run in parts, or filled up. As
    /// far as operators and shapes tell; a model that fixes a batch of one mixes nothing.
    pub fn mixes_images(&self) -> bool {
        prepare::mixes_images(&self.inner.model, self.input_shapes().map(<[usize]>::to_vec).collect())
    }

    /// Bytes of memory that each session owns, on a device if it runs there.
    pub fn session_bytes(&self) -> usize {
        let numbers = match &self.inner.program {
            Program::Cpu(program) => program.session_len(),
            Program::Cuda(program) => program.session_len(),
        };
        numbers * size_of::<f32>()
    }

    /// Threads that a run uses at most.
    pub fn threads(&self) -> usize {
        match &self.inner.program {
            Program::Cpu(program) => program.threads(),
            Program::Cuda(_) => 1,
        }
    }

    /// The device that runs it; `None` if that is the CPU.
    pub fn device(&self) -> Option<String> {
        match &self.inner.program {
            Program::Cpu(_) => None,
            Program::Cuda(program) => Some(program.name()),
        }
    }

    /// Why it runs on the CPU although [`crate::Backend::Auto`] asked for a device.
    pub fn fallback(&self) -> Option<&str> {
        self.inner.fallback.as_deref()
    }
}
