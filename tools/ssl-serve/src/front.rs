//! What every request passes, before and after it is served: who may ask, how much may come, and the log.

use crate::bounded::{Bounded, Held, discard};
use crate::failure::{Failure, Kind};
use crate::log;
use crate::memory::KIB;
use crate::packed::{Encoding, Unpacking, packed};
use crate::server::Server;
use crate::traffic::{Asked, Traffic};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body::Body as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use subtle::ConstantTimeEq;
use tracing::Instrument;

/// The connection that a request came by.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) traffic: Arc<Traffic>,
}

/// Passes on what may pass, and logs what became of it.
pub(crate) async fn pass(
    State(server): State<Arc<Server>>,
    Extension(Peer { address, traffic }): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let is_grpc =
        request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let asked = traffic.begin();
    let wanted = if is_grpc { None } else { Encoding::of_answer(request.headers()) };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = log::span(&request);
    let (response, held) = match admit(&server, &request) {
        Ok(()) => bounded(&server, request, next, is_grpc).instrument(span).await,
        Err(failure) => {
            server.metrics.refused.inc();
            (failure.response(is_grpc), None)
        }
    };
    tracing::info!(
        target: "access",
        %method,
        path,
        status = response.status().as_u16(),
        grpc = response.headers().get("grpc-status").and_then(|status| status.to_str().ok()),
        us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        peer = %address,
    );
    sent(&server, asked, held, response, wanted, is_grpc)
}

/// An answer whose memory is counted until its client has read it, and that of its request, which a client that reads nothing may repeat.
fn sent(
    server: &Server,
    asked: Asked,
    held: Option<Arc<Held>>,
    response: Response,
    wanted: Option<Encoding>,
    is_grpc: bool,
) -> Response {
    let len = usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX);
    // What the request took has room for as much of its answer.
    let more = len.div_ceil(KIB).saturating_sub(held.as_ref().map_or(0, |held| held.kib()));
    let mut taken = server.memory.none();
    match taken.grow_to(more) {
        Ok(()) => {
            let response = wanted.into_iter().fold(response, packed);
            response.map(|body| asked.answered(body, (held, taken)))
        }
        Err(failure) => failure.response(is_grpc).map(|body| asked.answered(body, ())),
    }
}

/// Whether the client may ask for this.
fn admit(server: &Server, request: &Request) -> Result<(), Failure> {
    let (headers, uri) = (request.headers(), request.uri());
    // Pages of other sites make a browser ask, too.
    let host = host(headers, uri).unwrap_or_default();
    if server.terms.is_loopback && !is_of_this_machine(host) {
        let what = format!("host: expected an address of this machine or 'localhost', found '{host}'");
        return Err(Failure::new(Kind::Forbidden, what));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let of_origin = origin.split_once("://").map_or("", |(_, host)| host);
        if of_origin != host {
            return Err(Failure::new(Kind::Forbidden, format!("origin: expected this server, found '{origin}'")));
        }
    }
    let Some(token) = &server.terms.token else { return Ok(()) };
    // What shows nothing but whether the server is there, and the page's own files.
    let is_open = matches!(uri.path(), "/" | "/page.js" | "/page.css" | "/v2/health/live" | "/v2/health/ready")
        || matches!(uri.path(), "/inference.GRPCInferenceService/ServerLive" | "/inference.GRPCInferenceService/ServerReady");
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if is_open || shown.is_some_and(|shown| bool::from(shown.ct_eq(token.as_bytes()))) {
        return Ok(());
    }
    Err(Failure::new(Kind::Unauthenticated, "expected 'Authorization: Bearer TOKEN' with the server's token"))
}

/// Whom the client believes to talk to.
fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    uri.authority().map(|authority| authority.as_str()).or_else(|| headers.get(header::HOST)?.to_str().ok())
}

fn is_of_this_machine(host: &str) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let name = without_port.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What is answered to a body within its bounds, and what that holds of the server's memory.
async fn bounded(server: &Server, request: Request, next: Next, is_grpc: bool) -> (Response, Option<Arc<Held>>) {
    let (mut parts, whole) = request.into_parts();
    let max = server.terms.max_body;
    let len = whole.size_hint().lower();
    if len > max as u64 {
        server.metrics.refused.inc();
        discard(whole, max).await;
        let what = format!("the request has {len} bytes: expected at most {max}");
        return (Failure::new(Kind::TooLarge, what).response(is_grpc), None);
    }
    let unpacking = match unpacking(&mut parts.headers, is_grpc) {
        Ok(unpacking) => unpacking,
        Err(failure) => {
            server.metrics.refused.inc();
            discard(whole, max).await;
            return (failure.response(is_grpc), None);
        }
    };
    let (body, held) = Bounded::new(whole, unpacking, max, server.terms.timeout, &server.memory);
    let response = next.run(Request::from_parts(parts, Body::new(body))).await;
    let response = match held.failure() {
        None => response,
        Some((failure, rest)) => {
            server.metrics.refused.inc();
            discard(rest, max).await;
            failure.response(is_grpc)
        }
    };
    (response, Some(held))
}

/// What unpacks the body of a request with these headers, where it is packed. Whoever reads it finds it as if it were not.
fn unpacking(headers: &mut HeaderMap, is_grpc: bool) -> Result<Option<Unpacking>, Failure> {
    if is_grpc {
        let encoding = Encoding::of_messages(headers);
        if encoding.is_some() {
            headers.remove("grpc-encoding");
        }
        return Ok(encoding.map(Unpacking::messages));
    }
    let encoding = Encoding::of_request(headers)?;
    headers.remove(header::CONTENT_ENCODING);
    Ok(encoding.map(Unpacking::whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_names() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:1", "127.1.2.3", "[::1]:8080", "[::1]"] {
            assert!(is_of_this_machine(host), "{host}");
        }
        for host in ["", "example.com", "localhost.example.com:80", "10.0.0.1:8080", "127.0.0.1.example.com"] {
            assert!(!is_of_this_machine(host), "{host}");
        }
    }
}
