//! What computes a plan, whatever it is: a backend prepares a program, which sessions share; a session runs it with a state of its own.

use crate::error::Result;
use crate::limits::{Deadline, Until};
use crate::model::Model;
use crate::options::Options;
use crate::planning::Signature;
use crate::report::StepInfo;
use crate::tensor::TensorView;
use crate::watch::Watch;
use sslm_kernels::conv::Method;
use std::sync::Arc;

/// A way to compute.
pub(crate) trait Backend {
    /// Plans and prepares `model` until `deadline`, with what it takes and yields.
    fn prepare(&self, model: &Model, options: &Options, deadline: Deadline) -> Result<(Signature, Arc<dyn Program>)>;
}

/// All that sessions share: prepared steps with memory laid out for them.
pub(crate) trait Program: Send + Sync {
    /// What a new session needs; it takes its memory in its first run.
    fn state(self: Arc<Self>) -> Box<dyn State>;

    fn step_count(&self) -> usize;

    /// What reports say of the step of this index.
    fn step(&self, index: usize) -> StepInfo<'_>;

    /// If the step of this index is a convolution that can be computed by several methods: the index of its node in the graph, and its
    /// method.
    fn method(&self, index: usize) -> Option<(usize, Method)>;

    /// Bytes of memory that each session owns.
    fn session_bytes(&self) -> usize;

    /// Bytes of memory that it owns itself.
    fn bytes(&self) -> usize;

    /// Threads that a run uses at most.
    fn threads(&self) -> usize;

    /// The device that runs it; `None` if that is the CPU.
    fn device(&self) -> Option<String>;

    /// The instruction set or the device: a tuning holds for one of them.
    fn target(&self) -> String;
}

/// What one session owns.
pub(crate) trait State: Send {
    /// Takes the memory that the first run would take, and touches it, so that the system has it ready.
    fn reserve(&mut self) -> Result<()>;

    /// Runs all steps on inputs that fit, as far as it may, and notes what is asked for.
    fn run(&mut self, inputs: &[TensorView<'_>], watch: Option<Watch<'_>>, until: &Until<'_>) -> Result<()>;

    /// What the last run yielded as the output of this index.
    fn output(&self, index: usize) -> &[f32];
}
