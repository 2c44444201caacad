//! One step of a plan: what it computes, what it reads, where it writes, and what reports say of it.

use crate::report::StepInfo;
use get_size2::GetSize;
use sslm_format::BlobId;
use sslm_kernels::Task;
use sslm_kernels::layout::{Extents, Layouts};
use std::ops::Range;

/// Where elements are read from.
#[derive(GetSize, Clone, Debug)]
pub(crate) enum Place {
    /// The session's arena.
    Arena(Range<usize>),
    /// The model file.
    Blob(#[get_size(ignore)] BlobId),
}

/// A task applied to places, for any backend.
pub(crate) struct Step<'m> {
    pub(crate) about: About,
    pub(crate) task: Box<dyn Task + 'm>,
    pub(crate) reads: Vec<Place>,
    /// Weights, biases and the like, in the task's order.
    pub(crate) parameters: Vec<BlobId>,
    pub(crate) write: Range<usize>,
    /// How what it reads and writes lies in memory.
    pub(crate) layouts: Layouts,
    /// The sizes of what it writes, if that lies in blocks.
    pub(crate) blocks: Option<Extents>,
    /// Bytes counted of lists that are this step's or those of steps before it, until the step's kernel owns what is left of them.
    pub(crate) listed: usize,
}

/// What reports say of a step.
#[derive(GetSize)]
pub(crate) struct About {
    pub(crate) name: String,
    /// What runs, in ONNX's words.
    pub(crate) op: String,
    /// The index in the graph of the node whose operator it computes, if it computes one.
    pub(crate) node: Option<usize>,
    /// What kind of kernel computes it.
    pub(crate) kind: &'static str,
    pub(crate) macs: usize,
    /// What its innermost loops do beside: see [`Task::operations`].
    pub(crate) operations: usize,
    /// Elements of its inputs, its parameters and its output.
    pub(crate) elements: usize,
}

impl About {
    /// `how` says how it is computed, where there is more than one way.
    pub(crate) fn info(&self, how: Option<String>, threads: usize) -> StepInfo<'_> {
        let About { name, op, kind, macs, elements, .. } = self;
        let kernel = how.unwrap_or_else(|| (*kind).to_owned());
        StepInfo { name, op, kernel, macs: *macs, bytes: elements * size_of::<f32>(), threads, by_image: false }
    }

    /// What limits count: multiply-accumulates, elements that are read or written, and whatever else takes as long as one of these.
    pub(crate) fn counted(&self) -> usize {
        self.macs.saturating_add(self.operations).saturating_add(self.elements)
    }

    /// What it costs in multiply-accumulates. An element that is read or written takes as long as eight of them: that is 50 GB/s,
    /// between what comes from memory and what from L2.
    pub(crate) fn work(&self) -> usize {
        self.macs.saturating_add(self.elements.saturating_mul(8))
    }
}
