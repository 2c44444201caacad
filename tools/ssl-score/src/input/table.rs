//! Tables with a column of images: Parquet, and Arrow's file and stream. Only the columns that are wanted are read.

use crate::input::claims::{ensure_blocks, ensure_messages};
use crate::input::guarded::guarded;
use crate::input::headers::{ensure_footer, ensure_pages};
use crate::input::large::CHUNK_BYTES;
use crate::input::{Chunk, Images};
use anyhow::{Context, Result, bail, ensure};
use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow_cast::cast;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use serde::Deserialize;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A kind of table.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Parquet,
    /// Arrow's file.
    File,
    /// Arrow's stream.
    Stream,
}

/// A table with a column of images.
pub(crate) struct Table {
    pub(crate) path: PathBuf,
    kind: Kind,
    /// The columns of the file.
    schema: SchemaRef,
    count: Option<u64>,
    /// The index of the column of images.
    column: usize,
    /// The shape of an image that is a tensor, if the column says it.
    shape: Option<Vec<usize>>,
    /// The indices of the columns that are kept.
    keep: Vec<usize>,
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>;

impl Table {
    pub(crate) fn open(path: &Path, kind: Kind, column: Option<&str>, keep: &[String]) -> Result<Self> {
        let path = path.to_owned();
        let mut table =
            Table { path, kind, schema: Schema::empty().into(), count: None, column: 0, shape: None, keep: Vec::new() };
        guarded(|| table.look()).with_context(|| table.name())?;
        let found = |name: &str| {
            let names = || table.schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join("', '");
            let mut places = (0..table.schema.fields().len()).filter(|&i| table.schema.field(i).name() == name);
            let first =
                places.next().with_context(|| format!("{}: expected a column '{name}', found '{}'", table.name(), names()))?;
            ensure!(places.next().is_none(), "{}: expected one column '{name}', found several", table.name());
            Ok(first)
        };
        for (i, name) in keep.iter().enumerate() {
            ensure!(!keep[..i].contains(name), "--keep {name}: expected each name once, found it twice");
        }
        let keep = keep.iter().map(|name| found(name)).collect::<Result<_>>()?;
        let column = match column {
            Some(name) => found(name)?,
            None => table.only_images()?,
        };
        let field = table.schema.field(column);
        ensure!(
            is_encoded(field.data_type()) || is_tensor(field.data_type()),
            "{}: column '{}': expected binary (encoded images) or a list of float32 (tensors), found {}",
            table.name(),
            field.name(),
            field.data_type()
        );
        // Rows without a byte would cost nothing to state.
        let has_elements = !matches!(field.data_type(), DataType::FixedSizeList(_, 0));
        ensure!(has_elements, "{}: column '{}': expected tensors with elements, found lists of none", table.name(), field.name());
        let shape = tensor_shape(field).with_context(|| format!("{}: column '{}'", table.name(), field.name()))?;
        Ok(Table { keep, column, shape, ..table })
    }

    pub(crate) fn count(&self) -> Option<u64> {
        self.count
    }

    pub(crate) fn column(&self) -> &str {
        self.schema.field(self.column).name()
    }

    pub(crate) fn tensors(&self) -> Option<Option<&[usize]>> {
        is_tensor(self.schema.field(self.column).data_type()).then_some(self.shape.as_deref())
    }

    /// The columns that are kept; without any, the index of the row. What is stored once for many rows is written out.
    pub(crate) fn key_fields(&self) -> Vec<Field> {
        if self.keep.is_empty() {
            return vec![Field::new("row", DataType::Int64, false)];
        }
        let plain = |&index: &usize| {
            let field = self.schema.field(index);
            match field.data_type() {
                DataType::Dictionary(_, values) => Field::new(field.name(), (**values).clone(), field.is_nullable()),
                _ => field.clone(),
            }
        };
        self.keep.iter().map(plain).collect()
    }

    /// What messages call it.
    fn name(&self) -> String {
        let kind = if self.kind == Kind::Parquet { "Parquet file" } else { "Arrow file" };
        format!("{} ({kind})", self.path.display())
    }

    /// Learns which columns there are, and how many rows where that is known.
    fn look(&mut self) -> Result<()> {
        let file = self.file()?;
        match self.kind {
            Kind::Parquet => {
                ensure_footer(&file)?;
                let builder = ParquetRecordBatchReaderBuilder::try_new(self.file()?)?;
                self.schema = Arc::clone(builder.schema());
                let groups = builder.metadata().row_groups().iter();
                for compression in groups.flat_map(|group| group.columns()).map(|column| column.compression()) {
                    let is_known = matches!(
                        compression,
                        Compression::UNCOMPRESSED
                            | Compression::SNAPPY
                            | Compression::GZIP(_)
                            | Compression::LZ4
                            | Compression::LZ4_RAW
                    );
                    ensure!(
                        is_known,
                        "expected columns that are compressed by Snappy, gzip or LZ4, or not at all, found {compression}"
                    );
                }
                ensure_pages(&file, builder.metadata())?;
                self.count = u64::try_from(builder.metadata().file_metadata().num_rows()).ok();
            }
            Kind::File => {
                ensure_blocks(&file)?;
                self.schema = FileReader::try_new_buffered(file, None)?.schema();
            }
            Kind::Stream => {
                ensure_messages(&file)?;
                self.schema = StreamReader::try_new_buffered(file, None)?.schema();
            }
        }
        Ok(())
    }

    fn file(&self) -> Result<File> {
        File::open(&self.path).context("cannot read")
    }

    /// The index of the only column that can hold images.
    fn only_images(&self) -> Result<usize> {
        let fields = self.schema.fields().iter().enumerate();
        let can: Vec<usize> =
            fields.filter(|(_, f)| is_encoded(f.data_type()) || is_tensor(f.data_type())).map(|(i, _)| i).collect();
        let names = || can.iter().map(|&i| format!("'{}'", self.schema.field(i).name())).collect::<Vec<_>>().join(", ");
        match can[..] {
            [only] => Ok(only),
            [] => bail!("{}: expected a column of images (binary, or lists of float32), found none", self.name()),
            _ => bail!("{}: expected --column with one of the columns of images: {}", self.name(), names()),
        }
    }

    /// The columns that are read, in the file's order.
    fn read(&self) -> Vec<usize> {
        let mut columns: Vec<usize> = self.keep.iter().copied().chain([self.column]).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    fn batches(&self, skip: u64, rows: usize) -> Result<(Batches, u64)> {
        let (file, columns) = (self.file()?, self.read());
        Ok(match self.kind {
            Kind::Parquet => {
                let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
                let mask = ProjectionMask::roots(builder.parquet_schema(), columns);
                let skip = usize::try_from(skip).context("too many rows")?;
                let rows = rows_of_chunk(builder.metadata(), &mask).clamp(1, rows);
                (Box::new(builder.with_projection(mask).with_batch_size(rows).with_offset(skip).build()?), 0)
            }
            Kind::File => (Box::new(FileReader::try_new_buffered(file, Some(columns))?), skip),
            Kind::Stream => (Box::new(StreamReader::try_new_buffered(file, Some(columns))?), skip),
        })
    }

    /// Its rows from one on, in chunks.
    pub(crate) fn chunks(&self, skip: u64, rows: usize) -> Result<impl Iterator<Item = Result<Chunk>>> {
        let (batches, left) = guarded(|| self.batches(skip, rows)).with_context(|| self.name())?;
        let pending = Vec::new();
        let rechunked =
            Rechunked { batches, pending, rows: 0, skip: left, wanted: rows, taken: 0, max_bytes: CHUNK_BYTES as usize };
        let mut next_row = skip as i64;
        Ok(rechunked.map(move |batch| self.chunk(batch?, &mut next_row)).map(|chunk| chunk.with_context(|| self.name())))
    }

    fn chunk(&self, batch: RecordBatch, next_row: &mut i64) -> Result<Chunk> {
        let column = |index: usize| -> Result<&ArrayRef> {
            let at = self.read().binary_search(&index).ok().context("a column that is read")?;
            Ok(batch.column(at))
        };
        let rows = batch.num_rows() as i64;
        let keys = if self.keep.is_empty() {
            vec![Arc::new(Int64Array::from_iter_values(*next_row..*next_row + rows)) as ArrayRef]
        } else {
            let fields = self.key_fields();
            let plain = |(&index, field): (&usize, &Field)| Ok(cast(column(index)?, field.data_type())?);
            self.keep.iter().zip(&fields).map(plain).collect::<Result<_>>()?
        };
        *next_row += rows;
        Ok(Chunk { keys, images: Images::Column(Column(Arc::clone(column(self.column)?))) })
    }
}

/// How many rows of a Parquet file take as many bytes as a chunk may have, by what the file says of its largest rows.
fn rows_of_chunk(metadata: &ParquetMetaData, mask: &ProjectionMask) -> usize {
    let of_group = |group: &RowGroupMetaData| {
        let columns = group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
        let bytes: u64 = columns.map(|(_, column)| u64::try_from(column.uncompressed_size()).unwrap_or(0)).sum();
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        CHUNK_BYTES.saturating_mul(rows).checked_div(bytes).unwrap_or(u64::MAX)
    };
    let least = metadata.row_groups().iter().map(of_group).min();
    least.and_then(|rows| usize::try_from(rows).ok()).unwrap_or(usize::MAX)
}

/// Record batches of any size as chunks of so many rows, or fewer if these are large; the next chunk then ends where this one would have.
/// Rows are copied only where a chunk lies in several batches.
struct Rechunked {
    batches: Batches,
    pending: Vec<RecordBatch>,
    /// How many are pending.
    rows: usize,
    /// How many are to be passed over.
    skip: u64,
    wanted: usize,
    /// How many were yielded.
    taken: usize,
    /// No batch is added to those pending while they have so many bytes.
    max_bytes: usize,
}

impl Rechunked {
    fn next_chunk(&mut self) -> Result<Option<RecordBatch>> {
        let wanted = self.wanted - self.taken % self.wanted;
        let bytes = |pending: &[RecordBatch]| pending.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
        while self.rows == 0 || self.rows < wanted && bytes(&self.pending) < self.max_bytes {
            let Some(batch) = guarded(|| Ok(self.batches.next().transpose()?))? else { break };
            let skipped = batch.num_rows().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.skip -= skipped as u64;
            let batch = batch.slice(skipped, batch.num_rows() - skipped);
            if batch.num_rows() > 0 {
                self.rows += batch.num_rows();
                self.pending.push(batch);
            }
        }
        let (mut parts, mut missing) = (Vec::new(), wanted.min(self.rows));
        self.taken += missing;
        while missing > 0 {
            let batch = self.pending.remove(0);
            let taken = batch.num_rows().min(missing);
            if taken < batch.num_rows() {
                self.pending.insert(0, batch.slice(taken, batch.num_rows() - taken));
            }
            parts.push(batch.slice(0, taken));
            (missing, self.rows) = (missing - taken, self.rows - taken);
        }
        match &parts[..] {
            [] => Ok(None),
            [_] => Ok(parts.pop()),
            [first, ..] => Ok(Some(concat_batches(&first.schema(), &parts)?)),
        }
    }
}

impl Iterator for Rechunked {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_chunk().transpose()
    }
}

/// Whether a column can hold encoded images: bytes, or a structure with a field of these, as libraries of datasets have it.
fn is_encoded(of: &DataType) -> bool {
    match of {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        DataType::Struct(fields) => fields.iter().any(|field| field.name() == "bytes" && is_encoded(field.data_type())),
        _ => false,
    }
}

/// Whether a column can hold tensors.
fn is_tensor(of: &DataType) -> bool {
    match of {
        DataType::FixedSizeList(item, _) | DataType::List(item) | DataType::LargeList(item) => {
            *item.data_type() == DataType::Float32
        }
        _ => false,
    }
}

/// What a column of tensors of a fixed shape says of them.
#[derive(Deserialize)]
struct TensorShape {
    shape: Vec<usize>,
    permutation: Option<Vec<usize>>,
}

/// The shape that a column of tensors says all of them have.
fn tensor_shape(field: &Field) -> Result<Option<Vec<usize>>> {
    if field.extension_type_name() != Some("arrow.fixed_shape_tensor") {
        return Ok(None);
    }
    let said = field.extension_type_metadata().unwrap_or_default();
    let TensorShape { shape, permutation } = serde_json::from_str(said).context("expected the shape of its tensors")?;
    let is_in_order = permutation.is_none_or(|order| order.iter().enumerate().all(|(i, &axis)| i == axis));
    ensure!(is_in_order, "expected tensors whose axes lie in order, found a permutation");
    let size = shape.iter().try_fold(1usize, |size, &extent| size.checked_mul(extent));
    let found = if let DataType::FixedSizeList(_, size) = field.data_type() { usize::try_from(*size).ok() } else { size };
    ensure!(size.is_some() && size == found, "expected lists of as many elements as tensors of {shape:?} have, found others");
    Ok(Some(shape))
}

/// Rows of a column of images.
pub(crate) struct Column(ArrayRef);

impl Column {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The bytes of an encoded image.
    pub(crate) fn bytes(&self, row: usize) -> Result<&[u8]> {
        let array = match self.0.as_struct_opt() {
            Some(fields) if fields.is_valid(row) => fields.column_by_name("bytes").context("a field 'bytes'")?,
            _ => &self.0,
        };
        ensure!(array.is_valid(row), "expected an image, found null");
        Ok(match array.data_type() {
            DataType::Binary => array.as_binary::<i32>().value(row),
            DataType::LargeBinary => array.as_binary::<i64>().value(row),
            DataType::BinaryView => array.as_binary_view().value(row),
            other => bail!("expected binary, found {other}"),
        })
    }

    /// Whether there is an encoded image, or a tensor.
    pub(crate) fn is_sound(&self, row: usize) -> bool {
        match self.0.data_type() {
            DataType::FixedSizeList(..) | DataType::List(_) | DataType::LargeList(_) => self.elements(row).is_ok(),
            _ => self.bytes(row).is_ok(),
        }
    }

    /// The elements of a tensor.
    pub(crate) fn elements(&self, row: usize) -> Result<Vec<f32>> {
        ensure!(self.0.is_valid(row), "expected a tensor, found null");
        let items = match self.0.data_type() {
            DataType::FixedSizeList(..) => self.0.as_fixed_size_list().value(row),
            DataType::List(_) => self.0.as_list::<i32>().value(row),
            _ => self.0.as_list::<i64>().value(row),
        };
        ensure!(items.null_count() == 0, "expected elements, found null");
        Ok(items.as_primitive::<Float32Type>().values().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::BinaryArray;

    /// Rows of so many bytes each, in batches of so many rows.
    fn batches(rows: usize, row: usize, of_batch: usize) -> Batches {
        let schema = Arc::new(Schema::new(vec![Field::new("image", DataType::Binary, false)]));
        let batch = move |first: usize| {
            let rows = (first..rows.min(first + of_batch)).map(|i| vec![i as u8; row]);
            let column = Arc::new(BinaryArray::from_iter_values(rows)) as ArrayRef;
            RecordBatch::try_new(Arc::clone(&schema), vec![column])
        };
        Box::new((0..rows).step_by(of_batch).map(batch))
    }

    #[test]
    fn chunks_of_large_rows_are_shorter_and_end_where_others_do() {
        for (row, of_batch, expected) in [
            (10, 3, vec![8, 8, 4]),
            (10, 100, vec![8, 8, 4]),
            // Three rows are as many bytes as fit.
            (40_000, 1, vec![3, 3, 2, 3, 3, 2, 3, 1]),
            // What the file has as one batch is there at once.
            (40_000, 20, vec![8, 8, 4]),
            (400_000, 1, vec![1; 20]),
        ] {
            let batches = batches(20, row, of_batch);
            let chunks = Rechunked { batches, pending: Vec::new(), rows: 0, skip: 0, wanted: 8, taken: 0, max_bytes: 120_000 };
            let chunks: Vec<RecordBatch> = chunks.map(|chunk| chunk.expect("sound batches")).collect();
            let lens: Vec<usize> = chunks.iter().map(RecordBatch::num_rows).collect();
            assert_eq!(lens, expected, "{row} {of_batch}");
            let firsts =
                chunks.iter().flat_map(|chunk| chunk.column(0).as_binary::<i32>().iter().flatten().map(|image| image[0]));
            assert!(firsts.eq(0..20), "{row} {of_batch}: in order");
        }
    }
}
