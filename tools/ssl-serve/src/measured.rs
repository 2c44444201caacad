//! What workers measure of a model.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// What is measured of one version of a model, by its workers.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) images: Counter,
    /// Requests whose clients left before they were done.
    pub(crate) abandoned: Counter,
    /// Seconds in the queue.
    pub(crate) waited: Histogram,
    /// Seconds of a run, of one request or of several that were joined.
    pub(crate) computed: Histogram,
    /// Images of a run.
    pub(crate) batches: Histogram,
}

impl Default for Measured {
    fn default() -> Self {
        Measured {
            images: Counter::default(),
            abandoned: Counter::default(),
            waited: seconds(),
            computed: seconds(),
            batches: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
        }
    }
}

/// From 50 microseconds to 50 seconds, each bucket 1.4 times the one before: percentiles are known to a sixth.
pub(crate) fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(50e-6, 1.4, 42))
}
