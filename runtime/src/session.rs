//! Running a plan: memory that belongs to one thread at a time.

use crate::error::{Error, Result};
use crate::map::Line;
use crate::memory::Memory;
use crate::model::Model;
use crate::plan::{Binding, Images, Inner, Plan, Program};
use crate::step::Place;
use crate::tensor::TensorView;
use sslm_kernels::{Exec, Threading};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Runs a [`Plan`]. Owns its activations and scratch memory; make one per thread.
pub struct Session {
    plan: Plan,
    /// Of the whole batch.
    arena: Memory,
    scratch: Memory,
    /// Of the threads that take images.
    lanes: Memory,
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
        let Program { arena_len, scratch_len, .. } = plan.inner.rest;
        let lanes = plan.inner.images.as_ref().map_or(0, Images::memory_len);
        Session { arena: memory(arena_len), scratch: memory(scratch_len), lanes: memory(lanes), times: None, plan }
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
        for (input, binding) in inputs.iter().zip(&plan.inputs) {
            if input.shape() != binding.shape {
                let what = format!("shape of input '{}'", binding.name);
                return Err(Error::input(what, format!("{:?}", binding.shape), format!("{:?}", input.shape())));
            }
        }
        let arena = self.arena.as_mut_slice();
        let threading = plan.team.as_ref().map_or(Threading::Single, Threading::Team);
        let mut times = self.times.as_deref_mut();
        if let Some(times) = &mut times {
            times.fill(Duration::ZERO);
        }
        if let Some(images) = &plan.images {
            let (times_of_images, rest) = times.map(|times| times.split_at_mut(images.program.steps.len())).unzip();
            images.run(plan, inputs, &mut arena[images.all.clone()], self.lanes.as_mut_slice(), threading, times_of_images);
            times = rest;
        } else {
            plan.copy_inputs(inputs, 0, arena);
        }
        let times = times.map(Mutex::new);
        let exec = Exec { isa: plan.isa, threading };
        plan.rest.run(&plan.model, arena, self.scratch.as_mut_slice(), exec, times.as_ref());
        Ok(Outputs { session: self })
    }

    /// Whether runs measure their steps from now on.
    pub fn set_timing(&mut self, on: bool) {
        self.times = on.then(|| vec![Duration::ZERO; self.plan.inner.steps().len()]);
    }

    /// Time of each step of [`Plan::steps`] in the last run; empty unless [`Self::set_timing`] asked for it. Of a step that runs
    /// image by image, it is that of all images, divided by the threads that take them.
    pub fn step_times(&self) -> &[Duration] {
        self.times.as_deref().unwrap_or_default()
    }

    /// The plan that this session runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl Images {
    /// Computes all images of `inputs`; `out` is what they yield.
    fn run(
        &self,
        plan: &Inner,
        inputs: &[TensorView<'_>],
        out: &mut [f32],
        memory: &mut [f32],
        threading: Threading,
        times: Option<&mut [Duration]>,
    ) {
        let Images { program, each, lanes, one, .. } = self;
        let exec = Exec { isa: plan.isa, threading: Threading::Single };
        let times = times.map(Mutex::new);
        threading.zip_with_scratch(out, each * one.len(), memory, self.lane_len(), |lane, out, memory| {
            let (arena, scratch) = memory.split_at_mut(program.arena_len.next_multiple_of(Line::FLOATS));
            for (i, out) in out.chunks_exact_mut(one.len()).enumerate() {
                plan.copy_inputs(inputs, lane * each + i, arena);
                program.run(&plan.model, arena, scratch, exec, times.as_ref());
                out.copy_from_slice(&arena[one.clone()]);
            }
        });
        if let Some(times) = times {
            let times = times.into_inner().unwrap_or_else(PoisonError::into_inner);
            times.iter_mut().for_each(|time| *time /= *lanes as u32);
        }
    }
}

impl Inner {
    /// Puts the inputs where they are bound to: number `part` of their equal parts, as long as what is bound.
    fn copy_inputs(&self, inputs: &[TensorView<'_>], part: usize, arena: &mut [f32]) {
        for (input, binding) in inputs.iter().zip(&self.inputs) {
            if let Place::Arena(range) = &binding.place {
                arena[range.clone()].copy_from_slice(&input.data()[part * range.len()..][..range.len()]);
            }
        }
    }
}

impl Program {
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
