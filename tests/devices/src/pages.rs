//! Memory between two pages that may not be touched: a step out of it ends the process, whatever instruction takes it. It holds poison
//! until it is written.
//!
//! For the system, to map pages and to protect some is more work than most tests are, above all where several threads of a program do
//! it. So what is given back stays as it is, poisoned again, until the same thread wants as much. Whoever still writes there then is
//! found out.

use region::{Allocation, Protection, page};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::slice::{from_raw_parts, from_raw_parts_mut};

/// The side on which memory ends right beside elements. On the other side there is poison up to the end of their page.
#[derive(Clone, Copy, Debug)]
pub enum Edge {
    /// No element before them can be touched.
    Before,
    /// No element behind them can be touched. They start at no vector's boundary, unless they fill vectors.
    Behind,
}

/// Pages full of elements, with a gap before and behind them.
pub struct Pages {
    /// Invariant: the first and the last page are gaps, where there are any; those between them are readable and writable, and were
    /// written. There until `drop`.
    all: Option<Allocation>,
}

/// NaN, and -1.
const POISON: f32 = f32::from_bits(u32::MAX);

/// Larger ones go back to the system.
const KEPT_BYTES: usize = 1 << 20;

thread_local! {
    /// What was given back, by its bytes.
    static KEPT: RefCell<HashMap<usize, Vec<Allocation>>> = RefCell::default();
}

/// Bytes of a gap. Miri sees every step outside of an allocation by itself, but knows no protected pages.
fn gap() -> usize {
    if cfg!(miri) { 0 } else { page::size() }
}

impl Pages {
    /// With room for so many elements, all of them poison.
    ///
    /// # Errors
    /// If the system has no memory.
    ///
    /// # Panics
    /// If pages were written after they were given back.
    pub fn poisoned(len: usize) -> region::Result<Self> {
        let bytes = len.saturating_mul(size_of::<f32>()).max(1).next_multiple_of(page::size()) + 2 * gap();
        if let Some(kept) = KEPT.with_borrow_mut(|kept| kept.get_mut(&bytes)?.pop()) {
            let pages = Pages { all: Some(kept) };
            let common = pages.elements().iter().fold(POISON.to_bits(), |common, x| common & x.to_bits());
            assert_eq!(
                common,
                POISON.to_bits(),
                "bits of elements, of which some were written after their memory was given back"
            );
            return Ok(pages);
        }
        let all = region::alloc(bytes, Protection::READ_WRITE)?;
        if gap() > 0 {
            for start in [0, bytes - gap()] {
                // SAFETY: the page is one of the two gaps, which nothing refers to.
                unsafe { region::protect(all.as_ptr::<u8>().wrapping_add(start), gap(), Protection::NONE) }?;
            }
        }
        let mut pages = Pages { all: Some(all) };
        pages.elements_mut().fill(POISON);
        Ok(pages)
    }

    /// Where so many elements lie that have their edge there.
    pub fn place(&self, len: usize, edge: Edge) -> Range<usize> {
        let count = self.elements().len();
        match edge {
            Edge::Before => 0..len,
            Edge::Behind => count - len..count,
        }
    }

    fn start_and_count(&self) -> (*const f32, usize) {
        let all = self.all.as_ref().expect("it is there until it is dropped");
        (all.as_ptr::<f32>().wrapping_byte_add(gap()), (all.len() - 2 * gap()) / size_of::<f32>())
    }

    /// All between the gaps.
    pub fn elements(&self) -> &[f32] {
        let (start, count) = self.start_and_count();
        // SAFETY: these pages are readable, were zero when they came from the system, and are borrowed as `self` is.
        unsafe { from_raw_parts(start, count) }
    }

    /// All between the gaps.
    pub fn elements_mut(&mut self) -> &mut [f32] {
        let (start, count) = self.start_and_count();
        // SAFETY: as above; they are writable, and the borrow is exclusive.
        unsafe { from_raw_parts_mut(start.cast_mut(), count) }
    }
}

// SAFETY: it owns its pages, and they are written through `&mut self` alone.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Drop for Pages {
    fn drop(&mut self) {
        // Miri sees by itself who uses what is freed.
        if cfg!(miri) || size_of_val(self.elements()) > KEPT_BYTES {
            return;
        }
        self.elements_mut().fill(POISON);
        if let Some(all) = self.all.take() {
            // A thread that ends keeps nothing any more.
            let _ = KEPT.try_with(|kept| kept.borrow_mut().entry(all.len()).or_default().push(all));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_poison_again() {
        let (page_len, address) = (page::size() / size_of::<f32>(), |pages: &Pages| pages.elements().as_ptr());
        let mut first = Pages::poisoned(page_len + 1).expect("memory");
        first.elements_mut().fill(1.0);
        let was_at = address(&first);
        drop(first);
        let other = Pages::poisoned(page_len).expect("memory");
        let again = Pages::poisoned(2 * page_len).expect("memory");
        assert_eq!((other.elements().len(), again.elements().len()), (page_len, 2 * page_len));
        assert_eq!(address(&again), was_at);
        assert!(other.elements().iter().chain(again.elements()).all(|x| x.is_nan()));
    }

    #[test]
    #[should_panic(expected = "some were written after their memory was given back")]
    fn late_writes_are_found_out() {
        let mut pages = Pages::poisoned(5).expect("memory");
        let late = &raw mut pages.elements_mut()[3];
        drop(pages);
        // SAFETY: the memory is still mapped, and nothing refers to it.
        unsafe { late.write(1.0) };
        drop(Pages::poisoned(5));
    }
}
