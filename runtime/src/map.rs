//! The bytes of a model: a copy in memory, or a memory-mapped file with what tells whether it has changed since. This is the runtime's
//! only `unsafe` besides replaying what was recorded on a device.

use crate::error::{Error, ErrorKind, Result};
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

#[cfg(target_endian = "big")]
compile_error!("weights are read in place and are little-endian; big-endian machines would need a copying loader");

/// 64 bytes at a multiple of 64: the alignment that blobs of weights are promised.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([f32; 16]);

impl Line {
    pub(crate) const FLOATS: usize = 16;
    pub(crate) const ZERO: Line = Line([0.0; 16]);
}

/// Read-only bytes, 64-byte aligned.
pub(crate) enum Bytes {
    Mapped { map: memmap2::Mmap, file: MappedFile },
    Owned { lines: Vec<Line>, len: usize },
}

impl Bytes {
    /// Reads a whole file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let (mut file, metadata) = open(path)?;
        let len = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        let mut bytes =
            Self::zeroed(len).map_err(|what| Error::new(ErrorKind::Resources, format!("{}: {what}", path.display())))?;
        file.read_exact(bytes.as_mut_slice()).map_err(|e| io(path, "cannot read", e))?;
        Ok(bytes)
    }

    /// Maps a file.
    ///
    /// # Safety
    /// Until the bytes are dropped, nobody may truncate the file or write to it.
    pub(crate) unsafe fn map(path: &Path) -> Result<Self> {
        let (file, metadata) = open(path)?;
        if metadata.len() == 0 {
            return Ok(Self::copy(&[]));
        }
        let state = State::of(&metadata);
        // SAFETY: the map is read-only, and by the caller's promise the file stays as it is.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| io(path, "cannot map", e))?;
        Ok(Bytes::Mapped { map, file: MappedFile { file, state: Mutex::new(state) } })
    }

    pub(crate) fn copy(bytes: &[u8]) -> Self {
        let mut owned = Bytes::Owned { lines: vec![Line::ZERO; bytes.len().div_ceil(size_of::<Line>())], len: bytes.len() };
        owned.as_mut_slice().copy_from_slice(bytes);
        owned
    }

    /// So many bytes, if there is memory for them.
    fn zeroed(len: usize) -> Result<Self, String> {
        let mut lines = Vec::new();
        let count = len.div_ceil(size_of::<Line>());
        lines.try_reserve_exact(count).map_err(|_| format!("expected memory for a copy of {len} bytes, found less"))?;
        lines.resize(count, Line::ZERO);
        Ok(Bytes::Owned { lines, len })
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Mapped { map, .. } => map,
            Bytes::Owned { lines, len } => &bytemuck::cast_slice(lines)[..*len],
        }
    }

    /// The bytes that are being filled; none of a map.
    fn as_mut_slice(&mut self) -> &mut [u8] {
        match self {
            Bytes::Mapped { .. } => &mut [],
            Bytes::Owned { lines, len } => &mut bytemuck::cast_slice_mut(lines)[..*len],
        }
    }

    /// Checks that a mapped file is what it was. Where its length is the same but its times are not, or are too recent to tell, `compare`
    /// says whether its content is.
    pub(crate) fn ensure_unchanged(&self, compare: impl FnOnce(&[u8]) -> Result<()>) -> Result<()> {
        let Bytes::Mapped { map, file } = self else { return Ok(()) };
        let metadata = file.file.metadata().map_err(|e| Error::new(ErrorKind::Io, format!("cannot read its state: {e}")))?;
        let now = State::of(&metadata);
        let mut known = file.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.len != map.len() as u64 {
            let changed = format!("expected the {} bytes that it had when it was opened, found {}", map.len(), now.len);
            return Err(Error::new(ErrorKind::Io, changed));
        }
        if !known.is_settled || known.changed != now.changed {
            compare(map)?;
            *known = now;
        }
        Ok(())
    }
}

/// A file that is mapped, and the state in which its content was known last.
pub(crate) struct MappedFile {
    file: File,
    state: Mutex<State>,
}

/// What the system says of a file.
struct State {
    len: u64,
    /// When it changed last.
    changed: Option<SystemTime>,
    /// Whether that is so long ago that a further change must show another time: clocks of file systems are coarse.
    is_settled: bool,
}

impl State {
    fn of(metadata: &Metadata) -> Self {
        let changed = changed(metadata);
        let age = changed.and_then(|changed| SystemTime::now().duration_since(changed).ok());
        State { len: metadata.len(), changed, is_settled: age.is_some_and(|age| age > Duration::from_secs(3)) }
    }
}

/// When anything of a file changed last: its content, its name, its rights. Nobody can set this time, as they can that of the content.
#[cfg(unix)]
fn changed(metadata: &Metadata) -> Option<SystemTime> {
    use std::os::unix::fs::MetadataExt;
    let (seconds, nanoseconds) = (u64::try_from(metadata.ctime()).ok()?, u32::try_from(metadata.ctime_nsec()).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}

/// When the content of a file changed last.
#[cfg(not(unix))]
fn changed(metadata: &Metadata) -> Option<SystemTime> {
    metadata.modified().ok()
}

fn io(path: &Path, what: &str, e: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("{}: {what}: {e}", path.display()))
}

/// A regular file, opened, and what the system says of it.
fn open(path: &Path) -> Result<(File, Metadata)> {
    let file = File::open(path).map_err(|e| io(path, "cannot open", e))?;
    let metadata = file.metadata().map_err(|e| io(path, "cannot read its size", e))?;
    if !metadata.is_file() {
        return Err(Error::input(path.display(), "a file", "something else"));
    }
    Ok((file, metadata))
}
