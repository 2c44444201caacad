//! Bodies of requests, of which none may be larger, slower, or, together with all others, more than the server has agreed to.

use crate::failure::{Failure, Kind};
use crate::memory::{KIB, Memory, Taken};
use crate::packed::{Step, Unpacking};
use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
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
    /// Where it is packed. Its bounds hold for what comes and for what that becomes; the latter is what is held.
    unpacking: Option<Unpacking>,
    came: usize,
    held: Arc<Held>,
    /// Bytes that there are, and that there may be.
    len: usize,
    max: usize,
    late: Pin<Box<Sleep>>,
    timeout: Duration,
}

impl Bounded {
    pub(crate) fn new(
        body: Body,
        unpacking: Option<Unpacking>,
        max: usize,
        timeout: Duration,
        memory: &Arc<Memory>,
    ) -> (Self, Arc<Held>) {
        let held = Arc::new(Held { taken: Mutex::new(memory.none()), failure: Mutex::default() });
        let late = Box::pin(tokio::time::sleep(timeout));
        (Bounded { body, unpacking, came: 0, held: Arc::clone(&held), len: 0, max, late, timeout }, held)
    }

    /// Takes note of bytes that are there, or says what is wrong with them.
    fn take(&mut self, bytes: usize) -> Result<(), Failure> {
        self.len = self.len.saturating_add(bytes);
        if self.len > self.max {
            return Err(self.too_large());
        }
        // Of all that came, however small the pieces are.
        self.held.taken.lock().unwrap_or_else(PoisonError::into_inner).grow_to(self.len.div_ceil(KIB))
    }

    fn too_large(&self) -> Failure {
        Failure::new(Kind::TooLarge, format!("the request has more than {} bytes", self.max))
    }

    /// Packed bytes that came; they are not kept.
    fn push(&mut self, packed: Bytes) -> Result<(), Failure> {
        self.came = self.came.saturating_add(packed.len());
        if self.came > self.max {
            return Err(self.too_large());
        }
        if let Some(unpacking) = &mut self.unpacking {
            unpacking.push(packed);
        }
        Ok(())
    }

    /// What there is of an unpacked body; none if more has to come.
    fn unpacked(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            match self.unpacking.as_mut().map(Unpacking::step).transpose()? {
                Some(Step::Took(bytes)) => self.take(bytes)?,
                Some(Step::Data(piece)) => return Ok(Some(piece)),
                Some(Step::Hungry) | None => return Ok(None),
            }
        }
    }

    /// The last of an unpacked body.
    fn ended(&mut self) -> Result<Option<Bytes>, Failure> {
        match self.unpacking.as_mut().map(Unpacking::end).transpose()? {
            Some(bytes) if bytes > 0 => self.take(bytes).and_then(|()| self.unpacked()),
            _ => Ok(None),
        }
    }

    fn fail(&mut self, failure: Failure) -> std::io::Error {
        self.unpacking = None;
        let rest = std::mem::take(&mut self.body);
        *self.held.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some((failure, rest));
        std::io::Error::other("the body was cut off")
    }
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        loop {
            match self.unpacked() {
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Ok(None) => {}
                Err(failure) => return Poll::Ready(Some(Err(self.fail(failure).into()))),
            }
            let taken = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) if self.unpacking.is_some() && frame.is_data() => {
                    match self.push(frame.into_data().unwrap_or_default()) {
                        Ok(()) => continue,
                        Err(failure) => Err(failure),
                    }
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, Buf::remaining);
                    self.take(bytes).map(|()| Some(frame))
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => self.ended().map(|last| last.map(Frame::data)),
                Poll::Pending => {
                    ready!(Future::poll(self.late.as_mut(), cx));
                    let what = format!("the request did not arrive within {}", ssl_cli::time(self.timeout.as_secs_f64()));
                    Err(Failure::new(Kind::Late, what))
                }
            };
            return Poll::Ready(match taken {
                Ok(frame) => frame.map(Ok),
                Err(failure) => Some(Err(self.fail(failure).into())),
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.unpacking.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.unpacking.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}
