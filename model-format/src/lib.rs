//! What a `.sslm` file is: its types, its encoding, and the one door from untrusted bytes to a trusted [`Model`].
//!
//! A model here is a *logical* graph: every value has the shape it had in the network that was trained, and says which of its
//! channels physically exist ([`Compaction`]); the others are known constants. Operators are defined on logical values, so a
//! compact model and a dense one mean the same thing and differ only in what is stored and computed.
//!
//! Data flows one way through the files of this crate: `container` (header, sections, checksums) ->
//! `codec` (bytes to records) -> [`validate`](fn@validate) (records to a model that can be trusted). [`write()`] goes
//! back. `shape` infers logical shapes, [`panels`] documents the layout of weights. The normative text is
//! `docs/sslm-format.md`.
//!
//! This crate opens no files, starts no threads and runs nothing.
#![forbid(unsafe_code)]

mod codec;
mod container;
mod error;
mod functions;
mod model;
pub mod shape;
mod validate;

pub use sslm_basics::functions::{Binary, Unary};
pub use sslm_basics::panels;

pub use container::{MAGIC, Section, VERSION, WEIGHT_ALIGN, sections, verify_weights, write};
pub use error::{Error, ErrorKind, Result};
pub use model::*;
pub use validate::{Loaded, validate};
