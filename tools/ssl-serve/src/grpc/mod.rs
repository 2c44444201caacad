//! The protocol over gRPC. `inference.rs` is made of `proto/inference.proto` by the crate in `generate/`.

mod codec;
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "it is generated")]
mod inference;
mod statistics;

use crate::described::{EXTENSIONS, PLATFORM, shape};
use crate::failure::{Failure, Kind};
use crate::repository::{Repository, State};
use crate::served::Served;
use crate::server::{Server, Wanted, Yielded, check_id, length_prefixed};
use crate::tensors::{self, Tensor, datatype, of_datatype};
use axum::Router;
use axum::middleware::map_response;
use axum::response::Response as AnyResponse;
use bytes::Bytes;
use inference::grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer};
use inference::infer_parameter::ParameterChoice;
use inference::model_infer_request::InferInputTensor;
use inference::model_infer_response::InferOutputTensor;
use inference::model_metadata_response::TensorMetadata;
use inference::repository_index_response::ModelIndex;
use inference::*;
use sslm::{ElementType, TensorInfo};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

/// The paths of gRPC.
pub(crate) fn router(server: &Arc<Server>) -> Router {
    let max = server.terms.max_body;
    let service = GrpcInferenceServiceServer::new(Service(Arc::clone(server))).max_decoding_message_size(max);
    let router = Routes::new(service.max_encoding_message_size(usize::MAX)).prepare().into_axum_router();
    router.layer(map_response(of_clients))
}

/// What tonic calls a defect of the server although the request is to blame, and what is said instead.
const OF_CLIENTS: [(&str, &str); 3] = [
    ("Missing request message", "message: expected one, found none"),
    ("Unexpected EOF decoding stream", "message: expected a whole one, found its beginning"),
    (
        "protocol error: received message with invalid compression flag",
        "message: expected 0 or 1 as its first byte, found another",
    ),
];

/// An answer that calls by their name what clients did wrong. gRPC itself wants one of these to be a defect: a message that says that it is
/// packed, where the request does not say how.
async fn of_clients(response: AnyResponse) -> AnyResponse {
    let status = Status::from_header_map(response.headers()).filter(|status| status.code() == Code::Internal);
    let said = status.as_ref().map_or("", Status::message);
    match OF_CLIENTS.iter().find(|(of_tonic, _)| said.starts_with(of_tonic)) {
        Some((_, message)) => Status::invalid_argument(*message).into_http(),
        None => response,
    }
}

struct Service(Arc<Server>);

type Result<T> = std::result::Result<T, Status>;

#[tonic::async_trait]
impl GrpcInferenceService for Service {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Result<Response<ServerLiveResponse>> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Result<Response<ServerReadyResponse>> {
        Ok(Response::new(ServerReadyResponse { ready: self.0.is_ready() }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Result<Response<ModelReadyResponse>> {
        let ModelReadyRequest { name, version } = request.into_inner();
        let ready = match self.0.repository.get(&name, Some(&version)) {
            Ok(_) => true,
            Err(failure) if failure.kind == Kind::Unavailable => false,
            Err(failure) => return Err(failure.into()),
        };
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(&self, _: Request<ServerMetadataRequest>) -> Result<Response<ServerMetadataResponse>> {
        Ok(Response::new(ServerMetadataResponse {
            name: "ssl-serve".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: EXTENSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn model_metadata(&self, request: Request<ModelMetadataRequest>) -> Result<Response<ModelMetadataResponse>> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        let served = self.0.repository.get(&name, Some(&version))?;
        let tensor = |info: &TensorInfo| TensorMetadata {
            name: info.name.clone(),
            datatype: datatype(info.element_type).to_owned(),
            shape: shape(info),
        };
        Ok(Response::new(ModelMetadataResponse {
            name: served.name.clone(),
            versions: self.0.repository.versions(&name),
            platform: PLATFORM.to_owned(),
            inputs: served.inputs.iter().map(tensor).collect(),
            outputs: served.outputs.iter().map(tensor).collect(),
        }))
    }

    async fn model_statistics(&self, request: Request<ModelStatisticsRequest>) -> Result<Response<ModelStatisticsResponse>> {
        let ModelStatisticsRequest { name, version } = request.into_inner();
        let served = self.0.repository.ready(said(&name), said(&version))?;
        Ok(Response::new(ModelStatisticsResponse {
            model_stats: served.iter().map(|served| statistics::statistics(served)).collect(),
        }))
    }

    async fn model_config(&self, request: Request<ModelConfigRequest>) -> Result<Response<ModelConfigResponse>> {
        let ModelConfigRequest { name, version } = request.into_inner();
        let served = self.0.repository.get(&name, Some(&version))?;
        Ok(Response::new(ModelConfigResponse { config: Some(statistics::config(&served, &self.0)) }))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Result<Response<ModelInferResponse>> {
        let begun = Instant::now();
        let deadline = request.metadata().get("grpc-timeout").and_then(|value| deadline(value.to_str().ok()?));
        let request = request.into_inner();
        let served = self.0.repository.get(&request.model_name, Some(&request.model_version))?;
        let result = infer(&self.0, &served, request, deadline, begun).await;
        self.0.note(&served, "grpc", begun, result.as_ref().err());
        Ok(Response::new(result?))
    }

    async fn repository_index(&self, request: Request<RepositoryIndexRequest>) -> Result<Response<RepositoryIndexResponse>> {
        let only_ready = request.into_inner().ready;
        let listed = self.0.repository.list().into_iter();
        let listed = listed.filter(|listed| !only_ready || matches!(listed.state, State::Ready(_))).map(|listed| {
            let (state, reason) = listed.words();
            let (state, reason) = (state.to_owned(), reason.to_owned());
            ModelIndex { name: listed.name.clone(), version: listed.version.to_string(), state, reason }
        });
        Ok(Response::new(RepositoryIndexResponse { models: listed.collect() }))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Result<Response<RepositoryModelLoadResponse>> {
        self.0.control(request.into_inner().model_name, Repository::load).await?;
        Ok(Response::new(RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Result<Response<RepositoryModelUnloadResponse>> {
        self.0.control(request.into_inner().model_name, Repository::unload).await?;
        Ok(Response::new(RepositoryModelUnloadResponse {}))
    }
}

/// What a request says, if it says something.
fn said(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

async fn infer(
    server: &Server,
    served: &Arc<Served>,
    request: ModelInferRequest,
    deadline: Option<Duration>,
    begun: Instant,
) -> std::result::Result<ModelInferResponse, Failure> {
    check_id(&request.id)?;
    let mut raw = request.raw_input_contents.into_iter();
    let is_raw = raw.len() > 0;
    if is_raw && raw.len() != request.inputs.len() {
        return Err(Failure::input("raw_input_contents", format!("{}, one for each input", request.inputs.len()), raw.len()));
    }
    let is_plain = !is_raw && !request.inputs.is_empty();
    let inputs = request.inputs.into_iter().map(|input| tensor(input, raw.next())).collect::<std::result::Result<Vec<_>, _>>()?;
    let wanted =
        request.outputs.iter().map(|output| Ok(Wanted::new(output.name.clone(), whole(&output.parameters, "classification")?)));
    let wanted = wanted.collect::<std::result::Result<Vec<_>, Failure>>()?;
    let asked = whole(&request.parameters, "timeout")?.filter(|&us| us > 0).map(Duration::from_micros);
    let timeout = asked.into_iter().chain(deadline).min();
    let yielded = server.infer(served, inputs, &wanted, timeout, begun).await?;
    let mut response = ModelInferResponse {
        model_name: served.name.clone(),
        model_version: served.version.to_string(),
        id: request.id,
        ..Default::default()
    };
    // Whoever sends typed contents gets them, if there are fields for all outputs: the protocol has it one way for all.
    let has_field = |yielded: &Yielded| !matches!(yielded, Yielded::Tensor(tensor) if tensor.element_type == ElementType::F16);
    let is_typed = is_plain && yielded.iter().all(has_field);
    for yielded in yielded {
        let (mut output, bytes) = output(&yielded);
        if is_typed {
            output.contents = Some(match &yielded {
                Yielded::Tensor(tensor) => contents(tensor),
                Yielded::Classes { texts, .. } => {
                    let bytes_contents = texts.iter().map(|text| Bytes::from(text.clone())).collect();
                    InferTensorContents { bytes_contents, ..Default::default() }
                }
            });
        } else {
            response.raw_output_contents.push(bytes);
        }
        response.outputs.push(output);
    }
    Ok(response)
}

fn output(yielded: &Yielded) -> (InferOutputTensor, Bytes) {
    let (name, datatype, shape, bytes) = match yielded {
        Yielded::Tensor(tensor) => (&tensor.name, datatype(tensor.element_type), &tensor.shape, tensor.bytes.clone()),
        Yielded::Classes { name, shape, texts } => (name, "BYTES", shape, length_prefixed(texts).into()),
    };
    let shape = shape.iter().map(|&extent| i64::try_from(extent).unwrap_or(i64::MAX)).collect();
    let output = InferOutputTensor { name: name.clone(), datatype: datatype.to_owned(), shape, ..Default::default() };
    (output, bytes)
}

fn tensor(input: InferInputTensor, raw: Option<Bytes>) -> std::result::Result<Tensor, Failure> {
    let InferInputTensor { name, datatype, shape, contents, .. } = input;
    let extent = |&extent: &i64| usize::try_from(extent).ok();
    let extents = shape.iter().map(extent).collect::<Option<Vec<usize>>>();
    let shape = extents.ok_or_else(|| Failure::input(format!("shape of input '{name}'"), "extents", format!("{shape:?}")))?;
    match (raw, contents) {
        (Some(bytes), None) => tensors::of_bytes(name, shape, &datatype, bytes),
        (Some(_), Some(_)) => Err(Failure::input(format!("input '{name}'"), "typed or raw contents", "both")),
        (None, contents) => {
            let element_type = of_datatype(&datatype, &name)?;
            let bytes = of_contents(element_type, contents.unwrap_or_default()).ok_or_else(|| {
                let what = format!("contents of input '{name}'");
                Failure::input(what, format!("elements of {datatype}"), "others, or numbers that it does not have")
            })?;
            tensors::of_bytes(name, shape, &datatype, bytes)
        }
    }
}

/// The bytes of typed contents: the protocol has one field for all small integers.
fn of_contents(element_type: ElementType, contents: InferTensorContents) -> Option<Bytes> {
    fn bytes<T, const N: usize>(elements: Vec<T>, bytes: impl Fn(T) -> Option<[u8; N]>) -> Option<Bytes> {
        let each = elements.into_iter().map(bytes).collect::<Option<Vec<[u8; N]>>>();
        each.map(|each| each.concat().into())
    }
    macro_rules! narrow {
        ($field:ident, $t:ty) => {
            bytes(contents.$field, |element| <$t>::try_from(element).ok().map(<$t>::to_le_bytes))
        };
    }
    match element_type {
        ElementType::F32 => bytes(contents.fp32_contents, |element| Some(element.to_le_bytes())),
        ElementType::F64 => bytes(contents.fp64_contents, |element| Some(element.to_le_bytes())),
        ElementType::F16 => None,
        ElementType::Bool => bytes(contents.bool_contents, |element| Some([u8::from(element)])),
        ElementType::I8 => narrow!(int_contents, i8),
        ElementType::I16 => narrow!(int_contents, i16),
        ElementType::I32 => narrow!(int_contents, i32),
        ElementType::I64 => narrow!(int64_contents, i64),
        ElementType::U8 => narrow!(uint_contents, u8),
        ElementType::U16 => narrow!(uint_contents, u16),
        ElementType::U32 => narrow!(uint_contents, u32),
        ElementType::U64 => narrow!(uint64_contents, u64),
    }
}

/// Typed contents of a tensor; there is no field for float16.
fn contents(tensor: &Tensor) -> InferTensorContents {
    fn all<T, const N: usize>(tensor: &Tensor, element: impl Fn([u8; N]) -> T) -> Vec<T> {
        tensor.bytes.chunks_exact(N).map(|chunk| element(chunk.try_into().expect("chunks are of this size"))).collect()
    }
    let mut contents = InferTensorContents::default();
    match tensor.element_type {
        ElementType::F16 => {}
        ElementType::F32 => contents.fp32_contents = all(tensor, f32::from_le_bytes),
        ElementType::F64 => contents.fp64_contents = all(tensor, f64::from_le_bytes),
        ElementType::Bool => contents.bool_contents = all(tensor, |[byte]| byte != 0),
        ElementType::I8 => contents.int_contents = all(tensor, |b| i8::from_le_bytes(b).into()),
        ElementType::I16 => contents.int_contents = all(tensor, |b| i16::from_le_bytes(b).into()),
        ElementType::I32 => contents.int_contents = all(tensor, i32::from_le_bytes),
        ElementType::I64 => contents.int64_contents = all(tensor, i64::from_le_bytes),
        ElementType::U8 => contents.uint_contents = all(tensor, |b| u8::from_le_bytes(b).into()),
        ElementType::U16 => contents.uint_contents = all(tensor, |b| u16::from_le_bytes(b).into()),
        ElementType::U32 => contents.uint_contents = all(tensor, u32::from_le_bytes),
        ElementType::U64 => contents.uint64_contents = all(tensor, u64::from_le_bytes),
    }
    contents
}

fn whole(parameters: &HashMap<String, InferParameter>, name: &str) -> std::result::Result<Option<u64>, Failure> {
    let Some(parameter) = parameters.get(name) else { return Ok(None) };
    let number = match parameter.parameter_choice {
        Some(ParameterChoice::Int64Param(number)) => u64::try_from(number).ok(),
        Some(ParameterChoice::Uint64Param(number)) => Some(number),
        _ => None,
    };
    let wrong = || Failure::input(format!("parameter '{name}'"), "a whole number that is not negative", "something else");
    number.ok_or_else(wrong).map(Some)
}

/// How long a client waits: a number of at most eight digits and a unit.
fn deadline(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number = number.parse::<u64>().ok().filter(|_| number.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_have_units() {
        assert_eq!(deadline("5S"), Some(Duration::from_secs(5)));
        assert_eq!(deadline("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(deadline("250m"), Some(Duration::from_millis(250)));
        for wrong in ["", "S", "5", "5s", "-5S", "123456789S", "5é"] {
            assert_eq!(deadline(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn typed_contents_come_back() {
        for &element_type in ElementType::ALL {
            let name = datatype(element_type);
            let tensor = tensors::of_numbers("x".to_owned(), vec![2], name, &[0.0, 1.0]).expect("all types have 0 and 1");
            if element_type != ElementType::F16 {
                assert_eq!(of_contents(element_type, contents(&tensor)), Some(tensor.bytes.clone()), "{name}");
            }
        }
        let too_large = InferTensorContents { uint_contents: vec![256], ..Default::default() };
        assert_eq!(of_contents(ElementType::U8, too_large), None);
    }
}
