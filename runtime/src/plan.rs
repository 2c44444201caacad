//! A prepared model: immutable, shareable between threads.

use crate::map::Line;
use crate::model::Model;
use crate::session::Session;
use crate::step::{Place, Step};
use sslm_kernels::{Isa, Team};
use std::ops::Range;
use std::sync::Arc;

/// A model with batch, shapes, kernels, memory and threads fixed. Cloning is cheap.
#[derive(Clone)]
pub struct Plan {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) model: Model,
    /// What comes first, where a batch begins image by image.
    pub(crate) images: Option<Images>,
    /// Of the whole batch.
    pub(crate) rest: Program,
    pub(crate) inputs: Vec<Binding>,
    pub(crate) outputs: Vec<Binding>,
    pub(crate) isa: Isa,
    /// Absent where everything runs on the caller's thread.
    pub(crate) team: Option<Team>,
}

impl Inner {
    /// In the order in which they run, with how many times each one does.
    pub(crate) fn steps(&self) -> impl ExactSizeIterator<Item = &Step> {
        let images = self.images.as_ref().map_or(&[][..], |images| &images.program.steps);
        let count = images.len();
        (0..count + self.rest.steps.len()).map(move |i| if i < count { &images[i] } else { &self.rest.steps[i - count] })
    }
}

/// Steps with memory laid out for them.
pub(crate) struct Program {
    pub(crate) steps: Vec<Step>,
    pub(crate) arena_len: usize,
    pub(crate) scratch_len: usize,
}

/// What is computed image by image, on threads that take images of their own.
pub(crate) struct Images {
    /// For one image.
    pub(crate) program: Program,
    /// Images that each thread takes; the last one perhaps fewer.
    pub(crate) each: usize,
    /// Threads that take images.
    pub(crate) lanes: usize,
    /// What it yields: where that lies in the program's arena, and where that of all images lies in the batch's arena.
    pub(crate) one: Range<usize>,
    pub(crate) all: Range<usize>,
}

impl Images {
    /// Numbers of memory that a thread computes in.
    pub(crate) fn lane_len(&self) -> usize {
        self.program.arena_len.next_multiple_of(Line::FLOATS) + self.program.scratch_len.next_multiple_of(Line::FLOATS)
    }

    /// Numbers of memory that all threads compute in.
    pub(crate) fn memory_len(&self) -> usize {
        self.lanes.saturating_mul(self.lane_len())
    }

    pub(crate) fn batch(&self) -> usize {
        self.all.len() / self.one.len()
    }
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

impl Plan {
    /// A session with memory of its own.
    pub fn session(&self) -> Session {
        Session::new(self.clone())
    }

    /// What runs, in order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = StepInfo<'_>> {
        let images = self.inner.images.as_ref();
        self.inner.steps().enumerate().map(move |(i, step)| match images.filter(|images| i < images.program.steps.len()) {
            None => step.info(),
            Some(images) => {
                let StepInfo { macs, bytes, .. } = step.info();
                StepInfo {
                    macs: macs * images.batch(),
                    bytes: bytes * images.batch(),
                    threads: images.lanes,
                    by_image: true,
                    ..step.info()
                }
            }
        })
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
        let Program { arena_len, scratch_len, .. } = self.inner.rest;
        (arena_len + scratch_len + self.inner.images.as_ref().map_or(0, Images::memory_len)) * size_of::<f32>()
    }

    /// Threads that a run uses at most.
    pub fn threads(&self) -> usize {
        self.inner.team.as_ref().map_or(1, Team::threads)
    }
}

impl Step {
    fn info(&self) -> StepInfo<'_> {
        let Step { name, op, kernel, macs, numbers, threads, .. } = self;
        StepInfo {
            name,
            op,
            kernel: kernel.describe(),
            macs: *macs,
            bytes: numbers * size_of::<f32>(),
            threads: *threads,
            by_image: false,
        }
    }
}
