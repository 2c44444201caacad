//! `ssl-convert`: the command line of the converter.

use crate::verify::Checks;
use crate::{Options, Summary, convert_beside, metadata, report};
use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use ssl_cli::{CheckFailed, Kind, Limits, Named, Progress, printable, thousands};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Turn a zero-masked ONNX CNN into a compact .sslm file that computes the same function.
///
/// Networks trained with group Lasso (Structured Sparsity Learning) carry whole filters, channels and filter-shape columns of
/// zeros. This removes them exactly: a zero filter's channel is the constant of its bias, which is folded into the layers behind
/// it, borders included. The file is then run against the original, and only put in place if their outputs agree. Prints per
/// layer what was kept, what was removed by which rule, and the largest difference.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  ssl-convert lenet.onnx -o lenet.sslm
  ssl-convert lenet.onnx -o lenet.sslm --report cert.json --verify-images digits/
  ssl-convert --zero-tol 1e-3 --tolerance 0.01 lenet.onnx -o lenet.sslm   # cuts what is small, too
  ssl-convert lenet.onnx -o lenet.sslm --verify-with known.npz            # inputs, and outputs of another runtime
  ssl-convert lenet.onnx -o lenet.sslm --verify-onnxruntime               # its outputs, by Python
  ssl-convert lenet.onnx -o lenet.sslm --export-onnx small.onnx           # for other runtimes
  ssl-convert --dense lenet.onnx -o lenet-dense.sslm     # zeros kept in place, to compare with
  ssl-convert alexnet.onnx -o alexnet.sslm --labels imagenet.txt \\
      --preprocessing '{\"color\":\"bgr\",\"resize\":{\"short_side\":256},\"scale\":1,\"mean\":[104,117,123],\"std\":[1,1,1]}'

Results go to stdout, progress to stderr if it is a terminal. Exit codes: 0 success, 1 done but the outputs differ by more than
--tolerance (without --force) or the network cannot be exported, 2 error. Nothing is written unless the whole conversion succeeds."
)]
struct Arguments {
    /// The masked model (opsets 1 to 28); it must not change while it is converted
    input: PathBuf,
    /// The file to write
    #[arg(short, long)]
    output: PathBuf,
    /// Keep every zero in place, for comparison
    #[arg(long, conflicts_with = "zero_tol")]
    dense: bool,
    /// Also cut filters and columns (per group) that are nearly zero: those whose Euclidean norm is at most X times the largest
    /// of their kind in their layer. This changes the outputs: by how much is measured against the uncut model, and to accept
    /// more than --tolerance, or not to measure it (--verify 0), takes a larger --tolerance or --force. 0: exact zeros only
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    zero_tol: f64,
    /// Choose the smallest --zero-tol that leaves at most this share of the multiply-accumulates (0.25: a quarter); what that changes
    /// must be measured, too, or accepted by --force
    #[arg(long, value_name = "F", conflicts_with_all = ["zero_tol", "dense"])]
    target_macs: Option<f64>,
    /// Fix the symbolic dim NAME of the model's inputs to N, for example batch=1; repeatable
    #[arg(long = "dim", value_name = "NAME=N", value_parser = dim)]
    dims: Vec<(String, usize)>,
    /// End the model at these tensors, which become its outputs, and leave out what follows: for what cannot be converted, such as
    /// the NonMaxSuppression of a detector
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    outputs: Vec<String>,
    /// Write all that is known about the conversion as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write the compact network as standard ONNX, too, for other runtimes: removed filters, channels and layers are gone,
    /// removed columns of channels that stay are zeros
    #[arg(long, value_name = "FILE")]
    export_onnx: Option<PathBuf>,
    /// Compare with the original on N random inputs; 0: on none, which --zero-tol and --target-macs refuse without another comparison
    /// or --force
    #[arg(long, value_name = "N", default_value_t = 4)]
    verify: usize,
    /// Compare with the original on the images of a folder, preprocessed as the model says (to 0..1 if it does not)
    #[arg(long, value_name = "DIR")]
    verify_images: Option<PathBuf>,
    /// Compare with outputs that others computed: a .npz file with an array for each input, and one for each output that is to be
    /// compared, by the model's names. Their first axis may be any batch
    #[arg(long, value_name = "NPZ")]
    verify_with: Option<PathBuf>,
    /// Compare with onnxruntime on the random inputs of --verify, too: what the converter got wrong when it read the model shows there
    /// alone. Needs Python with numpy and onnxruntime: python3, or the interpreter that is named
    #[arg(long, value_name = "PYTHON", num_args = 0..=1, require_equals = true, default_missing_value = "python3", conflicts_with = "outputs")]
    verify_onnxruntime: Option<String>,
    /// Largest difference that passes, relative to the largest magnitude of the original's output [default: 0.0001, or 0.02 where the
    /// network rounds to integers, as quantised ones do: what lies half way may fall to either side]
    #[arg(long, value_name = "T")]
    tolerance: Option<f64>,
    /// Write the file even if the outputs differ by more than --tolerance, or nobody measured what a cut changes, and succeed
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    limits: Limits,
    /// Class names, one a line, instead of the model's own (metadata ssl.labels)
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// How images become inputs, as JSON with color (gray|rgb|bgr), resize ("stretch" or {"short_side": N}), scale, mean, std;
    /// instead of the model's own (metadata ssl.preprocessing)
    #[arg(long, value_name = "JSON")]
    preprocessing: Option<String>,
}

/// Runs the tool as a program of this name and these arguments would, and yields its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    ssl_cli::main("ssl-convert", arguments, run)
}

fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { input, output, report: report_path, .. } = arguments;
    let outputs = [
        ("--output", Some(&**output)),
        ("--report", report_path.as_deref()),
        ("--export-onnx", arguments.export_onnx.as_deref()),
    ];
    let inputs = [
        ("INPUT", Some(&**input)),
        ("--labels", arguments.labels.as_deref()),
        ("--verify-with", arguments.verify_with.as_deref()),
    ];
    ssl_cli::ensure_apart(&inputs, &outputs)?;
    ssl_cli::ensure_kind(input, Kind::Onnx)?;
    // Before the work, so that a bad path costs no time.
    let mut report_file = report_path.as_deref().map(ssl_cli::file_beside).transpose()?;
    let converted = convert_beside(input, output, &options(arguments)?)?;
    let external: Vec<Named> = converted.external.iter().map(|path| ("the model's external data", Some(&**path))).collect();
    ssl_cli::ensure_apart(&external, &outputs)?;
    if let Some(file) = &mut report_file {
        writeln!(file, "{}", serde_json::to_string_pretty(&converted.summary.certificate)?)?;
    }
    // Before files are put in place, so that nothing is written by a call that fails.
    print(arguments, &converted.summary)?;
    let Summary { certificate, written, .. } = converted.put_in_place(report_file)?;
    let refused = certificate.export.and_then(|export| export.refused);
    if let Some(failed) = certificate.verification.filter(|v| !v.passed) {
        let cause = if certificate.zero_tol > 0.0 { " (what the threshold cut is part of that)" } else { "" };
        let difference = failed.difference() + cause;
        if !arguments.force {
            bail!(CheckFailed(format!("{difference}; nothing is written (--force and a larger --tolerance allow it)")));
        }
        if written {
            ssl_cli::note("ssl-convert", format!("warning: {difference}; written because of --force"));
        }
    }
    if let (Some(path), Some(reason)) = (&arguments.export_onnx, refused) {
        let [path, output] = [path, output].map(|path| path.display());
        bail!(CheckFailed(format!("{path}: {reason}; nothing is written (without --export-onnx, {output} would be)")));
    }
    Ok(())
}

fn print(arguments: &Arguments, Summary { certificate, written }: &Summary) -> Result<()> {
    let mut out = ssl_cli::stdout();
    writeln!(out, "{}", report::table(certificate).fitted())?;
    if arguments.target_macs.is_some() {
        writeln!(out, "chosen: --zero-tol {:.3e}", certificate.zero_tol)?;
    }
    for note in report::notes(certificate) {
        writeln!(out, "{note}")?;
    }
    if *written {
        let [input, output] = [&arguments.input, &arguments.output].map(|path| printable(&path.display().to_string()));
        let [before, after] = [certificate.source.bytes, certificate.bytes].map(thousands);
        writeln!(out, "{input}: {before} bytes -> {output}: {after} bytes")?;
        let export = certificate.export.as_ref().filter(|export| export.refused.is_none());
        if let (Some(path), Some(export)) = (&arguments.export_onnx, export) {
            let (path, size) = (printable(&path.display().to_string()), thousands(export.bytes));
            writeln!(
                out,
                "{path}: {size} bytes of ONNX; what has no short form there is zeros: columns of channels that stay, \
                filters that others need"
            )?;
        }
    }
    Ok(())
}

/// A dim's name and its extent.
fn dim(text: &str) -> Result<(String, usize), String> {
    let named = text.rsplit_once('=').and_then(|(name, extent)| Some((name, extent.parse().ok().filter(|e| *e > 0)?)));
    let named = named.filter(|(name, _)| !name.is_empty()).map(|(name, extent)| (name.to_owned(), extent));
    named.ok_or_else(|| "expected NAME=N with N of at least 1, such as batch=1".to_owned())
}

/// The dims that are fixed, each once.
fn fixed(dims: &[(String, usize)]) -> Result<BTreeMap<String, usize>> {
    let mut fixed = BTreeMap::new();
    for (name, extent) in dims {
        ensure!(fixed.insert(name.clone(), *extent).is_none(), "--dim: expected one extent of '{name}', found two");
    }
    Ok(fixed)
}

/// The lines of a file. A mark of the byte order, as some editors write it, belongs to none.
fn labels_of(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).lines().map(str::to_owned).collect())
}

fn options(arguments: &Arguments) -> Result<Options> {
    let Arguments { zero_tol, verify, tolerance, .. } = *arguments;
    if let Some(tolerance) = tolerance {
        ensure!(tolerance.is_finite() && tolerance >= 0.0, "--tolerance: expected a number of at least 0, found {tolerance}");
    }
    let labels = arguments.labels.as_deref().map(labels_of).transpose()?;
    let preprocessing = arguments.preprocessing.as_deref().map(metadata::parse_preprocessing).transpose();
    let (images, with) = (arguments.verify_images.clone(), arguments.verify_with.clone());
    let onnxruntime = arguments.verify_onnxruntime.clone();
    let is_checked = verify > 0 || images.is_some() || with.is_some() || onnxruntime.is_some();
    Ok(Options {
        dense: arguments.dense,
        zero_tol,
        outputs: arguments.outputs.clone(),
        labels,
        preprocessing: preprocessing.context("--preprocessing")?,
        checks: is_checked.then_some(Checks { random: verify, images, with, onnxruntime, tolerance, limits: arguments.limits }),
        target_macs: arguments.target_macs,
        dims: fixed(&arguments.dims)?,
        export_onnx: arguments.export_onnx.clone(),
        force: arguments.force,
        progress: Progress::on_terminal(),
    })
}
