//! What the benchmarks share: how they measure ([`compare`], in quiet moments on cores of their own, as `ssl_quiet` finds them, beside a
//! [`ceiling`]), what they run: layers as data ([`shapes`]), how they are computed ([`works`], with a [`library`], [`sparse`]), and
//! networks made of them ([`nets`]), also after [`pauses`]; and of what [`machine`] a record is.

pub mod ceiling;
pub mod compare;
pub mod isa;
pub mod library;
pub mod machine;
pub mod nets;
pub mod pauses;
pub mod shapes;
pub mod sparse;
mod table;
pub mod works;
