//! What is measured of a model: as metrics, which have buckets, and as totals, of which clients take differences.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is measured of one version of a model, since it was loaded.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) images: Counter,
    /// Requests whose clients left before they were done.
    pub(crate) abandoned: Counter,
    /// Requests that were not done in time.
    pub(crate) late: Counter,
    /// Seconds in the queue.
    pub(crate) waited: Histogram,
    /// Seconds of a run, of one request or of several that were joined.
    pub(crate) computed: Histogram,
    /// Images of a run.
    pub(crate) batches: Histogram,
    totals: Mutex<Totals>,
}

/// Sums over all requests and runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    /// Requests that were answered as they wished, and others, from a whole request to its answer.
    pub(crate) success: Total,
    pub(crate) fail: Total,
    /// What of the former was waiting, and what was running, each request for itself.
    pub(crate) queue: Total,
    pub(crate) compute: Total,
    /// Their images.
    pub(crate) images: u64,
    pub(crate) runs: u64,
    /// When a run ended last, in milliseconds since 1970.
    pub(crate) last: u64,
    /// Runs by their images, of the first sizes that there were.
    pub(crate) sizes: BTreeMap<usize, Total>,
}

/// How often it was, and how long it took together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Total {
    pub(crate) count: u64,
    pub(crate) ns: u64,
}

impl Total {
    /// As often, but in no time: what reads inputs and writes outputs is a part of a run and not measured apart.
    pub(crate) fn untimed(self) -> Self {
        Total { ns: 0, ..self }
    }

    fn add(&mut self, count: u64, each: Duration) {
        let ns = u64::try_from(each.as_nanos()).unwrap_or(u64::MAX);
        self.count += count;
        self.ns = self.ns.saturating_add(ns.saturating_mul(count));
    }
}

/// Clients choose how many images a request has, but not how many sizes are remembered.
const MAX_SIZES: usize = 256;

/// A request of a run.
pub(crate) struct Ran {
    pub(crate) images: usize,
    pub(crate) waited: Duration,
    pub(crate) is_success: bool,
}

impl Measured {
    /// A run of these requests ended, which took so long.
    pub(crate) fn ran(&self, took: Duration, requests: impl Iterator<Item = Ran>) {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut images = 0;
        for Ran { images: own, waited, is_success } in requests {
            images += own;
            if is_success {
                totals.queue.add(1, waited);
                totals.compute.add(1, took);
                totals.images += own as u64;
            }
        }
        totals.runs += 1;
        totals.last = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        if totals.sizes.len() < MAX_SIZES || totals.sizes.contains_key(&images) {
            totals.sizes.entry(images).or_default().add(1, took);
        }
        drop(totals);
        self.computed.observe(took.as_secs_f64());
        self.batches.observe(images as f64);
        self.images.inc_by(images as u64);
    }

    /// A request was answered.
    pub(crate) fn answered(&self, took: Duration, is_success: bool) {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        if is_success { &mut totals.success } else { &mut totals.fail }.add(1, took);
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Default for Measured {
    fn default() -> Self {
        Measured {
            images: Counter::default(),
            abandoned: Counter::default(),
            late: Counter::default(),
            waited: seconds(),
            computed: seconds(),
            batches: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            totals: Mutex::default(),
        }
    }
}

/// From 50 microseconds to 50 seconds, each bucket 1.4 times the one before: percentiles are known to a sixth.
pub(crate) fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(50e-6, 1.4, 42))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_of_requests_and_sizes_of_runs() {
        let measured = Measured::default();
        let ran = |images, ms, is_success| Ran { images, waited: Duration::from_millis(ms), is_success };
        measured.ran(Duration::from_millis(5), [ran(3, 1, true), ran(1, 2, false), ran(4, 4, true)].into_iter());
        measured.ran(Duration::from_millis(7), [ran(8, 0, true)].into_iter());
        measured.answered(Duration::from_millis(9), true);
        measured.answered(Duration::from_millis(6), false);
        let totals = measured.totals();
        let total = |count, ms: u64| Total { count, ns: ms * 1_000_000 };
        assert_eq!((totals.success, totals.fail), (total(1, 9), total(1, 6)));
        assert_eq!((totals.queue, totals.compute), (total(3, 5), total(3, 17)));
        assert_eq!((totals.images, totals.runs), (15, 2));
        assert_eq!(totals.sizes, BTreeMap::from([(8, total(2, 12))]));
        assert_eq!(measured.images.get(), 16);
        for images in 0..2 * MAX_SIZES {
            measured.ran(Duration::ZERO, [ran(images, 0, true)].into_iter());
        }
        assert_eq!((measured.totals().sizes.len(), measured.totals().sizes[&8].count), (MAX_SIZES, 3));
    }
}
