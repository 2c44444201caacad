//! Which methods convolutions are computed by, where that was measured: the result of [`Model::tune`](crate::Model::tune), what it
//! holds for, and the file that it is stored in.

use crate::error::{Error, ErrorKind, Result};
use sslm_kernels::conv::Method;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Files of more bytes are refused: that is more than any network has layers.
#[cfg(feature = "tuning")]
const MOST_BYTES: u64 = 16 << 20;

/// The fastest method of every convolution of a model, as measured on one machine. It holds for that model, CPU, instruction set,
/// thread count and input shapes, and for this version of the library; [`crate::Model::prepare`] refuses it elsewhere.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "tuning", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Tuning {
    pub(crate) made_for: MadeFor,
    /// Microseconds of a whole run with the methods that were expected to be fastest, in the median.
    pub expected_us: f64,
    /// Microseconds of a whole run with those that were, layer by layer.
    pub tuned_us: f64,
    /// Its convolutions, in the order in which they are computed.
    pub layers: Vec<TunedLayer>,
}

/// One convolution of a [`Tuning`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "tuning", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct TunedLayer {
    /// Name of the node.
    pub name: String,
    /// Index of the node in the model's graph.
    pub node: usize,
    /// The method that was expected to be fastest.
    #[cfg_attr(feature = "tuning", serde(with = "text"))]
    pub expected: Method,
    /// Its microseconds.
    pub expected_us: f64,
    /// The method that it is computed by: the expected one unless another was clearly faster.
    #[cfg_attr(feature = "tuning", serde(with = "text"))]
    pub tuned: Method,
    /// Its microseconds.
    pub tuned_us: f64,
}

/// What a measurement holds for.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "tuning", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub(crate) struct MadeFor {
    /// Version of the library.
    sslm: String,
    /// Checksums of the sections with the graph and the weights.
    model: String,
    inputs: Vec<Vec<usize>>,
    isa: String,
    threads: usize,
    cpu: String,
}

impl Tuning {
    /// The file that the tuning of a model is stored in: beside it, `.tuning.json` appended to its name.
    pub fn path_for(model: impl AsRef<Path>) -> PathBuf {
        let mut path = OsString::from(model.as_ref());
        path.push(".tuning.json");
        path.into()
    }

    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// If the file cannot be read or is no tuning. Whether it fits is found out by [`crate::Model::prepare`].
    #[cfg(feature = "tuning")]
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        use std::io::Read;
        let path = path.as_ref();
        let io = |e| Error::new(ErrorKind::Io, format!("{}: cannot read: {e}", path.display()));
        let no_tuning = |expected: &str, found: String| {
            Error::new(ErrorKind::Tuning, format!("{}: expected {expected}, found {found}", path.display()))
        };
        // Opening something else, a pipe for example, could wait forever.
        if !path.metadata().map_err(io)?.is_file() {
            return Err(no_tuning("a file", "something else".to_owned()));
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes)).map_err(io)?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(no_tuning(&format!("at most {MOST_BYTES} bytes"), "more".to_owned()));
        }
        serde_json::from_slice(&bytes).map_err(|e| no_tuning("the tuning of a model", e.to_string()))
    }

    /// The text of its file.
    #[cfg(feature = "tuning")]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("text, numbers and lists of them")
    }

    /// The method to compute node `node` by, if it was timed.
    pub(crate) fn layer(&self, node: usize) -> Option<&TunedLayer> {
        self.layers.iter().find(|layer| layer.node == node)
    }

    /// Refuses a plan that is made for something else than this.
    pub(crate) fn check(&self, here: &MadeFor) -> Result<()> {
        let made = &self.made_for;
        let inputs = |inputs: &[Vec<usize>]| inputs.iter().map(|shape| format!("{shape:?}")).collect::<Vec<_>>().join(", ");
        let all = [
            ("version", here.sslm.clone(), made.sslm.clone()),
            ("model", here.model.clone(), made.model.clone()),
            ("input shape", inputs(&here.inputs), inputs(&made.inputs)),
            ("instruction set", here.isa.clone(), made.isa.clone()),
            ("thread count", here.threads.to_string(), made.threads.to_string()),
            ("CPU", here.cpu.clone(), made.cpu.clone()),
        ];
        match all.into_iter().find(|(_, here, made)| here != made) {
            None => Ok(()),
            Some((what, here, made)) => {
                Err(Error::new(ErrorKind::Tuning, format!("tuning made for another {what}: expected {here}, found {made}")))
            }
        }
    }
}

impl MadeFor {
    /// On this CPU, by this version of the library.
    pub(crate) fn new(model: String, inputs: Vec<Vec<usize>>, isa: String, threads: usize) -> Self {
        MadeFor { sslm: env!("CARGO_PKG_VERSION").to_owned(), model, inputs, isa, threads, cpu: cpu() }
    }
}

/// The CPU's name as Linux says it; elsewhere just what kind it is.
fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).to_owned()
}

/// Values that are stored by their names.
#[cfg(feature = "tuning")]
mod text {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;
    use std::fmt::Display;
    use std::str::FromStr;

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err = String>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
