//! How threads share cores: while requests wait, what reads requests and writes answers does not interrupt a run, and runs give way between
//! two of them.
//!
//! Where a core has both to do, every packet that arrives would interrupt a run, which costs two changes of threads and what the run had in
//! its caches. Where no request waits, an interruption makes an answer earlier, and other programs on the core are interrupted, too.

use std::time::{Duration, Instant};

/// How long a worker keeps its core, but for the run that it is in, before others that wait get their turn.
const TURN: Duration = Duration::from_micros(250);

/// For a thread that reads and writes, before it waits for something to do: lets it wait for its turn then, instead of interrupting others,
/// if `requests_wait`, by the system's scheduling for batches. A core that has nothing else to do takes it at once in either case. Whoever started
/// the server with a scheduling of another kind keeps that.
#[cfg(target_os = "linux")]
pub(crate) fn before_waiting(requests_wait: bool) {
    use std::cell::Cell;

    /// How a thread is scheduled.
    #[derive(Clone, Copy)]
    enum Policy {
        /// It was not asked yet.
        Unknown,
        /// As somebody else wants it.
        Kept,
        /// As this function said last.
        Ours(i32),
    }
    thread_local!(static POLICY: Cell<Policy> = const { Cell::new(Policy::Unknown) });

    if let Policy::Unknown = POLICY.get() {
        // SAFETY: it asks about process 0, which is the thread that calls, and reads nothing of ours.
        let found = unsafe { libc::sched_getscheduler(0) };
        POLICY.set(if found == libc::SCHED_OTHER { Policy::Ours(found) } else { Policy::Kept });
    }
    let wanted = if requests_wait { libc::SCHED_BATCH } else { libc::SCHED_OTHER };
    if let Policy::Ours(policy) = POLICY.get()
        && policy != wanted
    {
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: the parameters are those of this scheduling, and live until the call returns; process 0 is the thread that calls.
        let result = unsafe { libc::sched_setscheduler(0, wanted, &parameters) };
        // Where that is not allowed, requests cost more, and nothing else changes.
        POLICY.set(if result == 0 { Policy::Ours(wanted) } else { Policy::Kept });
    }
}

/// Elsewhere, threads interrupt each other as the system likes.
#[cfg(not(target_os = "linux"))]
pub(crate) fn before_waiting(_: bool) {}

/// When a thread that runs models last waited, or let others have its core.
pub(crate) struct Turn(Instant);

impl Turn {
    pub(crate) fn begin() -> Self {
        Turn(Instant::now())
    }

    /// Called between two runs: gives way if the last time is long ago.
    pub(crate) fn between_runs(&mut self) {
        if self.0.elapsed() >= TURN {
            std::thread::yield_now();
            self.0 = Instant::now();
        }
    }
}
