//! The protocol over HTTP: its paths, and what of it is JSON. Inference has a file of its own, and so have statistics and the page.

mod infer;
mod page;
mod parts;
mod request;
mod statistics;

use crate::described::{EXTENSIONS, PLATFORM, shape};
use crate::failure::{Failure, Kind};
use crate::front;
use crate::server::Server;
use crate::tensors::datatype;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use parts::{Named, Shared, whole};
use serde::Deserialize;
use serde_json::{Value, json};
use sslm::{KeptCount, TensorInfo};
use std::sync::Arc;

/// All paths, those of gRPC among them.
pub(crate) fn router(server: &Arc<Server>, grpc: Router) -> Router {
    let of_model = Router::new()
        .route("/", get(model))
        .route("/ready", get(model_ready))
        .route("/infer", post(infer::infer))
        .route("/classify", post(infer::classify))
        .route("/stats", get(statistics::of_model))
        .route("/config", get(statistics::config))
        .route("/layers", get(layers));
    let paths = Router::new()
        .route("/v2", get(metadata))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models/stats", get(statistics::all))
        .nest("/v2/models/{model}", of_model.clone())
        .nest("/v2/models/{model}/versions/{version}", of_model)
        .route("/v2/repository/index", post(index))
        .route("/v2/repository/models/{model}/load", post(load))
        .route("/v2/repository/models/{model}/unload", post(unload))
        .route("/metrics", get(metrics))
        .merge(page::router())
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(server));
    paths.merge(grpc).fallback(unknown).layer(from_fn_with_state(Arc::clone(server), front::pass))
}

async fn unknown(request: Request) -> Failure {
    Failure::new(Kind::NotFound, format!("there is no path '{}'", request.uri().path()))
}

async fn wrong_method(request: Request) -> Response {
    let what = format!("'{}': expected another method, found {}", request.uri().path(), request.method());
    (StatusCode::METHOD_NOT_ALLOWED, Json(json!({ "error": what }))).into_response()
}

async fn live() -> StatusCode {
    StatusCode::OK
}

async fn ready(State(server): Shared) -> StatusCode {
    if server.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn metadata() -> Json<Value> {
    Json(json!({ "name": "ssl-serve", "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS }))
}

async fn model_ready(State(server): Shared, named: Named) -> Result<StatusCode, Failure> {
    server.served(&named).map(|_| StatusCode::OK)
}

async fn model(State(server): Shared, named: Named) -> Result<Json<Value>, Failure> {
    let served = server.served(&named)?;
    let tensor = |info: &TensorInfo| json!({ "name": info.name, "datatype": datatype(info.element_type), "shape": shape(info) });
    Ok(Json(json!({
        "name": served.name,
        "versions": server.repository.versions(&served.name),
        "platform": PLATFORM,
        "inputs": served.inputs.iter().map(tensor).collect::<Vec<_>>(),
        "outputs": served.outputs.iter().map(tensor).collect::<Vec<_>>(),
    })))
}

/// What each layer keeps of the network that was trained: no part of the protocol.
async fn layers(State(server): Shared, named: Named) -> Result<Json<Value>, Failure> {
    let served = server.served(&named)?;
    let kept = |count: Option<KeptCount>| count.map(|KeptCount { kept, of }| json!({ "kept": kept, "of": of }));
    let layers = served.model.layers().filter(|layer| layer.sizes.filters.is_some());
    let layer = |layer: sslm::LayerInfo<'_>| {
        let (filters, columns) = (kept(layer.sizes.filters), kept(layer.sizes.columns));
        json!({ "name": layer.name, "op": layer.op, "filters": filters, "columns": columns, "weights": layer.sizes.weights })
    };
    Ok(Json(json!({ "name": served.name, "version": served.version, "layers": layers.map(layer).collect::<Vec<_>>() })))
}

#[derive(Default, Deserialize)]
struct IndexRequest {
    #[serde(default)]
    ready: bool,
}

async fn index(State(server): Shared, request: Request) -> Result<Json<Value>, Failure> {
    let body = whole(request.into_body(), 0).await?;
    let asked: IndexRequest = if body.is_empty() { IndexRequest::default() } else { request::parsed(&body)? };
    let listed = server.repository.list().into_iter().map(|listed| {
        let (state, reason) = listed.words();
        json!({ "name": listed.name, "version": listed.version.to_string(), "state": state, "reason": reason })
    });
    Ok(Json(listed.filter(|listed| !asked.ready || listed["state"] == "READY").collect()))
}

async fn load(State(server): Shared, named: Named) -> Result<StatusCode, Failure> {
    server.control(named.model, crate::repository::Repository::load).await.map(|()| StatusCode::OK)
}

async fn unload(State(server): Shared, named: Named) -> Result<StatusCode, Failure> {
    server.control(named.model, crate::repository::Repository::unload).await.map(|()| StatusCode::OK)
}

async fn metrics(State(server): Shared) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    (kind, server.metrics.text()).into_response()
}
