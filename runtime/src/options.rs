//! What a caller fixes when preparing a model.

use sslm_kernels::Isa;
use std::collections::BTreeMap;

/// How many threads a plan computes with. Steps that are too short to share run on the calling thread in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threads {
    /// As many as the machine offers, or one where a run is so short that it would be over before others could help.
    #[default]
    Auto,
    /// The calling thread only.
    Single,
    /// So many, the calling thread included. 0 and 1 mean [`Threads::Single`].
    Count(usize),
}

/// Choices for [`crate::Model::prepare`].
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub(crate) batch: Option<usize>,
    pub(crate) threads: Threads,
    pub(crate) isa: Option<Isa>,
    pub(crate) dims: BTreeMap<String, usize>,
}

impl Options {
    /// Batch 1 (or what the model fixes), automatic threads.
    pub fn new() -> Self {
        Self::default()
    }

    /// Images per run: axis 0 of every input.
    #[must_use]
    pub fn batch(mut self, batch: usize) -> Self {
        self.batch = Some(batch);
        self
    }

    /// Threads of the plan.
    #[must_use]
    pub fn threads(mut self, threads: Threads) -> Self {
        self.threads = threads;
        self
    }

    /// Kernels of this instruction set instead of the best one that the CPU has.
    #[must_use]
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// Extent of a symbolic dimension, by its name in the model (see [`crate::Model::inputs`]).
    #[must_use]
    pub fn dim(mut self, name: impl Into<String>, extent: usize) -> Self {
        self.dims.insert(name.into(), extent);
        self
    }
}
