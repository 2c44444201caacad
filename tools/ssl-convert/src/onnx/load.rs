//! Opening ONNX files: read whole, so that nothing that becomes of them meanwhile can do harm, and decoded in place; with weights in other
//! files where the model says so, of which just the tensors are read.

use crate::onnx::proto::{ModelProto, TensorProto};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use prost::Message;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
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
    /// Reads and decodes a file.
    ///
    /// # Errors
    /// If it cannot be read or is not an ONNX model.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = open(path).and_then(|(mut file, len)| read(&mut file, len));
        let bytes = bytes.with_context(|| format!("cannot read {}", path.display()))?;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let mut file = Self::decode(bytes, folder).with_context(|| format!("{}", path.display()))?;
        // Caches of downloads have links in one folder to all files in another.
        file.external.linked =
            path.canonicalize().ok().filter(|_| path.is_symlink()).and_then(|path| Some(path.parent()?.to_owned()));
        Ok(file)
    }

    /// Decodes a model that is in memory; files it refers to lie in `folder`.
    ///
    /// # Errors
    /// If it is not an ONNX model.
    pub fn decode(bytes: Bytes, folder: PathBuf) -> Result<Self> {
        let model = ModelProto::decode(bytes.clone()).context("not an ONNX model: its protobuf cannot be decoded")?;
        ensure!(model.graph.is_some(), "not an ONNX model: expected a graph, found none");
        Ok(OnnxFile { bytes, model, external: ExternalData { folder, linked: None, open: HashMap::new() } })
    }
}

/// Files beside the model that hold weights.
pub struct ExternalData {
    folder: PathBuf,
    /// Where the model itself lies, if its path is a link.
    linked: Option<PathBuf>,
    /// Those that are open, with their sizes in bytes.
    open: HashMap<String, (File, usize)>,
}

impl ExternalData {
    /// The paths of the files that were read so far.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.open.keys().map(|location| self.folder.join(location))
    }

    /// The bytes of a tensor whose data lies in another file.
    ///
    /// # Errors
    /// If its location is not a plain path to a file below the model's folder, or offset and length leave that file.
    pub fn bytes_of(&mut self, tensor: &TensorProto) -> Result<Bytes> {
        let mut keys = HashSet::new();
        for entry in &tensor.external_data {
            ensure!(keys.insert(&entry.key), "external data: expected one {}, found two", entry.key);
        }
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
        let cannot_read = || format!("external data: cannot read {}", self.folder.join(path).display());
        let (file, size) = match self.open.entry(location.to_owned()) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => {
                let confined = confined(path, &self.folder, self.linked.as_deref());
                place.insert(confined.and_then(|path| open(&path)).with_context(cannot_read)?)
            }
        };
        let offset = number("offset")?.unwrap_or(0);
        let len = number("length")?.unwrap_or_else(|| size.saturating_sub(offset));
        ensure!(
            offset.checked_add(len).is_some_and(|end| end <= *size),
            "external data: expected a range within the {size} bytes of '{location}', found {offset} + {len}"
        );
        file.seek(SeekFrom::Start(offset as u64)).map_err(Into::into).and_then(|_| read(file, len)).with_context(cannot_read)
    }
}

/// Where a file of a model lies whose folder is this one, wherever links lead: below that folder, or where the model is linked to.
fn confined(path: &Path, folder: &Path, linked: Option<&Path>) -> Result<PathBuf> {
    let folder = Path::new(".").join(folder);
    let path = folder.join(path).canonicalize()?;
    let is_below = path.starts_with(folder.canonicalize()?) || linked.is_some_and(|linked| path.starts_with(linked));
    ensure!(is_below, "expected a file below the model's folder, found a link to {}", path.display());
    Ok(path)
}

/// A regular file, and its size in bytes.
fn open(path: &Path) -> Result<(File, usize)> {
    // To open a pipe would be to wait for it.
    ensure!(path.metadata()?.is_file(), "expected a file, found something else");
    let file = File::open(path)?;
    let len = usize::try_from(file.metadata()?.len())?;
    Ok((file, len))
}

/// The next `len` bytes of a file.
fn read(file: &mut File, len: usize) -> Result<Bytes> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).with_context(|| format!("expected memory for {len} bytes, found less"))?;
    file.take(len as u64).read_to_end(&mut bytes)?;
    ensure!(bytes.len() == len, "expected {len} bytes, found {}: the file became shorter", bytes.len());
    Ok(Bytes::from(bytes))
}
