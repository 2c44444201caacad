//! What handlers of several paths need: the model that a path names, and the whole body of a request.

use crate::failure::{Failure, Kind};
use crate::served::Served;
use crate::server::Server;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt;
use serde::Deserialize;
use std::sync::Arc;

/// Which model a path names.
#[derive(Deserialize)]
pub(super) struct Named {
    pub(super) model: String,
    pub(super) version: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let found: Result<Path<Named>, PathRejection> = Path::from_request_parts(parts, state).await;
        // The only thing that can be wrong with it are names that are no text.
        found.map(|Path(named)| named).map_err(|e| Failure::new(Kind::Invalid, format!("path: {}", e.body_text())))
    }
}

pub(super) type Shared = State<Arc<Server>>;

/// Bytes that are taken for a body before they come; what is larger grows.
const EXPECTED: usize = 1 << 20;
/// What addresses of elements are multiples of, so that those that need no conversion can be read where they lie.
const ALIGNMENT: usize = 16;

/// All of a body, of whose bytes `json_len` lie before the first element.
pub(super) async fn whole(mut body: Body, json_len: usize) -> Result<Bytes, Failure> {
    let before = json_len.next_multiple_of(ALIGNMENT) - json_len;
    let len = usize::try_from(body.size_hint().lower()).unwrap_or(EXPECTED);
    let mut bytes = Vec::with_capacity(before + len.min(EXPECTED));
    bytes.resize(before, 0);
    // Each piece is copied as it comes: what it was read into is used again for the next, and is still in the cache.
    while let Some(frame) = body.frame().await {
        // Where it was cut off by one of its bounds, the answer is replaced by what says so.
        let frame = frame.map_err(|e| Failure::new(Kind::Invalid, format!("the request's body was cut off: {e}")))?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
    }
    Ok(Bytes::from(bytes).slice(before..))
}

impl Server {
    pub(super) fn served(&self, named: &Named) -> Result<Arc<Served>, Failure> {
        self.repository.get(&named.model, named.version.as_deref())
    }
}
