//! `ssl-serve`: serves models by the Open Inference Protocol. A request passes `front`, which says who may ask and how much may come; `http`
//! or `grpc` reads it; `server` looks up what it names in the `repository`, and lets it wait in the `queue`, from which a `worker` takes
//! it, maybe with others, and runs it on what was `served`. Images are decoded before that, by `decoding`. All of it takes `memory`, which is
//! counted. `listen` has the connections, `traffic` what the requests of each are up to, `scheduling` who interrupts whom, `metrics` what was
//! counted. `inside` asks without a connection.

mod bounded;
mod decoding;
mod described;
mod failure;
mod front;
mod grpc;
mod http;
mod inside;
mod listen;
mod log;
mod measured;
mod memory;
mod metrics;
mod packed;
mod queue;
mod repository;
mod scheduling;
mod served;
mod server;
mod tensors;
mod tls;
mod traffic;
mod worker;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
pub use inside::{Answer, Inside};
use listen::Listener;
use log::Log;
use queue::{Queue, Rules};
use repository::Repository;
use served::Preparing;
use server::{Server, Terms};
use ssl_cli::{CheckFailed, Limits};
use sslm::{Options, Threads};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tls::Tls;
use tokio::net::TcpListener;

/// How often files are looked at for changes.
const REFRESH: Duration = Duration::from_secs(1);

/// Serve .sslm models by the Open Inference Protocol (version 2), over HTTP and gRPC on one port.
///
/// Clients of KServe and Triton work with it unchanged. A page at / shows models, rates and latencies; /metrics is for Prometheus.
#[derive(Clone, Parser)]
#[command(
    version,
    after_help = "Examples:
  ssl-serve lenet.sslm                          # model 'lenet' at http://127.0.0.1:8080
  ssl-serve models/                             # all of a folder, now and later
  curl --data-binary @digit.png http://127.0.0.1:8080/v2/models/lenet/classify
  curl http://127.0.0.1:8080/v2/models/lenet/infer -d '{\"inputs\": [{\"name\": \"image\", \"shape\": [1, 1, 28, 28], \"datatype\": \"FP32\", \"data\": [...]}]}'
  ssl-serve models/ --max-batch 16 --max-delay 2 # requests of several clients become one run
  ssl-serve models/ --listen 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem --token-file token

In a folder, NAME.sslm is model NAME, version 1, and NAME/VERSION/model.sslm a version by number. What appears there is loaded; a file
that is renamed over another takes its place without a request being lost. SIGTERM and SIGINT end the server when all requests have been
answered. Exit codes: 0 success, 1 some requests could not be answered in time when it ended, 2 error."
)]
struct Arguments {
    /// Models, and folders of models
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// Where to listen. Port 0 takes one that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Requests that are computed at a time [default: one for each core, divided by --threads]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Threads that share one request: more make a large network answer earlier, but fewer requests a second
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Join requests for a model to runs of at most so many images. Larger requests run alone
    #[arg(long, value_name = "IMAGES", default_value_t = 1)]
    max_batch: usize,
    /// How long a worker that has nothing else to do waits for requests to join, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0.0)]
    max_delay: f64,
    /// The same bits whatever requests are joined, on whichever CPU; slower
    #[arg(long)]
    reproducible: bool,
    /// Requests that may wait; more are refused at once, with 503 or RESOURCE_EXHAUSTED
    #[arg(long, value_name = "N", default_value_t = 256)]
    queue: usize,
    /// Refuse requests of more than so many MiB
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    max_body: usize,
    /// Refuse requests while those that are there have more than so many MiB. Images that are decoded count, and wait for room
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    max_requests: usize,
    /// How long a request may take to arrive, and then to be answered, in seconds. Clients may ask for less
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    timeout: f64,
    /// Connections at a time; more have to wait
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_connections: usize,
    /// How long requests that are there may take when the server ends, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    drain: f64,
    /// Keep all memory of the process in RAM, so that no answer waits for a page that was put aside. The system has to allow as much
    #[cfg(target_os = "linux")]
    #[arg(long)]
    lock_memory: bool,
    /// Let clients load and unload models
    #[arg(long)]
    allow_control: bool,
    /// Serve those only who show the token in this file: 'Authorization: Bearer TOKEN'. Whether the server is alive and ready is told to
    /// everybody
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Speak TLS, with this chain of certificates (PEM)
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the first certificate (PEM)
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// What is logged to stderr
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Log::Text)]
    log: Log,
    /// Send traces to a collector of OpenTelemetry, by gRPC, such as http://127.0.0.1:4317
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    #[command(flatten)]
    limits: Limits,
}

/// Runs the tool as a program of this name and these arguments would, and yields its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    ssl_cli::main("ssl-serve", arguments, run)
}

fn run(arguments: &Arguments) -> Result<()> {
    let queue = Arc::new(queue(arguments)?);
    let runtime = runtime(&queue)?;
    #[cfg(feature = "otlp")]
    let otlp = arguments.otlp.as_deref();
    #[cfg(not(feature = "otlp"))]
    let otlp = None;
    let _observed = {
        let _inside = runtime.enter();
        log::start(arguments.log, otlp)?
    };
    let tls = tls(arguments)?;
    let drain = seconds("drain", arguments.drain)?;
    let (server, workers) = server(arguments, &queue)?;
    let connections = at_least_one("max-connections", arguments.max_connections)?;
    let served = runtime.block_on(serve(arguments.listen, tls, connections, server, drain));
    queue.close();
    let is_done = served?;
    if is_done {
        workers.into_iter().for_each(|worker| drop(worker.join()));
        return Ok(());
    }
    // What still runs is of no use to anybody.
    runtime.shutdown_background();
    bail!(CheckFailed(format!("not all requests could be answered within {}", ssl_cli::time(drain.as_secs_f64()))))
}

fn at_least_one(name: &str, count: usize) -> Result<usize> {
    ensure!(count > 0, "--{name}: expected at least 1, found 0");
    Ok(count)
}

fn seconds(name: &str, seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).with_context(|| format!("--{name}: expected a time, found {seconds}"))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn queue(arguments: &Arguments) -> Result<Queue> {
    let max_delay = seconds("max-delay", arguments.max_delay / 1000.0)?;
    Ok(Queue::new(Rules { len: at_least_one("queue", arguments.queue)?, max_delay }))
}

/// The threads that read and write, which stand back while something waits in `queue`.
fn runtime(queue: &Arc<Queue>) -> Result<tokio::runtime::Runtime> {
    let waiting = Arc::clone(queue);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(cores().min(4)).on_thread_park(move || scheduling::before_waiting(waiting.len() > 0)).enable_all();
    builder.build().context("cannot start threads")
}

/// What the arguments ask for, but for connections: it answers requests by its workers, which take them from `queue`.
fn server(arguments: &Arguments, queue: &Arc<Queue>) -> Result<(Arc<Server>, Vec<JoinHandle<()>>)> {
    let threads = at_least_one("threads", arguments.threads)?;
    let workers = at_least_one("workers", arguments.workers.unwrap_or((cores() / threads).max(1)))?;
    let mut options = Options::new().threads(if threads == 1 { Threads::Single } else { Threads::Count(threads) });
    if arguments.reproducible {
        options = options.reproducible();
    }
    let max_batch = at_least_one("max-batch", arguments.max_batch)?;
    let preparing = Preparing { options, limits: arguments.limits, max_batch };
    let mib = |count: usize| count.saturating_mul(1 << 20);
    let terms = Terms {
        max_body: mib(at_least_one("max-body", arguments.max_body)?),
        timeout: seconds("timeout", arguments.timeout)?,
        allow_control: arguments.allow_control,
        token: arguments.token_file.as_deref().map(token).transpose()?,
        is_loopback: arguments.listen.ip().is_loopback(),
    };
    let repository = Arc::new(Repository::open(arguments.models.clone(), preparing)?);
    let server = Server::new(terms, repository, Arc::clone(queue), mib(arguments.max_requests), cores());
    let workers = worker::start(workers, queue).context("cannot start workers")?;
    Ok((Arc::new(server), workers))
}

async fn serve(
    address: SocketAddr,
    tls: Option<Tls>,
    max_connections: usize,
    server: Arc<Server>,
    drain: Duration,
) -> Result<bool> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr().context("cannot tell the address")?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let router = http::router(&server, grpc::router(&server));
    let refreshed = Arc::clone(&server.repository);
    let refreshing = tokio::spawn(async move {
        loop {
            tokio::time::sleep(REFRESH).await;
            let repository = Arc::clone(&refreshed);
            let _ = tokio::task::spawn_blocking(move || repository.refresh()).await;
        }
    });
    let stop = stop_signal()?;
    let count = server.repository.list().len();
    ssl_cli::note("ssl-serve", format!("{count} model{} at {scheme}://{address}", if count == 1 { "" } else { "s" }));
    let draining = Arc::clone(&server);
    let stop = async move {
        stop.await;
        draining.drain();
        tracing::info!("ending: no new connections");
    };
    let is_done = Listener { listener, tls, max_connections }.serve(server, router, stop, drain).await;
    refreshing.abort();
    Ok(is_done)
}

/// Done when the process is asked to end.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut signals = [signal(SignalKind::terminate()), signal(SignalKind::interrupt())].into_iter();
        let mut next = || signals.next().expect("there are two").context("cannot wait for signals");
        let (mut terminate, mut interrupt) = (next()?, next()?);
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        // Without signals the server runs until it is ended.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// The token in a file, without blanks around it.
fn token(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let token = text.trim();
    ensure!(token.len() >= 16, "{}: expected a token of at least 16 characters, found {}", path.display(), token.len());
    Ok(token.to_owned())
}

#[cfg(feature = "tls")]
fn tls(arguments: &Arguments) -> Result<Option<Tls>> {
    arguments.tls_cert.as_deref().zip(arguments.tls_key.as_deref()).map(|(cert, key)| tls::acceptor(cert, key)).transpose()
}

#[cfg(not(feature = "tls"))]
fn tls(_: &Arguments) -> Result<Option<Tls>> {
    Ok(None)
}
