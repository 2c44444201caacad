//! How much memory a call takes from the allocator. Each thread counts its own, so that tests may run side by side.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counted.
struct Counted;

thread_local! {
    /// Bytes that this thread has taken and not given back, now and at most. What others took and it gave back counts, too.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that ends has no counts any more.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        MOST.try_with(|most| most.set(most.get().max(live.get())))
    });
}

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Bytes that this thread has taken and not given back.
pub(crate) fn live() -> isize {
    LIVE.get()
}

/// What `call` returns, and how many bytes it had at most beside those that were taken before.
pub(crate) fn most<T>(call: impl FnOnce() -> T) -> (T, isize) {
    let before = live();
    MOST.set(before);
    let value = call();
    (value, MOST.get() - before)
}
