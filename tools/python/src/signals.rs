//! Ctrl-C while Rust computes. Python notes a signal, and acts on it in the main thread when that executes Python again, or asks. So
//! what may take long is computed on a thread of its own, and the caller's asks meanwhile.

use pyo3::prelude::*;
use sslm::Interrupt;
use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How often Python is asked.
const BETWEEN: Duration = Duration::from_millis(50);

/// Runs of as many multiply-accumulates take some 10 ms or more on one core: what handing them to a thread takes, less than 0.1 ms, does
/// not matter.
pub(crate) const MANY_MACS: usize = 1_000_000_000;

/// What `work` yields, which other Python threads do not wait for. An exception that a signal raises, as Ctrl-C does, comes as soon as
/// `work` has ended by the interrupt that it is given.
pub(crate) fn heeded<T: Send>(py: Python<'_>, work: impl FnOnce(&Interrupt) -> T + Send) -> PyResult<T> {
    let interrupt = &Interrupt::new();
    let (working, ended) = channel::<()>();
    let compute = move || {
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                // Dropped at the end, or by a panic, which ends the wait.
                let _working = working;
                work(interrupt)
            });
            let mut asked = Ok(());
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(BETWEEN) {
                if let Err(raised) = Python::attach(|py| py.check_signals()) {
                    interrupt.cancel();
                    asked = Err(raised);
                }
            }
            let result = worker.join().unwrap_or_else(|panic| resume_unwind(panic));
            asked.map(|()| result)
        })
    };
    py.detach(compute)
}
