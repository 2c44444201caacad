//! What all requests share, and the way of an inference, whichever protocol it came by: named outputs are looked up, the request waits
//! and runs, and is given up at its deadline or when its client leaves.

use crate::failure::{Failure, Kind};
use crate::memory::Memory;
use crate::metrics::{Answered, Metrics};
use crate::queue::Queue;
use crate::repository::Repository;
use crate::served::Served;
use crate::tensors::Tensor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// What a server promises, and to whom.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Bytes of a request.
    pub(crate) max_body: usize,
    /// How long a request may take to arrive, and then to be answered.
    pub(crate) timeout: Duration,
    /// Whether clients may load and unload models.
    pub(crate) allow_control: bool,
    /// What clients have to show.
    pub(crate) token: Option<String>,
    /// Whether only this machine is listened to.
    pub(crate) is_loopback: bool,
}

/// What all requests share.
pub(crate) struct Server {
    pub(crate) terms: Terms,
    pub(crate) repository: Arc<Repository>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) metrics: Metrics,
    /// Of requests, answers, and images that are decoded.
    pub(crate) memory: Arc<Memory>,
    /// For each image that may be decoded at a time.
    pub(crate) decoders: Arc<Semaphore>,
    is_draining: AtomicBool,
}

/// An output that a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    /// Instead of elements, so many of the likeliest classes of each image.
    pub(crate) classes: Option<usize>,
}

impl Wanted {
    /// An output by its name; for a `classification` other than 0, that many classes.
    pub(crate) fn new(name: String, classification: Option<u64>) -> Self {
        let count = classification.filter(|&count| count > 0);
        Wanted { name, classes: count.map(|count| usize::try_from(count).unwrap_or(usize::MAX)) }
    }
}

/// Bytes of what a client may call a request: answers repeat it.
const MAX_ID: usize = 1024;

/// Whether a client may call a request so.
pub(crate) fn check_id(id: &str) -> Result<(), Failure> {
    if id.len() > MAX_ID { Err(Failure::input("id", format!("at most {MAX_ID} bytes"), id.len())) } else { Ok(()) }
}

/// What a client gets of an output.
pub(crate) enum Yielded {
    Tensor(Tensor),
    /// `value:index` or `value:index:label`, for each image the greatest first.
    Classes {
        name: String,
        shape: Vec<usize>,
        texts: Vec<String>,
    },
}

impl Server {
    pub(crate) fn new(terms: Terms, repository: Arc<Repository>, queue: Arc<Queue>, memory: usize, decoders: usize) -> Self {
        Server {
            terms,
            metrics: Metrics::new(Arc::clone(&repository), Arc::clone(&queue)),
            repository,
            queue,
            memory: Memory::new(memory),
            decoders: Arc::new(Semaphore::new(decoders)),
            is_draining: AtomicBool::new(false),
        }
    }

    /// Whether new requests are welcome.
    pub(crate) fn is_ready(&self) -> bool {
        !self.is_draining.load(Relaxed) && self.repository.is_ready()
    }

    /// From now on load balancers are told to send nobody.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Relaxed);
    }

    /// What `answer` yields within the time that a request may take.
    pub(crate) async fn in_time<T>(&self, answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let time = self.terms.timeout;
        tokio::time::timeout(time, answer).await.map_err(|_| Failure::late(time))?
    }

    /// What `served` yields for these inputs of a request that is whole since `begun`.
    pub(crate) async fn infer(
        &self,
        served: &Arc<Served>,
        inputs: Vec<Tensor>,
        wanted: &[Wanted],
        timeout: Option<Duration>,
        begun: Instant,
    ) -> Result<Vec<Yielded>, Failure> {
        for (index, Wanted { name, .. }) in wanted.iter().enumerate() {
            if wanted[..index].iter().any(|before| before.name == *name) {
                let what = format!("outputs of model '{}'", served.name);
                return Err(Failure::input(what, "each at most once", format!("'{}' again", name)));
            }
            if !served.outputs.iter().any(|output| output.name == *name) {
                let outputs: Vec<String> = served.outputs.iter().map(|output| format!("'{}'", output.name)).collect();
                let what = format!("outputs of model '{}'", served.name);
                return Err(Failure::input(what, format!("one of {}", outputs.join(", ")), format!("'{}'", name)));
            }
        }
        let inputs = served.arrange(inputs)?;
        let timeout = timeout.map_or(self.terms.timeout, |own| own.min(self.terms.timeout));
        let waiting = self.queue.push(Arc::clone(served), inputs)?;
        // Whoever stops waiting gives the request up, be it for the deadline or because the client left.
        let outputs = waiting.answer(begun, timeout).await?;
        if wanted.is_empty() {
            return Ok(outputs.into_iter().map(Yielded::Tensor).collect());
        }
        let select = |wanted: &Wanted| {
            let output = outputs.iter().find(|output| output.name == wanted.name).expect("it was looked up");
            match wanted.classes {
                None => Ok(Yielded::Tensor(output.clone())),
                Some(count) => classes(served, output, count),
            }
        };
        wanted.iter().map(select).collect()
    }

    /// Loads or unloads a model, where clients may.
    pub(crate) async fn control(
        &self,
        model: String,
        change: fn(&Repository, &str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if !self.terms.allow_control {
            return Err(Failure::new(Kind::Forbidden, "clients may not load and unload models here (--allow-control lets them)"));
        }
        let repository = Arc::clone(&self.repository);
        let done = tokio::task::spawn_blocking(move || change(&repository, &model)).await;
        done.unwrap_or_else(|_| Err(Failure::new(Kind::Internal, "changing models failed")))
    }

    /// Notes how a request for a model ended.
    pub(crate) fn note(&self, served: &Served, protocol: &'static str, begun: Instant, failed: Option<&Failure>) {
        let (code, took) = (failed.map_or(200, |failure| failure.kind.code()), begun.elapsed());
        served.measured.answered(took, failed.is_none());
        self.metrics.answered(Answered { model: served.name.clone(), version: served.version, protocol, code }, took);
    }
}

/// The likeliest classes of each image, as the protocol's extension for classification has them.
fn classes(served: &Served, output: &Tensor, count: usize) -> Result<Yielded, Failure> {
    let found = served.likeliest(output, count)?;
    let text = |class: &ssl_images::Class| match served.label(class) {
        Some(label) => format!("{}:{}:{label}", class.output, class.index),
        None => format!("{}:{}", class.output, class.index),
    };
    let shape = vec![output.shape.first().copied().unwrap_or(1), found.first().map_or(0, Vec::len)];
    Ok(Yielded::Classes { name: output.name.clone(), shape, texts: found.iter().flatten().map(text).collect() })
}

/// Texts as the protocol's binary data has them: the length of each in four bytes, then its bytes.
pub(crate) fn length_prefixed(texts: &[String]) -> Vec<u8> {
    let of_text = |text: &String| [&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes()[..], text.as_bytes()].concat();
    texts.iter().flat_map(of_text).collect()
}
