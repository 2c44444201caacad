//! An open model: mapped bytes and what validation found in them.

use crate::error::{Error, Result};
use crate::map::Bytes;
use crate::options::Options;
use crate::plan::Plan;
use crate::prepare;
use crate::tune;
use crate::tuning::Tuning;
use sslm_format::{BlobId, Dim, Graph, Loaded, Preprocessing, Provenance, Section, ValueId};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A validated `.sslm` model. Cloning is cheap; clones share the map.
#[derive(Clone)]
pub struct Model {
    inner: Arc<Inner>,
}

struct Inner {
    bytes: Bytes,
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
}

impl Model {
    /// Maps and validates a file. Weights stay in the map: pages are read when first used and shared between processes, so the
    /// file must not be truncated or rewritten in place while the model (or a plan of it) lives. Replacing it by renaming
    /// another file over it, as `ssl-convert` does, is fine.
    ///
    /// # Errors
    /// If the file cannot be read or breaks a rule of the format. The weights' checksum is left to [`Self::verify_weights`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::new(Bytes::map(path)?, path.display().to_string())
    }

    /// A model from bytes in memory, which are copied once.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::new(Bytes::copy(bytes), "model in memory".to_owned())
    }

    fn new(bytes: Bytes, origin: String) -> Result<Self> {
        let loaded = sslm_format::validate(bytes.as_slice()).map_err(|e| Error::from(e).within(&origin))?;
        Ok(Model { inner: Arc::new(Inner { bytes, loaded, origin }) })
    }

    /// Reads all weights once and compares their checksum.
    ///
    /// # Errors
    /// If they are damaged.
    pub fn verify_weights(&self) -> Result<()> {
        sslm_format::verify_weights(self.inner.bytes.as_slice()).map_err(|e| Error::from(e).within(&self.inner.origin))
    }

    /// Fixes batch, symbolic dims and threads, chooses kernels, plans memory.
    ///
    /// # Errors
    /// If the options or the resulting shapes do not fit the model, or memory or threads cannot be had, or the options' tuning was
    /// made for something else ([`crate::ErrorKind::Tuning`]), or the backend is not there ([`crate::ErrorKind::BackendUnavailable`]).
    pub fn prepare(&self, options: &Options) -> Result<Plan> {
        prepare::plan(self, options)
    }

    /// Measures which of the CPU's methods is fastest for each convolution, with the options' threads, instruction set and shapes. It takes some
    /// ten seconds, more for networks whose runs are long, and memory for the activations of several plans. `progress` is told how
    /// many parts of how many are done.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn tune(&self, options: &Options, progress: impl FnMut(usize, usize)) -> Result<Tuning> {
        tune::tune(self, options, progress)
    }

    /// The network's inputs, in order.
    pub fn inputs(&self) -> Vec<TensorInfo> {
        let info = |i: &sslm_format::Input| TensorInfo { name: self.name(i.value).to_owned(), dims: i.dims.clone() };
        self.graph().inputs.iter().map(info).collect()
    }

    /// Names of the network's outputs, in order.
    pub fn output_names(&self) -> Vec<&str> {
        self.graph().outputs.iter().map(|&v| self.name(v)).collect()
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

    /// The network as the file stores it.
    pub fn graph(&self) -> &Graph {
        &self.inner.loaded.model.graph
    }

    pub(crate) fn blob(&self, id: BlobId) -> &[f32] {
        self.inner.loaded.blob(self.inner.bytes.as_slice(), id)
    }

    pub(crate) fn name(&self, value: ValueId) -> &str {
        &self.graph().values[value.index()].name
    }

    /// Concrete shapes of the inputs under `options`.
    pub(crate) fn input_shapes(&self, options: &Options) -> Result<Vec<Vec<usize>>> {
        let inputs = self.inputs();
        let mut symbols = options.dims.clone();
        for input in &inputs {
            if let (Some(Dim::Symbolic { name }), Some(batch)) = (input.dims.first(), options.batch) {
                match symbols.insert(name.clone(), batch) {
                    Some(other) if other != batch => return Err(Error::input(format!("dimension '{name}'"), batch, other)),
                    _ => {}
                }
            }
        }
        let known =
            |name: &String| inputs.iter().flat_map(|i| &i.dims).any(|d| matches!(d, Dim::Symbolic { name: n } if n == name));
        if let Some(name) = options.dims.keys().find(|name| !known(name)) {
            return Err(Error::input("options", "the name of a symbolic dimension of the model", format!("'{name}'")));
        }
        let extent = |input: &TensorInfo, axis: usize, dim: &Dim| match dim {
            Dim::Fixed { size } => match options.batch {
                Some(batch) if axis == 0 && batch as u64 != *size => {
                    Err(Error::input(format!("batch of input '{}'", input.name), format!("{size} (the model fixes it)"), batch))
                }
                _ => Ok(usize::try_from(*size).unwrap_or(usize::MAX)),
            },
            Dim::Symbolic { name } => match symbols.get(name) {
                Some(&extent) => Ok(extent),
                None if axis == 0 => Ok(1),
                None => {
                    Err(Error::input(format!("dimension '{name}' of input '{}'", input.name), "an extent in the options", "none"))
                }
            },
        };
        let shape = |input: &TensorInfo| input.dims.iter().enumerate().map(|(axis, dim)| extent(input, axis, dim)).collect();
        inputs.iter().map(shape).collect()
    }
}
