//! Where planning meets the CPU: a [`Task`] says what a step computes, and the [`Kernel`] that it is prepared to computes it.

use crate::conv::Method;
use crate::layout::{Forms, Layouts};
use crate::{Exec, Isa};
use std::fmt::Debug;

/// Work is shared by as many threads as get this much of it each, in multiply-accumulates: about a microsecond. Measured on two Zen 5
/// cores, sharing costs 0.3 us: steps of 2 us become a sixth faster, those of 0.8 us slower.
const GRAIN: usize = 100_000;

/// What kernels are prepared for.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The instruction set.
    pub isa: Isa,
    /// Most threads that share a step.
    pub threads: usize,
    /// The method that a convolution is to be computed by wherever it applies; without one, that which is expected to be fastest.
    pub method: Option<Method>,
    /// How what a step reads and writes lies in memory.
    pub layouts: Layouts,
}

impl Target {
    /// How many threads share so much work, in multiply-accumulates.
    pub fn threads_for(&self, work: usize) -> usize {
        (work / GRAIN).clamp(1, self.threads.max(1))
    }
}

/// A description of what a step computes, from which a kernel of the CPU is prepared.
pub trait Task {
    /// In which layouts it can be computed on a target, whatever the target's own are.
    fn forms(&self, _: &Target) -> Forms {
        Forms::Planes
    }

    /// Decides all that can be decided before the first run.
    fn prepare(self: Box<Self>, target: &Target) -> Box<dyn Kernel>;
}

/// Computes a step on the CPU. It allocates nothing and leaves nothing behind.
pub trait Kernel: Debug + Send + Sync {
    /// Elements of scratch memory that [`Self::compute`] needs.
    fn scratch_len(&self) -> usize {
        0
    }

    /// Writes every element of the output.
    ///
    /// # Panics
    /// If a slice has another length than the task's shapes call for.
    fn compute(&self, call: Call<'_>);

    /// How it computes, for reports, where there is more than one way.
    fn describe(&self) -> Option<String> {
        None
    }

    /// Whether each element of the output depends on the elements at its own place alone.
    fn is_elementwise(&self) -> bool {
        false
    }

    /// The method by which a convolution is computed.
    fn method(&self) -> Option<Method> {
        None
    }
}

/// A task of which shapes decide nothing is its own kernel.
impl<T: Kernel + 'static> Task for T {
    fn forms(&self, _: &Target) -> Forms {
        if self.is_elementwise() { Forms::Alike } else { Forms::Planes }
    }

    fn prepare(self: Box<Self>, _: &Target) -> Box<dyn Kernel> {
        self
    }
}

/// What a kernel is given for one run.
pub struct Call<'a> {
    /// The tensors that the step reads, in its task's order.
    pub reads: Slices<'a>,
    /// Its parameters: weights, biases, scales, in its task's order.
    pub parameters: Slices<'a>,
    /// What it writes.
    pub out: &'a mut [f32],
    /// At least [`Kernel::scratch_len`] elements, of any values.
    pub scratch: &'a mut [f32],
    /// Instructions and threads.
    pub exec: Exec<'a>,
}

/// Some slices: a list of them, or, where they are too many for a list that is made without allocating, a way to find them.
#[derive(Clone, Copy)]
pub enum Slices<'a> {
    /// All of them.
    Listed(&'a [&'a [f32]]),
    /// As many as are wanted.
    Found {
        /// How many there are.
        count: usize,
        /// The slice of this index.
        find: &'a dyn Fn(usize) -> &'a [f32],
    },
}

impl<'a> Slices<'a> {
    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "a count, not a container")]
    pub fn len(&self) -> usize {
        match self {
            Slices::Listed(slices) => slices.len(),
            Slices::Found { count, .. } => *count,
        }
    }

    /// The slice of this index.
    ///
    /// # Panics
    /// If there is none.
    pub fn get(&self, index: usize) -> &'a [f32] {
        match self {
            Slices::Listed(slices) => slices[index],
            Slices::Found { find, .. } => find(index),
        }
    }
}
