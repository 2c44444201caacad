//! An open model: its bytes and what validation found in them.

use crate::error::{Error, Result};
use crate::map::Bytes;
use crate::trace;
use sslm_format::shape::Shape;
use sslm_format::{BlobId, Dim, ElementType, Extent, Graph, Loaded, Preprocessing, Provenance, Section, ValueId, infer};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A validated `.sslm` model. Cloning is cheap; clones share its bytes.
#[derive(Clone)]
pub struct Model {
    inner: Arc<Inner>,
}

struct Inner {
    bytes: Arc<Bytes>,
    loaded: Loaded,
    /// What errors call it: the file's path.
    origin: String,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("origin", &self.inner.origin).finish_non_exhaustive()
    }
}

/// Name and shape of an input or output.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// As in the source model.
    pub name: String,
    /// Extents; symbolic ones carry their names.
    pub dims: Vec<Dim>,
    /// Of which type its elements are in the source model. [`crate::Session::run_all`] takes `f32` elements all the same,
    /// [`crate::Session::run_typed`] those of this type.
    pub element_type: ElementType,
}

impl Model {
    /// Reads and validates a file. Whatever becomes of the file afterwards, the model stays as it is.
    ///
    /// # Errors
    /// If the file cannot be read or breaks a rule of the format, or there is no memory for a copy of it. The weights' checksum is left
    /// to [`Self::verify_weights`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::new(Bytes::read(path)?, path.display().to_string())
    }

    /// Maps and validates a file without a copy: weights stay in the map, pages of it are read when they are used first, and processes
    /// share them. Replacing the file by renaming another one over it, as `ssl-convert` does, is fine.
    ///
    /// # Safety
    /// While the model or a plan of it lives, nobody may truncate the file or write to it: a process that reads what is cut off ends
    /// by `SIGBUS`, and what is overwritten changes results. [`Self::ensure_unchanged`] finds most of that out, but only afterwards.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub unsafe fn open_mapped(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        // SAFETY: the caller's promise.
        let bytes = unsafe { Bytes::map(path) }?;
        Self::new(bytes, path.display().to_string())
    }

    /// A model from bytes in memory, which are copied once.
    ///
    /// # Errors
    /// If they break a rule of the format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::new(Bytes::copy(bytes), "model in memory".to_owned())
    }

    fn new(bytes: Bytes, origin: String) -> Result<Self> {
        let _span = trace::open(&origin);
        let loaded = sslm_format::validate(bytes.as_slice()).map_err(|e| Error::from(e).within(&origin))?;
        Ok(Model { inner: Arc::new(Inner { bytes: Arc::new(bytes), loaded, origin }) })
    }

    /// Reads all weights once and compares their checksum.
    ///
    /// # Errors
    /// If they are damaged.
    pub fn verify_weights(&self) -> Result<()> {
        let Inner { bytes, loaded, origin } = &*self.inner;
        loaded.verify_weights(bytes.as_slice()).map_err(|e| Error::from(e).within(origin))
    }

    /// Checks that a mapped file still is what it was when it was opened: results of runs before are to be trusted if it is. It looks at
    /// the file's length and times, which takes a microsecond, and reads the weights only where these have changed.
    ///
    /// # Errors
    /// If the file was truncated or overwritten.
    pub fn ensure_unchanged(&self) -> Result<()> {
        let Inner { bytes, loaded, origin } = &*self.inner;
        let unchanged = bytes.ensure_unchanged(|bytes| loaded.verify_weights(bytes).map_err(Error::from));
        unchanged.map_err(|e| e.within("the file changed while it was used").within(origin))
    }

    /// The network's inputs, in order.
    pub fn inputs(&self) -> Vec<TensorInfo> {
        let info = |(i, input): (usize, &sslm_format::Input)| TensorInfo {
            name: self.name(input.value).to_owned(),
            dims: input.dims.clone(),
            element_type: self.inner.loaded.model.input_type(i),
        };
        self.graph().inputs.iter().enumerate().map(info).collect()
    }

    /// The network's outputs, in order. An extent that depends on open ones of the inputs has the expression of them for its name, such as
    /// `floor((height - 1)/(2)) + 1`, or `?` where there is none.
    pub fn outputs(&self) -> Vec<TensorInfo> {
        let graph = self.graph();
        let inputs: Vec<Shape> = graph.inputs.iter().map(infer::of_input).collect();
        // Validation inferred the same shapes, so this cannot fail.
        let shapes = infer::infer(graph, &inputs).unwrap_or_default();
        let dim = |extent: &Extent| match extent.integer().and_then(|size| u64::try_from(size).ok()) {
            Some(size) => Dim::Fixed { size },
            None => Dim::Symbolic { name: extent.to_string() },
        };
        let info = |(i, value): (usize, &ValueId)| TensorInfo {
            name: self.inner.loaded.model.output_name(i).to_owned(),
            dims: shapes.get(value.index()).map_or_else(Vec::new, |shape| shape.iter().map(dim).collect()),
            element_type: self.inner.loaded.model.output_type(i),
        };
        graph.outputs.iter().enumerate().map(info).collect()
    }

    /// Names of the network's outputs, in order.
    pub fn output_names(&self) -> Vec<&str> {
        (0..self.graph().outputs.len()).map(|i| self.inner.loaded.model.output_name(i)).collect()
    }

    /// Of which types the elements of the network's outputs are in the source model, in order.
    pub fn output_types(&self) -> Vec<ElementType> {
        (0..self.graph().outputs.len()).map(|i| self.inner.loaded.model.output_type(i)).collect()
    }

    /// Class names, in the order of the output's last axis. Empty if the file has none.
    pub fn labels(&self) -> &[String] {
        &self.inner.loaded.model.labels
    }

    /// How an image becomes the input, if the file says so.
    pub fn preprocessing(&self) -> Option<&Preprocessing> {
        self.inner.loaded.model.preprocessing.as_ref()
    }

    /// Where the file came from, if it says so.
    pub fn provenance(&self) -> Option<&Provenance> {
        self.inner.loaded.model.provenance.as_ref()
    }

    /// Version of the format that the file was written in.
    pub fn version(&self) -> [u16; 2] {
        self.inner.loaded.version
    }

    /// The file's section table.
    pub fn sections(&self) -> Vec<Section> {
        // Validation read the same bytes, so this cannot fail.
        sslm_format::sections(self.inner.bytes.as_slice()).map(|(_, sections)| sections).unwrap_or_default()
    }

    /// Size of the whole file in bytes.
    pub fn file_bytes(&self) -> usize {
        self.inner.bytes.as_slice().len()
    }

    /// Size of the weight section in bytes.
    pub fn weight_bytes(&self) -> usize {
        self.inner.loaded.weight_bytes()
    }

    /// The model for inputs of these shapes alone, in which operators state no symbolic extents.
    pub(crate) fn bind(&self, inputs: &[Vec<usize>]) -> Model {
        let graph = self.graph();
        let dims = graph.inputs.iter().zip(inputs).flat_map(|(input, shape)| input.dims.iter().zip(shape));
        let symbols: HashMap<&str, usize> = dims.filter_map(|(dim, &extent)| Some((dim.symbol()?, extent))).collect();
        let Some(graph) = graph.bind(&|name| symbols.get(name).copied()) else { return self.clone() };
        let Inner { bytes, loaded, origin } = &*self.inner;
        let mut loaded = loaded.clone();
        loaded.model.graph = graph;
        Model { inner: Arc::new(Inner { bytes: Arc::clone(bytes), loaded, origin: origin.clone() }) }
    }

    /// The network as the file stores it.
    pub(crate) fn graph(&self) -> &Graph {
        &self.inner.loaded.model.graph
    }

    pub(crate) fn blob(&self, id: BlobId) -> &[f32] {
        self.inner.loaded.blob(self.inner.bytes.as_slice(), id)
    }

    /// What errors call it: the file's path.
    pub(crate) fn origin(&self) -> &str {
        &self.inner.origin
    }

    pub(crate) fn name(&self, value: ValueId) -> &str {
        &self.graph().values[value.index()].name
    }

    /// What tunings know the model by: checksums of the sections with the graph and the weights.
    pub(crate) fn checksums(&self) -> String {
        let checksum = |name: &str| self.sections().iter().find(|s| s.name() == name).map_or(0, |s| s.crc);
        format!("{:08x}-{:08x}", checksum("GRPH"), checksum("WGTS"))
    }
}
