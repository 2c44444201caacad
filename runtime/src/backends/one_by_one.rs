//! A batch as runs of a program for one image: what computes an image is then the same whatever the batch.

use crate::backend::{Program, State};
use crate::error::Result;
use crate::limits::Until;
use crate::planning::{Port, Signature};
use crate::report::{NotFinite, StepInfo};
use crate::tensor::TensorView;
use crate::watch::Watch;
use get_size2::GetSize;
use sslm_kernels::conv::Method;
use std::sync::Arc;
use std::time::Duration;

/// Inputs that are listed on the stack, if they are no more.
const FEW: usize = 4;

/// A program for one image, run for each image of a batch.
pub(crate) struct OneByOne {
    program: Arc<dyn Program>,
    batch: usize,
    /// Shapes of one image of each input.
    inputs: Vec<Vec<usize>>,
    /// Elements of one image of each output.
    outputs: Vec<usize>,
}

impl OneByOne {
    /// `program` takes and yields one image, as the signature says; axis 0 of all its inputs and outputs is that of images. Yields the
    /// signature of the whole batch, too.
    pub(crate) fn new(program: Arc<dyn Program>, signature: Signature, batch: usize) -> (Signature, Self) {
        let inputs = signature.inputs.iter().map(|port| port.shape.clone()).collect();
        let outputs = signature.outputs.iter().map(|port| port.shape.iter().product()).collect();
        let of_all = |ports: Vec<Port>| -> Vec<Port> {
            ports.into_iter().map(|port| Port { shape: [&[batch], &port.shape[1..]].concat(), ..port }).collect()
        };
        let signature = Signature { inputs: of_all(signature.inputs), outputs: of_all(signature.outputs) };
        (signature, OneByOne { program, batch, inputs, outputs })
    }
}

impl Program for OneByOne {
    fn state(self: Arc<Self>) -> Box<dyn State> {
        let outputs = self.outputs.iter().map(|_| Vec::new()).collect();
        Box::new(OneByOneState { state: Arc::clone(&self.program).state(), outputs, program: self })
    }

    fn step_count(&self) -> usize {
        self.program.step_count()
    }

    fn step(&self, index: usize) -> StepInfo<'_> {
        let step = self.program.step(index);
        StepInfo { macs: step.macs * self.batch, bytes: step.bytes * self.batch, by_image: true, ..step }
    }

    fn method(&self, index: usize) -> Option<(usize, Method)> {
        self.program.method(index)
    }

    fn session_bytes(&self) -> usize {
        self.program.session_bytes() + self.outputs.iter().map(|len| len * self.batch * size_of::<f32>()).sum::<usize>()
    }

    fn bytes(&self) -> usize {
        let lists = self.inputs.get_heap_size() + self.outputs.get_heap_size();
        2 * size_of::<usize>() + size_of::<Self>() + lists + self.program.bytes()
    }

    fn threads(&self) -> usize {
        self.program.threads()
    }

    fn device(&self) -> Option<String> {
        self.program.device()
    }

    fn target(&self) -> String {
        self.program.target()
    }
}

struct OneByOneState {
    program: Arc<OneByOne>,
    state: Box<dyn State>,
    /// Of the whole batch; taken by the first run.
    outputs: Vec<Vec<f32>>,
}

impl OneByOneState {
    /// Runs one image, and notes of it what is asked for.
    fn run_one(
        &mut self,
        image: usize,
        parts: &[TensorView<'_>],
        watch: Option<&mut Watch<'_>>,
        until: &Until<'_>,
    ) -> Result<()> {
        match watch {
            None => self.state.run(parts, None, until),
            Some(Watch::Times(times)) => {
                let mut own = vec![Duration::ZERO; times.len()];
                self.state.run(parts, Some(Watch::Times(&mut own)), until)?;
                times.iter_mut().zip(own).for_each(|(all, own)| *all += own);
                Ok(())
            }
            Some(all) => {
                let mut own = None;
                self.state.run(parts, Some(Watch::Finite(&mut own)), until)?;
                own.into_iter().for_each(|found| all.take(NotFinite { image: Some(image), ..found }));
                Ok(())
            }
        }
    }
}

impl State for OneByOneState {
    fn reserve(&mut self) -> Result<()> {
        for (output, len) in self.outputs.iter_mut().zip(&self.program.outputs) {
            output.resize(len * self.program.batch, 0.0);
        }
        self.state.reserve()
    }

    fn run(&mut self, inputs: &[TensorView<'_>], mut watch: Option<Watch<'_>>, until: &Until<'_>) -> Result<()> {
        let program = Arc::clone(&self.program);
        let OneByOne { batch, inputs: shapes, outputs: lens, .. } = &*program;
        for (output, len) in self.outputs.iter_mut().zip(lens) {
            output.resize(len * batch, 0.0);
        }
        watch.iter_mut().for_each(Watch::begin);
        // Lists of few inputs need no memory.
        let (mut few, mut many) = ([TensorView::EMPTY; FEW], Vec::new());
        let parts = match few.get_mut(..inputs.len()) {
            Some(few) => few,
            None => {
                many.resize(inputs.len(), TensorView::EMPTY);
                &mut many[..]
            }
        };
        for image in 0..*batch {
            for ((part, input), shape) in parts.iter_mut().zip(inputs).zip(shapes) {
                let len = input.data().len() / batch;
                *part = TensorView::new(shape, &input.data()[image * len..][..len])?;
            }
            self.run_one(image, parts, watch.as_mut(), until)?;
            for (i, (output, len)) in self.outputs.iter_mut().zip(lens).enumerate() {
                output[image * len..][..*len].copy_from_slice(self.state.output(i));
            }
        }
        Ok(())
    }

    fn output(&self, index: usize) -> &[f32] {
        &self.outputs[index]
    }
}
