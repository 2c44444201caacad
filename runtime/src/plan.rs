//! A prepared model: immutable, shareable between threads.

use crate::model::Model;
use crate::session::Session;
use crate::step::{Place, Step};
use sslm_kernels::{Isa, Team};
use std::sync::Arc;

/// A model with batch, shapes, kernels, memory and threads fixed. Cloning is cheap.
#[derive(Clone)]
pub struct Plan {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) model: Model,
    pub(crate) steps: Vec<Step>,
    pub(crate) inputs: Vec<Binding>,
    pub(crate) outputs: Vec<Binding>,
    pub(crate) arena_len: usize,
    pub(crate) scratch_len: usize,
    pub(crate) isa: Isa,
    /// Absent where everything runs on the caller's thread.
    pub(crate) team: Option<Team>,
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
    /// Threads that share it: one where it is too short for more.
    pub threads: usize,
}

impl Plan {
    /// A session with memory of its own.
    pub fn session(&self) -> Session {
        Session::new(self.clone())
    }

    /// What runs, in order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = StepInfo<'_>> {
        self.inner.steps.iter().map(Step::info)
    }

    /// Shapes that [`Session::run_all`] expects, in order.
    pub fn input_shapes(&self) -> impl ExactSizeIterator<Item = &[usize]> {
        self.inner.inputs.iter().map(|b| b.shape.as_slice())
    }

    /// Shapes that [`Session::run_all`] yields, in order.
    pub fn output_shapes(&self) -> impl ExactSizeIterator<Item = &[usize]> {
        self.inner.outputs.iter().map(|b| b.shape.as_slice())
    }

    /// Bytes of memory that each session owns.
    pub fn session_bytes(&self) -> usize {
        (self.inner.arena_len + self.inner.scratch_len) * size_of::<f32>()
    }

    /// Threads that a run uses at most.
    pub fn threads(&self) -> usize {
        self.inner.team.as_ref().map_or(1, Team::threads)
    }
}

impl Step {
    fn info(&self) -> StepInfo<'_> {
        let Step { name, op, kernel, macs, numbers, threads, .. } = self;
        StepInfo { name, op, kernel: kernel.describe(), macs: *macs, bytes: numbers * size_of::<f32>(), threads: *threads }
    }
}
