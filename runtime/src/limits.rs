//! How much a plan may take of a machine: memory, work and time. A small file can ask for much, so whoever runs strangers' files sets
//! limits ([`crate::Options::max_memory`] and its neighbours). What would exceed one is refused before memory for it is taken.

use crate::error::{Error, ErrorKind, Result};
use crate::interrupt::Interrupt;
use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What the options allow; `None` is anything.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Bytes of a plan and one session together, and of what preparing takes meanwhile.
    pub(crate) memory: Option<usize>,
    /// Multiply-accumulates of a run, or steps that take as long.
    pub(crate) macs: Option<u64>,
    /// Of preparing a plan, and again of each run.
    pub(crate) time: Option<Duration>,
}

impl Limits {
    /// What is left for each image of a batch, if they are run one by one.
    pub(crate) fn of_one_image(&self, batch: usize) -> Limits {
        Limits { macs: self.macs.map(|macs| macs / batch as u64), ..*self }
    }

    /// When something that begins now must be over.
    pub(crate) fn deadline(&self) -> Deadline {
        // A time beyond what a clock can tell is none.
        Deadline(self.time.and_then(|time| Some((Instant::now().checked_add(time)?, time))))
    }
}

/// When something must be over, and how long that was from its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<(Instant, Duration)>);

impl Deadline {
    /// Whether it has passed.
    pub(crate) fn has_passed(self) -> bool {
        self.0.is_some_and(|(end, _)| Instant::now() >= end)
    }

    /// # Errors
    /// If it has passed.
    fn check(self, what: &str) -> Result<()> {
        if self.has_passed() { Err(self.error(what)) } else { Ok(()) }
    }

    fn error(self, what: &str) -> Error {
        let time = self.0.map_or(Duration::MAX, |(_, time)| time);
        Error::new(ErrorKind::Limit, format!("time of {what}: expected at most {time:.1?}, found more"))
    }
}

/// Until when a run may go on. Threads that compute it share it.
pub(crate) struct Until<'a> {
    deadline: Deadline,
    interrupt: Option<&'a Interrupt>,
    /// Why it is over, once it is: what a run has left out then is not there, whatever becomes of the interrupt.
    over: OnceLock<Why>,
}

#[derive(Clone, Copy)]
enum Why {
    /// The options allow no more time.
    Slow,
    /// The caller's deadline has passed.
    Late,
    Cancelled,
}

impl<'a> Until<'a> {
    /// For a run that begins now.
    pub(crate) fn new(limits: &Limits, interrupt: Option<&'a Interrupt>) -> Self {
        Until { deadline: limits.deadline(), interrupt, over: OnceLock::new() }
    }

    /// Whether the run is to go no further. Once it is, [`Self::check`] says so.
    pub(crate) fn is_over(&self) -> bool {
        let why = match self.interrupt {
            Some(interrupt) if interrupt.is_cancelled() => Why::Cancelled,
            Some(interrupt) if interrupt.is_late() => Why::Late,
            _ if self.deadline.has_passed() => Why::Slow,
            _ => return false,
        };
        self.over.get_or_init(|| why);
        true
    }

    /// # Errors
    /// If the run is to go no further, or was not to earlier.
    pub(crate) fn check(&self) -> Result<()> {
        self.is_over();
        match self.over.get() {
            None => Ok(()),
            Some(Why::Slow) => Err(self.deadline.error("a run")),
            Some(Why::Late) => Err(Error::new(ErrorKind::Limit, "a run: expected an end by the deadline, found more to do")),
            Some(Why::Cancelled) => Err(Error::new(ErrorKind::Cancelled, "a run: cancelled")),
        }
    }
}

/// What one plan has taken so far, while it is prepared.
pub(crate) struct Meter {
    limits: Limits,
    deadline: Deadline,
    /// Bytes that stay.
    taken: Cell<usize>,
}

impl Meter {
    /// Nothing is taken yet.
    pub(crate) fn new(limits: &Limits, deadline: Deadline) -> Self {
        Meter { limits: *limits, deadline, taken: Cell::new(0) }
    }

    /// Checks that there is room for so many bytes, beside those that stay.
    ///
    /// # Errors
    /// If there is not.
    pub(crate) fn expect_room(&self, bytes: usize, what: &str) -> Result<()> {
        let all = self.taken.get().saturating_add(bytes);
        match self.limits.memory {
            Some(most) if all > most => Err(Error::new(
                ErrorKind::Limit,
                format!("memory for {what}: expected at most {}, found {}", shown(most), shown(all)),
            )),
            _ => Ok(()),
        }
    }

    /// Counts so many bytes, which stay.
    ///
    /// # Errors
    /// If there is no room for them.
    pub(crate) fn take(&self, bytes: usize, what: &str) -> Result<()> {
        self.expect_room(bytes, what)?;
        self.taken.set(self.taken.get().saturating_add(bytes));
        Ok(())
    }

    /// Counts bytes no longer that were taken: they are gone, or part of what is counted next.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.taken.set(self.taken.get().saturating_sub(bytes));
    }

    /// Checks what a run costs.
    ///
    /// # Errors
    /// If that is too much.
    pub(crate) fn expect_work(&self, macs: u64) -> Result<()> {
        match self.limits.macs {
            Some(most) if macs > most => {
                Err(Error::new(ErrorKind::Limit, format!("multiply-accumulates of a run: expected at most {most}, found {macs}")))
            }
            _ => Ok(()),
        }
    }

    /// # Errors
    /// If preparing has taken too long.
    pub(crate) fn expect_time(&self) -> Result<()> {
        self.deadline.check("preparing")
    }
}

fn shown(bytes: usize) -> String {
    if bytes < 1 << 20 { format!("{bytes} bytes") } else { format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)) }
}
