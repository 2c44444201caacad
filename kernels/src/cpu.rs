//! Where planning meets the CPU: a [`Task`] says what a step computes, and the [`Kernel`] that it is prepared to computes it.

pub use crate::target::{Target, WeightsFrom};

use crate::Exec;
use crate::layout::Forms;
use crate::target::Method;
use get_size2::GetSize;
use std::fmt::Debug;

/// A description of what a step computes, from which a kernel of the CPU is prepared.
pub trait Task {
    /// In which layouts it can be computed on a target, whatever the target's own are.
    fn forms(&self, _: &Target) -> Forms {
        Forms::Planes
    }

    /// What transforming weights once instead of in every run would take and save. `None` if it would save nothing.
    fn kept_weights(&self, _: &Target) -> Option<KeptWeights> {
        None
    }

    /// No fewer bytes than [`Self::prepare`], and what is asked of the task before that, takes of memory, what is given back included:
    /// for limits, which are checked before it is taken.
    fn most_table_bytes(&self, target: &Target) -> usize;

    /// Decides all that can be decided before the first run.
    fn prepare(self: Box<Self>, target: &Target) -> Box<dyn Kernel>;
}

/// A kernel without its tables takes no more bytes than this, with what it says of itself.
pub(crate) const KERNEL: usize = 4096;

/// What keeping transformed weights takes and saves.
#[derive(Clone, Copy, Debug)]
pub struct KeptWeights {
    /// Elements that are kept.
    pub len: usize,
    /// What a run is expected to cost less, in multiply-adds of vectors.
    pub saving: f64,
}

/// What a prepared kernel owns besides itself.
pub trait Tables {
    /// Bytes of all its tables, as the allocator was asked for them.
    fn table_bytes(&self) -> usize;
}

impl<T: GetSize> Tables for T {
    fn table_bytes(&self) -> usize {
        self.get_heap_size()
    }
}

/// Computes a step on the CPU. It allocates nothing and leaves nothing behind.
pub trait Kernel: Tables + Debug + Send + Sync {
    /// Elements of scratch memory that [`Self::compute`] needs.
    fn scratch_len(&self) -> usize {
        0
    }

    /// Elements of weights that [`Self::transform_weights`] makes before the first run, for all runs; 0 if there are none.
    fn kept_len(&self) -> usize {
        0
    }

    /// Transforms the weights among its parameters. `kept` has [`Self::kept_len`] elements, of any values, each of which it
    /// overwrites.
    fn transform_weights(&self, _parameters: Slices<'_>, _kept: &mut [f32]) {}

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

    fn most_table_bytes(&self, _: &Target) -> usize {
        0
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
    /// What [`Kernel::transform_weights`] made of them.
    pub kept: &'a [f32],
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
