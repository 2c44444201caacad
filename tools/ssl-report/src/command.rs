//! `ssl-report`: pages of records, what moved between two of them, and where the time of a model goes.

use crate::analysis::Beside;
use crate::compare::{self, Verdict};
use crate::document::{Document, Part, Section};
use crate::peers::Peers;
use crate::record::Record;
use crate::{analysis, gpu, html, markdown, model, pauses};
use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use serde_json::json;
use ssl_cli::{CheckFailed, Limits, PartialFile};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Make a page of what benchmarks measured, beside what the paper says; or compare two records.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  SSLM_RECORD=new.csv cargo bench -p sslm-benches --bench layers   # a record
  ssl-report new.csv -o report.html --markdown report.md
  ssl-report compare old.csv new.csv                               # what moved beyond noise
  ssl-report bench small.sslm --onnx masked.onnx                   # a model's layers, compact and dense

Exit codes: 0 success, 1 something became slower, 2 error."
)]
struct Arguments {
    #[command(flatten)]
    page: PageArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct PageArguments {
    /// The record: what was measured
    #[arg(required = true)]
    record: Option<PathBuf>,
    /// An older record to compare with
    #[arg(long, value_name = "CSV")]
    baseline: Option<PathBuf>,
    /// Other runtimes' times, as the peers' harness writes them
    #[arg(long, value_name = "JSON")]
    peers: Option<PathBuf>,
    /// Calls after pauses, as the bench `pauses` and peers.py write them; may be given for each file
    #[arg(long, value_name = "JSON")]
    pauses: Vec<PathBuf>,
    /// Times on a GPU, as the bench `gpu` writes them
    #[arg(long, value_name = "JSON")]
    gpu: Option<PathBuf>,
    /// PyTorch's times on that GPU, as benches/gpu_peers.py writes them
    #[arg(long, value_name = "JSON", requires = "gpu")]
    gpu_peers: Option<PathBuf>,
    /// Where the page goes
    #[arg(short, long, value_name = "HTML", required = true)]
    output: Option<PathBuf>,
    /// Where the page's words and tables go as Markdown
    #[arg(long, value_name = "MD")]
    markdown: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Say what moved between two records by more than noise; exit code 1 if something became slower
    Compare {
        /// The record from before the change
        old: PathBuf,
        /// The record from after it
        new: PathBuf,
        /// Print what became of each measurement as JSON
        #[arg(long)]
        json: bool,
    },
    /// Time the layers of a model, and say which to prune next
    Bench(BenchArguments),
}

#[derive(Args)]
struct BenchArguments {
    /// The .sslm model
    model: PathBuf,
    /// The ONNX file that it was converted from, which the model knows by its checksum: its dense form is timed in turns with the model
    #[arg(long, value_name = "ONNX")]
    onnx: Option<PathBuf>,
    /// Threads to compute with, at most 1024
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Where the same goes as a page
    #[arg(short, long, value_name = "HTML")]
    output: Option<PathBuf>,
    /// Print what was measured as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: Limits,
}

/// Runs the tool as a program of this name and these arguments would, and yields its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    ssl_cli::main("ssl-report", arguments, run)
}

fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Some(Command::Compare { old, new, json }) => compare(old, new, *json),
        Some(Command::Bench(arguments)) => bench(arguments),
        None => page(&arguments.page),
    }
}

fn page(arguments: &PageArguments) -> Result<()> {
    let mut inputs = vec![
        ("RECORD", arguments.record.as_deref()),
        ("--baseline", arguments.baseline.as_deref()),
        ("--peers", arguments.peers.as_deref()),
        ("--gpu", arguments.gpu.as_deref()),
        ("--gpu-peers", arguments.gpu_peers.as_deref()),
    ];
    inputs.extend(arguments.pauses.iter().map(|path| ("--pauses", Some(path.as_path()))));
    ssl_cli::ensure_apart(&inputs, &[("--output", arguments.output.as_deref()), ("--markdown", arguments.markdown.as_deref())])?;
    let record = Record::read(arguments.record.as_deref().context("expected a record")?)?;
    let baseline = arguments.baseline.as_deref().map(Record::read).transpose()?;
    let peers = arguments.peers.as_deref().map(Peers::read).transpose()?;
    let pauses = arguments.pauses.iter().map(|path| pauses::Report::read(path)).collect::<Result<Vec<_>>>()?;
    let gpu = arguments.gpu.as_deref().map(gpu::Report::read).transpose()?;
    let gpu_peers = arguments.gpu_peers.as_deref().map(gpu::PyTorch::read).transpose()?;
    let (baseline, peers, gpu, gpu_peers) = (baseline.as_ref(), peers.as_ref(), gpu.as_ref(), gpu_peers.as_ref());
    let document = analysis::report(&record, Beside { baseline, peers, pauses: &pauses, gpu, gpu_peers });
    let mut files = vec![written(arguments.output.as_deref().context("expected --output")?, &html::page(&document))?];
    if let Some(path) = &arguments.markdown {
        files.push(written(path, &markdown::text(&document))?);
    }
    ssl_cli::put_in_place(files)
}

/// A file of this text that is to become `path`.
fn written(path: &Path, text: &str) -> Result<PartialFile> {
    let mut file = ssl_cli::file_beside(path)?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

fn compare(old: &Path, new: &Path, is_json: bool) -> Result<()> {
    let [old, new] = [Record::read(old)?, Record::read(new)?];
    let changes = compare::changes(&old, &new);
    if is_json {
        let change = |c: &compare::Change| {
            let (times, spreads) = ([c.old.median_us, c.new.median_us], [c.old.spread(), c.new.spread()]);
            json!({ "measurement": c.new.name(), "verdict": c.verdict, "median_us": times, "spread": spreads, "ratio": c.ratio() })
        };
        print_json(&changes.iter().map(change).collect::<Vec<_>>())?;
    } else {
        print(&analysis::changes(&old, &new))?;
    }
    let slower = changes.iter().filter(|change| change.verdict == Verdict::Slower).count();
    if slower > 0 {
        return Err(CheckFailed(format!("{slower} measurements became slower")).into());
    }
    Ok(())
}

fn bench(arguments: &BenchArguments) -> Result<()> {
    let BenchArguments { model, onnx, threads, output, json, limits } = arguments;
    ssl_cli::ensure_apart(&[("MODEL", Some(model)), ("--onnx", onnx.as_deref())], &[("--output", output.as_deref())])?;
    // Before the work, so that a bad path costs no time.
    let mut file = output.as_deref().map(ssl_cli::file_beside).transpose()?;
    let compact = ssl_cli::open_model(model)?;
    let dense = onnx.as_deref().map(|path| model::dense(path, &compact)).transpose()?;
    let measured = model::measure(&compact, dense.as_ref(), *threads, *limits)?;
    if *json {
        print_json(&measured)?;
    } else {
        print(&measured.section())?;
    }
    if let Some(file) = &mut file {
        let document = Document { title: format!("sslm: {}", model.display()), sections: vec![measured.section()] };
        file.write_all(html::page(&document).as_bytes())?;
    }
    ssl_cli::put_in_place(file.into_iter().collect())
}

fn print_json(what: &impl Serialize) -> Result<()> {
    Ok(writeln!(ssl_cli::stdout(), "{}", serde_json::to_string_pretty(what)?)?)
}

fn print(section: &Section) -> Result<()> {
    let mut out = ssl_cli::stdout();
    for part in &section.parts {
        match part {
            Part::Text(text) => writeln!(out, "{}", ssl_cli::printable(text))?,
            Part::Table(found) => {
                let headings: Vec<&str> = found.headings.iter().map(String::as_str).collect();
                let mut table = ssl_cli::table(&headings, found.first_number).leaving_out(model::DISPENSABLE);
                found.rows.iter().for_each(|row| table.add_row(row.iter().map(|cell| ssl_cli::printable(cell))));
                writeln!(out, "{}:\n{}", found.caption, table.fitted())?;
            }
            Part::Figure(_) => {}
        }
    }
    Ok(())
}
