//! Running a plan: memory that belongs to one thread at a time.

use crate::backend::State;
use crate::error::{Error, ErrorKind, Result};
use crate::interrupt::Interrupt;
use crate::limits::Until;
use crate::plan::Plan;
use crate::planning::Port;
use crate::report::NotFinite;
use crate::tensor::{Element, TensorView, TensorViewMut, TypedView};
use crate::trace;
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
    /// What may end runs before they are done.
    interrupt: Option<Interrupt>,
    /// Whether there is a last run, and it was not ended.
    has_run: bool,
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
            interrupt: None,
            has_run: false,
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
        let outputs = self.run_all(&[input])?;
        outputs.get(0).ok_or_else(|| Error::input("outputs", "at least 1", 0))
    }

    /// Runs the network on all its inputs, in the model's order.
    ///
    /// # Errors
    /// If the count or a shape differs from the plan's, there is no memory left, the run takes longer than
    /// [`crate::Options::max_time`] allows, an [`Interrupt`] ends it, or a device fails.
    pub fn run_all(&mut self, inputs: &[TensorView<'_>]) -> Result<Outputs<'_>> {
        let plan = &*self.plan.inner;
        if inputs.len() != plan.inputs.len() {
            return Err(Error::input("inputs", plan.inputs.len(), inputs.len()));
        }
        for (input, port) in inputs.iter().zip(&plan.inputs) {
            if input.shape() != port.shape {
                return Err(Error::shape(&port.name, format!("{:?}", port.shape), input.shape()));
            }
        }
        let _span = trace::run();
        self.has_run = false;
        self.state.run(inputs, self.noted.watch(), &Until::new(&plan.limits, self.interrupt.as_ref()))?;
        self.has_run = true;
        Ok(Outputs { session: self })
    }

    /// As [`Self::run_all`]; all outputs are copied to memory of the caller's, in the model's order.
    ///
    /// # Errors
    /// As [`Self::run_all`]; or if there are more or fewer outputs than the plan has, or one has another shape
    /// ([`Plan::output_shapes`]). Then nothing is run.
    pub fn run_into(&mut self, inputs: &[TensorView<'_>], outputs: &mut [TensorViewMut<'_>]) -> Result<()> {
        let ports = &self.plan.inner.outputs;
        if outputs.len() != ports.len() {
            return Err(Error::input("outputs", ports.len(), outputs.len()));
        }
        for (output, port) in outputs.iter().zip(ports) {
            if output.shape() != port.shape {
                let (what, found) = (format!("shape of output '{}'", port.name), format!("{:?}", output.shape()));
                return Err(Error::input(what, format!("{:?}", port.shape), found));
            }
        }
        let results = self.run_all(inputs)?;
        for ((_, result), output) in results.iter().zip(outputs) {
            output.data_mut().copy_from_slice(result.data());
        }
        Ok(())
    }

    /// As [`Self::run_all`], on elements of the types that the model declares for its inputs. Those that are not `f32` already, or do not
    /// lie where an `f32` may, are converted into memory of the session, which the first such run takes.
    ///
    /// # Errors
    /// As [`Self::run_all`]; or if a type differs from the model's, or an element is beyond what `f32` holds exactly.
    pub fn run_typed(&mut self, inputs: &[TypedView<'_>]) -> Result<Outputs<'_>> {
        let mut converted = std::mem::take(&mut self.converted);
        converted.resize_with(inputs.len(), Vec::new);
        let done = self.convert(inputs, &mut converted).and_then(|()| {
            let both = inputs.iter().zip(&converted);
            let view = both.map(|(input, converted)| TensorView::new(input.shape(), input.as_f32().unwrap_or(converted)));
            let views: Vec<TensorView<'_>> = view.collect::<Result<_>>()?;
            self.run_all(&views).map(drop)
        });
        self.converted = converted;
        done.map(|()| Outputs { session: self })
    }

    /// What inputs hold, as `f32`, where they are something else.
    fn convert(&self, inputs: &[TypedView<'_>], converted: &mut [Vec<f32>]) -> Result<()> {
        for ((input, port), elements) in inputs.iter().zip(&self.plan.inner.inputs).zip(converted) {
            let (expected, found) = (port.element_type, input.element_type());
            if expected != found {
                return Err(Error::input(format!("elements of input '{}'", port.name), expected, found));
            }
            elements.clear();
            if input.as_f32().is_some() {
                continue;
            }
            let done = found.read(input.bytes(), elements);
            done.map_err(|e| Error::new(ErrorKind::Input, e).within(format!("input '{}'", port.name)))?;
        }
        Ok(())
    }

    /// Takes the session's memory now, if there was no run yet, and has the system provide all of it, so that the first run takes no longer
    /// than later ones. What it yielded before is gone.
    ///
    /// # Errors
    /// If there is no memory left, or a device fails.
    pub fn reserve(&mut self) -> Result<()> {
        self.has_run = false;
        self.state.reserve()
    }

    /// What the last run yielded; `None` if there was none, or it failed.
    pub fn outputs(&self) -> Option<Outputs<'_>> {
        self.has_run.then_some(Outputs { session: self })
    }

    /// Lets `interrupt` end the runs of this session, from now on, instead of an interrupt that it was given before.
    pub fn set_interrupt(&mut self, interrupt: &Interrupt) {
        self.interrupt = Some(interrupt.clone());
    }

    /// Forgets all that was asked for besides running.
    pub(crate) fn forget_requests(&mut self) {
        (self.noted, self.interrupt) = (Noted::Nothing, None);
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
    /// How many outputs the model has.
    pub fn len(&self) -> usize {
        self.session.plan.inner.outputs.len()
    }

    /// Whether the model has none, which no valid model does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The output of this index, in the model's order; `None` if there is none.
    pub fn get(&self, index: usize) -> Option<TensorView<'a>> {
        self.iter().nth(index).map(|(_, output)| output)
    }

    /// The output of this name; `None` if there is none.
    pub fn named(&self, name: &str) -> Option<TensorView<'a>> {
        self.iter().find(|(own, _)| *own == name).map(|(_, output)| output)
    }

    /// The elements of the output of this index, of the type that the model declares for it.
    ///
    /// # Errors
    /// If the model has no such output, `T` is another type, or an element is beyond that type or beyond what `f32` holds exactly.
    pub fn typed<T: Element>(&self, index: usize) -> Result<Vec<T>> {
        let port = self.port(index)?;
        if port.element_type != T::TYPE {
            return Err(Error::input(format!("elements of output '{}'", port.name), port.element_type, T::TYPE));
        }
        Ok(T::of_bytes(&self.typed_bytes(index)?))
    }

    /// As [`Self::typed`], for any type: the bytes of the elements in the machine's order, one behind the other.
    ///
    /// # Errors
    /// If the model has no such output, or an element is beyond the type that it declares, or beyond what `f32` holds exactly.
    pub fn typed_bytes(&self, index: usize) -> Result<Vec<u8>> {
        let port = self.port(index)?;
        let (mut bytes, elements) = (Vec::new(), self.session.state.output(index));
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
        let session = self.session;
        session.plan.inner.outputs.iter().enumerate().map(move |(i, port)| {
            let view = TensorView::new(&port.shape, session.state.output(i)).expect("the planner sized the place by the shape");
            (port.name.as_str(), view)
        })
    }

    fn port(&self, index: usize) -> Result<&'a Port> {
        let ports = &self.session.plan.inner.outputs;
        ports.get(index).ok_or_else(|| Error::input("index of an output", format!("less than {}", ports.len()), index))
    }
}
