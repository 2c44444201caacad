//! An axis that is rebuilt: each position of the new axis is one of the old axis, a mixture of two neighbours, or a constant. A tensor
//! is seen as `[outer][axis][inner]`.
//!
//! Slices, padding and enlargements list positions that follow each other by a rule. [`Sources`] finds such rules while positions come
//! in, and keeps the rules: a small file must not ask for tables that outweigh its tensors.

use crate::cpu::{self, Call, Kernel};
use crate::layout::{Extents, Forms};
use crate::{Exec, Task, count_pieces, expect_len};
use get_size2::GetSize;

/// Where a position of the new axis comes from.
#[derive(GetSize, Clone, Copy, Debug, PartialEq)]
pub enum From {
    /// The old axis's position of this index.
    Position(usize),
    /// It has this value everywhere.
    Constant(f32),
    /// `(1 - share)` of this position and `share` of the next one.
    Between(usize, f32),
}

impl From {
    /// How many positions further on `other` reads than this, if that is the only difference.
    fn steps_to(self, other: From) -> Option<usize> {
        match (self, other) {
            (From::Position(a), From::Position(b)) => b.checked_sub(a),
            (From::Constant(a), From::Constant(b)) => (a.to_bits() == b.to_bits()).then_some(0),
            (From::Between(a, share), From::Between(b, other)) => b.checked_sub(a).filter(|_| share.to_bits() == other.to_bits()),
            _ => None,
        }
    }

    /// The same so many positions further on.
    fn further(self, positions: usize) -> From {
        match self {
            From::Position(at) => From::Position(at + positions),
            From::Constant(value) => From::Constant(value),
            From::Between(at, share) => From::Between(at + positions, share),
        }
    }

    /// The last position that is read.
    fn last(self) -> Option<usize> {
        match self {
            From::Position(at) => Some(at),
            From::Between(at, _) => Some(at + 1),
            From::Constant(_) => None,
        }
    }

    /// Writes what comes from so many positions further on: `x` is `[extent][inner]`, `out` is `[inner]`.
    #[inline(always)]
    fn write(self, further: usize, x: &[f32], out: &mut [f32]) {
        let inner = out.len();
        let row = |position: usize| &x[(position + further) * inner..][..inner];
        match self {
            From::Position(position) => copy(row(position), out),
            From::Constant(value) => out.fill(value),
            From::Between(at, share) => {
                for (o, (a, b)) in out.iter_mut().zip(row(at).iter().zip(row(at + 1))) {
                    *o = mixed(*a, *b, share);
                }
            }
        }
    }
}

#[inline(always)]
fn mixed(a: f32, b: f32, share: f32) -> f32 {
    a * (1.0 - share) + b * share
}

/// A copy of a slice, if it is short without a call.
#[inline(always)]
fn copy(x: &[f32], out: &mut [f32]) {
    if out.len() > 64 {
        return out.copy_from_slice(x);
    }
    let (blocks, rest) = x.as_chunks::<4>();
    let (out_blocks, out_rest) = out.as_chunks_mut::<4>();
    out_blocks.iter_mut().zip(blocks).for_each(|(o, x)| *o = *x);
    out_rest.iter_mut().zip(rest).for_each(|(o, x)| *o = *x);
}

/// Where the positions of a new axis come from, in order. What recurs is kept once.
#[derive(GetSize, Clone, Debug, Default)]
pub struct Sources {
    runs: Vec<Run>,
    /// The sources of all runs, one run behind the other.
    listed: Vec<From>,
    len: usize,
}

/// Neighbouring positions of a new axis: the same sources `count` times, each time `step` positions further on.
#[derive(GetSize, Clone, Copy, Debug)]
struct Run {
    /// How many of the listed sources are its own.
    sources: usize,
    step: usize,
    count: usize,
}

/// Most sources that are looked for again.
const LONGEST_PATTERN: usize = 8;
/// Positions among which a pattern is looked for.
const AHEAD: usize = 2 * LONGEST_PATTERN;
/// A pattern counts if it covers so many of them; else they are listed one by one.
const COVERED: usize = 8;

impl Run {
    fn len(self) -> usize {
        self.sources * self.count
    }
}

impl Sources {
    /// The most bytes that so many positions take, in whatever order they come.
    pub fn most_bytes(positions: usize) -> usize {
        // Both lists may have room for twice as many as they hold, and for once as many again while they grow. At worst every position
        // is listed, or every eighth begins a run with as many sources.
        positions.saturating_add(AHEAD).saturating_mul(3 * (size_of::<From>() + size_of::<Run>() / COVERED))
    }

    /// How many positions there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no position.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Each position's source, in order.
    pub fn iter(&self) -> impl Iterator<Item = From> {
        self.runs().flat_map(|(run, sources)| {
            (0..run.count).flat_map(move |i| sources.iter().map(move |source| source.further(i * run.step)))
        })
    }

    /// Each run with its sources.
    fn runs(&self) -> impl Iterator<Item = (Run, &[From])> {
        let mut rest = &self.listed[..];
        self.runs.iter().map(move |&run| {
            let (own, others) = rest.split_at(run.sources);
            rest = others;
            (run, own)
        })
    }

    /// # Panics
    /// If a position lies outside `extent`.
    pub(crate) fn expect_inside(&self, extent: usize) {
        for (run, sources) in self.runs() {
            for source in sources.iter().map(|source| source.further((run.count - 1) * run.step)) {
                assert!(source.last().is_none_or(|last| last < extent), "{source:?} of {extent} positions");
            }
        }
    }

    /// Lists one position by itself.
    fn list(&mut self, source: From) {
        match self.runs.last_mut() {
            Some(run @ Run { count: 1, .. }) => run.sources += 1,
            _ => self.runs.push(Run { sources: 1, step: 0, count: 1 }),
        }
        self.listed.push(source);
        self.len += 1;
    }

    /// Lists sources that recur.
    fn list_run(&mut self, sources: &[From], step: usize, count: usize) {
        self.runs.push(Run { sources: sources.len(), step, count });
        self.listed.extend(sources);
        self.len += sources.len() * count;
    }
}

/// Finds what recurs among sources that come one after the other.
#[derive(Default)]
struct Finder {
    found: Sources,
    /// What came last, and belongs to no run yet. While a run goes on, its first sources.
    ahead: Vec<From>,
    /// The run that goes on: its step, and how many positions it has by now.
    open: Option<(usize, usize)>,
}

impl Finder {
    fn push(&mut self, source: From) {
        if let Some((step, positions)) = self.open {
            let pattern = self.ahead.len();
            if self.ahead[positions % pattern].further(positions / pattern * step) == source {
                self.open = Some((step, positions + 1));
                return;
            }
            self.close(step, positions);
        }
        self.ahead.push(source);
        if self.ahead.len() == AHEAD {
            self.settle(COVERED, AHEAD);
        }
    }

    /// Ends the run that goes on. What is left of its last period may begin another one.
    fn close(&mut self, step: usize, positions: usize) {
        let pattern = self.ahead.len();
        let (count, left) = (positions / pattern, positions % pattern);
        self.found.list_run(&self.ahead, step, count);
        self.ahead.truncate(left);
        self.ahead.iter_mut().for_each(|source| *source = source.further(count * step));
        self.open = None;
    }

    /// Decides what becomes of the first of the sources ahead, until they are fewer than `few`. Patterns count that cover `covered` of
    /// them.
    fn settle(&mut self, covered: usize, few: usize) {
        while self.open.is_none() && !self.ahead.is_empty() && self.ahead.len() >= few {
            match longest(&self.ahead).filter(|&(_, _, positions)| positions >= covered) {
                Some((pattern, step, positions)) if positions == self.ahead.len() => {
                    self.ahead.truncate(pattern);
                    self.open = Some((step, positions));
                }
                Some((pattern, step, positions)) => {
                    let count = positions / pattern;
                    self.found.list_run(&self.ahead[..pattern], step, count);
                    self.ahead.drain(..count * pattern);
                }
                None => {
                    let source = self.ahead.remove(0);
                    self.found.list(source);
                }
            }
        }
    }

    fn finish(mut self) -> Sources {
        loop {
            if let Some((step, positions)) = self.open {
                self.close(step, positions);
            }
            self.settle(2, 1);
            if self.open.is_none() {
                self.found.runs.shrink_to_fit();
                self.found.listed.shrink_to_fit();
                return self.found;
            }
        }
    }
}

/// The pattern with which sources begin that reaches furthest, if one recurs: its length, its step, and how many sources follow it.
fn longest(sources: &[From]) -> Option<(usize, usize, usize)> {
    let pattern = |len: usize| {
        let step = sources.first()?.steps_to(*sources.get(len)?)?;
        let again = (0..sources.len() - len).take_while(|&i| sources[i].steps_to(sources[i + len]) == Some(step)).count();
        (again >= len).then_some((len, step, len + again))
    };
    let whole = |(len, _, positions): (usize, usize, usize)| positions / len * len;
    (1..=LONGEST_PATTERN).filter_map(pattern).reduce(|a, b| if whole(b) > whole(a) { b } else { a })
}

impl FromIterator<From> for Sources {
    fn from_iter<I: IntoIterator<Item = From>>(sources: I) -> Self {
        let mut finder = Finder::default();
        sources.into_iter().for_each(|source| finder.push(source));
        finder.finish()
    }
}

/// The middle axis of `[outer][extent][inner]` is rebuilt from what it was.
#[derive(Clone, Debug)]
pub struct RemapTask {
    /// Positions of the old axis.
    pub extent: usize,
    /// Elements from one position to the next.
    pub inner: usize,
    /// Where each position of the new axis comes from.
    pub sources: Sources,
    /// Sizes of input and output, if the axis lies inside of channels' planes.
    pub in_planes: Option<[Extents; 2]>,
}

impl Task for RemapTask {
    fn kind(&self) -> &'static str {
        "remap"
    }
}

impl cpu::Task for RemapTask {
    fn forms(&self, target: &cpu::Target) -> Forms {
        Forms::of_axis(self.in_planes, self.inner, 1, 2.0, target.isa)
    }

    fn most_table_bytes(&self, _: &cpu::Target) -> usize {
        cpu::KERNEL
    }

    fn prepare(self: Box<Self>, target: &cpu::Target) -> Box<dyn Kernel> {
        Box::new(Remap::new(self.extent, self.inner * target.layouts.reads.lanes(target.isa), self.sources))
    }
}

impl Kernel for Remap {
    fn compute(&self, call: Call<'_>) {
        self.run(call.reads.get(0), call.out, call.exec);
    }
}

/// An axis that is rebuilt from what it was, by sources that are known to lie inside.
#[derive(GetSize, Debug)]
pub struct Remap {
    extent: usize,
    inner: usize,
    sources: Sources,
}

impl Remap {
    /// Builds `[outer][sources][inner]` from `[outer][extent][inner]`.
    ///
    /// # Panics
    /// If a position lies outside `extent`.
    pub fn new(extent: usize, inner: usize, sources: Sources) -> Self {
        sources.expect_inside(extent);
        Remap { extent, inner, sources }
    }

    /// `x` is `[outer][extent][inner]`, `out` is `[outer][sources][inner]`.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, x: &[f32], out: &mut [f32], exec: Exec) {
        let (from, to) = (self.extent * self.inner, self.sources.len * self.inner);
        if to == 0 {
            return expect_len("output", out, 0);
        }
        expect_len("input", x, count_pieces("output", out, to) * from);
        exec.for_each_chunk(
            out,
            to,
            #[inline(always)]
            |i, out| {
                let (x, mut rest) = (&x[i * from..][..from], out);
                for (run, sources) in self.sources.runs() {
                    let (out, others) = rest.split_at_mut(run.len() * self.inner);
                    write(run, sources, x, self.inner, out);
                    rest = others;
                }
            },
        );
    }
}

/// Writes the positions of a run: `x` is `[extent][inner]`, `out` is `[positions][inner]`.
#[inline(always)]
fn write(run: Run, sources: &[From], x: &[f32], inner: usize, out: &mut [f32]) {
    match *sources {
        [From::Position(first)] if run.step == 1 => out.copy_from_slice(&x[first * inner..][..out.len()]),
        [From::Constant(value)] => out.fill(value),
        _ if inner == 1 && run.count == 1 => {
            for (source, o) in sources.iter().zip(out) {
                *o = match *source {
                    From::Position(position) => x[position],
                    From::Constant(value) => value,
                    From::Between(at, share) => mixed(x[at], x[at + 1], share),
                };
            }
        }
        _ if inner == 1 => write_elements(run, sources, x, out),
        _ => {
            for (i, out) in out.chunks_exact_mut(sources.len() * inner).enumerate() {
                for (source, out) in sources.iter().zip(out.chunks_exact_mut(inner)) {
                    source.write(i * run.step, x, out);
                }
            }
        }
    }
}

/// As [`write`], of single elements.
#[inline(always)]
fn write_elements(run: Run, sources: &[From], x: &[f32], out: &mut [f32]) {
    match *sources {
        [From::Position(a), From::Position(b)] if a == b && run.step == 1 => repeat::<2>(&x[a..], out),
        [From::Position(a), From::Position(b), From::Position(c), From::Position(d)] if [b, c, d] == [a; 3] && run.step == 1 => {
            repeat::<4>(&x[a..], out);
        }
        [From::Between(at, share)] if run.step == 2 => {
            for (o, [a, b]) in out.iter_mut().zip(x[at..].as_chunks::<2>().0) {
                *o = mixed(*a, *b, share);
            }
        }
        [From::Between(a, s), From::Between(b, t)] if run.step == 1 => mix(x, [(a, s), (b, t)], out),
        [From::Between(a, s), From::Between(b, t), From::Between(c, u), From::Between(d, v)] if run.step == 1 => {
            mix(x, [(a, s), (b, t), (c, u), (d, v)], out);
        }
        _ => {
            for (place, source) in sources.iter().enumerate() {
                let out = out[place..].iter_mut().step_by(sources.len());
                match *source {
                    From::Constant(value) => out.for_each(|o| *o = value),
                    From::Position(p) => out.enumerate().for_each(|(i, o)| *o = x[p + i * run.step]),
                    From::Between(at, share) => {
                        let element = |i: usize| mixed(x[at + i * run.step], x[at + i * run.step + 1], share);
                        out.enumerate().for_each(|(i, o)| *o = element(i));
                    }
                }
            }
        }
    }
}

/// Each element `TIMES` times.
#[inline(always)]
fn repeat<const TIMES: usize>(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.as_chunks_mut::<TIMES>().0.iter_mut().zip(x) {
        *out = [*x; TIMES];
    }
}

/// `N` mixtures of two neighbours each, again and again, each time of elements one further on.
#[inline(always)]
fn mix<const N: usize>(x: &[f32], sources: [(usize, f32); N], out: &mut [f32]) {
    let (out, _) = out.as_chunks_mut::<N>();
    let (first, second) = (sources.map(|(at, _)| &x[at..][..out.len()]), sources.map(|(at, _)| &x[at + 1..][..out.len()]));
    for (place, out) in out.iter_mut().enumerate() {
        for i in 0..N {
            out[i] = mixed(first[i][place], second[i][place], sources[i].1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(sources: &Sources) -> usize {
        sources.listed.len()
    }

    #[test]
    fn sources_are_what_they_were_made_of() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..2000 {
            let mut all = Vec::new();
            for _ in 0..random.usize(..6) {
                let (at, step, pattern) = (random.usize(..9), random.usize(..4), random.usize(1..11));
                let sources: Vec<From> = (0..pattern)
                    .map(|i| match random.u8(..4) {
                        0 => From::Constant(i as f32),
                        1 => From::Between(at + i, 0.25 * random.u8(..4) as f32),
                        _ => From::Position(at + random.usize(..3)),
                    })
                    .collect();
                let count = random.usize(..30);
                all.extend(
                    (0..count).flat_map(|i| sources.iter().map(move |source| source.further(i * step)).collect::<Vec<_>>()),
                );
            }
            let sources: Sources = all.iter().copied().collect();
            assert_eq!(sources.len(), all.len());
            assert_eq!(sources.iter().collect::<Vec<From>>(), all);
        }
    }

    #[test]
    fn rules_are_kept_instead_of_positions() {
        let padded =
            [From::Constant(0.0); 100].into_iter().chain((0..1000).map(From::Position)).chain([From::Constant(0.0); 100]);
        let cases: [(&str, Box<dyn Iterator<Item = From>>, usize); 5] = [
            ("a slice", Box::new((0..1000).map(|i| From::Position(3 * i))), 1),
            ("padding", Box::new(padded), 3),
            ("twice as large", Box::new((0..1000).map(|i| From::Position(i / 2))), 2),
            ("ten times as large", Box::new((0..1000).map(|i| From::Position(i / 10))), 100),
            ("mixed", Box::new((0..999).map(|i| From::Between(i / 3, [0.1, 0.4, 0.7][i % 3]))), 3),
        ];
        for (what, sources, most) in cases {
            let sources: Sources = sources.collect();
            assert!(listed(&sources) <= most, "{what}: {} sources for {} positions", listed(&sources), sources.len());
        }
    }

    #[test]
    fn no_order_takes_more_than_is_said() {
        let mut random = fastrand::Rng::with_seed(6);
        let eighths = (0..4000).map(|i| From::Position(if i / 8 % 2 == 0 { i / 8 } else { 5000 - i / 8 }));
        let cases: [Vec<From>; 3] =
            [(0..4000).map(|_| From::Position(random.usize(..1000))).collect(), eighths.collect(), vec![From::Position(0)]];
        for all in cases {
            let sources: Sources = all.iter().copied().collect();
            let bytes = sources.listed.capacity() * size_of::<From>() + sources.runs.capacity() * size_of::<Run>();
            assert!(bytes <= Sources::most_bytes(all.len()), "{bytes} bytes for {} positions", all.len());
        }
    }
}
