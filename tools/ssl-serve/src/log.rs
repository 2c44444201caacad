//! The log on stderr, and, with the feature `otlp`, traces of requests and their runs for a collector of OpenTelemetry.

use anyhow::Result;
use axum::extract::Request;
use clap::ValueEnum;
use tracing::Span;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// What is logged.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Log {
    /// A line of every request, for people
    Text,
    /// A line of JSON of every request
    Json,
    /// Nothing, but for what goes wrong
    Errors,
}

/// Sends what is left to a collector when it is dropped.
#[derive(Default)]
pub(crate) struct Observed {
    #[cfg(feature = "otlp")]
    provider: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

/// Starts the log, and traces to a collector at the address `otlp`; needs a runtime of tokio.
///
/// # Errors
/// If the address is none.
pub(crate) fn start(log: Log, otlp: Option<&str>) -> Result<Observed> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let lines = if log == Log::Json { lines.json().boxed() } else { lines.boxed() };
    let lines = lines.with_filter(if log == Log::Errors { LevelFilter::WARN } else { LevelFilter::INFO });
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = vec![lines.boxed()];
    let observed = traces(otlp, &mut layers)?;
    // A process that runs the tool twice has a log already.
    let _ = tracing_subscriber::registry().with(layers).try_init();
    Ok(observed)
}

/// The span of a request, which is a part of its client's, if that says so. Where nobody collects spans, it is none.
pub(crate) fn span(request: &Request) -> Span {
    let span = tracing::debug_span!("request", method = %request.method(), path = request.uri().path());
    #[cfg(feature = "otlp")]
    traced::adopt(&span, request.headers());
    span
}

#[cfg(not(feature = "otlp"))]
fn traces(_: Option<&str>, _: &mut Vec<Box<dyn Layer<Registry> + Send + Sync>>) -> Result<Observed> {
    Ok(Observed::default())
}

#[cfg(feature = "otlp")]
use traced::traces;

#[cfg(feature = "otlp")]
mod traced {
    use super::Observed;
    use anyhow::{Context, Result};
    use axum::http::HeaderMap;
    use opentelemetry::propagation::{Extractor, TextMapPropagator};
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_otlp::{SpanExporter, WithExportConfig};
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt;
    use tracing_subscriber::filter::{FilterFn, LevelFilter};
    use tracing_subscriber::{Layer, Registry};

    pub(super) fn traces(otlp: Option<&str>, layers: &mut Vec<Box<dyn Layer<Registry> + Send + Sync>>) -> Result<Observed> {
        let Some(address) = otlp else { return Ok(Observed::default()) };
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(address).build();
        let exporter = exporter.with_context(|| format!("--otlp: expected the address of a collector, found '{address}'"))?;
        let resource = Resource::builder().with_service_name("ssl-serve").build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        // What sends the traces has spans, too, and ours are enough.
        let ours = FilterFn::new(|metadata| {
            metadata.is_event() || ["ssl_serve", "sslm"].iter().any(|own| metadata.target().starts_with(own))
        });
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("ssl-serve"));
        layers.push(layer.with_filter(ours).with_filter(LevelFilter::DEBUG).boxed());
        Ok(Observed { provider: Some(provider) })
    }

    /// Makes a span a part of the one that the client names.
    pub(super) fn adopt(span: &Span, headers: &HeaderMap) {
        // A span that nobody collects has no place for it.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&Headers(headers)));
    }

    struct Headers<'a>(&'a HeaderMap);

    impl Extractor for Headers<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            self.0.get(key)?.to_str().ok()
        }

        fn keys(&self) -> Vec<&str> {
            self.0.keys().map(|key| key.as_str()).collect()
        }
    }

    impl Drop for Observed {
        fn drop(&mut self) {
            if let Some(Err(e)) = self.provider.take().map(|provider| provider.shutdown()) {
                ssl_cli::note("ssl-serve", format!("traces were not sent: {e}"));
            }
        }
    }
}
