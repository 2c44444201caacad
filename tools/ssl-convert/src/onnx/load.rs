//! Opening ONNX files: memory-mapped, decoded in place, with weights in other files where the model says so.

use crate::onnx::proto::{ModelProto, TensorProto};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use prost::Message;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

/// A decoded model and the bytes it points into.
pub struct OnnxFile {
    /// The whole file.
    pub bytes: Bytes,
    /// What it says.
    pub model: ModelProto,
    /// Weights in other files.
    pub external: ExternalData,
}

impl OnnxFile {
    /// Maps and decodes a file.
    ///
    /// # Errors
    /// If it cannot be read or is not an ONNX model.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = map(path).with_context(|| format!("cannot read {}", path.display()))?;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Self::decode(bytes, folder).with_context(|| format!("{}", path.display()))
    }

    /// Decodes a model that is in memory; files it refers to lie in `folder`.
    ///
    /// # Errors
    /// If it is not an ONNX model.
    pub fn decode(bytes: Bytes, folder: PathBuf) -> Result<Self> {
        let model = ModelProto::decode(bytes.clone()).context("not an ONNX model: its protobuf cannot be decoded")?;
        ensure!(model.graph.is_some(), "not an ONNX model: expected a graph, found none");
        Ok(OnnxFile { bytes, model, external: ExternalData { folder, open: HashMap::new() } })
    }
}

/// Files beside the model that hold weights.
pub struct ExternalData {
    folder: PathBuf,
    open: HashMap<String, Bytes>,
}

impl ExternalData {
    /// The paths of the files that were read so far.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.open.keys().map(|location| self.folder.join(location))
    }

    /// The bytes of a tensor whose data lies in another file.
    ///
    /// # Errors
    /// If its location is not a plain path below the model's folder, or offset and length leave that file.
    pub fn bytes_of(&mut self, tensor: &TensorProto) -> Result<Bytes> {
        let entry = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let number = |key: &str| -> Result<Option<usize>> {
            let Some(text) = entry(key) else { return Ok(None) };
            text.parse().map(Some).with_context(|| format!("external data: expected a number as {key}, found '{text}'"))
        };
        let location = entry("location").context("external data: expected a location, found none")?;
        let path = Path::new(location);
        if location.is_empty() || !path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
            bail!("external data: expected a file below the model's folder, found '{location}'");
        }
        let file = match self.open.get(location) {
            Some(file) => file.clone(),
            None => {
                let path = self.folder.join(path);
                let file = map(&path).with_context(|| format!("external data: cannot read {}", path.display()))?;
                self.open.insert(location.to_owned(), file.clone());
                file
            }
        };
        let offset = number("offset")?.unwrap_or(0);
        let len = number("length")?.unwrap_or_else(|| file.len().saturating_sub(offset));
        match offset.checked_add(len) {
            Some(end) if end <= file.len() => Ok(file.slice(offset..end)),
            _ => bail!("external data: expected a range within the {} bytes of '{location}', found {offset} + {len}", file.len()),
        }
    }
}

fn map(path: &Path) -> Result<Bytes> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    ensure!(metadata.is_file(), "expected a file, found something else");
    if metadata.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the map is read-only and private to the returned `Bytes`. The file must not be truncated while it is converted,
    // which the documentation of ssl-convert asks of its user.
    let map = unsafe { memmap2::Mmap::map(&file) }?;
    Ok(Bytes::from_owner(map))
}
