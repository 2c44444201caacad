//! What the benchmarks share: how they measure ([`compare`], in [`quiet`] moments on [`cores`] of their own, beside a [`ceiling`]
//! found with [`bursts`]), and what they run: layers as data ([`shapes`]), and networks made of them ([`nets`]).

pub mod bursts;
pub mod ceiling;
pub mod compare;
pub mod cores;
pub mod nets;
pub mod quiet;
pub mod shapes;
mod table;
