//! Moving whole channels: choosing them, putting removed ones back, joining them.

use crate::{Exec, count_pieces, expect_len};

/// Where an output channel comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source {
    /// The input's physical channel of this number.
    Channel(usize),
    /// It is this number everywhere.
    Constant(f32),
}

/// Builds `[batch][sources][plane]` from `x`, which is `[batch][channels][plane]`.
///
/// # Panics
/// If a slice has another length than the shapes call for, or a source lies outside `channels`.
pub fn select(x: &[f32], channels: usize, plane: usize, sources: &[Source], out: &mut [f32], exec: Exec) {
    if out.is_empty() {
        return;
    }
    let image = sources.len() * plane;
    let batch = count_pieces("output", out, image);
    expect_len("input", x, batch * channels * plane);
    exec.for_each_chunk(
        out,
        plane,
        #[inline(always)]
        |i, out| match sources[i % sources.len()] {
            Source::Constant(value) => out.fill(value),
            Source::Channel(channel) => {
                assert!(channel < channels, "channel {channel} of {channels}");
                out.copy_from_slice(&x[(i / sources.len() * channels + channel) * plane..][..plane]);
            }
        },
    );
}

/// Puts one part of a concatenation in its place: `part` is `[outer][len]`, and `out` is `[outer][total]`, of which the numbers
/// `offset..offset + len` are written.
///
/// # Panics
/// If a slice has another length than these shapes call for.
pub fn insert(part: &[f32], len: usize, out: &mut [f32], offset: usize, total: usize) {
    let outer = count_pieces("output", out, total);
    expect_len("part", part, outer * len);
    for (outer, out) in out.chunks_exact_mut(total.max(1)).enumerate() {
        out[offset..offset + len].copy_from_slice(&part[outer * len..][..len]);
    }
}
