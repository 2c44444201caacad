//! How much a plan may take of a machine: memory, work and time. A small file can ask for much, so whoever runs strangers' files sets
//! limits ([`crate::Options::max_memory`] and its neighbours). What would exceed one is refused before memory for it is taken.

use crate::error::{Error, ErrorKind, Result};
use std::cell::Cell;
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
    pub(crate) fn check(self, what: &str) -> Result<()> {
        match self.0 {
            Some((_, time)) if self.has_passed() => {
                Err(Error::new(ErrorKind::Limit, format!("time of {what}: expected at most {time:.1?}, found more")))
            }
            _ => Ok(()),
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
