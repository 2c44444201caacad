//! What the benchmarks share: the models they run, as the converter writes them today.

use sslm::Model;
use std::path::{Path, PathBuf};

/// Where the shipped models lie.
pub fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/models")
}

/// Converts a shipped masked ONNX, compact or dense.
///
/// # Panics
/// If it cannot be converted.
pub fn converted(onnx: &str, dense: bool) -> Model {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.sslm");
    let options = ssl_convert::Options { dense, ..Default::default() };
    ssl_convert::convert(&models().join(onnx), &path, &options).unwrap_or_else(|e| panic!("{onnx}: {e:#}"));
    // The map outlives the file's name.
    Model::open(&path).unwrap_or_else(|e| panic!("{onnx}: {e}"))
}
