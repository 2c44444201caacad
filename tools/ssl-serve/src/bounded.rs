//! Bodies of requests, of which none may be larger, slower, or, together with all others, more than the server has agreed to.

use crate::failure::{Failure, Kind};
use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// What a body takes of the server's memory, until it is dropped, and why it was cut off.
#[derive(Default)]
pub(crate) struct Held {
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    failure: Mutex<Option<(Failure, Body)>>,
}

impl Held {
    /// How much it is, in KiB.
    pub(crate) fn kib(&self) -> usize {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Why the body was cut off, if it was, and what is left of it.
    pub(crate) fn failure(&self) -> Option<(Failure, Body)> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Reads what is left of a body that was refused, for a moment: many clients look for an answer only after they have sent everything, and
/// a connection that is closed before tells them nothing.
pub(crate) async fn discard(mut body: Body, max: usize) {
    let reading = async {
        let mut left = max;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Buf::remaining));
            if left == 0 {
                break;
            }
        }
    };
    // Whoever takes longer has to look earlier.
    let _ = tokio::time::timeout(LINGER, reading).await;
}

/// Bytes that memory is counted in.
pub(crate) const KIB: usize = 1024;

/// So much of the server's memory, until what is returned is dropped.
pub(crate) fn taken(memory: &Arc<Semaphore>, kib: usize) -> Result<OwnedSemaphorePermit, Failure> {
    let kib = u32::try_from(kib).unwrap_or(u32::MAX);
    let permit = Arc::clone(memory).try_acquire_many_owned(kib);
    permit.map_err(|_| Failure::new(Kind::Busy, "other requests take all memory: try again later"))
}

/// How long refused bodies are read.
const LINGER: Duration = Duration::from_secs(1);

/// A body that ends with an error once it breaks one of its bounds. The answer that is sent then is what [`Held::failure`] says.
pub(crate) struct Bounded {
    body: Body,
    held: Arc<Held>,
    memory: Arc<Semaphore>,
    /// Bytes that came, and that may come.
    len: usize,
    max: usize,
    late: Pin<Box<Sleep>>,
    timeout: Duration,
}

impl Bounded {
    pub(crate) fn new(body: Body, max: usize, timeout: Duration, memory: &Arc<Semaphore>) -> (Self, Arc<Held>) {
        let held = Arc::new(Held::default());
        let late = Box::pin(tokio::time::sleep(timeout));
        (Bounded { body, held: Arc::clone(&held), memory: Arc::clone(memory), len: 0, max, late, timeout }, held)
    }

    /// Takes note of bytes that came, or says what is wrong with them.
    fn take(&mut self, bytes: usize) -> Result<(), Failure> {
        let before = self.len;
        self.len = before.saturating_add(bytes);
        if self.len > self.max {
            return Err(Failure::new(Kind::TooLarge, format!("the request has more than {} bytes", self.max)));
        }
        // Of all that came, however small the pieces are.
        let more = taken(&self.memory, self.len.div_ceil(KIB) - before.div_ceil(KIB))?;
        let mut held = self.held.permit.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *held {
            Some(permit) => permit.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }

    fn fail(&mut self, failure: Failure) -> std::io::Error {
        let rest = std::mem::take(&mut self.body);
        *self.held.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some((failure, rest));
        std::io::Error::other("the body was cut off")
    }
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Buf::remaining);
                let taken = self.take(bytes).map(|()| frame);
                Poll::Ready(Some(taken.map_err(|failure| self.fail(failure).into())))
            }
            Poll::Ready(other) => Poll::Ready(other.map(|result| result.map_err(Into::into))),
            Poll::Pending => match Future::poll(self.late.as_mut(), cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => {
                    let what = format!("the request did not arrive within {}", ssl_cli::time(self.timeout.as_secs_f64()));
                    Poll::Ready(Some(Err(self.fail(Failure::new(Kind::Late, what)).into())))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
