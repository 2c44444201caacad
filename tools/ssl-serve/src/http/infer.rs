//! Inferences over HTTP: of tensors, as the protocol has them, and of images, which have a path of their own.

use super::parts::{Named, Shared, whole};
use super::request::{self, INFERENCE_HEADER, InferRequest};
use crate::decoding::decoded;
use crate::failure::{Failure, Kind};
use crate::served::Served;
use crate::server::{Server, Yielded, length_prefixed};
use crate::tensors::{Elements, datatype};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

/// Classes that an image is answered with, unless it is said otherwise.
const TOP: usize = 5;

pub(super) async fn infer(State(server): Shared, named: Named, request: Request) -> Result<Response, Failure> {
    let served = server.served(&named)?;
    let (parts, body) = request.into_parts();
    let json_len = json_len(&parts.headers)?;
    let body = whole(body, json_len.unwrap_or(0)).await?;
    let begun = Instant::now();
    let result = of_tensors(&server, &served, &body, json_len, begun).await;
    server.note(&served, "http", begun, result.as_ref().err());
    result
}

async fn of_tensors(
    server: &Server,
    served: &Arc<Served>,
    body: &Bytes,
    json_len: Option<usize>,
    begun: Instant,
) -> Result<Response, Failure> {
    let mut request = request::read(body, json_len)?;
    let inputs = std::mem::take(&mut request.inputs);
    let outputs = server.infer(served, inputs, &request.outputs, request.timeout, begun).await?;
    response(served, &request, &outputs)
}

/// A header as messages show it.
fn shown(value: &HeaderValue) -> String {
    format!("'{}'", String::from_utf8_lossy(value.as_bytes()))
}

fn json_len(headers: &HeaderMap) -> Result<Option<usize>, Failure> {
    let Some(value) = headers.get(INFERENCE_HEADER) else { return Ok(None) };
    let len = value.to_str().ok().and_then(|text| text.parse().ok());
    len.map(Some).ok_or_else(|| Failure::input(INFERENCE_HEADER, "how many bytes of the body are JSON", shown(value)))
}

#[derive(Serialize)]
struct InferResponse<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<Output<'a>>,
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    shape: &'a [usize],
    datatype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Parameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
}

#[derive(Serialize)]
struct Parameters {
    binary_data_size: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Elements(Elements<'a>),
    Texts(&'a [String]),
}

fn response(served: &Served, request: &InferRequest, yielded: &[Yielded]) -> Result<Response, Failure> {
    let mut binary: Vec<Bytes> = Vec::new();
    let mut outputs = Vec::with_capacity(yielded.len());
    for (index, yielded) in yielded.iter().enumerate() {
        let is_binary = request.binary.get(index).copied().unwrap_or(request.binary_else);
        let (name, shape, datatype) = match yielded {
            Yielded::Tensor(tensor) => (&tensor.name, &tensor.shape, datatype(tensor.element_type)),
            Yielded::Classes { name, shape, .. } => (name, shape, "BYTES"),
        };
        let (parameters, data) = if is_binary {
            let bytes = match yielded {
                Yielded::Tensor(tensor) => tensor.bytes.clone(),
                Yielded::Classes { texts, .. } => length_prefixed(texts).into(),
            };
            let parameters = Parameters { binary_data_size: bytes.len() };
            binary.push(bytes);
            (Some(parameters), None)
        } else {
            let data = match yielded {
                Yielded::Tensor(tensor) => Data::Elements(Elements::of(tensor)?),
                Yielded::Classes { texts, .. } => Data::Texts(texts),
            };
            (None, Some(data))
        };
        outputs.push(Output { name, shape, datatype, parameters, data });
    }
    let json =
        InferResponse { model_name: &served.name, model_version: served.version.to_string(), id: request.id.as_deref(), outputs };
    let json = serde_json::to_vec(&json).map_err(|e| Failure::new(Kind::Internal, format!("the answer as JSON: {e}")))?;
    if binary.is_empty() {
        return Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response());
    }
    let json_len = HeaderValue::from(json.len());
    let mut body = json;
    binary.iter().for_each(|bytes| body.extend_from_slice(bytes));
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(([kind, (HeaderName::from_static(INFERENCE_HEADER), json_len)], body).into_response())
}

#[derive(Deserialize)]
pub(super) struct Asked {
    top: Option<usize>,
}

/// The likeliest classes of an image, whose file is the body.
pub(super) async fn classify(
    State(server): Shared,
    named: Named,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let served = server.served(&named)?;
    let Query(asked) = asked.map_err(|e| Failure::new(Kind::Invalid, format!("query: {}", e.body_text())))?;
    let body = whole(request.into_body(), 0).await?;
    let begun = Instant::now();
    let result = server.in_time(of_image(&server, &served, body, asked.top.unwrap_or(TOP), begun)).await;
    server.note(&served, "classify", begun, result.as_ref().err());
    result
}

async fn of_image(server: &Server, served: &Arc<Served>, image: Bytes, top: usize, begun: Instant) -> Result<Response, Failure> {
    let (input, _taken) = decoded(server, served, &image).await?;
    drop(image);
    let outputs = server.infer(served, vec![input], &[], None, begun).await?;
    let [Yielded::Tensor(output)] = &outputs[..] else {
        return Err(Failure::input(format!("outputs of model '{}'", served.name), "one, of classes", outputs.len()));
    };
    if !ssl_images::is_one_a_class(&output.shape) {
        let what = format!("output of model '{}'", served.name);
        return Err(Failure::input(what, "one number for each class", format!("shape {:?}", output.shape)));
    }
    let class = |class: &ssl_images::Class| json!({ "index": class.index, "label": served.label(class), "probability": class.probability, "output": class.output });
    let classes: Vec<_> = served.likeliest(output, top)?.iter().flatten().map(class).collect();
    let answer = json!({ "model_name": served.name, "model_version": served.version.to_string(), "classes": classes });
    Ok(axum::Json(answer).into_response())
}
