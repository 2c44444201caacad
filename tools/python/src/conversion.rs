//! From ONNX to `.sslm`, with what `ssl-convert` has as flags as keywords.

use crate::error;
use crate::signals;
use anyhow::{Context, Result, bail};
use pyo3::prelude::*;
use ssl_cli::{CheckFailed, Kind, Limits, Named, Progress};
use ssl_convert::verify::Checks;
use ssl_convert::{Options, Summary, metadata, report};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Converts a file to another one, and yields the certificate as JSON and as text.
#[pyfunction]
#[pyo3(signature = (source, target, *, zero_tol, target_macs, dense, outputs, dims, labels, preprocessing, verify, verify_images, verify_with, verify_onnxruntime, tolerance, force, export_onnx, max_memory, max_macs, max_time))]
#[allow(clippy::too_many_arguments, reason = "keywords of Python")]
pub(crate) fn convert(
    py: Python<'_>,
    source: PathBuf,
    target: PathBuf,
    zero_tol: f64,
    target_macs: Option<f64>,
    dense: bool,
    outputs: Vec<String>,
    dims: BTreeMap<String, usize>,
    labels: Option<Vec<String>>,
    preprocessing: Option<String>,
    verify: usize,
    verify_images: Option<PathBuf>,
    verify_with: Option<PathBuf>,
    verify_onnxruntime: Option<String>,
    tolerance: Option<f64>,
    force: bool,
    export_onnx: Option<PathBuf>,
    max_memory: Option<usize>,
    max_macs: Option<u64>,
    max_time: Option<u64>,
) -> PyResult<(String, String)> {
    if let Some(tolerance) = tolerance.filter(|t| !t.is_finite() || *t < 0.0) {
        return Err(error::input(py, "tolerance", "a number of at least 0", tolerance));
    }
    let preprocessing = preprocessing.as_deref().map(metadata::parse_preprocessing).transpose().context("preprocessing");
    let preprocessing = preprocessing.map_err(|e| error::of_tools(py, &e, "input"))?;
    let is_checked = verify > 0 || verify_images.is_some() || verify_with.is_some() || verify_onnxruntime.is_some();
    let checks = Checks {
        random: verify,
        images: verify_images,
        with: verify_with,
        onnxruntime: verify_onnxruntime,
        tolerance,
        limits: Limits::new(max_memory, max_macs, max_time),
    };
    let options = Options {
        dense,
        zero_tol,
        outputs,
        labels,
        preprocessing,
        checks: is_checked.then_some(checks),
        target_macs,
        dims,
        export_onnx,
        force,
        progress: Progress::default(),
    };
    let converted = signals::heeded(py, |interrupt| {
        let options = Options { progress: Progress::until(interrupt), ..options };
        run(&source, &target, &options)
    })?;
    converted.map_err(|e| error::of_tools(py, &e, if e.is::<CheckFailed>() { "check" } else { "convert" }))
}

fn run(source: &Path, target: &Path, options: &Options) -> Result<(String, String)> {
    let outputs: [Named<'_>; 2] = [("the file to write", Some(target)), ("export_onnx", options.export_onnx.as_deref())];
    let with = options.checks.as_ref().and_then(|checks| checks.with.as_deref());
    ssl_cli::ensure_apart(&[("the model", Some(source)), ("verify_with", with)], &outputs)?;
    ssl_cli::ensure_kind(source, Kind::Onnx)?;
    let converted = ssl_convert::convert_beside(source, target, options)?;
    options.progress.check()?;
    let external: Vec<Named<'_>> = converted.external.iter().map(|path| ("the model's external data", Some(&**path))).collect();
    ssl_cli::ensure_apart(&external, &outputs)?;
    let Summary { certificate, written } = converted.put_in_place(None)?;
    if !written
        && !options.force
        && let Some(failed) = certificate.verification.as_ref().filter(|v| !v.passed)
    {
        bail!(CheckFailed(format!("{}; nothing is written (force and a larger tolerance allow it)", failed.difference())));
    }
    if let (Some(path), Some(reason)) = (&options.export_onnx, certificate.export.as_ref().and_then(|e| e.refused.as_ref())) {
        bail!(CheckFailed(format!("{}: {reason}; nothing is written", path.display())));
    }
    let notes = report::notes(&certificate).join("\n");
    let text = format!("{}\n{notes}", report::table(&certificate));
    Ok((serde_json::to_string(&certificate)?, text))
}
