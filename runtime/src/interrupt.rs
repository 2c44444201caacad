//! Ending a session's runs from outside: at once, or when a time has come. Runs look at it between the steps of the network, if these
//! are not very short.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Ends runs of the sessions that it was given to ([`crate::Session::set_interrupt`]), from any thread. Clones are the same interrupt.
///
/// ```
/// use sslm::{ErrorKind, Interrupt, Model, Options, TensorView};
///
/// let model = Model::from_bytes(include_bytes!("../examples/tiny.sslm"))?;
/// let mut session = model.prepare(&Options::new())?.session();
/// let interrupt = Interrupt::new();
/// session.set_interrupt(&interrupt);
/// std::thread::spawn({
///     let interrupt = interrupt.clone();
///     move || interrupt.cancel() // from anywhere, while the session runs
/// })
/// .join()
/// .expect("it does not panic");
/// let image = vec![0.0; 64];
/// let error = session.run(TensorView::new(&[1, 1, 8, 8], &image)?).expect_err("it was cancelled");
/// assert_eq!(*error.kind(), ErrorKind::Cancelled);
/// interrupt.reset(); // the session can run again
/// session.run(TensorView::new(&[1, 1, 8, 8], &image)?)?;
/// # Ok::<(), sslm::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Interrupt {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    is_cancelled: AtomicBool,
    /// When runs end, in nanoseconds after `made`; the greatest value is never.
    deadline: AtomicU64,
    made: Instant,
}

impl Default for Interrupt {
    fn default() -> Self {
        Self::new()
    }
}

impl Interrupt {
    /// One that ends nothing yet.
    pub fn new() -> Self {
        Interrupt {
            inner: Arc::new(Inner {
                is_cancelled: AtomicBool::new(false),
                deadline: AtomicU64::new(u64::MAX),
                made: Instant::now(),
            }),
        }
    }

    /// Ends runs that go on, and those that begin later, with an error ([`crate::ErrorKind::Cancelled`]), until [`Self::reset`]. The step
    /// that is computed ends first; what a device has begun, too.
    pub fn cancel(&self) {
        self.inner.is_cancelled.store(true, Relaxed);
    }

    /// Ends runs that go on at `deadline`, and those that begin later, with an error ([`crate::ErrorKind::Limit`]); `None` is never.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        let after = deadline.map(|deadline| deadline.saturating_duration_since(self.inner.made));
        let nanoseconds = |after: Duration| u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        self.inner.deadline.store(after.map_or(u64::MAX, nanoseconds), Relaxed);
    }

    /// Forgets cancellation and deadline.
    pub fn reset(&self) {
        self.inner.is_cancelled.store(false, Relaxed);
        self.set_deadline(None);
    }

    /// Whether [`Self::cancel`] was called, and nobody has reset it since.
    pub fn is_cancelled(&self) -> bool {
        self.inner.is_cancelled.load(Relaxed)
    }

    /// Whether there is a deadline, and it has passed.
    pub(crate) fn is_late(&self) -> bool {
        let deadline = self.inner.deadline.load(Relaxed);
        deadline != u64::MAX && self.inner.made.elapsed() >= Duration::from_nanos(deadline)
    }
}
