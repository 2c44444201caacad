//! Sharing an output between threads: stretches of it, or rectangles of planes by positions that do not overlap.

use crate::team::Body;
use crate::{Run, Threading};
use get_size2::GetSize;
use std::marker::PhantomData;
use std::ops::Range;

/// What reading an element costs that another core has written, or that comes from L3, in multiply-adds of vectors.
pub(crate) const FAR: f64 = 1.0;

/// A rectangle of an output `[planes][len]`, borrowed exclusively.
pub(crate) struct Window<'a> {
    start: *mut f32,
    plane_len: usize,
    planes: Range<usize>,
    positions: Range<usize>,
    borrowed: PhantomData<&'a mut [f32]>,
}

impl Window<'_> {
    /// Some positions of one plane.
    ///
    /// # Panics
    /// If they do not lie in this rectangle.
    pub(crate) fn part(&mut self, plane: usize, positions: Range<usize>) -> &mut [f32] {
        let start = self.tile(plane..plane + 1, positions.clone());
        // SAFETY: `tile` checked that plane and positions lie in this rectangle, which `self` borrows exclusively.
        unsafe { std::slice::from_raw_parts_mut(start, positions.len()) }
    }

    /// The same positions of some planes.
    ///
    /// # Panics
    /// If they do not lie in this rectangle.
    #[inline(always)]
    pub(crate) fn planes(&mut self, planes: Range<usize>, positions: Range<usize>) -> Planes<'_> {
        let start = self.tile(planes.clone(), positions.clone());
        Planes { start, plane_len: self.plane_len, count: planes.len(), len: positions.len(), borrowed: PhantomData }
    }

    /// Where a smaller rectangle starts: it may be read and written as long as this borrow lasts, its planes
    /// [`Self::plane_len`] elements apart.
    ///
    /// # Panics
    /// If it does not lie in this one.
    #[inline(always)]
    pub(crate) fn tile(&mut self, planes: Range<usize>, positions: Range<usize>) -> *mut f32 {
        let inside = |outer: &Range<usize>, inner: &Range<usize>| {
            outer.start <= inner.start && inner.start <= inner.end && inner.end <= outer.end
        };
        assert!(inside(&self.planes, &planes) && inside(&self.positions, &positions), "a tile outside of its window");
        self.start.wrapping_add(planes.start * self.plane_len + positions.start)
    }

    /// Elements from one plane to the next.
    pub(crate) fn plane_len(&self) -> usize {
        self.plane_len
    }
}

/// The same positions of some planes, borrowed exclusively.
pub(crate) struct Planes<'a> {
    /// Invariant: `count` stretches of `len` elements, `plane_len` apart. Checked by `Window::planes`.
    start: *mut f32,
    plane_len: usize,
    count: usize,
    len: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

impl Planes<'_> {
    /// Those of the plane of index `i`, if there are so many.
    #[inline(always)]
    pub(crate) fn get(&mut self, i: usize) -> Option<&mut [f32]> {
        // SAFETY: the struct's invariant; `self` borrows all of them exclusively.
        (i < self.count).then(|| unsafe { std::slice::from_raw_parts_mut(self.start.add(i * self.plane_len), self.len) })
    }
}

/// One piece of a partition.
#[derive(GetSize, Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) planes: Range<usize>,
    pub(crate) positions: Range<usize>,
}

/// How the planes of an output are shared out: parts that do not overlap, in shares that threads compute side by side.
#[derive(GetSize, Debug)]
pub(crate) struct Partition {
    planes: usize,
    plane_len: usize,
    /// Invariant: inside `planes x plane_len`, and no two of them overlap. Checked by `new`.
    parts: Vec<Part>,
    shares: Vec<Range<usize>>,
}

impl Partition {
    /// Of an output `[planes][plane_len]`: for each share its parts.
    ///
    /// # Panics
    /// If parts overlap or lie outside.
    pub(crate) fn new(planes: usize, plane_len: usize, shares: Vec<Vec<Part>>) -> Self {
        let mut end = 0;
        let ranges = shares.iter().map(|share| {
            end += share.len();
            end - share.len()..end
        });
        let ranges = ranges.collect();
        let parts: Vec<Part> = shares.into_iter().flatten().collect();
        let mut order: Vec<&Part> = parts.iter().collect();
        order.sort_by_key(|p| p.planes.start);
        for (i, part) in order.iter().enumerate() {
            assert!(part.planes.end <= planes && part.positions.end <= plane_len, "{part:?} outside {planes} x {plane_len}");
            let mut shares_planes = order[i + 1..].iter().take_while(|other| other.planes.start < part.planes.end);
            let overlap =
                |other: &&Part| other.positions.start < part.positions.end && part.positions.start < other.positions.end;
            assert!(!shares_planes.any(overlap), "{part:?} overlaps another part");
        }
        Partition { planes, plane_len, parts, shares: ranges }
    }

    pub(crate) fn shares(&self) -> usize {
        self.shares.len()
    }

    /// Calls `f(i, part, scratch)` for every part `i` of `out`; those of one share one after the other with the same stretch of
    /// `scratch`, of `scratch_len` elements.
    ///
    /// # Panics
    /// If `out` has another length, or `scratch` is shorter than the stretches of all shares.
    pub(crate) fn for_each(
        &self,
        out: &mut [f32],
        scratch: &mut [f32],
        scratch_len: usize,
        threading: Threading,
        f: impl Fn(usize, Window<'_>, &mut [f32]) + Sync,
    ) {
        crate::expect_len("output", out, self.planes * self.plane_len);
        let start = Start(out.as_mut_ptr());
        let scratch = Chunks::new(&mut scratch[..self.shares.len() * scratch_len], scratch_len);
        threading.for_each(self.shares.len(), &|share| {
            // SAFETY: each share comes once.
            let scratch = unsafe { scratch.get(share) };
            for i in self.shares[share].clone() {
                let part = &self.parts[i];
                let window = Window {
                    start: start.get(),
                    plane_len: self.plane_len,
                    planes: part.planes.clone(),
                    positions: part.positions.clone(),
                    borrowed: PhantomData,
                };
                f(i, window, scratch);
            }
        });
    }
}

impl<'a> Threading<'a> {
    /// Announces that the calling thread is about to run kernels, until what it returns is dropped: helpers that sleep are woken where
    /// that is likely to pay. Without it kernels compute the same, but helpers may come later, and several callers get in each other's
    /// way.
    pub fn begin(self) -> Run<'a> {
        match self {
            Threading::Single => Run::alone(),
            Threading::Team(team) => team.begin(),
        }
    }

    /// Calls `f` once for each index below `count`.
    fn for_each(self, count: usize, f: Body<'_>) {
        match self {
            Threading::Single => (0..count).for_each(f),
            Threading::Team(team) => team.for_each(count, f),
        }
    }

    /// Pieces that work is best cut into.
    pub(crate) fn pieces(self) -> usize {
        match self {
            Threading::Single => 1,
            Threading::Team(team) => team.pieces(),
        }
    }

    /// Calls `f(first, piece)` for as many pieces of `out` as it is best cut into, of which each begins at an element `first` that is a
    /// multiple of `len`.
    pub(crate) fn for_each_piece(self, out: &mut [f32], len: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
        let each = out.len().div_ceil(self.pieces()).next_multiple_of(len);
        self.for_each_chunk(out, each, |i, out| f(i * each, out));
    }

    /// Calls `f(i, chunk)` for the `i`-th chunk of `len` elements of `out`.
    pub(crate) fn for_each_chunk(self, out: &mut [f32], len: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
        let chunks = Chunks::new(out, len.max(1));
        // SAFETY: each index comes once.
        self.for_each(chunks.count(), &|i| f(i, unsafe { chunks.get(i) }));
    }

    /// Calls `f(i, piece i of out, stretch i of scratch)` for the pieces of `out_len` elements, the last one perhaps shorter, each
    /// with `scratch_len` elements of scratch memory of its own.
    ///
    /// # Panics
    /// If there are fewer stretches of scratch memory than pieces.
    pub fn zip_with_scratch(
        self,
        out: &mut [f32],
        out_len: usize,
        scratch: &mut [f32],
        scratch_len: usize,
        f: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
    ) {
        if out.is_empty() {
            return;
        }
        let pieces = Chunks::new(out, out_len);
        let scratch = Chunks::new(&mut scratch[..pieces.count() * scratch_len], scratch_len);
        // SAFETY: each index comes once.
        self.for_each(pieces.count(), &|i| unsafe { f(i, pieces.get(i), scratch.get(i)) });
    }
}

/// Stretches of `len` elements of a slice, the last one perhaps shorter, that go to different threads.
struct Chunks<'a> {
    start: Start,
    total: usize,
    len: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

impl<'a> Chunks<'a> {
    fn new(slice: &'a mut [f32], len: usize) -> Self {
        Chunks { start: Start(slice.as_mut_ptr()), total: slice.len(), len, borrowed: PhantomData }
    }

    fn count(&self) -> usize {
        self.total.div_ceil(self.len)
    }

    /// # Safety
    /// No chunk may be had twice.
    #[expect(clippy::mut_from_ref, reason = "the caller promises that no chunk is had twice")]
    unsafe fn get(&self, i: usize) -> &mut [f32] {
        let range = i * self.len..((i + 1) * self.len).min(self.total);
        assert!(range.start <= range.end, "chunk {i} of {} elements of {}", self.len, self.total);
        // SAFETY: the range lies in the slice, by the line above, which is borrowed exclusively; the caller promises that this
        // part of it is handed out once.
        unsafe { std::slice::from_raw_parts_mut(self.start.get().add(range.start), range.len()) }
    }
}

struct Start(*mut f32);

impl Start {
    /// A method, so that closures capture the whole struct.
    fn get(&self) -> *mut f32 {
        self.0
    }
}

// SAFETY: other threads reach memory only through windows of shares (the invariant of `Partition`) and through chunks (each had
// once), which do not overlap, and the slice that the pointer comes from stays borrowed until all of them are done. `f32` may be
// sent and shared.
unsafe impl Sync for Start {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    fn part(planes: Range<usize>, positions: Range<usize>) -> Part {
        Part { planes, positions }
    }

    #[test]
    fn every_element_is_written_by_its_part() {
        let shares = vec![vec![part(0..2, 0..5), part(2..3, 5..7)], vec![part(0..2, 5..7), part(2..3, 0..5)]];
        let partition = Partition::new(3, 7, shares);
        let team = crate::Team::new(2).expect("a thread starts");
        for threading in [Threading::Single, Threading::Team(&team)] {
            for scratch_len in [0, 4] {
                let (mut out, mut scratch) = ([-1.0; 21], [0.0; 8]);
                partition.for_each(&mut out, &mut scratch, scratch_len, threading, |i, mut window, scratch| {
                    let Part { planes, positions } = &partition.parts[i];
                    planes.clone().for_each(|plane| window.part(plane, positions.clone()).fill(i as f32));
                    assert_eq!(scratch.len(), scratch_len);
                });
                assert_eq!(out[..7], [0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 2.0]);
                assert_eq!(out[14..], [3.0, 3.0, 3.0, 3.0, 3.0, 1.0, 1.0]);
            }
        }
    }

    #[test]
    fn parts_that_overlap_or_stick_out_are_refused() {
        for shares in [
            vec![vec![part(0..2, 0..5)], vec![part(1..3, 4..7)]],
            vec![vec![part(0..1, 0..7), part(0..1, 6..7)]],
            vec![vec![part(0..4, 0..7)]],
            vec![vec![part(0..3, 0..8)]],
        ] {
            assert!(catch_unwind(|| Partition::new(3, 7, shares.clone())).is_err(), "{shares:?}");
        }
    }

    #[test]
    fn a_window_ends_where_it_ends() {
        let mut out = [0.0; 21];
        let mut window = Window { start: out.as_mut_ptr(), plane_len: 7, planes: 0..3, positions: 0..7, borrowed: PhantomData };
        window.tile(1..3, 0..7);
        for (planes, positions) in [(1..4, 0..7), (0..1, 3..8)] {
            assert!(catch_unwind(std::panic::AssertUnwindSafe(|| window.tile(planes.clone(), positions.clone()))).is_err());
        }
    }
}
