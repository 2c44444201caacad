//! Moving whole channels: choosing them, putting removed ones back, joining them.

use crate::cpu::{Call, Kernel};
use crate::{Exec, Task, count_pieces, expect_len};

/// Where an output channel comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source {
    /// The input's physical channel of this index.
    Channel(usize),
    /// It has this value everywhere.
    Constant(f32),
}

/// Channels of `[batch][channels][plane]` in another order, some of them constants.
#[derive(Clone, Debug)]
pub struct SelectTask {
    /// Channels of the input.
    pub channels: usize,
    /// Elements of a channel.
    pub plane: usize,
    /// Where each channel of the output comes from.
    pub sources: Vec<Source>,
}

impl Task for SelectTask {
    fn kind(&self) -> &'static str {
        "select"
    }
}

impl Kernel for SelectTask {
    fn compute(&self, call: Call<'_>) {
        select(call.reads.get(0), self.channels, self.plane, &self.sources, call.out, call.exec);
    }
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

/// All inputs, `[outer][len]` each, behind one another: `[outer][sum of lens]`.
#[derive(Clone, Debug)]
pub struct ConcatTask {
    /// For each input, its extent along the joined axis times those of all axes inside it.
    pub lens: Vec<usize>,
}

impl ConcatTask {
    /// For each input its index, its length and where it begins in the output; and the output's length.
    pub(crate) fn parts(&self) -> (impl Iterator<Item = (usize, usize, usize)>, usize) {
        let mut end = 0;
        let part = move |(index, &len): (usize, &usize)| {
            end += len;
            (index, len, end - len)
        };
        (self.lens.iter().enumerate().map(part), self.lens.iter().sum())
    }
}

impl Task for ConcatTask {
    fn kind(&self) -> &'static str {
        "concat"
    }
}

impl Kernel for ConcatTask {
    fn compute(&self, call: Call<'_>) {
        let (parts, total) = self.parts();
        for (index, len, offset) in parts {
            insert(call.reads.get(index), len, call.out, offset, total);
        }
    }
}

/// Puts one part of a concatenation in its place: `part` is `[outer][len]`, and `out` is `[outer][total]`, of which the elements
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
