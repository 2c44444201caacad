//! `ssl-score`: runs a model on all images of a dataset. `input` reads them in chunks, each of which `scorer` decodes and runs on a
//! thread of its own, and `results` makes columns of what was found; `parts` writes them in files of so many rows, `progress` notes
//! which of these are complete, and `marks` by what they are known again, so that the same call goes on after them, and `join` makes
//! one file of them if that was asked for.

mod format;
mod input;
mod join;
mod marks;
mod parts;
mod progress;
mod results;
mod scorer;
mod zones;

use anyhow::{Result, bail, ensure};
use arrow_schema::Schema;
use clap::Parser;
use format::{Format, Output};
use input::{Chunk, Input};
use parts::Part;
use progress::{Done, Work};
use scorer::{Scored, Scorer};
use serde_json::{Value, json};
use ssl_cli::{CheckFailed, Limits, Progress, thousands};
use ssl_images::Flags;
use sslm::Model;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Instant;

/// Run a .sslm model on all images of a dataset, in bounded memory, and go on exactly where an earlier run was ended.
///
/// The output has a row for each image: its key, what the model says, and an error if it cannot be read. It is written in parts of so many
/// rows. The same command again goes on after the last complete part, and its output is byte for byte what it would have been.
#[derive(Clone, Parser)]
#[command(
    version,
    after_help = "Examples:
  ssl-score resnet.sslm photos/ -o scores.csv           # all images below a folder, but for hidden ones
  ssl-score resnet.sslm shard-0001.tar -o scores.parquet --top 5
  zcat shard.tar.gz | ssl-score resnet.sslm - -o scores.jsonl
  ssl-score resnet.sslm images.parquet -o scores/ --keep id,url    # parts in a folder, with columns of the input

Memory: at most --threads + 2 chunks of --batch images are in memory as files and as inputs of the network, besides one page of a Parquet
file or one record batch of Arrow, and at most some 64 MiB of a part. Of a tar file, a chunk ends before its files exceed 64 MiB; only one
file at a time may be larger. Exit codes: 0 success, 1 some images could not be scored (the column 'error' says why), 2 error."
)]
struct Arguments {
    /// The model
    model: PathBuf,
    /// Where the images are: a folder (all images below it, but for names that begin with a dot and what is in such folders); a tar file,
    /// of which every member that is named as an image is one; a Parquet or Arrow file (or stream in a file) with a column of images,
    /// encoded as PNG, JPEG and so on, or as tensors of float32; or - for a tar file on standard input
    input: PathBuf,
    /// Where the results go: NAME.parquet, NAME.arrow, NAME.jsonl or NAME.csv for one file, or a folder for one file a part (a folder
    /// that is there and named so has to end with a slash, or to come with --format)
    #[arg(short, long, value_name = "OUTPUT")]
    output: PathBuf,
    /// The format of the files in a folder [default: parquet]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// The column that holds the images [default: the only one that can]
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// Columns of the input that the output has, too, instead of the index of the row; csv and jsonl have times of named zones in UTC
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    keep: Vec<String>,
    /// How many classes there are in a row, likeliest ones first [default: 1, if the model says that it yields
    /// classes, else --raw]
    #[arg(long, value_name = "K", conflicts_with = "raw")]
    top: Option<usize>,
    /// Write all that the model yields, a column of tensors for each output
    #[arg(long)]
    raw: bool,
    /// Images per run, where the model leaves it open; images of different sizes run one by one [default: 32]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Rows of a part, which is what a run that is ended may lose; rounded up to whole batches
    #[arg(long, value_name = "N", default_value_t = 16384)]
    part_rows: usize,
    /// Threads, each of which decodes and runs a batch at a time [default: all]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Compute with this instruction set of the CPU: avx512, avx2 or portable [default: the best]
    #[arg(long, value_name = "SET", conflicts_with = "reproducible")]
    isa: Option<sslm::Isa>,
    /// Compute the same bits on every machine and for every batch, which takes several times as long: parts of one output may then come
    /// from different machines
    #[arg(long)]
    reproducible: bool,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    preprocessing: Flags,
}

impl Arguments {
    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| available_parallelism().map_or(1, usize::from))
    }
}

/// Runs the tool as a program of this name and these arguments would, and yields its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    ssl_cli::main("ssl-score", arguments, run)
}

fn run(arguments: &Arguments) -> Result<()> {
    let output = Output::of(&arguments.output, arguments.format)?;
    for (name, count) in [
        ("--top", arguments.top),
        ("--batch", arguments.batch),
        ("--threads", arguments.threads),
        ("--part-rows", Some(arguments.part_rows)),
    ] {
        ensure!(count != Some(0), "{name}: expected at least 1, found 0");
    }
    ensure!(arguments.threads() <= 1024, "--threads: expected at most 1024, found {}", arguments.threads());
    let inputs = [("MODEL", Some(&*arguments.model)), ("INPUT", Some(&*arguments.input))];
    ssl_cli::ensure_apart(&inputs, &[("--output", Some(&*arguments.output))])?;
    let model = ssl_cli::open_model(&arguments.model)?;
    let input = Input::open(&arguments.input, arguments.column.as_deref(), &arguments.keep)?;
    if let Some(left_out) = input.left_out() {
        ssl_cli::note("ssl-score", format!("{}: {left_out}", arguments.input.display()));
    }
    let scorer = Scorer::new(arguments, &model, &input)?;
    let part_rows = arguments.part_rows.next_multiple_of(scorer.batch());
    let identity = identity(arguments, &model, &input, &scorer, &output, part_rows)?;
    let schema = Arc::new(schema(&input, &scorer, &output)?);
    let mut work = Work::begin(&output, identity, input.is_repeatable())?;
    let (start, before) = (Instant::now(), work.done().clone());
    if !before.complete {
        let mut parts = Parts { output: &output, schema, part_rows: part_rows as u64, work: &mut work, part: None };
        let scored = score(arguments, &model, &input, &scorer, &mut parts);
        scored.inspect_err(|_| work.abandon())?;
    }
    let done = work.done().clone();
    if output.is_one_file() {
        if !done.joined {
            join::into_one(&output, &work.marks()?)?;
        }
        work.remove()?;
    }
    report(arguments, &before, &done, start)
}

/// What the outcome depends on: a run goes on with the parts of another only if it is the same.
fn identity(
    arguments: &Arguments,
    model: &Model,
    input: &Input,
    scorer: &Scorer,
    output: &Output,
    part_rows: usize,
) -> Result<Value> {
    let mut checksum = crc32fast::Hasher::new();
    for section in model.sections() {
        [section.tag, section.crc.to_le_bytes()].iter().for_each(|bytes| checksum.update(bytes));
    }
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "model": { "bytes": model.file_bytes(), "checksum": checksum.finalize() },
        "input": input.identity()?,
        "column": input.column(),
        "keep": arguments.keep,
        "results": scorer.describe(),
        "format": output.format.name(),
        "one file": output.is_one_file(),
        "batch": scorer.batch(),
        "part rows": part_rows,
    }))
}

/// The columns of the output.
fn schema(input: &Input, scorer: &Scorer, output: &Output) -> Result<Schema> {
    let is_text = matches!(output.format, Format::Csv | Format::Jsonl);
    let fields = input.key_fields().into_iter().chain(scorer.fields());
    let fields: Vec<_> = fields.map(|field| if is_text { zones::as_text(field) } else { field }).collect();
    for (i, field) in fields.iter().enumerate() {
        let name = field.name();
        ensure!(
            fields[..i].iter().all(|other| other.name() != name),
            "column '{name}': expected names that differ, of --keep, of what the model yields and 'error', found it twice"
        );
        let is_nested = field.data_type().is_nested();
        ensure!(
            output.format != Format::Csv || !is_nested,
            "column '{name}': expected one of parquet, arrow and jsonl for columns of lists, found csv"
        );
        if let Some(zone) = zones::within(field.data_type()).filter(|_| is_text) {
            let format = output.format.name();
            bail!("column '{name}': expected one of parquet and arrow for times of zone '{zone}' within others, found {format}");
        }
    }
    Ok(Schema::new(fields))
}

/// Scores what is left, and writes it.
fn score(arguments: &Arguments, model: &Model, input: &Input, scorer: &Scorer, parts: &mut Parts<'_>) -> Result<()> {
    let progress = Progress::on_terminal();
    let done = parts.work.done().rows;
    progress.start_at_rate("images", done, input.count());
    let result = input.with_chunks(done, scorer.batch(), |chunks| {
        let make = |chunk: Result<Chunk>| scorer.score(chunk?);
        ssl_cli::in_order(arguments.threads(), chunks, make, |scored: Result<Scored>| {
            let scored = scored?;
            progress.advance_by(scored.rows() as u64);
            parts.write(model, scored)
        })
    });
    progress.finish();
    result?;
    parts.end(model)
}

/// Reads all rows of a dataset, as the tool does, and scores none: for tests and fuzzing. Yields how many there are, and of how many of them
/// there is something to decode.
///
/// # Errors
/// As the tool has them.
pub fn read(dataset: &Path) -> Result<[u64; 2]> {
    /// As many rows a chunk as a small batch has.
    const ROWS: usize = 8;
    let (input, mut rows, mut sound) = (Input::open(dataset, None, &[])?, 0, 0);
    input.with_chunks(0, ROWS, |chunks| {
        for chunk in chunks {
            let images = chunk?.images;
            rows += images.len() as u64;
            sound += (0..images.len()).filter(|&row| images.is_sound(row)).count() as u64;
        }
        Ok(())
    })?;
    Ok([rows, sound])
}

/// Results on their way into files of so many rows.
struct Parts<'a> {
    output: &'a Output,
    schema: Arc<Schema>,
    part_rows: u64,
    work: &'a mut Work,
    /// The part that is being written, how many rows it has, and how many of them are errors.
    part: Option<(Part, u64, u64)>,
}

impl Parts<'_> {
    fn write(&mut self, model: &Model, Scored { columns, failed }: Scored) -> Result<()> {
        let (part, rows, failed_before) = match &mut self.part {
            Some(part) => part,
            none => none.insert((Part::begin(self.output, self.work.done().parts, &self.schema)?, 0, 0)),
        };
        *rows += columns.first().map_or(0, |column| column.len()) as u64;
        *failed_before += failed;
        part.write(columns)?;
        // Chunks are whole batches, of which a part has so many, but for the last.
        if *rows >= self.part_rows { self.close(model) } else { Ok(()) }
    }

    fn close(&mut self, model: &Model) -> Result<()> {
        let Some((part, rows, failed)) = self.part.take() else { return Ok(()) };
        model.ensure_unchanged()?;
        let mark = part.end()?;
        let done = self.work.done().clone();
        self.work.mark(done.parts, mark)?;
        self.work.note(Done { parts: done.parts + 1, rows: done.rows + rows, failed: done.failed + failed, ..done })
    }

    /// Closes the last part. An output without rows has one all the same: its columns are known.
    fn end(&mut self, model: &Model) -> Result<()> {
        if self.part.is_none() && self.work.done().parts == 0 {
            self.part = Some((Part::begin(self.output, 0, &self.schema)?, 0, 0));
        }
        self.close(model)?;
        self.work.note(Done { complete: true, ..self.work.done().clone() })
    }
}

fn report(arguments: &Arguments, before: &Done, done: &Done, start: Instant) -> Result<()> {
    let (rows, seconds) = (done.rows - before.rows, start.elapsed().as_secs_f64());
    let output = arguments.output.display();
    let mut said = if before.rows > 0 { format!("{} images were done before", thousands(before.rows)) } else { String::new() };
    if !before.complete {
        let rate = if rows > 0 { format!(" ({} a second)", thousands((rows as f64 / seconds) as u64)) } else { String::new() };
        said += if said.is_empty() { "" } else { ", then " };
        said += &format!("{} images in {}{rate}", thousands(rows), ssl_cli::time(seconds));
    }
    writeln!(ssl_cli::stdout(), "{said} -> {output}")?;
    if done.failed > 0 {
        let (failed, all) = (thousands(done.failed), thousands(done.rows));
        bail!(CheckFailed(format!("{failed} of {all} images could not be scored: the column 'error' of {output} says why")));
    }
    Ok(())
}
