//! What a caller fixes when preparing a model.

use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::model::Model;
use crate::tuning::Tuning;
use sslm_format::Dim;
use sslm_kernels::conv::Method;
#[cfg(feature = "cuda")]
use sslm_kernels::cuda::Device;
use sslm_kernels::{Isa, Precision};
use std::collections::BTreeMap;
#[cfg(feature = "cuda")]
use std::sync::Arc;
use std::time::Duration;

/// How many threads a plan computes with. Steps that are too short to share run on the calling thread in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threads {
    /// As many as the machine offers, or one where a run is so short that it would be over before others could help.
    #[default]
    Auto,
    /// The calling thread only.
    Single,
    /// So many, the calling thread included. 0 and 1 mean [`Threads::Single`]; more than 1024 are an error. Where the process may use
    /// only one CPU, other threads would be in the way: the plan has none.
    Count(usize),
}

/// What computes a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// The CPU.
    #[default]
    Cpu,
    /// The machine's first CUDA device, or an error if it cannot be used or the feature `cuda` is off.
    Cuda,
    /// The machine's first CUDA device, or the CPU if it cannot be used or has no room; [`crate::Plan::fallback`] says why.
    Auto,
}

/// How much memory of its own a plan may take for weights that it transforms before the first run, instead of in every run. Sessions of
/// a plan share them, and so do the images of a batch. 3x3 and 5x5 convolutions are up to two or three times as fast with them; they
/// take up to four times the room that these layers have in the file. Layers that gain most for their bytes come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransformedWeights {
    /// Up to as many bytes as the file's weights have, or 8 MiB for small networks.
    #[default]
    Auto,
    /// Up to so many bytes: with 0, nothing is kept, and weights are nowhere but in the file.
    AtMost(usize),
}

/// Choices for [`crate::Model::prepare`].
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub(crate) batch: Option<usize>,
    pub(crate) threads: Threads,
    pub(crate) spin: Option<Duration>,
    pub(crate) isa: Option<Isa>,
    pub(crate) dims: BTreeMap<String, usize>,
    pub(crate) methods: Methods,
    pub(crate) transformed_weights: TransformedWeights,
    pub(crate) backend: Backend,
    #[cfg(feature = "cuda")]
    pub(crate) device: Option<Arc<dyn Device>>,
    pub(crate) precision: Precision,
    pub(crate) limits: Limits,
    pub(crate) reproducible: bool,
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
    /// The method that the node of this index is to have, if it is not for the kernel to choose, and whether that was measured.
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

    /// How long the plan's other threads look for work after a run, or after a step that was shared, before they sleep: 100 us unless a
    /// caller says otherwise. While they look, they take processor time: up to so much for each thread and run. Where runs follow each
    /// other in less time, other threads are there from the beginning; where they do not, waking one takes 40 to 80 us of the run.
    #[must_use]
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = Some(spin);
        self
    }

    /// Kernels of this instruction set instead of the best one that the CPU has.
    #[must_use]
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// Computes by plain arithmetic in one fixed order, so that results are the same to the last bit on every CPU and in every browser, for
    /// any count of threads, and for an image in any batch (of a model that mixes no images). It takes [`Isa::portable`], in which products
    /// are rounded before they are added, since not every machine can do otherwise at speed, and runs the images of a batch one by one.
    /// That takes several times as long as the best instruction set. There are no reproducible results by a device.
    #[must_use]
    pub fn reproducible(mut self) -> Self {
        self.reproducible = true;
        self.isa(Isa::portable())
    }

    /// Extent of a symbolic dimension, by its name in the model (see [`crate::Model::inputs`]).
    #[must_use]
    pub fn dim(mut self, name: impl Into<String>, extent: usize) -> Self {
        self.dims.insert(name.into(), extent);
        self
    }

    /// Extents of all symbolic dimensions, such that the model's inputs have these shapes.
    ///
    /// # Errors
    /// If an input cannot have the shape that is given for it, or there are more or fewer shapes than inputs.
    pub fn shapes<S: AsRef<[usize]>>(mut self, model: &Model, shapes: &[S]) -> Result<Self> {
        let inputs = model.inputs();
        if inputs.len() != shapes.len() {
            return Err(Error::input("shapes of inputs", inputs.len(), shapes.len()));
        }
        let mut given: BTreeMap<&str, usize> = BTreeMap::new();
        for (input, shape) in inputs.iter().zip(shapes) {
            let mut fits = input.dims.len() == shape.as_ref().len();
            for (dim, &extent) in input.dims.iter().zip(shape.as_ref()) {
                match dim {
                    Dim::Fixed { size } => fits &= *size == extent as u64,
                    Dim::Symbolic { name } => {
                        let first = *given.entry(name).or_insert(extent);
                        if first != extent {
                            return Err(Error::input(
                                format!("dimension '{name}'"),
                                "one extent",
                                format!("{first} and {extent}"),
                            ));
                        }
                    }
                }
            }
            if !fits {
                let dims: Vec<String> = input.dims.iter().map(Dim::to_string).collect();
                return Err(Error::shape(&input.name, format!("[{}]", dims.join(", ")), shape.as_ref()));
            }
        }
        self.dims.extend(given.into_iter().map(|(name, extent)| (name.to_owned(), extent)));
        Ok(self)
    }

    /// How much memory transformed weights may take, on the CPU.
    #[must_use]
    pub fn transformed_weights(mut self, transformed_weights: TransformedWeights) -> Self {
        self.transformed_weights = transformed_weights;
        self
    }

    /// The most memory that the plan and one session may own together, in bytes, and what preparing the plan may take besides meanwhile.
    /// A plan that would take more is refused ([`crate::ErrorKind::Limit`]) before the memory is taken. Not counted: the model's file and
    /// description, stacks of threads, and what a device needs. No limit unless a caller sets one: a small file can ask for much, so set one
    /// for files of strangers.
    #[must_use]
    pub fn max_memory(mut self, bytes: usize) -> Self {
        self.limits.memory = Some(bytes);
        self
    }

    /// The most multiply-accumulates that a run may take; elements that are read or written, taps of pooling windows and the like count
    /// as one each. A plan that would take more is refused ([`crate::ErrorKind::Limit`]).
    #[must_use]
    pub fn max_macs(mut self, macs: u64) -> Self {
        self.limits.macs = Some(macs);
        self
    }

    /// The most time that preparing the plan may take, and again each run; then they end with an error ([`crate::ErrorKind::Limit`]).
    /// They look at the time between the steps of the network, so a step that has begun ends first; with [`Self::max_macs`], none is
    /// long. A device looks before a run begins.
    #[must_use]
    pub fn max_time(mut self, time: Duration) -> Self {
        self.limits.time = Some(time);
        self
    }

    /// What computes the plan.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// As [`Backend::Cuda`], on a device that is open already: several plans share what it took to open it.
    #[cfg(feature = "cuda")]
    #[must_use]
    pub fn device(mut self, device: Arc<dyn Device>) -> Self {
        self.device = Some(device);
        self.backend(Backend::Cuda)
    }

    /// How a CUDA device rounds the products of convolutions and fully connected layers. The CPU always computes in `f32`.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
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
