//! The bytes of a model: a memory-mapped file, or a copy in memory that is aligned like one. This is the runtime's only `unsafe`
//! besides replaying what was recorded on a device.

use crate::error::{Error, ErrorKind, Result};
use std::fs::File;
use std::path::Path;

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
    Mapped(memmap2::Mmap),
    Owned { lines: Vec<Line>, len: usize },
}

impl Bytes {
    pub(crate) fn map(path: &Path) -> Result<Self> {
        let io = |what: &str, e: std::io::Error| Error::new(ErrorKind::Io, format!("{}: {what}: {e}", path.display()));
        let file = File::open(path).map_err(|e| io("cannot open", e))?;
        let metadata = file.metadata().map_err(|e| io("cannot read its size", e))?;
        if !metadata.is_file() {
            return Err(Error::input(path.display(), "a file", "something else"));
        }
        if metadata.len() == 0 {
            return Ok(Self::copy(&[]));
        }
        // SAFETY: the map is private to `Bytes` and read-only. The contract with the outside, stated at `Model::open`, is that
        // nobody truncates or rewrites the file while it is open; ssl-convert replaces files by renaming, which keeps it.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| io("cannot map", e))?;
        Ok(Bytes::Mapped(map))
    }

    pub(crate) fn copy(bytes: &[u8]) -> Self {
        let mut lines = vec![Line::ZERO; bytes.len().div_ceil(size_of::<Line>())];
        bytemuck::cast_slice_mut::<Line, u8>(&mut lines)[..bytes.len()].copy_from_slice(bytes);
        Bytes::Owned { lines, len: bytes.len() }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned { lines, len } => &bytemuck::cast_slice(lines)[..*len],
        }
    }
}
