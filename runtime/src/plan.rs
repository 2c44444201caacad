//! A prepared model: immutable, shareable between threads.

use crate::backend::Program;
use crate::limits::Limits;
use crate::model::Model;
use crate::planning::{self, Port, Signature};
use crate::report::StepInfo;
use crate::tuning::MadeFor;
use get_size2::GetSize;
use sslm_format::ElementType;
use std::fmt;
use std::sync::Arc;

/// A model with batch, shapes, kernels, memory and threads fixed. Cloning is cheap.
#[derive(Clone)]
pub struct Plan {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    model: Model,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) program: Arc<dyn Program>,
    /// Why it is the CPU's although a device was asked for first.
    fallback: Option<String>,
    pub(crate) limits: Limits,
    macs: usize,
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
    pub(crate) fn new(
        model: Model,
        signature: Signature,
        program: Arc<dyn Program>,
        fallback: Option<String>,
        limits: Limits,
    ) -> Self {
        let Signature { inputs, outputs } = signature;
        let macs = (0..program.step_count()).map(|i| program.step(i).macs).fold(0, usize::saturating_add);
        Plan { inner: Arc::new(Inner { model, inputs, outputs, program, fallback, limits, macs }) }
    }

    /// What runs, in order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = StepInfo<'_>> {
        (0..self.inner.program.step_count()).map(|i| self.inner.program.step(i))
    }

    /// Multiply-accumulates of a run, those of all steps together: about how long it takes, where most of its work is in convolutions.
    pub fn macs(&self) -> usize {
        self.inner.macs
    }

    /// Shapes that [`crate::Session::run_all`] expects, in order.
    pub fn input_shapes(&self) -> impl ExactSizeIterator<Item = &[usize]> {
        self.inner.inputs.iter().map(|b| b.shape.as_slice())
    }

    /// Shapes that [`crate::Session::run_all`] yields, in order.
    pub fn output_shapes(&self) -> impl ExactSizeIterator<Item = &[usize]> {
        self.inner.outputs.iter().map(|b| b.shape.as_slice())
    }

    /// Of which types the elements of the outputs are in the source model, in order: as [`Model::output_types`].
    pub fn output_types(&self) -> Vec<ElementType> {
        self.inner.outputs.iter().map(|port| port.element_type).collect()
    }

    /// Whether an image of the outputs may depend on other images of the batch: then a batch cannot be run in parts, or filled up. As
    /// far as operators and shapes tell; a model that fixes a batch of one mixes nothing.
    pub fn mixes_images(&self) -> bool {
        planning::mixes_images(&self.inner.model, self.input_shapes().map(<[usize]>::to_vec).collect())
    }

    /// Bytes of memory that each session owns from its first run on, on a device if it runs there. Inputs that have to be converted take
    /// as much again as `f32` elements ([`crate::Session::run_typed`]).
    pub fn session_bytes(&self) -> usize {
        self.inner.program.session_bytes()
    }

    /// Bytes of memory that the plan owns and all sessions share: tables of its kernels, descriptions of its steps, and weights which were
    /// transformed before the first run ([`crate::TransformedWeights`]). Not counted: the model, what threads take, and what lies on a
    /// device.
    pub fn prepared_bytes(&self) -> usize {
        let Inner { inputs, outputs, program, .. } = &*self.inner;
        // Shared objects begin with two counts.
        let own = 2 * size_of::<usize>() + size_of::<Inner>();
        own + inputs.get_heap_size() + outputs.get_heap_size() + self.inner.fallback.get_heap_size() + program.bytes()
    }

    /// Threads that a run uses at most.
    pub fn threads(&self) -> usize {
        self.inner.program.threads()
    }

    /// The device that runs it; `None` if that is the CPU.
    pub fn device(&self) -> Option<String> {
        self.inner.program.device()
    }

    /// What a tuning that was measured with it holds for.
    pub(crate) fn made_for(&self) -> MadeFor {
        let inputs = self.input_shapes().map(<[usize]>::to_vec).collect();
        MadeFor::new(self.inner.model.checksums(), inputs, self.inner.program.target(), self.threads())
    }

    /// Why it runs on the CPU although [`crate::Backend::Auto`] asked for a device.
    pub fn fallback(&self) -> Option<&str> {
        self.inner.fallback.as_deref()
    }
}
