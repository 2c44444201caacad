//! Turns a zero-masked ONNX network into a compact `.sslm` file. Data flows through the files in this order:
//! [`onnx`] (bytes to messages) -> [`import`](mod@import) (messages to a dense graph) -> [`fold`](mod@fold) and [`shuffle`] (fewer
//! nodes) -> [`compact`](mod@compact) (what can go) -> [`emit`] (panels and file), with [`report`] to say what happened.

pub mod compact;
pub mod emit;
pub mod fold;
pub mod graph;
pub mod import;
pub mod metadata;
pub mod onnx;
pub mod report;
pub mod shuffle;

use anyhow::{Context, Result};
use emit::Metadata;
use onnx::load::OnnxFile;
use report::Layer;
use sha2::{Digest, Sha256};
use sslm_format::{Preprocessing, Provenance};
use std::path::Path;

/// Choices of a conversion.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Keep all zeros in place, for comparison.
    pub dense: bool,
    /// Class names, instead of those in the model.
    pub labels: Option<Vec<String>>,
    /// Preprocessing, instead of that in the model.
    pub preprocessing: Option<Preprocessing>,
}

/// What a conversion did.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Layers with weights.
    pub layers: Vec<Layer>,
    /// Size of the ONNX file in bytes, without external data.
    pub source_bytes: u64,
    /// Size of the `.sslm` file in bytes.
    pub bytes: u64,
}

/// Converts the file `source` to `target`, which appears whole or not at all.
///
/// # Errors
/// If `source` cannot be read or converted (naming every node that cannot), or `target` cannot be written.
pub fn convert(source: &Path, target: &Path, options: &Options) -> Result<Summary> {
    let mut temporary = ssl_cli::file_beside(target)?;
    let mut file = OnnxFile::open(source)?;
    let g = network(&mut file, options.dense).with_context(|| format!("{}", source.display()))?;
    let metadata = Metadata {
        labels: match &options.labels {
            Some(labels) => labels.clone(),
            None => metadata::labels(&file.model).with_context(|| format!("{}", source.display()))?,
        },
        preprocessing: match &options.preprocessing {
            Some(preprocessing) => Some(preprocessing.clone()),
            None => metadata::preprocessing(&file.model).with_context(|| format!("{}", source.display()))?,
        },
        provenance: Some(Provenance {
            tool: concat!("ssl-convert ", env!("CARGO_PKG_VERSION")).to_owned(),
            source: source.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            source_bytes: file.bytes.len() as u64,
            source_sha256: Sha256::digest(&file.bytes).into(),
            dense: options.dense,
        }),
    };
    emit::write(&g, metadata, &mut std::io::BufWriter::new(temporary.as_file_mut()))?;
    let bytes = temporary.as_file().metadata()?.len();
    temporary.persist(target).with_context(|| format!("cannot write {}", target.display()))?;
    Ok(Summary { layers: report::layers(&g), source_bytes: file.bytes.len() as u64, bytes })
}

/// The graph of an ONNX file, folded, and compacted unless `dense`.
///
/// # Errors
/// If the model cannot be converted, naming every node that cannot.
pub fn network(file: &mut OnnxFile, dense: bool) -> Result<graph::Graph> {
    let mut g = import::import(file)?;
    fold::fold(&mut g);
    shuffle::fold_shuffles(&mut g);
    if !dense {
        compact::compact(&mut g);
    }
    Ok(g)
}
