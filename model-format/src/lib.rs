//! What a `.sslm` file is: its types, its encoding, and the one door from untrusted bytes to a trusted [`Model`].
//!
//! A model here is a *logical* graph: every value has the shape that it had in the network that was trained, and says which of its
//! channels physically exist ([`Compaction`]); the others are known constants. Operators are defined on logical values, so a
//! compact model and a dense one mean the same thing and differ only in what is stored and computed.
//!
//! ```
//! use sslm_format::Operator;
//!
//! let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/models/lenet/lenet.sslm");
//! let bytes = std::fs::read(path)?;
//!
//! // Every rule of the format is checked here, except that the weights are not read ...
//! let loaded = sslm_format::validate(&bytes)?;
//! // ... which is done on request.
//! loaded.verify_weights(&bytes)?;
//!
//! // How many channels each node's output keeps, of how many.
//! let graph = &loaded.model.graph;
//! for node in &graph.nodes {
//!     match &graph.values[node.output.index()].compaction {
//!         Some(c) => println!("{} ({}): {} of {} channels", node.name, node.op.name(), c.kept.len(), c.logical),
//!         None => println!("{} ({}): all channels", node.name, node.op.name()),
//!     }
//! }
//! # assert!(graph.values.iter().any(|value| value.compaction.is_some()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What an operator is stands in one file of `op`, whose list generates [`Op`] and [`dispatch!`]: its record, its rules, what it makes of
//! shapes, and how the axes of its inputs become those of its output ([`AxisMap`]):
//!
//! ```
//! use sslm_format::{Extent, Lrn, Operator, Reach, SliceSpace};
//!
//! // Of an image with 8 channels, what does channel 4 behind a normalisation over 5 channels depend on?
//! let lrn = Lrn { size: 5, alpha: 1e-4, beta: 0.75, bias: 1.0 };
//! let shape = vec![Extent::symbol("n"), Extent::from(8usize), Extent::symbol("h"), Extent::symbol("w")];
//! let map = &lrn.axes(&[&shape], &shape)[0];
//! let channels = SliceSpace::along(&shape, &[1]).expect("the count of channels is known");
//! assert_eq!(map.reach(&shape, &channels, &channels, 4), Reach::Near { own: 4, range: 2..7 });
//! ```
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
mod element;
mod error;
mod extent;
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
pub use sslm_basics::half;
pub use sslm_basics::panels;

pub use axes::{AxisMap, Link, Pick, Reach, SliceSpace};
pub use container::{MAGIC, Section, VERSION, WEIGHT_ALIGN, sections};
pub use element::{EXACT, ElementType, ElementTypes};
pub use error::{Error, ErrorKind, Result};
pub use extent::{Algebra, Extent};
pub use graph::{Dim, Graph, Input, Model, Node};
pub use metadata::{Color, Preprocessing, Provenance, Resize};
pub use op::*;
pub use read::{Loaded, validate};
pub use value::{Blob, BlobId, Compaction, Kept, Value, ValueId};
pub(crate) use weights::InFile;
pub use weights::{Stored, Weights};
pub use window::{Padding, Window};
pub use write::{Sink, write};
