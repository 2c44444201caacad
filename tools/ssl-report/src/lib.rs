//! Records of benchmarks ([`record`]), and what they say ([`gains`]): the benches write the one and print the other, and the tool
//! `ssl-report` makes pages of both.

pub mod gains;
pub mod record;
