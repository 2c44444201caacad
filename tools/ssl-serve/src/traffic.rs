//! What the requests of a connection are up to, so that one can be ended whose client neither asks nor reads.

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Bytes of an answer that are handed over at a time: what was handed over may lie in buffers of the connection, and the rest does not.
const PIECE: usize = 64 << 10;

/// The requests of one connection.
#[derive(Debug)]
pub(crate) struct Traffic(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    /// Requests that are there, from their heads to the ends of their answers.
    requests: u64,
    /// When there was one last.
    last: Instant,
    /// Since when answers are being sent, each with an index of its own.
    answers: BTreeSet<(Instant, u64)>,
    next: u64,
}

impl Traffic {
    pub(crate) fn new() -> Self {
        Traffic(Mutex::new(Inner { requests: 0, last: Instant::now(), answers: BTreeSet::new(), next: 0 }))
    }

    /// How long there has been no request; none if there is one.
    pub(crate) fn idle(&self) -> Option<Duration> {
        let inner = self.lock();
        (inner.requests == 0).then(|| inner.last.elapsed())
    }

    /// How long the oldest answer has been waiting for its client to read it.
    pub(crate) fn unread(&self) -> Option<Duration> {
        self.lock().answers.first().map(|(since, _)| since.elapsed())
    }

    /// Notes a request, until what it returns is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Asked {
        self.lock().requests += 1;
        Asked { traffic: Arc::clone(self), answer: None }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that is done under the lock leaves half of it behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request of a connection.
#[derive(Debug)]
pub(crate) struct Asked {
    traffic: Arc<Traffic>,
    answer: Option<(Instant, u64)>,
}

impl Asked {
    /// The body of its answer, which is being sent from now on. What `held` holds is let go when all of it was handed over, or nobody
    /// wants it any more.
    pub(crate) fn answered<T: Send + 'static>(mut self, body: Body, held: T) -> Body {
        {
            let mut inner = self.traffic.lock();
            let answer = (Instant::now(), inner.next);
            inner.next += 1;
            inner.answers.insert(answer);
            self.answer = Some(answer);
        }
        Body::new(Answer { body, rest: Bytes::new(), _asked: self, _held: held })
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut inner = self.traffic.lock();
        inner.requests -= 1;
        inner.last = Instant::now();
        if let Some(answer) = &self.answer {
            inner.answers.remove(answer);
        }
    }
}

/// A body that is handed over in pieces: so it is dropped only when its client has read nearly all of it.
struct Answer<T> {
    body: Body,
    /// Of the frame that is being handed over.
    rest: Bytes,
    _asked: Asked,
    _held: T,
}

impl<T> Unpin for Answer<T> {}

impl<T> http_body::Body for Answer<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        let len = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(len)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Body as _;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_request_is_there_until_its_answer_was_handed_over() {
        let traffic = Arc::new(Traffic::new());
        let asked = traffic.begin();
        assert_eq!((traffic.idle(), traffic.unread()), (None, None));
        let whole: Vec<u8> = (0..2 * PIECE + 5).map(|i| i as u8).collect();
        let held = Arc::new(());
        let mut body = asked.answered(Body::from(whole.clone()), Arc::clone(&held));
        let mut found = Vec::new();
        for len in [PIECE, PIECE, 5] {
            assert!(traffic.idle().is_none() && traffic.unread().is_some() && !body.is_end_stream());
            assert_eq!(body.size_hint().exact(), Some((whole.len() - found.len()) as u64));
            let piece = body.frame().await.expect("there is more").expect("nothing fails").into_data().expect("it is data");
            assert_eq!(piece.len(), len);
            found.extend_from_slice(&piece);
        }
        assert!(found == whole && body.is_end_stream() && body.frame().await.is_none());
        drop(body);
        assert!(traffic.idle().is_some() && traffic.unread().is_none());
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn the_oldest_answer_counts() {
        let traffic = Arc::new(Traffic::new());
        let first = traffic.begin().answered(Body::empty(), ());
        let since = traffic.unread();
        std::thread::sleep(Duration::from_millis(2));
        let second = traffic.begin().answered(Body::empty(), ());
        assert!(traffic.unread() > since);
        drop(first);
        assert!(traffic.idle().is_none() && traffic.unread().is_some());
        drop(second);
        assert_eq!(traffic.unread(), None);
    }
}
