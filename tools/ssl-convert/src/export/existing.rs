//! Which channels of each value exist in the exported network: those of the file, and those without which some operator would take
//! more nodes than it had. Channels only come back, so asking every operator until none adds any comes to an end.
//!
//! This is the one rule of the export. What is written has no node that the original did not have, and no tensor in it has more
//! channels than there, so it is neither larger nor slower. A filter that comes back has zeros for weights, and yields the constant of
//! its channel.
//!
//! Runtimes compute with blocks of channels: onnxruntime takes its slow path, up to 1.7 times slower than with all channels, where those
//! of a convolution are no multiple of four, or of 16 (8 without AVX-512) where it has groups or its output is joined with others. So
//! counts are rounded up to such multiples where those of the original are.

use crate::graph::Graph;
use sslm_format::{Extent, ValueId};

/// The multiple that a count is rounded up to in a convolution without groups, if there are `all` in the original.
pub(crate) fn block(all: usize) -> usize {
    if all.is_multiple_of(4) { 4 } else { 1 }
}

/// As [`block`], of filters, channels or groups in a convolution with groups, and of channels that are joined with others.
pub(crate) fn block_in_groups(all: usize) -> usize {
    [16, 8].into_iter().find(|&block| all.is_multiple_of(block)).unwrap_or(1)
}

/// The channels of each value that exist.
pub(crate) struct Existing<'a> {
    /// The compacted graph.
    pub(crate) g: &'a Graph,
    /// A flag for each channel; `None` where all exist, be it for want of an axis 1.
    flags: Vec<Option<Vec<bool>>>,
    /// Whether the value is a stored tensor.
    stored: Vec<bool>,
    /// Whether something came back since somebody last asked.
    changed: bool,
}

impl<'a> Existing<'a> {
    /// The channels of the file, and all of each output.
    pub(crate) fn new(g: &'a Graph) -> Self {
        let of_value = |value: &sslm_format::Value| {
            let c = value.compaction.as_ref()?;
            Some((0..c.logical as usize).map(|channel| c.keeps(channel)).collect())
        };
        let mut stored = vec![false; g.graph.values.len()];
        let tensors = g.graph.nodes.iter().enumerate().filter(|(i, _)| g.op(*i).tensor().is_some());
        tensors.for_each(|(_, node)| stored[node.output.index()] = true);
        let mut existing = Existing { g, flags: g.graph.values.iter().map(of_value).collect(), stored, changed: false };
        g.graph.outputs.iter().for_each(|&output| existing.fill(output));
        existing
    }

    /// Whether something came back since this was last asked.
    pub(crate) fn has_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether all channels of `v` exist.
    pub(crate) fn is_whole(&self, v: ValueId) -> bool {
        self.flags[v.index()].as_ref().is_none_or(|flags| !flags.contains(&false))
    }

    /// Whether no channel of `v` exists.
    pub(crate) fn is_empty(&self, v: ValueId) -> bool {
        self.flags[v.index()].as_ref().is_some_and(|flags| !flags.contains(&true))
    }

    /// Whether channel `channel` of `v` exists.
    pub(crate) fn has(&self, v: ValueId, channel: usize) -> bool {
        self.flags[v.index()].as_ref().is_none_or(|flags| flags[channel])
    }

    /// The channels of `v` that exist, of `count` that it has in the original.
    pub(crate) fn list(&self, v: ValueId, count: usize) -> Vec<usize> {
        (0..count).filter(|&channel| self.has(v, channel)).collect()
    }

    /// How many of `count` channels of `v` exist, and how many of those came back.
    pub(crate) fn counts(&self, v: ValueId, count: usize) -> [usize; 2] {
        let list = self.list(v, count);
        let in_file = self.g.graph.values[v.index()].compaction.as_ref();
        [list.len(), list.iter().filter(|&&channel| in_file.is_some_and(|c| !c.keeps(channel))).count()]
    }

    /// For each channel of `v`: the constant that it equals, if it does not exist and that is not 0. `None` if there is none such.
    pub(crate) fn missing_constants(&self, v: ValueId) -> Option<Vec<Option<f32>>> {
        let constants = self.g.graph.values[v.index()].compaction.as_ref()?.constant_of();
        let missing = |(channel, c): (usize, Option<f32>)| c.filter(|c| *c != 0.0 && !self.has(v, channel));
        let missing: Vec<Option<f32>> = constants.into_iter().enumerate().map(missing).collect();
        missing.iter().any(Option::is_some).then_some(missing)
    }

    /// Brings one channel back.
    pub(crate) fn add(&mut self, v: ValueId, channel: usize) {
        if let Some(flags) = &mut self.flags[v.index()] {
            self.changed |= !std::mem::replace(&mut flags[channel], true);
        }
    }

    /// Brings all channels back.
    pub(crate) fn fill(&mut self, v: ValueId) {
        let count = self.flags[v.index()].as_ref().map_or(0, Vec::len);
        (0..count).for_each(|channel| self.add(v, channel));
    }

    /// Brings back as many channels of `v` as it takes for a multiple of `block`, if some exist.
    pub(crate) fn round_up(&mut self, v: ValueId, block: usize) {
        let all = self.count(v).unwrap_or(0);
        let missing: Vec<usize> = (0..all).filter(|&channel| !self.has(v, channel)).collect();
        let have = all - missing.len();
        missing.into_iter().take(have.next_multiple_of(block) - have).for_each(|channel| self.add(v, channel));
    }

    /// Channel i of `a` and channel `first + i` of `b` exist together, for the `count` channels of `a`.
    pub(crate) fn join(&mut self, a: ValueId, b: ValueId, first: usize, count: usize) {
        for channel in 0..count {
            match (self.has(a, channel), self.has(b, first + channel)) {
                (true, false) => self.add(b, first + channel),
                (false, true) => self.add(a, channel),
                _ => {}
            }
        }
    }

    /// Extent of axis 1, where it is known.
    pub(crate) fn count(&self, v: ValueId) -> Option<usize> {
        self.g.shape(v).get(1).and_then(Extent::known)
    }

    /// Whether `v` is a stored tensor, of which any channels can be written.
    pub(crate) fn is_stored(&self, v: ValueId) -> bool {
        self.stored[v.index()]
    }
}
