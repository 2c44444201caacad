//! How threads share cores: what reads requests and writes answers does not interrupt a run, and runs give way between two of them.
//!
//! Where a core has both to do, every packet that arrives would interrupt a run, which costs two changes of threads and what the run had in
//! its caches.

use std::time::{Duration, Instant};

/// How long a worker keeps its core, but for the run that it is in, before others that wait get their turn.
const TURN: Duration = Duration::from_micros(250);

/// Lets the thread that calls this wait for its turn when there is something to do, instead of interrupting others: the system's
/// scheduling for batches. A core that has nothing else to do takes it at once, as ever. Whoever started the server with a scheduling of
/// another kind keeps that.
#[cfg(target_os = "linux")]
pub(crate) fn wait_for_turns() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: it asks about process 0, which is the thread that calls, and reads nothing of ours.
    let is_usual = unsafe { libc::sched_getscheduler(0) } == libc::SCHED_OTHER;
    // SAFETY: the parameters are those of this scheduling, and live until the call returns; process 0 is the thread that calls.
    if is_usual && unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &parameters) } != 0 {
        // Requests cost more then, and nothing else changes.
        tracing::debug!("no scheduling for batches: {}", std::io::Error::last_os_error());
    }
}

/// Elsewhere, threads interrupt each other as the system likes.
#[cfg(not(target_os = "linux"))]
pub(crate) fn wait_for_turns() {}

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
