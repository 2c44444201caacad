//! What is counted and timed, for Prometheus: `/metrics` has all of it, and the page at `/` draws what it reads there.

use crate::measured::seconds;
use crate::queue::Queue;
use crate::repository::{Repository, State};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct Answered {
    pub(crate) model: String,
    pub(crate) version: u64,
    pub(crate) protocol: &'static str,
    /// Of HTTP; for gRPC the one that means the same.
    pub(crate) code: u16,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfModel {
    model: String,
    version: u64,
}

/// All of a server's measurements.
pub(crate) struct Metrics {
    registry: Registry,
    answered: Family<Answered, Counter>,
    latency: Family<OfModel, Histogram>,
    pub(crate) connections: Gauge,
    /// Requests that were refused before they reached a model, by their size, their number or for want of a token.
    pub(crate) refused: Counter,
}

impl Metrics {
    pub(crate) fn new(repository: Arc<Repository>, queue: Arc<Queue>) -> Self {
        let mut registry = Registry::with_prefix("sslm");
        let answered = Family::<Answered, Counter>::default();
        let latency = Family::<OfModel, Histogram>::new_with_constructor(seconds);
        let (connections, refused) = (Gauge::default(), Counter::default());
        registry.register("requests", "Requests for models that were answered", answered.clone());
        let what = "From a whole request to its answer, without sending it";
        registry.register_with_unit("request", what, Unit::Seconds, latency.clone());
        registry.register("connections", "Open connections", connections.clone());
        registry.register("refused", "Requests that were refused before they reached a model", refused.clone());
        registry.register_collector(Box::new(Models { repository, queue }));
        Metrics { registry, answered, latency, connections, refused }
    }

    /// A request for a model was answered.
    pub(crate) fn answered(&self, answered: Answered, took: Duration) {
        let of = OfModel { model: answered.model.clone(), version: answered.version };
        self.latency.get_or_create(&of).observe(took.as_secs_f64());
        self.answered.get_or_create(&answered).inc();
    }

    /// In the text format of Prometheus.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Memory takes everything.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

/// What models and the queue know themselves.
struct Models {
    repository: Arc<Repository>,
    queue: Arc<Queue>,
}

impl std::fmt::Debug for Models {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Models").finish_non_exhaustive()
    }
}

impl Collector for Models {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let waiting = ConstGauge::new(self.queue.len() as i64);
        waiting.encode(encoder.encode_descriptor("queue_requests", "Requests that wait", None, waiting.metric_type())?)?;
        let listed = self.repository.list();
        let ready: Vec<_> = listed
            .iter()
            .filter_map(|listed| match &listed.state {
                State::Ready(served) => Some(served),
                State::Failed(_) | State::Unloaded => None,
            })
            .collect();
        let mut all = |name: &str, help: &str, unit: Option<&Unit>, each: &dyn Fn(&crate::served::Served) -> Each| {
            let Some(first) = ready.first() else { return Ok(()) };
            let mut of_all = encoder.encode_descriptor(name, help, unit, each(first).metric_type())?;
            for served in &ready {
                let label = OfModel { model: served.name.clone(), version: served.version };
                each(served).encode(of_all.encode_family(&label)?)?;
            }
            Ok(())
        };
        all("images", "Images that were run", None, &|served| Each::Counter(served.measured.images.get()))?;
        let what = "Requests whose clients left before they were done";
        all("abandoned", what, None, &|served| Each::Counter(served.measured.abandoned.get()))?;
        let what = "Requests that were given up since they were not done in time";
        all("late", what, None, &|served| Each::Counter(served.measured.late.get()))?;
        let what = "From a whole request to the begin of its run";
        all("queue", what, Some(&Unit::Seconds), &|served| Each::Histogram(served.measured.waited.clone()))?;
        let what = "Runs, of one request or of several that were joined";
        all("run", what, Some(&Unit::Seconds), &|served| Each::Histogram(served.measured.computed.clone()))?;
        all("batch_images", "Images of a run", None, &|served| Each::Histogram(served.measured.batches.clone()))?;
        all("weights_bytes", "Weights of the file", None, &|served| Each::Gauge(served.model.weight_bytes() as i64))
    }
}

/// A measurement of one model.
enum Each {
    Counter(u64),
    Gauge(i64),
    Histogram(Histogram),
}

impl Each {
    fn metric_type(&self) -> prometheus_client::metrics::MetricType {
        match self {
            Each::Counter(n) => ConstCounter::new(*n).metric_type(),
            Each::Gauge(n) => ConstGauge::new(*n).metric_type(),
            Each::Histogram(histogram) => histogram.metric_type(),
        }
    }

    fn encode(&self, encoder: prometheus_client::encoding::MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Each::Counter(n) => ConstCounter::new(*n).encode(encoder),
            Each::Gauge(n) => ConstGauge::new(*n).encode(encoder),
            Each::Histogram(histogram) => histogram.encode(encoder),
        }
    }
}
