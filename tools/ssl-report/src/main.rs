//! `ssl-report`: pages of records, and what moved between two of them.

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use ssl_cli::CheckFailed;
use ssl_report::compare::{self, Verdict};
use ssl_report::document::Part;
use ssl_report::peers::Peers;
use ssl_report::record::Record;
use ssl_report::{analysis, html, markdown};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

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
    /// What was measured
    #[arg(required = true)]
    record: Option<PathBuf>,
    /// An older record to compare with
    #[arg(long, value_name = "CSV")]
    baseline: Option<PathBuf>,
    /// Other runtimes' times, as the peers' harness writes them
    #[arg(long, value_name = "JSON")]
    peers: Option<PathBuf>,
    /// Where the page goes
    #[arg(short, long, value_name = "HTML", required = true)]
    output: Option<PathBuf>,
    /// Where its words and tables go as Markdown
    #[arg(long, value_name = "MD")]
    markdown: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Say what moved between two records beyond noise; exit code 1 if something became slower
    Compare {
        /// Before
        old: PathBuf,
        /// After
        new: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.command {
        Some(Command::Compare { old, new }) => compare(old, new),
        None => page(&arguments.page),
    };
    ssl_cli::finish("ssl-report", result)
}

fn page(arguments: &PageArguments) -> Result<()> {
    let record = Record::read(arguments.record.as_deref().context("expected a record")?)?;
    let baseline = arguments.baseline.as_deref().map(Record::read).transpose()?;
    let peers = arguments.peers.as_deref().map(Peers::read).transpose()?;
    let document = analysis::report(&record, baseline.as_ref(), peers.as_ref());
    if let Some(path) = &arguments.markdown {
        write(path, &markdown::text(&document))?;
    }
    write(arguments.output.as_deref().context("expected --output")?, &html::page(&document))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let mut file = ssl_cli::file_beside(path)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

fn compare(old: &Path, new: &Path) -> Result<()> {
    let [old, new] = [Record::read(old)?, Record::read(new)?];
    let section = analysis::changes(&old, &new);
    let mut out = std::io::stdout().lock();
    for part in &section.parts {
        match part {
            Part::Text(text) => writeln!(out, "{text}")?,
            Part::Table(found) => {
                let headings: Vec<&str> = found.headings.iter().map(String::as_str).collect();
                let mut table = ssl_cli::table(&headings, found.first_number);
                found.rows.iter().for_each(|row| _ = table.add_row(row.iter().map(|cell| ssl_cli::printable(cell))));
                writeln!(out, "{table}")?;
            }
            Part::Figure(_) => {}
        }
    }
    let slower = compare::changes(&old, &new).iter().filter(|change| change.verdict == Verdict::Slower).count();
    if slower > 0 {
        return Err(CheckFailed(format!("{slower} measurements became slower")).into());
    }
    Ok(())
}
