//! Where results go, and in which format, by the name of the output.

use anyhow::{Result, ensure};
use clap::ValueEnum;
use std::path::{Path, PathBuf, is_separator};

/// A format of files of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns, compressed with Snappy
    Parquet,
    /// A file of Arrow's inter-process format
    Arrow,
    /// A JSON object on a line of its own for each image
    Jsonl,
    /// A table of comma-separated values
    Csv,
}

impl Format {
    /// Its name, which is how names of its files end, too.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Parquet => "parquet",
            Format::Arrow => "arrow",
            Format::Jsonl => "jsonl",
            Format::Csv => "csv",
        }
    }

    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?;
        Self::value_variants().iter().copied().find(|format| extension.eq_ignore_ascii_case(format.name()))
    }
}

/// Where results go.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// Where the parts lie, and what is noted of them.
    pub(crate) folder: PathBuf,
    pub(crate) format: Format,
    /// The one file that all parts become.
    pub(crate) file: Option<PathBuf>,
}

impl Output {
    /// What this path stands for: a file by its extension, or a folder; a folder that is named as a file has to be meant.
    pub(crate) fn of(path: &Path, format: Option<Format>) -> Result<Self> {
        let is_meant = format.is_some() || path.to_string_lossy().ends_with(is_separator);
        if let Some(found) = Format::of(path).filter(|_| path.is_dir() && !is_meant) {
            let (path, name) = (path.display(), found.name());
            anyhow::bail!("--output {path}: expected a file, found a folder (--format {name} writes such files into it)");
        }
        let is_folder = path.is_dir() || path.to_string_lossy().ends_with(is_separator) || path.extension().is_none();
        if is_folder {
            let format = format.unwrap_or(Format::Parquet);
            return Ok(Output { folder: path.to_owned(), format, file: None });
        }
        let expected = "expected a folder, or a file named .parquet, .arrow, .jsonl or .csv";
        let by_name = Format::of(path);
        let Some(found) = by_name else { anyhow::bail!("--output {}: {expected}", path.display()) };
        ensure!(format.is_none_or(|format| format == found), "--format: expected none, as --output {} says it", path.display());
        // It has to be one that can be replaced, before hours of work.
        drop(ssl_cli::file_beside(path)?);
        let mut folder = path.as_os_str().to_owned();
        folder.push(".parts");
        Ok(Output { folder: folder.into(), format: found, file: Some(path.to_owned()) })
    }

    pub(crate) fn is_one_file(&self) -> bool {
        self.file.is_some()
    }

    /// Where a part lies.
    pub(crate) fn part(&self, index: u64) -> PathBuf {
        self.folder.join(format!("part-{index:05}.{}", self.format.name()))
    }
}
