//! All images below a folder, one after the other: names of the folders on the way are in memory, not those of all images.

use crate::is_named_as_image;
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};

/// All that is below a folder and an image by its name, sorted by their paths; whether it is a file, [`open_found`] finds out. What begins
/// with a dot is hidden and counted, and folders that others link to are met where they are.
#[derive(Debug)]
pub struct ImagesBelow {
    hidden: Hidden,
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
    ImagesBelow { hidden: Hidden::default(), left: vec![vec![Entry { path: folder.to_owned(), is_folder: true }]] }
}

/// What is left out below a folder since its name begins with a dot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    /// Images by their names.
    pub images: u64,
    /// Folders, whatever is in them.
    pub folders: u64,
}

impl Hidden {
    /// What a message says of it, if there is anything.
    pub fn said(self) -> Option<String> {
        let count = |count: u64, one: &str| match count {
            0 => None,
            1 => Some(format!("one hidden {one}")),
            _ => Some(format!("{count} hidden {one}s")),
        };
        let counts: Vec<String> = [count(self.images, "image"), count(self.folders, "folder")].into_iter().flatten().collect();
        (!counts.is_empty()).then(|| format!("{} left out: names that begin with a dot", counts.join(" and ")))
    }
}

/// Why an image is not read that has this name: results are text, in which all names that are none would become the same one.
pub fn not_utf8(name: &[u8]) -> String {
    format!("expected a name in UTF-8, found '{}'", name.escape_ascii())
}

impl ImagesBelow {
    /// What was left out until now.
    pub fn hidden(&self) -> Hidden {
        self.hidden
    }
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
            match entries(&path, &mut self.hidden) {
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
fn entries(folder: &Path, hidden: &mut Hidden) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    for entry in folder.read_dir()? {
        let entry = entry?;
        let path = entry.path();
        let is_folder = entry.file_type().with_context(|| path.display().to_string())?.is_dir();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            hidden.folders += u64::from(is_folder);
            hidden.images += u64::from(!is_folder && is_named_as_image(&path));
        } else if is_folder || is_named_as_image(&path) {
            found.push(Entry { path, is_folder });
        }
    }
    found.sort_by(|a, b| b.path.cmp(&a.path));
    Ok(found)
}
