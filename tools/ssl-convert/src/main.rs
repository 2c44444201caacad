//! `ssl-convert`: the command line of the converter.

use anyhow::{Context, Result};
use clap::Parser;
use ssl_convert::{Options, convert, metadata, report};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Turn a zero-masked ONNX CNN into a compact .sslm file that computes the same function.
///
/// Networks trained with group Lasso (Structured Sparsity Learning) carry whole filters, channels and filter-shape columns of
/// zeros. This removes them exactly: a zero filter's channel is the constant of its bias, which is folded into the layers behind
/// it, borders included. Prints per layer what was kept.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  ssl-convert lenet.onnx -o lenet.sslm
  ssl-convert --dense lenet.onnx -o lenet-dense.sslm     # zeros kept in place, to compare with
  ssl-convert alexnet.onnx -o alexnet.sslm --labels imagenet.txt \\
      --preprocessing '{\"color\":\"bgr\",\"resize\":{\"short_side\":256},\"scale\":1,\"mean\":[104,117,123],\"std\":[1,1,1]}'

Exit codes: 0 success, 2 error. Nothing is written unless the whole conversion succeeds."
)]
struct Arguments {
    /// The masked model (opset 7 or later); it must not change while it is converted
    input: PathBuf,
    /// The file to write
    #[arg(short, long)]
    output: PathBuf,
    /// Keep every zero in place, for comparison
    #[arg(long)]
    dense: bool,
    /// Class names, one a line, instead of the model's own (metadata ssl.labels)
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// How images become inputs, as JSON with color (gray|rgb|bgr), resize ("stretch" or {"short_side": N}), scale, mean, std;
    /// instead of the model's own (metadata ssl.preprocessing)
    #[arg(long, value_name = "JSON")]
    preprocessing: Option<String>,
}

fn main() -> ExitCode {
    ssl_cli::finish("ssl-convert", run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { input, output, dense, labels, preprocessing } = arguments;
    let read = |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let options = Options {
        dense: *dense,
        labels: labels.as_ref().map(|p| read(p).map(|text| text.lines().map(str::to_owned).collect())).transpose()?,
        preprocessing: preprocessing
            .as_deref()
            .map(|j| metadata::parse_preprocessing(j).context("--preprocessing"))
            .transpose()?,
    };
    let summary = convert(input, output, &options)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", report::table(&summary.layers))?;
    let [before, after] = [summary.source_bytes, summary.bytes].map(ssl_cli::thousands);
    writeln!(out, "{}: {before} bytes -> {}: {after} bytes", input.display(), output.display())?;
    Ok(())
}
