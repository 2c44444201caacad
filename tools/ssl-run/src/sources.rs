//! Which images the command line names: files, all images below folders, what patterns match that no shell has expanded, and standard
//! input.

use crate::pattern::{is_pattern, matching};
use anyhow::{Context, Result, bail, ensure};
use ssl_images::{Layout, bytes_of, images_below, not_utf8, open_found};
use sslm::{Dim, Preprocessing};
use std::fmt;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One image.
#[derive(Clone)]
pub(crate) struct Source {
    /// `-` for standard input.
    pub(crate) path: PathBuf,
    /// What standard input held.
    piped: Option<Arc<[u8]>>,
    /// Whether it is of a folder or a pattern, and has to be a file: who names a pipe wants it to be read.
    is_found: bool,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl Source {
    /// How many bytes the image has; 0 where that cannot be known.
    pub(crate) fn len(&self) -> u64 {
        match &self.piped {
            Some(bytes) => bytes.len() as u64,
            None => self.path.metadata().map_or(0, |metadata| metadata.len()),
        }
    }

    /// Refuses a name that is no text, for results whose readers join them by names.
    pub(crate) fn ensure_text(&self) -> Result<()> {
        let name = self.path.as_os_str();
        ensure!(name.to_str().is_some(), "{self}: {}", not_utf8(name.as_encoded_bytes()));
        Ok(())
    }

    /// Decodes the image and makes an input of it: its shape and elements.
    pub(crate) fn load(&self, rule: &Preprocessing, dims: &[Dim], layout: Layout) -> Result<(Vec<usize>, Vec<f32>)> {
        match &self.piped {
            Some(bytes) => ssl_images::read(Cursor::new(bytes), rule, dims, layout).context("standard input"),
            None if self.is_found => {
                let read = |file| ssl_images::read(file, rule, dims, layout);
                open_found(&self.path).and_then(read).with_context(|| self.to_string())
            }
            None => ssl_images::load(&self.path, rule, dims, layout),
        }
    }
}

/// All images that these arguments name, in their order. A file that is not there is one, and an error when it is its turn.
pub(crate) fn all(arguments: &[PathBuf]) -> Result<Vec<Source>> {
    let mut sources: Vec<Source> = Vec::new();
    for path in arguments {
        if path.as_os_str() == "-" {
            ensure!(sources.iter().all(|source| source.piped.is_none()), "-: expected standard input once, found it twice");
            let bytes = bytes_of(std::io::stdin().lock()).context("cannot read standard input")?;
            sources.push(Source { path: path.clone(), piped: Some(bytes.into()), is_found: false });
            continue;
        }
        let pattern = pattern(path);
        let paths = pattern.map_or_else(|| Ok(vec![path.clone()]), matching)?;
        ensure!(!paths.is_empty(), "{}: expected at least one file that it matches, found none", path.display());
        for path in paths {
            let is_folder = path.is_dir();
            let files = if is_folder { below(&path)? } else { vec![path] };
            let is_found = is_folder || pattern.is_some();
            sources.extend(files.into_iter().map(|path| Source { path, piped: None, is_found }));
        }
    }
    Ok(sources)
}

/// The path as a pattern, if it is one and no file of that name is there.
fn pattern(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| is_pattern(text) && !path.exists())
}

/// All images below a folder, of which there must be one. Hidden ones are left out, and stderr says so.
fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut images = images_below(folder);
    let files = images.by_ref().collect::<Result<Vec<_>>>()?;
    let left_out = images.hidden().said();
    if files.is_empty() {
        let besides = left_out.map_or(String::new(), |left_out| format!(" ({left_out})"));
        bail!("{}: expected images (files named .png, .jpg, .webp, .gif, .bmp or .tiff), found none{besides}", folder.display());
    }
    if let Some(left_out) = left_out {
        ssl_cli::note("ssl-run", format!("{}: {left_out}", folder.display()));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_patterns_become_their_files() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["b/2.PNG", "b/10.jpg", "b/c/1.webp", "b/notes.txt", "b/.hidden.png", "a.png", "[x].png", "empty/notes.txt"] {
            std::fs::create_dir_all(at(name).parent().expect("a folder")).expect("a writable folder");
            std::fs::write(at(name), "").expect("a writable folder");
        }
        let names = |arguments: &[&str]| {
            let found = all(&arguments.iter().map(|name| at(name)).collect::<Vec<_>>())?;
            let name = |source: Source| {
                let path = source.path.strip_prefix(folder.path()).expect("below the folder");
                path.to_str().expect("UTF-8").replace('\\', "/")
            };
            anyhow::Ok(found.into_iter().map(name).collect::<Vec<_>>())
        };
        for (arguments, expected) in [
            (&["a.png", "b"][..], &["a.png", "b/10.jpg", "b/2.PNG", "b/c/1.webp"][..]),
            (&["b/*"], &["b/10.jpg", "b/2.PNG", "b/c/1.webp", "b/notes.txt"]),
            (&["b/**/*.webp", "a.png"], &["b/c/1.webp", "a.png"]),
            (&["b/**"], &["b/10.jpg", "b/2.PNG", "b/c/1.webp"]),
            (&["**/[0-9]*.*"], &["b/10.jpg", "b/2.PNG", "b/c/1.webp"]),
            (&["?/.*.png"], &["b/.hidden.png"]),
            (&["[x].png", "?.png"], &["[x].png", "a.png"]),
            (&["missing.png"], &["missing.png"]),
        ] {
            assert_eq!(names(arguments).expect("files"), expected, "{arguments:?}");
        }
        for (argument, expected) in [
            ("empty", "expected images (files named .png"),
            ("*.bmp", "expected at least one file that it matches"),
            ("***", "expected a file or a pattern"),
        ] {
            let message = format!("{:#}", names(&[argument]).expect_err("no images"));
            assert!(message.contains(argument) && message.contains(expected), "{message}");
        }
    }
}
