//! Moving whole channels: choosing them, putting removed ones back, joining them.

use crate::cpu::{self, Call, Kernel};
use crate::layout::{Extents, Forms, Layout, Layouts};
use crate::{Exec, Task, count_pieces, expect_len};
use get_size2::GetSize;

/// Where an output channel comes from.
#[derive(GetSize, Clone, Copy, Debug, PartialEq)]
pub enum Source {
    /// The input's physical channel of this index.
    Channel(usize),
    /// It has this value everywhere.
    Constant(f32),
}

/// Channels of `[batch][channels][plane]` in another order, some of them constants.
#[derive(Clone, Debug)]
pub struct SelectTask {
    /// Images that are selected from at once.
    pub images: usize,
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

impl SelectTask {
    /// Where each block of the output comes from, in blocks of so many lanes, if each one is a block of the input.
    fn whole_blocks(&self, lanes: usize) -> Option<Vec<Source>> {
        let block = |sources: &[Source]| match sources[0] {
            Source::Channel(first) if first.is_multiple_of(lanes) => {
                let follows = |(i, source): (usize, &Source)| *source == Source::Channel(first + i);
                sources.iter().enumerate().all(follows).then_some(Source::Channel(first / lanes))
            }
            Source::Channel(_) | Source::Constant(_) => None,
        };
        self.sources.chunks(lanes).map(block).collect()
    }
}

impl cpu::Task for SelectTask {
    fn forms(&self, target: &cpu::Target) -> Forms {
        let [reads, writes] =
            [self.channels, self.sources.len()].map(|channels| Extents { images: self.images, channels, plane: self.plane });
        let cost = (writes.len(Layout::Blocks, target.isa) / target.isa.lanes()) as f64;
        let blocks = self.whole_blocks(target.isa.lanes()).map(|_| (Layouts::BLOCKS, cost));
        Forms::Some { reads: vec![reads], writes, costs: [(Layouts::PLANES, cost)].into_iter().chain(blocks).collect() }
    }

    fn most_table_bytes(&self, _: &cpu::Target) -> usize {
        // Where each block comes from, and the list growing.
        cpu::KERNEL + 4 * self.sources.len() * size_of::<Source>()
    }

    fn prepare(self: Box<Self>, target: &cpu::Target) -> Box<dyn Kernel> {
        let lanes = target.layouts.reads.lanes(target.isa);
        let (channels, plane) = (self.channels.div_ceil(lanes), self.plane * lanes);
        let sources = self.whole_blocks(lanes).unwrap_or(self.sources);
        Box::new(Select { channels, plane, sources })
    }
}

/// A choice of planes, or of blocks as if these were planes.
#[derive(GetSize, Debug)]
struct Select {
    channels: usize,
    plane: usize,
    sources: Vec<Source>,
}

impl Kernel for Select {
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

/// All channels of all inputs, which are `[images][channels][plane]`, behind one another.
#[derive(Clone, Debug)]
pub struct JoinTask {
    /// Images that are joined at once.
    pub images: usize,
    /// Channels of each input.
    pub channels: Vec<usize>,
    /// Elements of a channel.
    pub plane: usize,
}

impl JoinTask {
    /// The same with all in planes.
    pub(crate) fn in_planes(&self) -> ConcatTask {
        ConcatTask { lens: self.channels.iter().map(|channels| channels * self.plane).collect() }
    }
}

impl Task for JoinTask {
    fn kind(&self) -> &'static str {
        "concat"
    }
}

impl cpu::Task for JoinTask {
    /// In blocks if each input begins with one.
    fn forms(&self, target: &cpu::Target) -> Forms {
        let extents = |channels: usize| Extents { images: self.images, channels, plane: self.plane };
        let lanes = target.isa.lanes();
        let writes = extents(self.channels.iter().sum());
        let cost = (writes.len(Layout::Blocks, target.isa) / lanes) as f64;
        let whole = self.channels.split_last().is_some_and(|(_, others)| others.iter().all(|c| c.is_multiple_of(lanes)));
        let costs = [(Layouts::PLANES, cost)].into_iter().chain(whole.then_some((Layouts::BLOCKS, cost))).collect();
        Forms::Some { reads: self.channels.iter().map(|&channels| extents(channels)).collect(), writes, costs }
    }

    fn most_table_bytes(&self, _: &cpu::Target) -> usize {
        cpu::KERNEL + 4 * self.channels.len() * size_of::<usize>()
    }

    fn prepare(self: Box<Self>, target: &cpu::Target) -> Box<dyn Kernel> {
        let lanes = target.layouts.reads.lanes(target.isa);
        let channels = self.channels.iter().map(|channels| channels.next_multiple_of(lanes)).collect();
        Box::new(JoinTask { channels, ..*self }.in_planes())
    }
}

/// All inputs, `[outer][len]` each, behind one another: `[outer][sum of lens]`.
#[derive(GetSize, Clone, Debug)]
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
