//! All images below a folder. Their names are read twice, so that not all of them have to be in memory: to know how many there are and
//! whether they are those of an earlier run, and again as they are taken.

use crate::input::{Chunk, Images};
use anyhow::{Result, ensure};
use arrow_array::StringArray;
use ssl_images::{Hidden, ImagesBelow, images_below, not_utf8};
use std::iter::Skip;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder of images.
pub(crate) struct Folder {
    path: PathBuf,
    /// How many images there are.
    pub(crate) count: u64,
    /// Of their names and lengths.
    pub(crate) checksum: u32,
    /// What is not among them.
    pub(crate) hidden: Hidden,
}

impl Folder {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let (mut count, mut checksum) = (0, crc32fast::Hasher::new());
        let mut images = images_below(path);
        for image in &mut images {
            let image = image?;
            count += 1;
            checksum.update(key(path, &image).as_bytes());
            // One that is gone, or becomes so, is an error in its row.
            let len = image.metadata().map_or(0, |metadata| metadata.len());
            checksum.update(&len.to_le_bytes());
        }
        ensure!(
            count > 0,
            "{}: expected images (files named .png, .jpg, .webp, .gif, .bmp or .tiff), found none{}",
            path.display(),
            images.hidden().said().map_or(String::new(), |hidden| format!(" ({hidden})"))
        );
        Ok(Folder { path: path.to_owned(), count, checksum: checksum.finalize(), hidden: images.hidden() })
    }

    /// Its images from one on, in chunks.
    pub(crate) fn chunks(&self, skip: u64, rows: usize) -> FolderChunks<'_> {
        let images = images_below(&self.path).skip(usize::try_from(skip).unwrap_or(usize::MAX));
        FolderChunks { folder: &self.path, images, rows }
    }
}

/// The path of an image in its folder, alike on all systems.
fn key(folder: &Path, image: &Path) -> String {
    let inside = image.strip_prefix(folder).unwrap_or(image);
    let parts: Vec<_> = inside.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

/// An image that its key names.
fn named(folder: &Path, image: PathBuf) -> Result<PathBuf, String> {
    let inside = image.strip_prefix(folder).unwrap_or(&image).as_os_str();
    if inside.to_str().is_none() { Err(not_utf8(inside.as_encoded_bytes())) } else { Ok(image) }
}

pub(crate) struct FolderChunks<'a> {
    folder: &'a Path,
    images: Skip<ImagesBelow>,
    rows: usize,
}

impl Iterator for FolderChunks<'_> {
    type Item = Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        let files = self.images.by_ref().take(self.rows).collect::<Result<Vec<_>>>();
        let chunk = |files: Vec<PathBuf>| {
            let keys = StringArray::from_iter_values(files.iter().map(|file| key(self.folder, file)));
            let images = files.into_iter().map(|file| named(self.folder, file)).collect();
            Chunk { keys: vec![Arc::new(keys)], images: Images::Files(images) }
        };
        files.map(|files| (!files.is_empty()).then(|| chunk(files))).transpose()
    }
}
