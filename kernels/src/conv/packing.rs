//! Gathering a tile's kept columns into a block that lies in the order in which it is multiplied.

use super::lowering::Lowering;
use crate::simd::{MAX_LANES, Simd};
use crate::tile::{Segment, Tap};

/// Elements behind the last tile of a block that [`pack`] may overwrite.
pub(crate) const SLACK: usize = MAX_LANES;

/// Images of more elements do not stay in L2 beside the block that is gathered.
const FAR: usize = 128 * 1024;

/// Columns ahead of the one that is gathered that are fetched: an image that comes from L3 is waited for else.
const AHEAD: usize = 16;

/// Writes `[taps][vectors][lanes]` of a tile and returns how many elements these are; up to [`SLACK`] elements behind them are
/// overwritten with anything.
///
/// # Panics
/// If `out` is shorter than that.
#[inline]
pub(crate) fn pack<S: Simd>(simd: S, x: &[f32], taps: &[Tap], lowering: &Lowering, tile: usize, out: &mut [f32]) -> usize {
    let vectors = lowering.tiles[tile].vectors.len();
    let len = taps.len() * vectors * S::LANES;
    assert!(len + SLACK <= out.len(), "a block too short for its tile");
    let call = Gather::new(x, taps, lowering, tile, vectors * S::LANES, out);
    match (call.contiguous::<S>().then_some(vectors), lowering.masked()) {
        (Some(1), false) => call.run::<S, 1, false>(simd),
        (Some(2), false) => call.run::<S, 2, false>(simd),
        (Some(3), false) => call.run::<S, 3, false>(simd),
        (Some(4), false) => call.run::<S, 4, false>(simd),
        (Some(1), true) => call.run::<S, 1, true>(simd),
        (Some(2), true) => call.run::<S, 2, true>(simd),
        (Some(3), true) => call.run::<S, 3, true>(simd),
        (Some(4), true) => call.run::<S, 4, true>(simd),
        (_, false) => call.run::<S, 0, false>(simd),
        (_, true) => call.run::<S, 0, true>(simd),
    }
    len
}

struct Gather<'a> {
    x: &'a [f32],
    taps: &'a [Tap],
    runs: &'a [(usize, Segment)],
    masks: [&'a [u64]; 2],
    width: usize,
    /// As long as [`pack`] checked: `taps * width` and [`SLACK`].
    out: &'a mut [f32],
    /// Whole vectors at every run's start lie in the `reach + LANES` places from `start`.
    start: isize,
    reach: usize,
}

impl<'a> Gather<'a> {
    fn new(x: &'a [f32], taps: &'a [Tap], lowering: &'a Lowering, tile: usize, width: usize, out: &'a mut [f32]) -> Self {
        let runs = &lowering.runs[lowering.tiles[tile].runs.clone()];
        let starts = || runs.iter().map(|r| r.1.start);
        let start = starts().min().unwrap_or(0);
        let reach = (starts().max().unwrap_or(0) - start) as usize;
        assert!(runs.iter().all(|r| r.0 < width), "a run outside of its tile");
        Gather { x, taps, runs, masks: lowering.masks(tile), width, out, start, reach }
    }

    /// Whether all positions of the tile lie side by side.
    fn contiguous<S: Simd>(&self) -> bool {
        self.runs.iter().enumerate().all(|(i, (lane, run))| *lane == i * S::LANES && run.start == self.start + *lane as isize)
    }

    /// With `VECTORS` neighbouring vectors, or any runs if that is 0.
    fn run<S: Simd, const VECTORS: usize, const MASKED: bool>(mut self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            || {
                let far = self.x.len() > FAR;
                for (i, tap) in self.taps.iter().enumerate() {
                    if let (true, Some(later)) = (far, self.taps.get(i + AHEAD)) {
                        let from = self.x.as_ptr().wrapping_offset(later.offset + self.start);
                        for line in 0..VECTORS.max(1) {
                            simd.prefetch(from.wrapping_add(line * S::LANES));
                        }
                    }
                    let mask = self.mask::<MASKED>(tap);
                    let first = tap.offset + self.start;
                    if first < 0 || first as usize + self.reach + S::LANES > self.x.len() {
                        self.near_end(i, tap, mask);
                        continue;
                    }
                    let to = self.out.as_mut_ptr().wrapping_add(i * self.width);
                    if VECTORS > 0 {
                        let from = self.x.as_ptr().wrapping_add(first as usize);
                        for v in 0..VECTORS {
                            let (from, bits) = (from.wrapping_add(v * S::LANES), (mask >> (v * S::LANES)) as u16);
                            // SAFETY: the check above puts whole vectors at all runs' starts, which here are these, inside `x`;
                            // `pack` checked that row `i` of `out` is there.
                            unsafe {
                                let elements = if MASKED { simd.load_masked(from, bits) } else { simd.load(from) };
                                simd.store(to.wrapping_add(v * S::LANES), elements);
                            }
                        }
                        continue;
                    }
                    for (lane, run) in self.runs {
                        let from = self.x.as_ptr().wrapping_offset(tap.offset + run.start);
                        // SAFETY: the check above puts whole vectors at every run's start inside `x`. `lane` is below `width`
                        // (checked by `new`), so the store ends within a vector behind row `i`, which `pack` checked is there;
                        // what it writes too much, the next run or the next row overwrites.
                        unsafe {
                            let elements =
                                if MASKED { simd.load_masked(from, run.lanes & (mask >> lane) as u16) } else { simd.load(from) };
                            simd.store(to.wrapping_add(*lane), elements);
                        }
                    }
                }
            },
        );
    }

    #[inline(always)]
    fn mask<const MASKED: bool>(&self, tap: &Tap) -> u64 {
        if MASKED { self.masks[0][tap.masks[0] as usize] & self.masks[1][tap.masks[1] as usize] } else { u64::MAX }
    }

    /// One tap, element by element: where whole vectors would reach beyond an end of the input.
    #[cold]
    #[inline(never)]
    fn near_end(&mut self, row: usize, tap: &Tap, mask: u64) {
        let out = &mut self.out[row * self.width..][..self.width];
        out.fill(0.0);
        for (lane, run) in self.runs {
            for i in 0..run.lanes.trailing_ones() as usize {
                let place = usize::try_from(tap.offset + run.start + i as isize).ok();
                if let (1, Some(x)) = (mask >> (lane + i) & 1, place.and_then(|place| self.x.get(place))) {
                    out[lane + i] = *x;
                }
            }
        }
    }
}
