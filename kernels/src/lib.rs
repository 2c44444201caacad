//! What a layer costs: the numeric work of each operator on plain slices, and on CUDA devices ([`cuda`]). This crate
//! knows no files, no graphs and no models.
//!
//! Tensors are row-major `f32`, activations NCHW. Whatever can be computed from shapes alone is computed by a kernel's `new`; its
//! `run` reads slices, writes every element of its output (and reads it only where a convolution is to add to it), allocates
//! nothing and leaves nothing behind. A convolution is three hops: [`conv::PreparedConv::run`] -> the tiles and panels of a method
//! -> the register tile.
//!
//! However threads share the work, each element of an output is computed by the same operations in the same order, so results do
//! not depend on how many threads there are.

mod activation;
pub mod axis;
pub mod channels;
pub mod conv;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod elementwise;
mod exec;
mod filter_tile;
pub mod fully_connected;
mod math;
pub mod normalize;
mod parallel;
pub mod pool;
mod precision;
mod simd;
mod task;
mod team;
mod tile;

pub use exec::Exec;
pub use precision::Precision;
pub use simd::Isa;
pub use sslm_basics::functions::{Activation, Binary, Unary};
pub use task::Task;
pub use team::Team;

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
