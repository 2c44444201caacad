//! The members of a tar file that are named as images, in their order, as datasets for training lie in such files: what else there is
//! of a sample is passed over. It is read from its beginning to its end, so it may be a pipe.

use crate::input::{Chunk, Chunks, Images};
use ::tar::{Archive, Entry};
use anyhow::{Context, Result};
use arrow_array::StringArray;
use ssl_images::{MAX_FILE, is_named_as_image};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that are read at once.
const BUFFER: usize = 1 << 18;

/// A tar file.
pub(crate) struct Tar {
    /// Absent for standard input.
    pub(crate) path: Option<PathBuf>,
}

impl Tar {
    pub(crate) fn with_chunks(&self, skip: u64, rows: usize, run: impl FnOnce(Chunks<'_>) -> Result<()>) -> Result<()> {
        let (name, reader): (_, Box<dyn Read>) = match &self.path {
            Some(path) => {
                let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
                (path.display().to_string(), Box::new(BufReader::with_capacity(BUFFER, file)))
            }
            None => ("standard input".to_owned(), Box::new(io::stdin().lock())),
        };
        let sound = || format!("{name}: expected a sound tar file");
        let mut archive = Archive::new(reader);
        let mut images = archive.entries().with_context(sound)?.filter(|entry| entry.as_ref().map_or(true, is_image));
        let mut left = skip;
        let mut chunks = std::iter::from_fn(|| {
            while left > 0 {
                left -= 1;
                if let Err(e) = images.next()? {
                    return Some(Err(e).with_context(sound));
                }
            }
            let mut next = || -> Result<Option<Chunk>> {
                let (mut keys, mut files) = (Vec::new(), Vec::new());
                for entry in images.by_ref().take(rows) {
                    let mut entry = entry?;
                    keys.push(key(&entry));
                    files.push(content(&mut entry)?);
                }
                let keys: StringArray = keys.into_iter().map(Some).collect();
                Ok((!files.is_empty()).then(|| Chunk { keys: vec![Arc::new(keys)], images: Images::Bytes(files) }))
            };
            next().with_context(sound).transpose()
        });
        run(&mut chunks)
    }
}

fn is_image<R: Read>(entry: &Entry<'_, R>) -> bool {
    let name = entry.path_bytes();
    entry.header().entry_type().is_file() && is_named_as_image(Path::new(&*String::from_utf8_lossy(&name)))
}

/// The name of a member without what says that it is an image: what the members of a sample have in common.
fn key<R: Read>(entry: &Entry<'_, R>) -> String {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    name.rsplit_once('.').map_or(name.as_str(), |(key, _)| key).to_owned()
}

/// What a member holds, or why it is not read.
fn content<R: Read>(entry: &mut Entry<'_, R>) -> Result<Result<Vec<u8>, String>> {
    let size = entry.size();
    if size > MAX_FILE {
        return Ok(Err(format!("expected an image file of at most {MAX_FILE} bytes, found {size}")));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    anyhow::ensure!(bytes.len() as u64 == size, "member {}: expected {size} bytes, found {}", key(entry), bytes.len());
    Ok(Ok(bytes))
}
