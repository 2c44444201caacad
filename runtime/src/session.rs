//! Running a plan: memory that belongs to one thread at a time.

use crate::backend::State;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Plan;
use crate::report::NotFinite;
use crate::tensor::{Element, TensorView, TypedView};
use crate::watch::Watch;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Runs a [`Plan`]. Owns its activations and scratch memory, which the first run takes; make one per thread.
pub struct Session {
    plan: Plan,
    state: Box<dyn State>,
    noted: Noted,
    /// Inputs of other types than `f32`, as `f32`.
    converted: Vec<Vec<f32>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// What was noted of the last run, as far as it was asked for.
enum Noted {
    Nothing,
    /// The time of each step.
    Times(Vec<Duration>),
    /// The first step whose output is not finite.
    Finite(Option<NotFinite>),
}

impl Noted {
    fn watch(&mut self) -> Option<Watch<'_>> {
        match self {
            Noted::Nothing => None,
            Noted::Times(times) => Some(Watch::Times(times)),
            Noted::Finite(found) => Some(Watch::Finite(found)),
        }
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
        Session {
            state: Arc::clone(&self.inner.program).state(),
            noted: Noted::Nothing,
            converted: Vec::new(),
            plan: self.clone(),
        }
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
    /// If the count or a shape differs from the plan's, there is no memory left, the run takes longer than
    /// [`crate::Options::max_time`] allows, or a device fails.
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
        self.state.run(inputs, self.noted.watch(), plan.limits.deadline())?;
        Ok(Outputs { session: self })
    }

    /// As [`Self::run_all`], on elements of the types that the model declares for its inputs. Those of other types than `f32` are
    /// converted into memory of the session, which the first such run takes.
    ///
    /// # Errors
    /// As [`Self::run_all`]; or if a type differs from the model's, or an element is beyond what `f32` holds exactly.
    pub fn run_typed(&mut self, inputs: &[TypedView<'_>]) -> Result<Outputs<'_>> {
        let mut converted = std::mem::take(&mut self.converted);
        converted.resize_with(inputs.len(), Vec::new);
        let done = self.convert(inputs, &mut converted).and_then(|()| {
            let both = inputs.iter().zip(&converted);
            let views: Vec<TensorView<'_>> = both.map(|(input, x)| TensorView::new(input.shape(), x)).collect::<Result<_>>()?;
            self.run_all(&views).map(drop)
        });
        self.converted = converted;
        done.map(|()| Outputs { session: self })
    }

    /// What inputs hold, as `f32`.
    fn convert(&self, inputs: &[TypedView<'_>], converted: &mut [Vec<f32>]) -> Result<()> {
        for ((input, port), elements) in inputs.iter().zip(&self.plan.inner.inputs).zip(converted) {
            let (expected, found) = (port.element_type, input.element_type());
            if expected != found {
                return Err(Error::input(format!("elements of input '{}'", port.name), expected, found));
            }
            elements.clear();
            let done = found.read(input.bytes(), elements);
            done.map_err(|e| Error::new(ErrorKind::Input, e).within(format!("input '{}'", port.name)))?;
        }
        Ok(())
    }

    /// Whether runs measure their steps from now on. They look at no step's output then.
    pub fn set_timing(&mut self, on: bool) {
        let zeros = || vec![Duration::ZERO; self.plan.inner.program.step_count()];
        self.noted = if on { Noted::Times(zeros()) } else { Noted::Nothing };
    }

    /// Whether runs look for NaN and infinities in what each of their steps yields from now on ([`Outputs::not_finite`]), which takes
    /// longer. They measure no step then.
    pub fn set_checking(&mut self, on: bool) {
        self.noted = if on { Noted::Finite(None) } else { Noted::Nothing };
    }

    /// Time of each step of [`Plan::steps`] in the last run; empty unless [`Self::set_timing`] asked for it. Of a step that runs
    /// image by image, it is that of all images, divided by the threads that take them.
    pub fn step_times(&self) -> &[Duration] {
        if let Noted::Times(times) = &self.noted { times } else { &[] }
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

    /// The elements of the output of this index, of the type that the model declares for it.
    ///
    /// # Errors
    /// If `T` is another type, or an element is beyond that type or beyond what `f32` holds exactly.
    ///
    /// # Panics
    /// If the model has no such output.
    pub fn typed<T: Element>(&self, index: usize) -> Result<Vec<T>> {
        let port = &self.session.plan.inner.outputs[index];
        if port.element_type != T::TYPE {
            return Err(Error::input(format!("elements of output '{}'", port.name), port.element_type, T::TYPE));
        }
        Ok(T::of_bytes(&self.typed_bytes(index)?))
    }

    /// As [`Self::typed`], for any type: the bytes of the elements in the machine's order, one behind the other.
    ///
    /// # Errors
    /// If an element is beyond the type that the model declares, or beyond what `f32` holds exactly.
    ///
    /// # Panics
    /// If the model has no such output.
    pub fn typed_bytes(&self, index: usize) -> Result<Vec<u8>> {
        let port = &self.session.plan.inner.outputs[index];
        let (mut bytes, elements) = (Vec::new(), self.view(index).data());
        let done = port.element_type.write(elements, &mut bytes);
        done.map_err(|e| Error::new(ErrorKind::Input, e).within(format!("output '{}'", port.name)))?;
        Ok(bytes)
    }

    /// The first step whose output is not finite; none unless [`Session::set_checking`] asked for it. What the inputs hold is not
    /// looked at, nor steps that just move elements, nor an output that is a constant of the file.
    pub fn not_finite(&self) -> Option<&'a NotFinite> {
        if let Noted::Finite(found) = &self.session.noted { found.as_ref() } else { None }
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
