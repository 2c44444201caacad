//! Requests that wait for a worker, and how they are joined to batches.
//!
//! A worker takes the request that has waited longest, and with it others for the same model whose images have the same size. It waits
//! for more of them only while it would have nothing else to do, and never beyond the time that was agreed. Requests whose clients left
//! are dropped here, or end the run that they are in if all of its others left, too.

use crate::failure::{Failure, Kind};
use crate::served::Served;
use crate::tensors::Tensor;
use sslm::Interrupt;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tracing::Span;

/// What becomes of a request: the model's outputs, in its order.
pub(crate) type Answer = Result<Vec<Tensor>, Failure>;

/// A request that waits.
pub(crate) struct Job {
    pub(crate) served: Arc<Served>,
    /// In the model's order.
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) since: Instant,
    /// Of the request, for those who collect traces.
    pub(crate) span: Span,
    ticket: Arc<Ticket>,
    reply: oneshot::Sender<Answer>,
}

impl Job {
    /// How many images it brings, where they can be joined with others.
    pub(crate) fn images(&self) -> usize {
        self.inputs.first().and_then(|input| input.shape.first()).copied().unwrap_or(1)
    }

    /// Tells the client, which may have given up: that is counted.
    pub(crate) fn answer(self, answer: Answer) {
        self.is_given_up();
        let _ = self.reply.send(answer);
    }

    /// Whether nobody waits for it any more, which is counted: nobody asks twice.
    fn is_given_up(&self) -> bool {
        let measured = &self.served.measured;
        match *lock(&self.ticket.0) {
            Stage::Waiting | Stage::Running(_) => return false,
            Stage::Left => measured.abandoned.inc(),
            Stage::Late => measured.late.inc(),
        };
        true
    }

    /// Whether both can be one batch.
    fn joins(&self, other: &Job) -> bool {
        let same_images = || self.inputs.iter().zip(&other.inputs).all(|(own, other)| own.shape[1..] == other.shape[1..]);
        Arc::ptr_eq(&self.served, &other.served) && same_images()
    }
}

/// What the client's side and the worker's side of a request share.
#[derive(Default)]
struct Ticket(Mutex<Stage>);

#[derive(Default)]
enum Stage {
    #[default]
    Waiting,
    Running(Arc<Running>),
    /// The client did.
    Left,
    /// It was not done in time.
    Late,
}

/// A run, and how many clients still wait for it.
struct Running {
    interrupt: Interrupt,
    clients: AtomicUsize,
}

/// The client's side of a request. Dropping it gives the request up.
pub(crate) struct Waiting {
    ticket: Arc<Ticket>,
    answer: oneshot::Receiver<Answer>,
    /// When it is given up.
    until: Option<Instant>,
}

impl Waiting {
    /// What becomes of a request that is there since then. It is given up after that time.
    pub(crate) async fn answer(mut self, since: Instant, time: Duration) -> Answer {
        self.until = since.checked_add(time);
        let answer = tokio::time::timeout(time.saturating_sub(since.elapsed()), &mut self.answer);
        let answer = answer.await.map_err(|_| Failure::late(time))?;
        answer.unwrap_or_else(|_| Err(Failure::new(Kind::Internal, "the worker that ran this request failed")))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Whoever waits for more than this may have been late first.
        let is_late = self.until.is_some_and(|until| Instant::now() >= until);
        let given_up = if is_late { Stage::Late } else { Stage::Left };
        let stage = std::mem::replace(&mut *lock(&self.ticket.0), given_up);
        if let Stage::Running(running) = stage
            && running.clients.fetch_sub(1, Relaxed) == 1
        {
            running.interrupt.cancel();
        }
    }
}

/// Requests that run together.
pub(crate) struct Batch {
    /// At least one, all for the same model.
    pub(crate) jobs: Vec<Job>,
    /// Ends the run when nobody waits for it any more.
    pub(crate) interrupt: Interrupt,
}

/// How requests wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// At most so many.
    pub(crate) len: usize,
    /// How long a worker waits for more to join.
    pub(crate) max_delay: Duration,
}

/// The requests that wait.
pub(crate) struct Queue {
    rules: Rules,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

impl Queue {
    pub(crate) fn new(rules: Rules) -> Self {
        Queue { rules, inner: Mutex::default(), changed: Condvar::new() }
    }

    /// How long a worker waits for more to join.
    pub(crate) fn max_delay(&self) -> Duration {
        self.rules.max_delay
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        lock(&self.inner).jobs.len()
    }

    /// Lets a request wait, if there is room.
    pub(crate) fn push(&self, served: Arc<Served>, inputs: Vec<Tensor>) -> Result<Waiting, Failure> {
        let (reply, answer) = oneshot::channel();
        let ticket = Arc::new(Ticket::default());
        let (since, span) = (Instant::now(), Span::current());
        let job = Job { served, inputs, since, span, ticket: Arc::clone(&ticket), reply };
        let mut inner = lock(&self.inner);
        if inner.is_closed {
            return Err(Failure::new(Kind::Unavailable, "the server is shutting down"));
        }
        if inner.jobs.len() >= self.rules.len {
            inner.jobs.retain(|job| !job.is_given_up());
        }
        if inner.jobs.len() >= self.rules.len {
            return Err(Failure::new(Kind::Busy, format!("{} requests are waiting already: try again later", self.rules.len)));
        }
        inner.jobs.push_back(job);
        drop(inner);
        self.changed.notify_one();
        Ok(Waiting { ticket, answer, until: None })
    }

    /// Takes no more requests. Workers end when those that wait are done.
    pub(crate) fn close(&self) {
        lock(&self.inner).is_closed = true;
        self.changed.notify_all();
    }

    /// The next requests to run; `None` if there will be none.
    pub(crate) fn take(&self) -> Option<Batch> {
        let mut inner = lock(&self.inner);
        let mut batch = Forming::default();
        loop {
            batch.fill(&mut inner.jobs);
            let until = batch.jobs.first().map(|job| job.since + self.rules.max_delay);
            match until {
                None if inner.is_closed => return None,
                None => inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if batch.is_full() || left.is_zero() || inner.is_closed || !inner.jobs.is_empty() {
                        return Some(batch.done());
                    }
                    inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

/// A batch to which requests may still be added.
#[derive(Default)]
struct Forming {
    jobs: Vec<Job>,
    images: usize,
}

impl Forming {
    /// Takes what fits out of those that wait, the oldest first.
    fn fill(&mut self, waiting: &mut VecDeque<Job>) {
        let mut index = 0;
        while index < waiting.len() && !self.is_full() {
            let job = &waiting[index];
            if job.is_given_up() {
                waiting.remove(index);
            } else if self.jobs.first().is_none_or(|first| first.joins(job) && self.images + job.images() <= job.served.max_batch)
            {
                self.images += job.images();
                self.jobs.extend(waiting.remove(index));
            } else {
                index += 1;
            }
        }
    }

    fn is_full(&self) -> bool {
        self.jobs.first().is_some_and(|job| self.images >= job.served.max_batch)
    }

    /// Whoever leaves from now on may end the run.
    fn done(self) -> Batch {
        let running = Arc::new(Running { interrupt: Interrupt::new(), clients: AtomicUsize::new(self.jobs.len()) });
        for job in &self.jobs {
            let mut stage = lock(&job.ticket.0);
            match *stage {
                // It was given up after it was taken.
                Stage::Left | Stage::Late => {
                    if running.clients.fetch_sub(1, Relaxed) == 1 {
                        running.interrupt.cancel();
                    }
                }
                Stage::Waiting | Stage::Running(_) => *stage = Stage::Running(Arc::clone(&running)),
            }
        }
        Batch { jobs: self.jobs, interrupt: running.interrupt.clone() }
    }
}

/// Nothing that is done under these locks leaves half of it behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
