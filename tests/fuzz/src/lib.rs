//! How the fuzzer changes what is not just bytes: `.sslm` files by [`sections`], ONNX models by messages ([`onnx`]). What is done with
//! the outcome stands in `tests/src/fuzz`, where the ordinary tests run it on every corpus.

pub mod onnx;
pub mod sections;
