//! What the whole-system tests share: building small ONNX models ([`onnx`]) and random ones ([`random`]), converting and
//! comparing them in memory ([`compare`]), golden outputs ([`mod@golden`]), networks with everything ([`nets`]), editing `.sslm`
//! files ([`mod@file`]), masked networks in several spellings ([`twin`]), what fuzzing does ([`fuzz`]), and running the command-line
//! tools ([`tools`]).

pub mod compare;
pub mod file;
pub mod fuzz;
pub mod golden;
pub mod nets;
pub mod onnx;
pub mod random;
pub mod tools;
pub mod twin;
