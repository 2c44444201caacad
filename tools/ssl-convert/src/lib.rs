//! Turns a zero-masked ONNX network into a compact `.sslm` file. Data flows through the files in this order:
//! [`onnx`] (bytes to messages) -> [`import`](mod@import) (messages to a dense graph) -> `channels_first` (channels to axis 1) ->
//! [`views`], [`fold`](mod@fold), [`gates`], [`norms`], [`shuffle`] and [`products`] (fewer nodes) -> [`threshold`] (small filters and columns to
//! zero, if asked) -> [`compact`](mod@compact) (what can go) -> [`emit`] (panels and file) -> [`verify`](mod@verify) (the file against
//! the original). [`certificate`] says what happened; [`report`] prints it; [`export`](mod@export) says the compact network in ONNX.
//! What all of them need to know of an operator stands in `ops`, one family a file. `command` is the command line.

pub mod blobs;
pub mod certificate;
mod channels_first;
mod command;
pub mod compact;
pub mod emit;
pub mod export;
pub mod fold;
pub mod gates;
pub mod graph;
pub mod import;
pub mod metadata;
pub mod norms;
pub mod onnx;
pub mod onnxruntime;
pub mod operator;
mod ops;
pub mod order;
pub mod products;
mod reorder;
pub mod report;
pub mod rows;
pub mod shuffle;
pub mod slices;
pub mod threshold;
pub mod verify;
pub mod views;
pub mod weights;

pub use command::main;

use anyhow::{Context, Result, bail, ensure};
use certificate::Certificate;
use emit::Metadata;
use onnx::load::OnnxFile;
use sha2::{Digest, Sha256};
use ssl_cli::{PartialFile, Progress};
use ssl_images::Layout;
use sslm_format::{Preprocessing, Provenance};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Choices of a conversion.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Keep all zeros in place, for comparison.
    pub dense: bool,
    /// Take filters and columns for zero whose norm is at most this times the largest of their kind in their layer.
    pub zero_tol: f64,
    /// Tensors at which the model ends, instead of its own outputs; none: those.
    pub outputs: Vec<String>,
    /// Class names, instead of those in the model.
    pub labels: Option<Vec<String>>,
    /// Preprocessing, instead of that in the model.
    pub preprocessing: Option<Preprocessing>,
    /// How to compare the file with the original before it is put in place; absent: not at all.
    pub checks: Option<verify::Checks>,
    /// Instead of `zero_tol`: the smallest one that leaves at most this share of the multiply-accumulates.
    pub target_macs: Option<f64>,
    /// Symbolic dims that are fixed, by name.
    pub dims: BTreeMap<String, usize>,
    /// Where the compact network goes as standard ONNX, besides.
    pub export_onnx: Option<PathBuf>,
    /// Put the file in place even if the comparison fails.
    pub force: bool,
    /// Where progress is shown.
    pub progress: Progress,
}

/// What a conversion did.
#[derive(Clone, Debug)]
pub struct Summary {
    /// All of it.
    pub certificate: Certificate,
    /// Whether the files are put in place: they are not if verification failed and nobody insisted, or if the network has no form in ONNX that
    /// was asked for.
    pub written: bool,
}

/// A conversion whose files are complete, but not in place.
#[derive(Debug)]
pub struct Converted {
    /// What was done.
    pub summary: Summary,
    /// Files beside the model that were read: its weights.
    pub external: Vec<PathBuf>,
    /// Files that are to be put in place.
    files: Vec<PartialFile>,
}

impl Converted {
    /// Puts the files in place, and another one besides, unless they failed: all of them or none.
    ///
    /// # Errors
    /// If they cannot be.
    pub fn put_in_place(mut self, other: Option<PartialFile>) -> Result<Summary> {
        if self.summary.written {
            self.files.extend(other);
            ssl_cli::put_in_place(self.files)?;
        }
        Ok(self.summary)
    }
}

/// Converts the file `source` to `target`, which appears whole or not at all.
///
/// # Errors
/// If `source` cannot be read or converted (naming every node that cannot), `target` cannot be written, or it cannot be verified.
/// A difference above the tolerance is no error; see [`Summary::written`].
pub fn convert(source: &Path, target: &Path, options: &Options) -> Result<Summary> {
    convert_beside(source, target, options)?.put_in_place(None)
}

/// As [`convert`], for callers that have to do something before files are put in place.
///
/// # Errors
/// As [`convert`].
pub fn convert_beside(source: &Path, target: &Path, options: &Options) -> Result<Converted> {
    expect_possible(options)?;
    let progress = &options.progress;
    let mut temporary = ssl_cli::file_beside(target)?;
    progress.step(format!("read {}", source.display()))?;
    let mut file = OnnxFile::open(source)?;
    if !options.outputs.is_empty() {
        import::cut(&mut file, &options.outputs).with_context(|| format!("{}", source.display()))?;
    }
    let original = import::import(&mut file, &options.dims).with_context(|| format!("{}", source.display()))?;
    let external = file.external.files().collect();
    // Clones share the weights, so all of these together need little more memory than one.
    let layers = (0..original.graph.nodes.len()).filter(|&i| original.layer(i).is_some()).count();
    progress.step(format!("fold {layers} layers"))?;
    let mut folded = original.clone();
    simplify(&mut folded);
    progress.step(format!("compact {layers} layers"))?;
    let zero_tol = match options.target_macs {
        Some(share) => {
            progress.step("choose the cut")?;
            threshold::for_macs(&folded, share).context("target-macs")?
        }
        None => options.zero_tol,
    };
    let mut cut = folded.clone();
    if zero_tol > 0.0 {
        threshold::cut(&mut cut, zero_tol);
    }
    let mut compacted = cut.clone();
    if !options.dense {
        compact::compact(&mut compacted);
    }
    let provenance = Provenance {
        tool: concat!("ssl-convert ", env!("CARGO_PKG_VERSION")).to_owned(),
        source: source.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
        source_bytes: file.bytes.len() as u64,
        source_sha256: Sha256::digest(&file.bytes).into(),
        dense: options.dense,
    };
    let metadata = Metadata {
        labels: match &options.labels {
            Some(labels) => labels.clone(),
            None => metadata::labels(&file.model).with_context(|| format!("{}", source.display()))?,
        },
        preprocessing: match &options.preprocessing {
            Some(preprocessing) => Some(preprocessing.clone()),
            None => metadata::preprocessing(&file.model).with_context(|| format!("{}", source.display()))?,
        },
        provenance: Some(provenance.clone()),
    };
    if let Some(rule) = &metadata.preprocessing {
        let (inputs, types) = (&compacted.graph.inputs, &compacted.types.inputs);
        let ([input], [element_type]) = (&inputs[..], &types[..]) else {
            bail!("preprocessing: expected a model with one input, found {}", inputs.len())
        };
        Layout::of(&input.dims, *element_type).context("preprocessing")?.check(rule)?;
    }
    progress.step(format!("write {layers} layers"))?;
    emit::write(&compacted, metadata.clone(), &mut std::io::BufWriter::new(&mut temporary))?;
    let bytes = temporary.as_file().metadata()?.len();
    progress.step(format!("certify {layers} layers"))?;
    let mut exported = match &options.export_onnx {
        Some(path) => {
            progress.step(format!("export {}", path.display()))?;
            Some(export::Written::new(&cut, &compacted, &file.model.metadata_props, path)?)
        }
        None => None,
    };
    let layers = exported.as_mut().map(|exported| std::mem::take(&mut exported.layers)).unwrap_or_default();
    let mut certificate = Certificate::new(&folded, cut, &compacted, zero_tol, &provenance, bytes, &layers);
    // Only `original` still needs the ONNX file, and verification lets go of both before it maps what it runs.
    drop((folded, compacted, file));
    if let Some(checks) = &options.checks {
        progress.step("verify")?;
        let reference = verify::Reference::new(checks, original, source, target, &metadata, progress)?;
        certificate.verification = Some(reference.compare(&temporary.path())?);
        exported.iter_mut().for_each(|exported| exported.verify(&reference, options.force));
    }
    progress.finish();
    let passed = options.force || certificate.verification.as_ref().is_none_or(|v| v.passed);
    let mut files = vec![temporary];
    if let Some(export::Written { file, report, .. }) = exported {
        files.extend(file);
        certificate.export = Some(report);
    }
    let written = passed && certificate.export.as_ref().is_none_or(|export| export.refused.is_none());
    Ok(Converted { summary: Summary { certificate, written }, external, files })
}

/// Refuses choices that are none.
fn expect_possible(options: &Options) -> Result<()> {
    ensure!(
        (0.0..1.0).contains(&options.zero_tol),
        "zero-tol: expected a number of at least 0 and below 1, found {}",
        options.zero_tol
    );
    ensure!(
        options.target_macs.is_none_or(|share| share > 0.0 && share <= 1.0),
        "target-macs: expected a share above 0 and at most 1, found {}",
        options.target_macs.unwrap_or(0.0)
    );
    ensure!(
        options.checks.is_some() || options.force || options.zero_tol == 0.0 && options.target_macs.is_none(),
        "zero-tol, target-macs: expected a comparison with the original (verify and its kind), as what is cut changes the outputs, found none \
        (force does without)"
    );
    Ok(())
}

/// The graph of an ONNX file, folded, and compacted unless `dense`.
///
/// # Errors
/// If the model cannot be converted, naming every node that cannot.
pub fn network(file: &mut OnnxFile, dense: bool) -> Result<graph::Graph> {
    let mut g = import::import(file, &BTreeMap::new())?;
    simplify(&mut g);
    if !dense {
        compact::compact(&mut g);
    }
    Ok(g)
}

/// Everything that makes fewer nodes of a graph without looking at its zeros.
fn simplify(g: &mut graph::Graph) {
    rows::keep_rows(g);
    norms::fold_norms(g);
    shuffle::fold_shuffles(g);
    if let Some(reordered) = channels_first::channels_first(g).and_then(|orders| reorder::rewritten(&orders)) {
        *g = reordered;
    }
    views::drop_undone(g);
    fold::fold(g);
    gates::fold_gates(g);
    shuffle::fold_shuffles(g);
    products::fold_products(g);
}
