//! Where images come from: a folder, a tar file or a table, all of which yield chunks of so many rows, from any row on.

mod archive;
mod claims;
mod folder;
mod guarded;
mod headers;
mod large;
mod table;
mod tar;

use anyhow::{Context, Result, bail, ensure};
use arrow_array::ArrayRef;
use arrow_schema::{DataType, Field};
use folder::Folder;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use table::{Kind, Table};
use tar::Tar;

pub(crate) use table::Column;
use tar::Content;

/// Rows of an input.
pub(crate) struct Chunk {
    /// What names each of them in the output: a column for each of [`Input::key_fields`].
    pub(crate) keys: Vec<ArrayRef>,
    pub(crate) images: Images,
}

/// The images of a chunk.
pub(crate) enum Images {
    /// Files, which are read where they are decoded, or why one is not.
    Files(Vec<Result<PathBuf, String>>),
    /// What files hold, or why one is not read.
    Bytes(Vec<Result<Content, String>>),
    Column(Column),
}

impl Images {
    pub(crate) fn len(&self) -> usize {
        match self {
            Images::Files(files) => files.len(),
            Images::Bytes(files) => files.len(),
            Images::Column(column) => column.len(),
        }
    }

    /// Whether there is something to decode, or elements.
    pub(crate) fn is_sound(&self, row: usize) -> bool {
        match self {
            Images::Files(files) => files[row].is_ok(),
            Images::Bytes(files) => files[row].is_ok(),
            Images::Column(column) => column.is_sound(row),
        }
    }
}

/// Chunks, as they are read.
pub(crate) type Chunks<'a> = &'a mut dyn Iterator<Item = Result<Chunk>>;

/// Where images come from.
pub(crate) enum Input {
    Folder(Folder),
    Tar(Tar),
    Table(Table),
}

impl Input {
    /// The input at this path, by what is there; `column` and `keep` are for tables.
    pub(crate) fn open(path: &Path, column: Option<&str>, keep: &[String]) -> Result<Self> {
        let input = if path == Path::new("-") {
            Input::Tar(Tar { path: None })
        } else if path.is_dir() {
            Input::Folder(Folder::open(path)?)
        } else {
            let cannot_read = || format!("cannot read {}", path.display());
            let mut start = Vec::new();
            File::open(path).and_then(|file| file.take(512).read_to_end(&mut start)).with_context(cannot_read)?;
            match kind(&start) {
                Some(kind) => Input::Table(Table::open(path, kind, column, keep)?),
                None if is_tar(&start) => Input::Tar(Tar { path: Some(path.to_owned()) }),
                None => bail!(
                    "{}: expected a folder of images, a tar file that is not compressed, a Parquet or an Arrow file, found another kind",
                    path.display()
                ),
            }
        };
        let is_table = matches!(input, Input::Table(_));
        ensure!(is_table || keep.is_empty() && column.is_none(), "--keep, --column: expected a table, found {}", path.display());
        Ok(input)
    }

    /// What is left out of it, if anything is.
    pub(crate) fn left_out(&self) -> Option<String> {
        if let Input::Folder(folder) = self { folder.hidden.said() } else { None }
    }

    /// What columns name a row.
    pub(crate) fn key_fields(&self) -> Vec<Field> {
        match self {
            Input::Folder(_) | Input::Tar(_) => vec![Field::new("key", DataType::Utf8, false)],
            Input::Table(table) => table.key_fields(),
        }
    }

    /// The name of the column of images.
    pub(crate) fn column(&self) -> Option<&str> {
        if let Input::Table(table) = self { Some(table.column()) } else { None }
    }

    /// The shape of one image, if it is a tensor and its column says so; `None` inside if it says only how many elements it has.
    pub(crate) fn tensors(&self) -> Option<Option<&[usize]>> {
        if let Input::Table(table) = self { table.tensors() } else { None }
    }

    /// How many rows there are, where that is known beforehand.
    pub(crate) fn count(&self) -> Option<u64> {
        match self {
            Input::Folder(folder) => Some(folder.count),
            Input::Tar(_) => None,
            Input::Table(table) => table.count(),
        }
    }

    /// Whether it can be read once more from its beginning.
    pub(crate) fn is_repeatable(&self) -> bool {
        match self {
            Input::Tar(tar) => tar.path.is_some(),
            Input::Folder(_) | Input::Table(_) => true,
        }
    }

    /// By what a run knows the input of another one.
    pub(crate) fn identity(&self) -> Result<Value> {
        match self {
            Input::Folder(folder) => Ok(json!({ "images": folder.count, "checksum": folder.checksum })),
            Input::Tar(Tar { path }) => of_file(path.as_deref()),
            Input::Table(table) => of_file(Some(&table.path)),
        }
    }

    /// Reads all rows from `skip` on in chunks of `rows`, of which the last may have fewer. The first error is the last that there is: what
    /// is read from then may be in any state.
    pub(crate) fn with_chunks(&self, skip: u64, rows: usize, run: impl FnOnce(Chunks<'_>) -> Result<()>) -> Result<()> {
        let run = |chunks: Chunks<'_>| {
            let mut is_over = false;
            let next = || {
                let chunk = if is_over { None } else { chunks.next() };
                is_over = chunk.as_ref().is_none_or(Result::is_err);
                chunk
            };
            run(&mut std::iter::from_fn(next))
        };
        match self {
            Input::Folder(folder) => run(&mut folder.chunks(skip, rows)),
            Input::Tar(tar) => tar.with_chunks(skip, rows, run),
            Input::Table(table) => run(&mut table.chunks(skip, rows)?),
        }
    }
}

/// The kind of table that begins like this.
fn kind(start: &[u8]) -> Option<Kind> {
    let kinds: [(&[u8], Kind); 3] = [(b"PAR1", Kind::Parquet), (b"ARROW1", Kind::File), (b"\xff\xff\xff\xff", Kind::Stream)];
    kinds.into_iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, kind)| kind)
}

/// Whether a file begins like a tar file, or is an empty one.
fn is_tar(start: &[u8]) -> bool {
    start.get(257..262) == Some(b"ustar") || start.len() == 512 && start.iter().all(|&byte| byte == 0)
}

/// The length of a file, and the checksum of its ends and of places between: all of it would take as long to read as the work itself.
fn of_file(path: Option<&Path>) -> Result<Value> {
    const PLACES: u64 = 64;
    const BYTES: u64 = 1 << 16;
    let Some(path) = path else { return Ok(json!("standard input")) };
    let read = || -> std::io::Result<Value> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut checksum = crc32fast::Hasher::new();
        for place in 0..PLACES {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(len.saturating_sub(BYTES) / (PLACES - 1) * place))?;
            (&mut file).take(BYTES).read_to_end(&mut bytes)?;
            checksum.update(&bytes);
        }
        file.seek(SeekFrom::Start(len.saturating_sub(BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        checksum.update(&bytes);
        Ok(json!({ "bytes": len, "checksum": checksum.finalize() }))
    };
    read().with_context(|| format!("cannot read {}", path.display()))
}
