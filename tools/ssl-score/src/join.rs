//! All parts of an output as one file. They stay until it is in place, so a run that is ended meanwhile joins them again. A part that is
//! not what was noted of it becomes a part of nothing.

use crate::format::{Format, Output};
use crate::marks::{Mark, Marked};
use crate::parts::{Part, put};
use anyhow::{Context, Result};
use arrow_array::RecordBatchReader;
use arrow_ipc::reader::FileReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Rows that are read at once.
const ROWS: usize = 8192;

/// Puts the file in place that all parts become, which have these marks; nothing to do for an output that is a folder.
pub(crate) fn into_one(output: &Output, marks: &[Mark]) -> Result<()> {
    let Some(path) = &output.file else { return Ok(()) };
    let format = output.format;
    let parts = (0..).map(|index| output.part(index)).zip(marks).map(|(part, mark)| mark.ensure_bytes(&part).map(|()| part));
    match format {
        // Their rows are lines.
        Format::Csv | Format::Jsonl => {
            let mut file = Marked::beside(path)?;
            for part in parts {
                let part = part?;
                let lines = File::open(&part).with_context(|| part.display().to_string())?;
                std::io::copy(&mut BufReader::new(lines), &mut file).with_context(|| part.display().to_string())?;
            }
            put(file)?;
            Ok(())
        }
        Format::Arrow | Format::Parquet => {
            let mut whole: Option<Part> = None;
            for part in parts {
                let part = part?;
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
            whole.map(Part::end).transpose()?;
            Ok(())
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
