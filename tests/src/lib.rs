//! What the whole-system tests share: building small ONNX models ([`onnx`]), converting and comparing them in memory
//! ([`compare`]), editing `.sslm` files ([`file`]), and running the command-line tools ([`tools`]).

pub mod compare;
pub mod file;
pub mod onnx;
pub mod tools;
