//! Elements at the edge of memory: an access outside of them ends the process, whatever instruction takes it.

use super::POISON;
use region::{Allocation, Protection};
use std::cell::Cell;
use std::ops::{Deref, DerefMut, Range};
use std::slice::{from_raw_parts, from_raw_parts_mut};

/// The side on which memory ends right beside the elements. On the other side they have poison up to the end of its page.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Edge {
    /// No element before them can be touched.
    Before,
    /// No element behind them can be touched. They start at no vector's boundary, unless they fill vectors.
    Behind,
}

thread_local! {
    static EDGE: Cell<Edge> = const { Cell::new(Edge::Behind) };
}

/// Runs `f`; what it makes [`Guarded`] on this thread has its edge there.
pub(crate) fn with_edge<T>(edge: Edge, f: impl FnOnce() -> T) -> T {
    EDGE.set(edge);
    f()
}

/// Where what this thread makes [`Guarded`] has its edge now.
pub(crate) fn edge() -> Edge {
    EDGE.get()
}

/// Elements between two pages that may not be touched.
pub(crate) struct Guarded {
    /// The first and the last page are the gaps; the pages between them hold the elements and poison.
    pages: Allocation,
    /// Where the elements lie between the gaps.
    place: Range<usize>,
}

/// Bytes of a gap. Miri sees every step outside of an allocation by itself, but knows no protected pages.
fn gap() -> usize {
    if cfg!(miri) { 0 } else { region::page::size() }
}

impl Guarded {
    pub(crate) fn poisoned(len: usize) -> Self {
        let bytes = (len * size_of::<f32>()).max(1).next_multiple_of(region::page::size());
        let pages = region::alloc(gap() + bytes + gap(), Protection::READ_WRITE).expect("memory for a test");
        if gap() > 0 {
            for start in [0, gap() + bytes] {
                let gap_start = pages.as_ptr::<u8>().wrapping_add(start);
                // SAFETY: the page is one of the two gaps, which nothing refers to.
                unsafe { region::protect(gap_start, gap(), Protection::NONE) }.expect("a page can be protected");
            }
        }
        let count = bytes / size_of::<f32>();
        let place = match EDGE.get() {
            Edge::Before => 0..len,
            Edge::Behind => count - len..count,
        };
        let mut guarded = Guarded { pages, place };
        guarded.between_gaps_mut().fill(POISON);
        guarded
    }

    /// Whether the poison beside the elements is still there.
    pub(crate) fn is_intact(&self) -> bool {
        let all = self.between_gaps();
        all[..self.place.start].iter().chain(&all[self.place.end..]).all(|x| x.is_nan())
    }

    fn start_and_count(&self) -> (*const f32, usize) {
        (self.pages.as_ptr::<f32>().wrapping_byte_add(gap()), (self.pages.len() - 2 * gap()) / size_of::<f32>())
    }

    fn between_gaps(&self) -> &[f32] {
        let (start, count) = self.start_and_count();
        // SAFETY: these pages are readable, were zero when they came from the system, and are borrowed as `self` is.
        unsafe { from_raw_parts(start, count) }
    }

    fn between_gaps_mut(&mut self) -> &mut [f32] {
        let (start, count) = self.start_and_count();
        // SAFETY: as above; they are writable, and the borrow is exclusive.
        unsafe { from_raw_parts_mut(start.cast_mut(), count) }
    }
}

// SAFETY: it owns its pages, and they are written through `&mut self` alone.
unsafe impl Send for Guarded {}
// SAFETY: as above.
unsafe impl Sync for Guarded {}

impl FromIterator<f32> for Guarded {
    fn from_iter<I: IntoIterator<Item = f32>>(elements: I) -> Self {
        let elements: Vec<f32> = elements.into_iter().collect();
        let mut guarded = Guarded::poisoned(elements.len());
        guarded.copy_from_slice(&elements);
        guarded
    }
}

impl Deref for Guarded {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.between_gaps()[self.place.clone()]
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [f32] {
        let place = self.place.clone();
        &mut self.between_gaps_mut()[place]
    }
}
