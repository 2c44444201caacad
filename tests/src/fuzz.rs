//! What fuzzing does with the bytes that it makes up, one function a target. The fuzzer itself is in `tests/fuzz`, a workspace of its
//! own; the ordinary tests run every target on its corpus, so a finding that is added there is tested from then on.

mod c;
mod front_ends;
pub mod models;
mod networks;
mod reached;
mod readers;
pub mod sections;

pub use c::c;
pub use front_ends::{dataset, grpc, http};
pub use networks::{graph, onnx, sslm};
pub use readers::{container, image, json, npy, onnx_messages, record, records, round_trip};

/// What is done with the bytes of a fuzzer.
pub type Target = fn(&[u8]);

/// All targets, by their names.
pub const TARGETS: [(&str, Target); 15] = [
    ("container", container),
    ("records", records),
    ("round_trip", round_trip),
    ("onnx_messages", onnx_messages),
    ("npy", npy),
    ("image", image),
    ("record", record),
    ("json", json),
    ("sslm", sslm),
    ("onnx", onnx),
    ("graph", graph),
    ("http", http),
    ("grpc", grpc),
    ("dataset", dataset),
    ("c", c),
];
