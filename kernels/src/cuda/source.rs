//! The whole source of the kernels, put together of the pieces that stand beside what starts them, and what it was compiled to.

use super::launch::Source;
use super::{axis, channels, conv, elementwise, index, lines, matmul, normalize, pool, recurrent, resample, volume};
use sslm_basics::functions;

/// All pieces, each behind those whose macros and structures it uses.
const PIECES: &[&[Source]] = &[
    elementwise::SOURCES,
    conv::SOURCES,
    &[lines::LINES],
    pool::SOURCES,
    normalize::SOURCES,
    channels::SOURCES,
    axis::SOURCES,
    matmul::SOURCES,
    recurrent::SOURCES,
    index::SOURCES,
    resample::SOURCES,
    volume::SOURCES,
];

/// The kernels by name.
pub fn names() -> impl Iterator<Item = &'static str> {
    PIECES.iter().copied().flatten().flat_map(|piece| piece.kernels).copied()
}

/// The source without what makes it CUDA: declarations of the arguments, the elementwise functions, then the kernels.
pub fn body() -> String {
    let pieces = PIECES.iter().copied().flatten();
    let declarations = pieces.clone().map(|piece| piece.declaration);
    let texts = pieces.map(|piece| piece.text);
    declarations.chain([&*functions::in_c(), include_str!("common.cu")]).chain(texts).collect()
}

/// The whole source, for NVRTC or nvcc.
pub fn source() -> String {
    [include_str!("prelude.cu"), &body()].concat()
}

/// The source compiled, by `examples/ptx.rs`. Its first line holds a checksum of the source.
pub const PTX: &str = include_str!("kernels.ptx");
