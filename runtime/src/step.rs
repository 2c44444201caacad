//! One step of a plan: what it computes, what it reads, where it writes.

use crate::plan::StepInfo;
use crate::work::{Form, Work};
use sslm_format::BlobId;
use std::ops::Range;

/// Where numbers are read from.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// The session's arena.
    Arena(Range<usize>),
    /// The model file.
    Blob(BlobId),
}

/// Work applied to places.
pub(crate) struct Step<F: Form, P = Place, W = Range<usize>> {
    pub(crate) about: About,
    pub(crate) work: Work<F>,
    pub(crate) reads: Vec<P>,
    pub(crate) write: W,
}

/// What reports say of a step.
pub(crate) struct About {
    pub(crate) name: String,
    /// What runs, in ONNX's words.
    pub(crate) op: String,
    pub(crate) macs: usize,
    /// Numbers of its inputs, its parameters and its output.
    pub(crate) numbers: usize,
}

impl About {
    pub(crate) fn info(&self, kernel: String, threads: usize) -> StepInfo<'_> {
        let About { name, op, macs, numbers } = self;
        StepInfo { name, op, kernel, macs: *macs, bytes: numbers * size_of::<f32>(), threads, by_image: false }
    }

    /// What it costs in multiply-accumulates. A number that is read or written takes as long as eight of them: that is 50 GB/s,
    /// between what comes from memory and what from the second-level cache.
    pub(crate) fn work(&self) -> usize {
        self.macs.saturating_add(self.numbers.saturating_mul(8))
    }
}
