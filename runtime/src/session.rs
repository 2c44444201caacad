//! Running a plan: memory that belongs to one thread at a time.

use crate::backend::State;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::tensor::TensorView;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Runs a [`Plan`]. Owns its activations and scratch memory, which the first run takes; make one per thread.
pub struct Session {
    plan: Plan,
    state: Box<dyn State>,
    /// Time of each step in the last run, if asked for.
    times: Option<Vec<Duration>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// What a run yielded, borrowed from the session.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    session: &'a Session,
}

impl Plan {
    /// A session with memory of its own, which its first run takes.
    pub fn session(&self) -> Session {
        Session { state: Arc::clone(&self.inner.program).state(), times: None, plan: self.clone() }
    }
}

impl Session {
    /// Runs a network of one input and yields its first output.
    ///
    /// # Errors
    /// If the network has other than one input, the input has another shape than the plan's, there is no memory left, or a device
    /// fails.
    pub fn run(&mut self, input: TensorView<'_>) -> Result<TensorView<'_>> {
        Ok(self.run_all(&[input])?.get(0))
    }

    /// Runs the network on all its inputs, in the model's order.
    ///
    /// # Errors
    /// If the count or a shape differs from the plan's, there is no memory left, or a device fails.
    pub fn run_all(&mut self, inputs: &[TensorView<'_>]) -> Result<Outputs<'_>> {
        let plan = &*self.plan.inner;
        if inputs.len() != plan.inputs.len() {
            return Err(Error::input("inputs", plan.inputs.len(), inputs.len()));
        }
        for (input, port) in inputs.iter().zip(&plan.inputs) {
            if input.shape() != port.shape {
                let what = format!("shape of input '{}'", port.name);
                return Err(Error::input(what, format!("{:?}", port.shape), format!("{:?}", input.shape())));
            }
        }
        self.state.run(inputs, self.times.as_deref_mut())?;
        Ok(Outputs { session: self })
    }

    /// Whether runs measure their steps from now on.
    pub fn set_timing(&mut self, on: bool) {
        self.times = on.then(|| vec![Duration::ZERO; self.plan.inner.program.step_count()]);
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

impl<'a> Outputs<'a> {
    /// The output of this index, in the model's order.
    ///
    /// # Panics
    /// If the model has no such output.
    pub fn get(&self, index: usize) -> TensorView<'a> {
        self.view(index)
    }

    /// All outputs with their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a str, TensorView<'a>)> + use<'a> {
        let this = *self;
        this.session.plan.inner.outputs.iter().enumerate().map(move |(i, port)| (port.name.as_str(), this.view(i)))
    }

    fn view(&self, index: usize) -> TensorView<'a> {
        let port = &self.session.plan.inner.outputs[index];
        TensorView::new(&port.shape, self.session.state.output(index)).expect("the planner sized the place by the shape")
    }
}
