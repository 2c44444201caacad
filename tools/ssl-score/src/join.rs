//! All parts of an output as one file. They stay until it is in place, so a run that is ended meanwhile joins them again.

use crate::format::{Format, Output};
use crate::parts::{Part, put};
use anyhow::{Context, Result};
use arrow_array::RecordBatchReader;
use arrow_ipc::reader::FileReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

/// Rows that are read at once.
const ROWS: usize = 8192;

/// Puts the file in place that all parts become; nothing to do for an output that is a folder.
pub(crate) fn into_one(output: &Output, parts: u64) -> Result<()> {
    let Some(path) = &output.file else { return Ok(()) };
    let format = output.format;
    match format {
        // Their rows are lines.
        Format::Csv | Format::Jsonl => {
            let mut file = BufWriter::new(ssl_cli::file_beside(path)?);
            for part in (0..parts).map(|index| output.part(index)) {
                let lines = File::open(&part).with_context(|| part.display().to_string())?;
                std::io::copy(&mut BufReader::new(lines), &mut file).with_context(|| part.display().to_string())?;
            }
            put(file)
        }
        Format::Arrow | Format::Parquet => {
            let mut whole: Option<Part> = None;
            for part in (0..parts).map(|index| output.part(index)) {
                let mut add = || {
                    let rows = rows(&part, format)?;
                    let schema = rows.schema();
                    let whole = match &mut whole {
                        Some(whole) => whole,
                        none => none.insert(Part::at(path, format, &schema, true)?),
                    };
                    rows.into_iter().try_for_each(|rows| whole.write_rows(&rows?))
                };
                add().with_context(|| part.display().to_string())?;
            }
            whole.map_or(Ok(()), Part::end)
        }
    }
}

fn rows(part: &Path, format: Format) -> Result<Box<dyn RecordBatchReader>> {
    let file = File::open(part)?;
    Ok(match format {
        Format::Parquet => Box::new(ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(ROWS).build()?),
        _ => Box::new(FileReader::try_new_buffered(file, None)?),
    })
}
