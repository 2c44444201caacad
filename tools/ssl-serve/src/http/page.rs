//! The page at `/`, which shows what the server does: three files, which ask for nothing but this server's own paths.

use crate::server::Server;
use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

/// Scripts and styles come from here, and nothing else is run.
const POLICY: &str =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";

pub(super) fn router() -> Router<Arc<Server>> {
    Router::new()
        .route("/", get(async || file("text/html", include_str!("../page/index.html"))))
        .route("/page.js", get(async || file("text/javascript", include_str!("../page/page.js"))))
        .route("/page.css", get(async || file("text/css", include_str!("../page/page.css"))))
}

fn file(kind: &str, text: &'static str) -> Response {
    let kind = format!("{kind}; charset=utf-8");
    let headers = [
        (header::CONTENT_TYPE, kind.as_str()),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
