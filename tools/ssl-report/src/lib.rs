//! Records of benchmarks ([`record`]), and what they say ([`gains`]): the benches write the one and print the other. The tool makes
//! pages of both: [`analysis`] makes a [`document`] of a record, beside the paper's figures, an older record ([`compare`]) and other
//! runtimes ([`peers`]), with calls after [`pauses`] and what a GPU took ([`gpu`]), and [`html`] and [`markdown`] write it down. [`model`]
//! times a user's own model. `command` is the command line.

pub mod analysis;
mod charts;
mod command;
pub mod compare;
pub mod document;
mod found;
pub mod gains;
pub mod gpu;
pub mod html;
mod json;
mod lines;
pub mod markdown;
pub mod model;
mod paper;
pub mod pauses;
pub mod peers;
pub mod record;

pub use command::main;
