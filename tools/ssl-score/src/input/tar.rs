//! Tar files: a row for each member that is named as an image, in their order, as datasets for training lie in such files: what else there
//! is of a sample is passed over. It is read from its beginning to its end, so it may be a pipe.

use crate::input::archive::{Archive, Kind, Member};
use crate::input::large::{CHUNK_BYTES, Turn, Turns};
use crate::input::{Chunk, Chunks, Images};
use anyhow::{Context, Result};
use arrow_array::StringArray;
use ssl_images::{MAX_FILE, is_named_as_image, not_utf8};
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

/// A file that was read.
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    /// Of one that is larger than a chunk may be: the next such one is read after this one is gone.
    _turn: Option<Turn>,
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
        let mut members = Members { archive: Archive::new(reader), next: None, skip, rows, taken: 0, turns: Turns::default() };
        run(&mut std::iter::from_fn(|| members.chunk().with_context(|| format!("{name}: expected a sound tar file")).transpose()))
    }
}

/// The images of a tar file on their way into chunks.
struct Members<R> {
    archive: Archive<R>,
    /// One that was met and not taken.
    next: Option<Member>,
    /// How many are to be passed over.
    skip: u64,
    rows: usize,
    /// How many were taken.
    taken: usize,
    turns: Turns,
}

impl<R: Read> Members<R> {
    /// So many images, or fewer if these are large; the next chunk then ends where this one would have, so that parts of an output end
    /// with a chunk.
    fn chunk(&mut self) -> Result<Option<Chunk>> {
        while self.skip > 0 && self.image()?.is_some() {
            self.skip -= 1;
        }
        let (mut keys, mut files, mut bytes) = (Vec::new(), Vec::new(), 0);
        while files.len() < self.rows - self.taken % self.rows {
            let Some(member) = self.image()? else { break };
            let file = match refusal(&member) {
                Some(why) => Err(why),
                None if bytes > 0 && bytes + member.size > CHUNK_BYTES => {
                    self.next = Some(member);
                    break;
                }
                None => {
                    bytes += member.size;
                    let turn = (member.size > CHUNK_BYTES).then(|| self.turns.take());
                    Ok(Content { bytes: self.archive.content(&member)?, _turn: turn })
                }
            };
            keys.push(Some(key(&member)));
            files.push(file);
        }
        self.taken += files.len();
        let keys: StringArray = keys.into_iter().collect();
        Ok((!files.is_empty()).then(|| Chunk { keys: vec![Arc::new(keys)], images: Images::Bytes(files) }))
    }

    /// The next member that is named as an image. Folders may be, and what is in them are members of their own.
    fn image(&mut self) -> Result<Option<Member>> {
        if self.next.is_some() {
            return Ok(self.next.take());
        }
        while let Some(member) = self.archive.next()? {
            let is_image = is_named_as_image(Path::new(&*String::from_utf8_lossy(&member.name)));
            if is_image && !matches!(member.kind, Kind::Folder) {
                return Ok(Some(member));
            }
        }
        Ok(None)
    }
}

/// The name of a member without what says that it is an image: what the members of a sample have in common.
fn key(member: &Member) -> String {
    let name = String::from_utf8_lossy(&member.name);
    name.rsplit_once('.').map_or(&*name, |(key, _)| key).to_owned()
}

/// Why a member is not read, if it is not.
fn refusal(Member { name, kind, size }: &Member) -> Option<String> {
    match kind {
        Kind::Other(found) => Some(format!("expected a file, found {found}")),
        _ if std::str::from_utf8(name).is_err() => Some(not_utf8(name)),
        _ if *size > MAX_FILE => Some(format!("expected an image file of at most {MAX_FILE} bytes, found {size}")),
        _ => None,
    }
}
