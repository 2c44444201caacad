//! Packs an answer while it is sent, a piece at a time, so that it takes no more memory than it has, and no other connection waits for long.

use super::Encoding;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http_body::{Body as _, Frame};
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Shorter answers are sent as they are: a packet has room for them.
const SHORT: u64 = 1024;
/// Bytes that are packed at a time.
const PIECE: usize = 64 << 10;

/// The answer as its client wants it packed, if it is worth that.
pub(crate) fn packed(mut response: Response, encoding: Encoding) -> Response {
    if response.body().size_hint().lower() < SHORT {
        return response;
    }
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    response.map(|body| Body::new(Packed { body, rest: Bytes::new(), packer: Some(Packer::new(encoding)) }))
}

struct Packed {
    body: Body,
    /// What is yet to be packed of what the body yielded.
    rest: Bytes,
    packer: Option<Packer>,
}

impl http_body::Body for Packed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Packed { body, rest, packer } = &mut *self;
        loop {
            let found = match packer {
                None => return Poll::Ready(None),
                Some(packer) if !rest.is_empty() => packer.pack(&rest.split_to(rest.len().min(PIECE))),
                Some(_) => match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                    Some(frame) => {
                        // Answers have no trailers.
                        *rest = frame?.into_data().unwrap_or_default();
                        continue;
                    }
                    None => packer.take().map_or(Ok(Vec::new()), Packer::finish),
                },
            };
            let found = found.map_err(axum::Error::new)?;
            if !found.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(found.into()))));
            }
        }
    }
}

/// Packs bytes as they come.
pub(super) enum Packer {
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
}

impl Packer {
    /// As fast as it goes: what packs better takes several times as long.
    pub(super) fn new(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Gzip => Packer::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
            Encoding::Deflate => Packer::Deflate(ZlibEncoder::new(Vec::new(), Compression::fast())),
        }
    }

    /// What these bytes add, as far as it is decided.
    pub(super) fn pack(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let found = match self {
            Packer::Gzip(encoder) => encoder.write_all(bytes).map(|()| encoder.get_mut()),
            Packer::Deflate(encoder) => encoder.write_all(bytes).map(|()| encoder.get_mut()),
        };
        found.map(std::mem::take)
    }

    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Packer::Gzip(encoder) => encoder.finish(),
            Packer::Deflate(encoder) => encoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::{GzDecoder, ZlibDecoder};
    use http_body_util::BodyExt;
    use std::io::Read;

    #[tokio::test]
    async fn answers_come_back() {
        let mut random = fastrand::Rng::with_seed(11);
        let long: Vec<u8> = (0..300_000).map(|i| if i % 2 == 0 { random.u8(..) } else { 0 }).collect();
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let response = packed(Response::new(Body::from(long.clone())), encoding);
            assert_eq!(response.headers()[header::CONTENT_ENCODING], encoding.name());
            let sent = response.into_body().collect().await.expect("nothing fails").to_bytes();
            assert!(sent.len() < long.len(), "{} bytes", sent.len());
            let mut found = Vec::new();
            let read = match encoding {
                Encoding::Gzip => GzDecoder::new(&sent[..]).read_to_end(&mut found),
                Encoding::Deflate => ZlibDecoder::new(&sent[..]).read_to_end(&mut found),
            };
            assert!(read.is_ok() && found == long, "{encoding:?}: {read:?}");
        }
        let short = packed(Response::new(Body::from(vec![0; 1023])), Encoding::Gzip);
        assert!(short.headers().is_empty());
    }
}
