//! Why a request was not served, and how HTTP and gRPC say so.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::fmt::Display;
use std::time::Duration;
use tonic::{Code, Status};

/// What is wrong, as far as a client can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The request asks for what there is not, or contradicts itself or the model.
    Invalid,
    /// Nobody proved to be allowed.
    Unauthenticated,
    /// What nobody may do here.
    Forbidden,
    /// No such model, version or path.
    NotFound,
    /// More bytes than a request may have.
    TooLarge,
    /// An encoding that this server does not know.
    Unsupported,
    /// Too many others are waiting: later there may be room.
    Busy,
    /// The server or the model is not ready.
    Unavailable,
    /// It was not done in time.
    Late,
    /// The client left before there was an answer, so nobody sees this but the log.
    Gone,
    /// What should not have happened.
    Internal,
}

impl Kind {
    /// The status code of HTTP.
    pub(crate) fn code(self) -> u16 {
        self.codes().0.as_u16()
    }

    fn codes(self) -> (StatusCode, Code) {
        match self {
            Kind::Invalid => (StatusCode::BAD_REQUEST, Code::InvalidArgument),
            Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, Code::Unauthenticated),
            Kind::Forbidden => (StatusCode::FORBIDDEN, Code::PermissionDenied),
            Kind::NotFound => (StatusCode::NOT_FOUND, Code::NotFound),
            Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Code::OutOfRange),
            Kind::Unsupported => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented),
            Kind::Busy => (StatusCode::SERVICE_UNAVAILABLE, Code::ResourceExhausted),
            Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
            Kind::Late => (StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded),
            Kind::Gone => (StatusCode::BAD_REQUEST, Code::Cancelled),
            Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal),
        }
    }
}

/// Bytes of a message.
const MAX_MESSAGE: usize = 1024;

/// Why a request was not served.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    message: String,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        let mut message = message.into();
        // It may repeat what the request says, and stands in a header of gRPC.
        if message.len() > MAX_MESSAGE {
            let end = (0..=MAX_MESSAGE).rev().find(|&end| message.is_char_boundary(end)).unwrap_or_default();
            message.truncate(end);
            message.push_str(" ...");
        }
        Failure { kind, message }
    }

    /// Something of the request is other than it has to be.
    pub(crate) fn input(what: impl Display, expected: impl Display, found: impl Display) -> Self {
        Failure::new(Kind::Invalid, format!("{what}: expected {expected}, found {found}"))
    }

    /// It was not done within this time.
    pub(crate) fn late(time: Duration) -> Self {
        Failure::new(Kind::Late, format!("not done within {}", ssl_cli::time(time.as_secs_f64())))
    }

    /// The answer by the protocol that the request came by.
    pub(crate) fn response(self, is_grpc: bool) -> Response {
        if is_grpc { Status::from(self).into_http() } else { self.into_response() }
    }
}

impl From<sslm::Error> for Failure {
    fn from(error: sslm::Error) -> Self {
        let kind = match error.kind() {
            sslm::ErrorKind::Input | sslm::ErrorKind::Shape { .. } | sslm::ErrorKind::Limit => Kind::Invalid,
            sslm::ErrorKind::Cancelled => Kind::Gone,
            sslm::ErrorKind::Resources => Kind::Busy,
            _ => Kind::Internal,
        };
        Failure::new(kind, error.to_string())
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        Status::new(failure.kind.codes().1, failure.message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.kind.codes().0, Json(json!({ "error": self.message }))).into_response();
        let say = match self.kind {
            Kind::Busy => Some((header::RETRY_AFTER, HeaderValue::from_static("1"))),
            Kind::Unauthenticated => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            _ => None,
        };
        response.headers_mut().extend(say);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_no_longer_than_headers_may_be() {
        for (text, len) in
            [("ä".repeat(MAX_MESSAGE), MAX_MESSAGE + 4), (format!("a{}", "ä".repeat(MAX_MESSAGE)), MAX_MESSAGE + 3)]
        {
            let message = Failure::new(Kind::Invalid, text).message;
            assert!(message.len() == len && message.ends_with("ä ..."), "{}", message.len());
        }
        assert_eq!(Failure::new(Kind::Invalid, "x".repeat(MAX_MESSAGE)).message.len(), MAX_MESSAGE);
    }
}
