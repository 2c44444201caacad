//! What threads of a team meet by: loom's, which tries every order in which they can meet.

pub(super) use loom::cell::UnsafeCell;
pub(super) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
pub(super) use loom::sync::{Arc, Condvar, Mutex, mpsc};
pub(super) use loom::thread::{self, JoinHandle};

use std::time::Duration;

/// A moment of a world without clocks: helpers look once, and runs follow each other at once.
#[derive(Debug)]
pub(super) struct Instant;

impl Instant {
    pub(super) fn now() -> Self {
        Instant
    }

    /// The same however often it is asked, so that a model does the same whenever it is run.
    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_secs(1)
    }
}
