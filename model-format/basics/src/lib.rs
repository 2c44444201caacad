//! What `.sslm` files and kernels have to agree on, stated once: which elementwise functions there are and what they compute, how
//! a matrix of weights lies in memory, and what a number of 16 bits is. Both sides depend on this crate, so that neither has to know the other.
#![forbid(unsafe_code)]

pub mod functions;
pub mod half;
pub mod math;
pub mod panels;
pub mod wide;
