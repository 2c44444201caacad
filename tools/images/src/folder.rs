//! All images below a folder, one after the other: names of the folders on the way are in memory, not those of all images.

use crate::is_named_as_image;
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};

/// All that is below a folder and an image by its name, sorted by their paths; whether it is a file, [`open_found`] finds out. What begins
/// with a dot is hidden, and folders that others link to are met where they are.
#[derive(Debug)]
pub struct ImagesBelow {
    /// What is left of each folder on the way, the next one last. A folder that is yet to be read is one of its parent's.
    left: Vec<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    path: PathBuf,
    is_folder: bool,
}

/// All images below `folder`.
pub fn images_below(folder: &Path) -> ImagesBelow {
    ImagesBelow { left: vec![vec![Entry { path: folder.to_owned(), is_folder: true }]] }
}

impl Iterator for ImagesBelow {
    type Item = Result<PathBuf>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(Entry { path, is_folder }) = self.left.last_mut()?.pop() else {
                self.left.pop();
                continue;
            };
            if !is_folder {
                return Some(Ok(path));
            }
            match entries(&path) {
                Ok(entries) => self.left.push(entries),
                Err(e) => return Some(Err(e.context(format!("cannot read {}", path.display())))),
            }
        }
    }
}

/// Opens a file that was found rather than named. What else bears its name, such as a pipe, is an error: it may never end.
///
/// # Errors
/// If it is no file, or cannot be opened.
pub fn open_found(path: &Path) -> Result<File> {
    let metadata = path.metadata();
    let is_link = metadata.is_err() && path.is_symlink();
    let metadata = metadata.context(if is_link { "cannot open what it links to" } else { "cannot open" })?;
    ensure!(metadata.is_file(), "expected a file, found {}", if metadata.is_dir() { "a folder" } else { "a pipe or a device" });
    File::open(path).context("cannot open")
}

/// The folders and images in a folder, the first one last.
fn entries(folder: &Path) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    for entry in folder.read_dir()? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let is_folder = entry.file_type().with_context(|| path.display().to_string())?.is_dir();
        if is_folder || is_named_as_image(&path) {
            found.push(Entry { path, is_folder });
        }
    }
    found.sort_by(|a, b| b.path.cmp(&a.path));
    Ok(found)
}
