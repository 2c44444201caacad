//! Elements at the edge of memory: an access outside of them ends the process, whatever instruction takes it.

use sslm_devices::{Edge, Pages};
use std::cell::Cell;
use std::ops::{Deref, DerefMut, Range};

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

/// Elements between two pages that may not be touched, with poison on the side that is no edge.
pub(crate) struct Guarded {
    pages: Pages,
    /// Where the elements lie in the pages.
    place: Range<usize>,
}

impl Guarded {
    pub(crate) fn poisoned(len: usize) -> Self {
        let pages = Pages::poisoned(len).expect("memory for a test");
        let place = pages.place(len, edge());
        Guarded { pages, place }
    }

    /// Whether the poison beside the elements is still there.
    pub(crate) fn is_intact(&self) -> bool {
        let all = self.pages.elements();
        all[..self.place.start].iter().chain(&all[self.place.end..]).all(|x| x.is_nan())
    }
}

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
        &self.pages.elements()[self.place.clone()]
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.pages.elements_mut()[self.place.clone()]
    }
}
