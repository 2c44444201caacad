//! What a layer costs: the numeric work of each operator on plain slices, and on CUDA devices (`cuda`, with the feature of that name).
//! This crate knows no files, no graphs and no models.
//!
//! A *task* says what one step computes: shapes and constants, plain data. It is prepared once, for the CPU ([`cpu::Task`]) or for a
//! device, into a kernel, which then computes as often as it is called. Everything that can be decided from shapes is decided by
//! `prepare`. A kernel reads slices, writes every element of its output (and reads it only where a convolution is to add to it),
//! allocates nothing and leaves nothing behind.
//!
//! ```
//! use sslm_kernels::cpu::{Call, Kernel, Slices, Target, Task};
//! use sslm_kernels::normalize::SoftmaxTask;
//! use sslm_kernels::{Exec, Isa, Threading};
//!
//! // Two rows of four scores each become shares of 1.
//! let task = SoftmaxTask { axis: 4, inner: 1, log: false };
//! let isa = Isa::best();
//! let kernel = Box::new(task).prepare(&Target::new(isa, 1));
//!
//! let scores = [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 100.0];
//! let mut shares = [0.0; 8];
//! kernel.compute(Call {
//!     reads: Slices::Listed(&[&scores]),
//!     parameters: Slices::Listed(&[]),
//!     kept: &[],
//!     out: &mut shares,
//!     scratch: &mut vec![0.0; kernel.scratch_len()],
//!     exec: Exec { isa, threading: Threading::Single },
//! });
//! assert_eq!(shares[..4], [0.25; 4]);
//! assert!(shares[7] > 0.999);
//! ```
//!
//! Tensors are row-major `f32`, activations NCHW. A convolution takes three hops: the kernel of a [`conv::ConvTask`] -> its method,
//! with tiles and panels -> the register tile.
//!
//! Every kernel sums in the same order for every thread count and every share of the work, so results do not depend on it.

mod activation;
mod affinity;
pub mod axis;
mod broadcast;
pub mod channels;
pub mod conv;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod elementwise;
mod exec;
mod filter_tile;
pub mod fully_connected;
pub mod index;
pub mod layout;
mod math;
pub mod matmul;
pub mod normalize;
mod parallel;
pub mod pool;
mod precision;
pub mod recurrent;
pub mod remap;
pub mod reorder;
pub mod resample;
pub mod sample;
mod simd;
mod target;
mod task;
mod team;
mod tile;
pub mod volume;

pub use exec::Exec;
pub use precision::Precision;
pub use simd::Isa;
pub use sslm_basics::functions::{Activation, Binary, Unary};
pub use task::Task;
pub use team::{Run, Team};

use std::ops::Range;

/// Whether a kernel may share its work.
#[derive(Clone, Copy, Debug)]
pub enum Threading<'a> {
    /// Stay on the calling thread.
    Single,
    /// Let the team help.
    Team(&'a Team),
}

/// Checks that a slice has the length that a kernel's shapes call for: a bug in the caller, never a matter of user input.
#[track_caller]
fn expect_len<T>(what: &str, slice: &[T], expected: usize) {
    assert_eq!(slice.len(), expected, "{what}: expected {expected} elements, found {}", slice.len());
}

/// How many pieces of `len` elements a slice consists of; a remainder is a bug in the caller too.
#[track_caller]
fn count_pieces(what: &str, slice: &[f32], len: usize) -> usize {
    let count = slice.len() / len.max(1);
    expect_len(what, slice, count * len);
    count
}

/// `count` in as few parts as `most` allows, as equal as can be.
fn balanced(count: usize, most: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let parts = count.div_ceil(most);
    (0..parts).map(move |i| i * count / parts..(i + 1) * count / parts)
}
