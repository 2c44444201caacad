//! Running a plan: memory that belongs to one thread at a time.

use crate::error::{Error, Result};
use crate::memory::Memory;
use crate::plan::{Binding, Plan};
use crate::step::Place;
use crate::tensor::TensorView;
use sslm_kernels::{Exec, Threading};
use std::time::{Duration, Instant};

/// Runs a [`Plan`]. Owns its activations and scratch memory; make one per thread.
pub struct Session {
    plan: Plan,
    arena: Memory,
    scratch: Memory,
    /// Time of each step in the last run, if asked for.
    times: Option<Vec<Duration>>,
}

/// What a run yielded, borrowed from the session.
#[derive(Clone, Copy)]
pub struct Outputs<'a> {
    session: &'a Session,
}

impl Session {
    pub(crate) fn new(plan: Plan) -> Self {
        // Like an allocation that does not tell: `prepare` asked whether there is so much.
        let memory = |len: usize| Memory::new(len).expect("memory for activations");
        Session { arena: memory(plan.inner.arena_len), scratch: memory(plan.inner.scratch_len), times: None, plan }
    }

    /// Runs a network of one input and yields its first output.
    ///
    /// # Errors
    /// If the network has other than one input, or the input has another shape than the plan's.
    pub fn run(&mut self, input: TensorView<'_>) -> Result<TensorView<'_>> {
        Ok(self.run_all(&[input])?.get(0))
    }

    /// Runs the network on all its inputs, in the model's order.
    ///
    /// # Errors
    /// If the count or a shape differs from the plan's.
    pub fn run_all(&mut self, inputs: &[TensorView<'_>]) -> Result<Outputs<'_>> {
        let plan = &*self.plan.inner;
        if inputs.len() != plan.inputs.len() {
            return Err(Error::input("inputs", plan.inputs.len(), inputs.len()));
        }
        let arena = self.arena.as_mut_slice();
        for (input, binding) in inputs.iter().zip(&plan.inputs) {
            if input.shape() != binding.shape {
                let what = format!("shape of input '{}'", binding.name);
                return Err(Error::input(what, format!("{:?}", binding.shape), format!("{:?}", input.shape())));
            }
            if let Place::Arena(range) = &binding.place {
                arena[range.clone()].copy_from_slice(input.data());
            }
        }
        let scratch = self.scratch.as_mut_slice();
        let exec = Exec { isa: plan.isa, threading: plan.team.as_ref().map_or(Threading::Single, Threading::Team) };
        for (i, step) in plan.steps.iter().enumerate() {
            let start = self.times.is_some().then(Instant::now);
            step.run(&plan.model, arena, scratch, exec);
            if let (Some(times), Some(start)) = (&mut self.times, start) {
                times[i] = start.elapsed();
            }
        }
        Ok(Outputs { session: self })
    }

    /// Whether runs measure their steps from now on.
    pub fn set_timing(&mut self, on: bool) {
        self.times = on.then(|| vec![Duration::ZERO; self.plan.inner.steps.len()]);
    }

    /// Time of each step of [`Plan::steps`] in the last run; empty unless [`Self::set_timing`] asked for it.
    pub fn step_times(&self) -> &[Duration] {
        self.times.as_deref().unwrap_or_default()
    }

    /// The plan that this session runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl<'a> Outputs<'a> {
    /// Output number `index`, in the model's order.
    ///
    /// # Panics
    /// If the model has no such output.
    pub fn get(&self, index: usize) -> TensorView<'a> {
        self.view(&self.session.plan.inner.outputs[index])
    }

    /// All outputs with their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a str, TensorView<'a>)> + use<'a> {
        let this = *self;
        this.session.plan.inner.outputs.iter().map(move |binding| (binding.name.as_str(), this.view(binding)))
    }

    fn view(&self, binding: &'a Binding) -> TensorView<'a> {
        let data = match &binding.place {
            Place::Arena(range) => &self.session.arena.as_slice()[range.clone()],
            Place::Blob(id) => self.session.plan.inner.model.blob(*id),
        };
        TensorView::new(&binding.shape, data).expect("the planner sized the place by the shape")
    }
}
