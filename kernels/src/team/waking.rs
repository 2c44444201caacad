//! Whether a caller wakes helpers that sleep. Waking them costs it some microseconds, and they come late and to cold caches: it pays for
//! long runs, and not for short ones. For those in between it depends on the machine, so both are tried, now and then again, and what took
//! less time is done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Runs that take no longer alone are over before a helper that sleeps could be of use.
const SHORT: Duration = Duration::from_micros(150);

/// Of runs that take longer, even late helpers take a part.
const LONG: Duration = Duration::from_millis(1);

/// First runs, which take turns: one time of each kind is no measure.
const TURNS: u64 = 12;

/// What is known of the runs of a team that began while helpers slept.
#[derive(Debug, Default)]
pub(super) struct Waking {
    /// Nanoseconds that they typically take without helpers and with those that are woken; 0 while there was none.
    typical: [AtomicU64; 2],
    /// How many there were.
    runs: AtomicU64,
}

impl Waking {
    /// Whether the next one wakes them.
    pub(super) fn pays(&self) -> bool {
        let runs = self.runs.fetch_add(1, Ordering::Relaxed);
        let [alone, woken] = self.typical.each_ref().map(|typical| Duration::from_nanos(typical.load(Ordering::Relaxed)));
        if woken > LONG {
            return true;
        }
        match (alone.is_zero(), woken.is_zero()) {
            // A long run is the worse one to be alone in.
            (true, unknown) => unknown,
            (false, _) if alone <= SHORT => false,
            (false, true) => true,
            (false, false) if runs < TURNS => runs.is_multiple_of(2),
            (false, false) => (woken < alone) != runs.is_power_of_two(),
        }
    }

    /// Takes note of what a run took that woke helpers or did not.
    pub(super) fn took(&self, wakes: bool, time: Duration) {
        // The first one of all finds cold caches.
        if self.runs.load(Ordering::Relaxed) <= 1 {
            return;
        }
        let typical = &self.typical[usize::from(wakes)];
        let (before, time) = (typical.load(Ordering::Relaxed), u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1));
        // A run that something disturbed says little.
        let after = if before == 0 { time } else { before - before / 4 + time.min(before.saturating_mul(2)) / 4 };
        typical.store(after.max(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of some runs wake helpers, where they take so many microseconds without them and with them.
    fn woken(waking: &Waking, runs: usize, [alone, woken]: [u64; 2]) -> usize {
        let run = |_: &usize| {
            let pays = waking.pays();
            waking.took(pays, Duration::from_micros(if pays { woken } else { alone }));
            pays
        };
        (0..runs).filter(run).count()
    }

    #[test]
    fn short_runs_are_alone_and_long_ones_are_not() {
        assert_eq!(woken(&Waking::default(), 1000, [100, 80]), 2, "the first two, of which nothing is known");
        assert_eq!(woken(&Waking::default(), 1000, [2500, 1500]), 1000);
    }

    #[test]
    fn what_takes_less_time_is_done() {
        let tries = woken(&Waking::default(), 1000, [170, 190]);
        assert!((6..=16).contains(&tries), "{tries} tries");
        let most = woken(&Waking::default(), 1000, [190, 170]);
        assert!((984..=994).contains(&most), "{most} with helpers");
    }

    #[test]
    fn a_machine_that_changes_is_noticed() {
        let waking = Waking::default();
        woken(&waking, 100, [170, 190]);
        assert!(woken(&waking, 300, [250, 190]) > 200);
    }

    #[test]
    fn a_cold_first_run_is_forgotten() {
        let waking = Waking::default();
        assert!(waking.pays());
        waking.took(true, Duration::from_micros(900));
        assert!(woken(&waking, 200, [170, 140]) > 180);
    }

    #[test]
    fn one_disturbed_run_changes_nothing() {
        let waking = Waking::default();
        woken(&waking, 20, [170, 400]);
        waking.took(false, Duration::from_millis(100));
        assert!(!waking.pays());
    }
}
