//! What reaches a server's requests, and datasets that are scored.

use super::reached::Stage;
use crate::tools::root;
use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use ssl_serve::Inside;
use std::ffi::OsString;
use std::io::Write;
use std::sync::LazyLock;

/// A server of the model that examples have.
static SERVER: LazyLock<Inside> = LazyLock::new(|| {
    let model = root().join("runtime/examples/tiny.sslm").into_os_string();
    let limits = ["--workers", "1", "--max-body", "1", "--max-requests", "64"].map(OsString::from);
    Inside::new(["ssl-serve".into(), model].into_iter().chain(limits)).expect("a server of a model that is there")
});

/// The code of gRPC for defects of a server.
const INTERNAL: i32 = 13;

/// Requests over HTTP. The first byte says of what, the next two how many bytes of the body, which is the rest, are JSON.
///
/// # Panics
/// If something does, or the server says that it is its own fault.
pub fn http(data: &[u8]) {
    static INFERRED: Stage = Stage::new("inferred");
    static CLASSIFIED: Stage = Stage::new("classified");
    let Some((&[how, low, high], body)) = data.split_first_chunk() else { return };
    let json_len = u16::from_le_bytes([low, high]).to_string();
    let mut headers = Vec::new();
    let (path, stage) = match how % 4 {
        0 => ("/v2/models/tiny/infer", Some(&INFERRED)),
        1 => {
            headers.push(("inference-header-content-length", &json_len[..]));
            ("/v2/models/tiny/versions/1/infer", Some(&INFERRED))
        }
        2 => ("/v2/models/tiny/classify", Some(&CLASSIFIED)),
        _ => ("/v2/repository/index", None),
    };
    let body = match how / 4 % 4 {
        0 => Bytes::copy_from_slice(body),
        1 => {
            headers.push(("content-encoding", "gzip"));
            packed(GzEncoder::new(Vec::new(), Compression::fast()), body, GzEncoder::finish)
        }
        2 => {
            headers.push(("content-encoding", "deflate"));
            packed(ZlibEncoder::new(Vec::new(), Compression::fast()), body, ZlibEncoder::finish)
        }
        _ => {
            // Packed by the fuzzer.
            headers.push(("content-encoding", "gzip"));
            Bytes::copy_from_slice(body)
        }
    };
    if how & 16 != 0 {
        headers.push(("accept-encoding", "gzip"));
    }
    let answer = SERVER.ask("POST", path, &headers, body).expect("an answer");
    assert!(answer.status < 500, "{path}: {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
    if let Some(stage) = stage.filter(|_| answer.status == 200) {
        stage.reach();
    }
}

fn packed<W: Write>(mut encoder: W, body: &[u8], finish: impl Fn(W) -> std::io::Result<Vec<u8>>) -> Bytes {
    encoder.write_all(body).and_then(|()| finish(encoder)).expect("memory takes everything").into()
}

/// Messages of gRPC. The first byte says of which method.
///
/// # Panics
/// If something does, there is no answer, or the server says that it is its own fault.
pub fn grpc(data: &[u8]) {
    static INFERRED: Stage = Stage::new("inferred");
    let Some((&how, message)) = data.split_first() else { return };
    let methods = ["ModelInfer", "ModelMetadata", "ModelStatistics", "ModelConfig", "RepositoryIndex", "RepositoryModelLoad"];
    let method = methods[usize::from(how % 8).saturating_sub(2)];
    let path = format!("/inference.GRPCInferenceService/{method}");
    let is_packed = how & 8 != 0;
    let mut headers = vec![("content-type", "application/grpc"), ("te", "trailers")];
    if is_packed {
        headers.push(("grpc-encoding", "gzip"));
    }
    // Half of the packed ones by the fuzzer.
    let message = if is_packed && how & 16 != 0 {
        packed(GzEncoder::new(Vec::new(), Compression::fast()), message, GzEncoder::finish)
    } else {
        Bytes::copy_from_slice(message)
    };
    let mut body = BytesMut::with_capacity(5 + message.len());
    body.put_u8(is_packed.into());
    body.put_u32(message.len() as u32);
    body.put(message);
    let answer = SERVER.ask("POST", &path, &headers, body.freeze()).expect("an answer");
    assert_eq!(answer.status, 200, "{path}: what failed, failed over gRPC");
    let status = answer.grpc_status.unwrap_or_else(|| panic!("{path}: expected a status"));
    assert_ne!(status, INTERNAL, "{path}: a defect of the server");
    if status == 0 && method == methods[0] {
        INFERRED.reach();
    }
}

/// Tables of Parquet and Arrow, and tar files, to their ends.
///
/// # Panics
/// If a reader does.
pub fn dataset(data: &[u8]) {
    static READ: Stage = Stage::new("read");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(data).expect("it is written");
    if ssl_score::read(file.path()).is_ok_and(|[_, sound]| sound > 0) {
        READ.reach();
    }
}
