//! What handlers of several paths need: the model that a path names, and the whole body of a request.

use crate::failure::{Failure, Kind};
use crate::served::Served;
use crate::server::Server;
use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use http_body_util::BodyExt;
use serde::Deserialize;
use std::sync::Arc;

/// Which model a path names.
#[derive(Deserialize)]
pub(super) struct Named {
    pub(super) model: String,
    pub(super) version: Option<String>,
}

pub(super) type Shared = State<Arc<Server>>;

/// All of a body.
pub(super) async fn whole(body: Body) -> Result<Bytes, Failure> {
    // Where it was cut off by one of its bounds, the answer is replaced by what says so.
    let collected =
        body.collect().await.map_err(|e| Failure::new(Kind::Invalid, format!("the request's body was cut off: {e}")))?;
    Ok(collected.to_bytes())
}

impl Server {
    pub(super) fn served(&self, named: &Named) -> Result<Arc<Served>, Failure> {
        self.repository.get(&named.model, named.version.as_deref())
    }
}
