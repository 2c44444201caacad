//! One part of an output: a file of so many rows that appears when it is complete.

use crate::format::{Format, Output};
use crate::marks::{Mark, Marked};
use crate::zones;
use anyhow::{Context, Result};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_csv::WriterBuilder as CsvBuilder;
use arrow_ipc::writer::FileWriter;
use arrow_json::writer::{LineDelimited, WriterBuilder as JsonBuilder};
use arrow_schema::Schema;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

/// A row group of Parquet that has so many bytes is written: it is in memory until then.
const ROW_GROUP_BYTES: usize = 64 << 20;

type File = BufWriter<Marked>;

/// What writes a format.
enum Writer {
    Parquet(Box<ArrowWriter<File>>),
    Arrow(Box<FileWriter<File>>),
    Jsonl(Box<arrow_json::Writer<File, LineDelimited>>),
    Csv(Box<arrow_csv::Writer<File>>),
}

/// A part that is being written.
pub(crate) struct Part {
    schema: Arc<Schema>,
    writer: Writer,
}

impl Part {
    /// The part of this index. Parts that become one table of CSV have one line of headings together.
    pub(crate) fn begin(output: &Output, index: u64, schema: &Arc<Schema>) -> Result<Self> {
        Self::at(&output.part(index), output.format, schema, index == 0 || !output.is_one_file())
    }

    /// A file of rows.
    pub(crate) fn at(path: &Path, format: Format, schema: &Arc<Schema>, has_headings: bool) -> Result<Self> {
        let file = Marked::beside(path)?;
        let writer = match format {
            Format::Parquet => {
                let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
                Writer::Parquet(Box::new(ArrowWriter::try_new(file, Arc::clone(schema), Some(properties))?))
            }
            Format::Arrow => Writer::Arrow(Box::new(FileWriter::try_new(file, schema)?)),
            Format::Jsonl => Writer::Jsonl(Box::new(JsonBuilder::new().with_explicit_nulls(true).build(file))),
            Format::Csv => Writer::Csv(Box::new(CsvBuilder::new().with_header(has_headings).build(file))),
        };
        let mut part = Part { schema: Arc::clone(schema), writer };
        // Headings are written with the first rows, of which there may be none.
        part.write_rows(&RecordBatch::new_empty(Arc::clone(schema)))?;
        Ok(part)
    }

    /// Writes rows, of which these are the columns.
    pub(crate) fn write(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let columns = columns.into_iter().zip(self.schema.fields()).map(|(column, field)| zones::column(column, field));
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns).context("columns of results")?;
        self.write_rows(&rows)
    }

    pub(crate) fn write_rows(&mut self, rows: &RecordBatch) -> Result<()> {
        match &mut self.writer {
            Writer::Parquet(writer) => {
                writer.write(rows)?;
                if writer.in_progress_size() >= ROW_GROUP_BYTES {
                    writer.flush()?;
                }
            }
            // A batch of none would be one more for readers.
            Writer::Arrow(_) if rows.num_rows() == 0 => {}
            Writer::Arrow(writer) => writer.write(rows)?,
            Writer::Jsonl(writer) => writer.write(rows)?,
            Writer::Csv(writer) => writer.write(rows)?,
        }
        Ok(())
    }

    /// Puts the part in place, when all of it lies on the disk.
    pub(crate) fn end(self) -> Result<Mark> {
        let file = match self.writer {
            Writer::Parquet(writer) => writer.into_inner()?,
            Writer::Arrow(writer) => writer.into_inner()?,
            Writer::Jsonl(mut writer) => {
                writer.finish()?;
                writer.into_inner()
            }
            Writer::Csv(writer) => writer.into_inner(),
        };
        put(file)
    }
}

/// Puts a file in place, when all of it lies on the disk.
pub(crate) fn put(file: File) -> Result<Mark> {
    file.into_inner().map_err(std::io::IntoInnerError::into_error)?.put()
}
