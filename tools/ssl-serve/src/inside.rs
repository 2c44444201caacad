//! A server without connections, which answers requests of its own process: for tests and fuzzing of all that lies behind a connection.

use crate::front::Peer;
use crate::queue::Queue;
use crate::traffic::Traffic;
use crate::{Arguments, grpc, http, queue, runtime, server};
use anyhow::{Context, Result};
use axum::body::Body;
use axum::http::Request;
use axum::{Extension, Router};
use bytes::Bytes;
use clap::Parser;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// A server that is asked by calls.
pub struct Inside {
    runtime: Runtime,
    queue: Arc<Queue>,
    router: Router,
}

/// What is answered to a request.
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The code of gRPC, where it is one.
    pub grpc_status: Option<i32>,
    /// The body, packed if that was asked for.
    pub body: Bytes,
}

impl Inside {
    /// The server that a program of this name and these arguments would be.
    ///
    /// # Errors
    /// As the program has them.
    pub fn new(arguments: impl IntoIterator<Item = OsString>) -> Result<Self> {
        let arguments = Arguments::try_parse_from(arguments)?;
        let queue = Arc::new(queue(&arguments)?);
        let runtime = runtime(&queue)?;
        let (server, _) = server(&arguments, &queue)?;
        let router = http::router(&server, grpc::router(&server));
        Ok(Inside { runtime, queue, router })
    }

    /// The answer to a request with these headers.
    ///
    /// # Errors
    /// If it is no request of HTTP, or its answer ends early.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).context("no request")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let peer = Peer { address, traffic: Arc::new(Traffic::new()) };
        let service = TowerToHyperService::new(self.router.clone().layer(Extension(peer)));
        self.runtime.block_on(async {
            let response = service.call(request).await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.context("the answer ends early")?;
            let code = |headers: &axum::http::HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse().ok();
            let grpc_status = code(&head.headers).or_else(|| code(body.trailers()?));
            Ok(Answer { status: head.status.as_u16(), grpc_status, body: body.to_bytes() })
        })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.queue.close();
    }
}
