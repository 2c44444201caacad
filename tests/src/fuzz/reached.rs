//! Most inputs are refused early, as they should be. Figures of executions mean little without those of how many came through.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many arrivals one line of output stands for.
const EACH: u64 = 1024;

/// A place that executions may reach. `tests/scripts/fuzz.sh` adds up what it prints.
pub(super) struct Stage {
    name: &'static str,
    count: AtomicU64,
}

impl Stage {
    /// A place of this name, which nothing has reached.
    pub(super) const fn new(name: &'static str) -> Self {
        Stage { name, count: AtomicU64::new(0) }
    }

    /// An execution is there.
    pub(super) fn reach(&self) {
        if (self.count.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(EACH) {
            eprintln!("REACHED {EACH} {}", self.name);
        }
    }
}
