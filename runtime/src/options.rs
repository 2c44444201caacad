//! What a caller fixes when preparing a model.

use crate::tuning::Tuning;
use sslm_kernels::Isa;
use sslm_kernels::conv::Method;
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
    pub(crate) methods: Methods,
}

/// Which methods convolutions are computed by.
#[derive(Clone, Debug, Default)]
pub(crate) enum Methods {
    /// Those that are expected to be fastest.
    #[default]
    Expected,
    /// This one wherever it applies.
    Forced(Method),
    /// Those that were measured to be fastest.
    Tuned(Tuning),
}

impl Methods {
    /// The method that node `node` is to have, if it is not for the kernel to choose, and whether that was measured.
    pub(crate) fn of(&self, node: usize) -> (Option<Method>, bool) {
        match self {
            Methods::Expected => (None, false),
            Methods::Forced(method) => (Some(*method), false),
            // What was expected may differ from group to group, which no single method does.
            Methods::Tuned(tuning) => match tuning.layer(node) {
                Some(layer) => ((layer.tuned != layer.expected).then_some(layer.tuned), true),
                None => (None, false),
            },
        }
    }
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

    /// The methods that [`crate::Model::tune`] found to be fastest, instead of those that are expected to be. A plan under other
    /// conditions than those that it was made for is refused.
    #[must_use]
    pub fn tuning(mut self, tuning: Tuning) -> Self {
        self.methods = Methods::Tuned(tuning);
        self
    }
}
