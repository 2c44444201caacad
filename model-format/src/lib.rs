//! What a `.sslm` file is: its types, its encoding, and the one door from untrusted bytes to a trusted [`Model`].
//!
//! A model here is a *logical* graph: every value has the shape it had in the network that was trained, and says which of its
//! channels physically exist ([`Compaction`]); the others are known constants. Operators are defined on logical values, so a
//! compact model and a dense one mean the same thing and differ only in what is stored and computed.
//!
//! What an operator is stands in one file of `op`, whose list generates [`Op`] and [`dispatch!`]: its record, its rules, what it makes of
//! shapes, and how the axes of its inputs become those of its output ([`AxisMap`]).
//!
//! Data flows one way: `container` (header, sections, checksums) -> `codec` (bytes to records) -> `check` (every rule) ->
//! [`validate`] (a model that can be trusted). [`write()`] goes back. [`infer`](fn@infer::infer) yields logical shapes, [`panels`]
//! documents the layout of weights. The normative text is `docs/sslm-format.md`.
//!
//! This crate opens no files, starts no threads and runs nothing.
#![forbid(unsafe_code)]

mod axes;
mod check;
mod codec;
mod container;
mod error;
mod functions;
mod graph;
pub mod infer;
mod metadata;
mod op;
mod read;
mod rules;
pub mod shape;
mod value;
mod weights;
pub mod window;
mod write;

pub use sslm_basics::functions::Unary;
pub use sslm_basics::panels;

pub use axes::{AxisMap, Link, Pick, Reach, SliceSpace};
pub use container::{MAGIC, Section, VERSION, WEIGHT_ALIGN, sections, verify_weights};
pub use error::{Error, ErrorKind, Result};
pub use graph::{Dim, Graph, Input, Model, Node};
pub use metadata::{Color, Preprocessing, Provenance, Resize};
pub use op::*;
pub use read::{Loaded, validate};
pub use value::{Blob, BlobId, Compaction, Kept, Value, ValueId};
pub(crate) use weights::InFile;
pub use weights::{Stored, Weights};
pub use window::{Padding, Window};
pub use write::write;
