//! Bodies of requests, of which none may be larger, slower, or, together with all others, more than the server has agreed to.

use crate::failure::{Failure, Kind};
use crate::memory::{KIB, Memory, Taken};
use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// What a body takes of the server's memory, until it is dropped, and why it was cut off.
pub(crate) struct Held {
    taken: Mutex<Taken>,
    failure: Mutex<Option<(Failure, Body)>>,
}

impl Held {
    /// How much it is, in KiB.
    pub(crate) fn kib(&self) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).kib()
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

/// How long refused bodies are read.
const LINGER: Duration = Duration::from_secs(1);

/// A body that ends with an error once it breaks one of its bounds. The answer that is sent then is what [`Held::failure`] says.
pub(crate) struct Bounded {
    body: Body,
    held: Arc<Held>,
    /// Bytes that came, and that may come.
    len: usize,
    max: usize,
    late: Pin<Box<Sleep>>,
    timeout: Duration,
}

impl Bounded {
    pub(crate) fn new(body: Body, max: usize, timeout: Duration, memory: &Arc<Memory>) -> (Self, Arc<Held>) {
        let held = Arc::new(Held { taken: Mutex::new(memory.none()), failure: Mutex::default() });
        let late = Box::pin(tokio::time::sleep(timeout));
        (Bounded { body, held: Arc::clone(&held), len: 0, max, late, timeout }, held)
    }

    /// Takes note of bytes that came, or says what is wrong with them.
    fn take(&mut self, bytes: usize) -> Result<(), Failure> {
        self.len = self.len.saturating_add(bytes);
        if self.len > self.max {
            return Err(Failure::new(Kind::TooLarge, format!("the request has more than {} bytes", self.max)));
        }
        // Of all that came, however small the pieces are.
        self.held.taken.lock().unwrap_or_else(PoisonError::into_inner).grow_to(self.len.div_ceil(KIB))
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
