//! By what a complete part is known again: how many bytes it has, and their checksum. They stand in a file beside the parts, a line of the same
//! length for each, so that noting one more takes as long for the last part as for the first; the note says how many of them count.

use anyhow::{Context, Result, ensure};
use ssl_cli::PartialFile;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Readers of folders of Parquet files pass over names that begin like this.
pub(crate) const MARKS: &str = "_ssl-score.parts";
/// Bytes of a line: twenty digits of a length, eight of a checksum, what divides them, and the end of the line.
const LINE: usize = 30;

/// The length of a part, and its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    bytes: u64,
    crc32: u32,
}

impl Mark {
    /// Refuses a part that has another length.
    pub(crate) fn ensure_length(self, part: &Path) -> Result<()> {
        let found = part.metadata().ok().filter(std::fs::Metadata::is_file);
        let found = found.with_context(|| format!("{}: expected a complete file, found none", part.display()))?.len();
        ensure!(found == self.bytes, "{}: expected {} bytes, as when it was complete, found {found}", part.display(), self.bytes);
        Ok(())
    }

    /// Refuses a part that has other bytes: all of them are read.
    pub(crate) fn ensure_bytes(self, part: &Path) -> Result<()> {
        self.ensure_length(part)?;
        let mut sum = Sum::default();
        let file = File::open(part);
        let read = file.and_then(|file| io::copy(&mut BufReader::with_capacity(1 << 18, file), &mut sum));
        read.with_context(|| format!("cannot read {}", part.display()))?;
        let (expected, found) = (self.crc32, sum.mark().crc32);
        ensure!(
            found == expected,
            "{}: expected the checksum {expected:08x}, as when it was complete, found {found:08x}",
            part.display()
        );
        Ok(())
    }
}

/// Notes the mark of a part of this index. It is on the disk when this returns.
pub(crate) fn write(folder: &Path, index: u64, Mark { bytes, crc32 }: Mark) -> Result<()> {
    let path = folder.join(MARKS);
    let write = || -> io::Result<()> {
        let mut file = File::options().write(true).create(true).truncate(false).open(&path)?;
        file.seek(SeekFrom::Start(index * LINE as u64))?;
        file.write_all(format!("{bytes:020} {crc32:08x}\n").as_bytes())?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The marks of so many parts.
pub(crate) fn read(folder: &Path, parts: u64) -> Result<Vec<Mark>> {
    let path = folder.join(MARKS);
    let mut text = String::new();
    if parts > 0 {
        let len = parts.saturating_mul(LINE as u64);
        let read = File::open(&path).and_then(|file| file.take(len).read_to_string(&mut text));
        read.with_context(|| format!("cannot read {}", path.display()))?;
    }
    let marks = text.lines().map_while(mark).collect::<Vec<Mark>>();
    ensure!(
        marks.len() as u64 == parts,
        "{}: expected lengths and checksums of {parts} parts, found {}",
        path.display(),
        marks.len()
    );
    Ok(marks)
}

fn mark(line: &str) -> Option<Mark> {
    let (bytes, crc32) = line.split_once(' ').filter(|_| line.len() + 1 == LINE)?;
    Some(Mark { bytes: bytes.parse().ok()?, crc32: u32::from_str_radix(crc32, 16).ok()? })
}

/// What becomes the mark of the bytes that are written to it.
#[derive(Debug, Default)]
struct Sum {
    bytes: u64,
    crc32: crc32fast::Hasher,
}

impl Sum {
    fn mark(self) -> Mark {
        Mark { bytes: self.bytes, crc32: self.crc32.finalize() }
    }
}

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.crc32.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file on its way to its place, and the mark of what was written into it.
#[derive(Debug)]
pub(crate) struct Marked {
    file: PartialFile,
    sum: Sum,
}

impl Marked {
    pub(crate) fn beside(path: &Path) -> Result<BufWriter<Self>> {
        Ok(BufWriter::new(Marked { file: ssl_cli::file_beside(path)?, sum: Sum::default() }))
    }

    /// Puts it in place, when all of it lies on the disk.
    pub(crate) fn put(self) -> Result<Mark> {
        self.file.as_file().sync_all().context("cannot write to the disk")?;
        ssl_cli::put_in_place(vec![self.file])?;
        Ok(self.sum.mark())
    }
}

impl Write for Marked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sum.write(&bytes[..written])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_back_and_tell_what_changed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let part = folder.path().join("part");
        let put = |bytes: &[u8]| {
            let mut file = Marked::beside(&part).expect("a writable folder");
            file.write_all(bytes).expect("a writable folder");
            file.into_inner().expect("a writable folder").put().expect("a writable folder")
        };
        let marks = [put(b""), put(b"other rows"), put(b"some rows")];
        // In any order, and twice.
        for index in [1, 0, 2, 1] {
            write(folder.path(), index as u64, marks[index]).expect("a writable folder");
        }
        for parts in 0..=3 {
            assert_eq!(read(folder.path(), parts as u64).expect("marks"), marks[..parts]);
        }
        assert!(read(folder.path(), 4).expect_err("three").to_string().contains("of 4 parts, found 3"));
        marks[2].ensure_bytes(&part).expect("the same");
        for (bytes, expected) in
            [(&b"some row"[..], "expected 9 bytes"), (b"some rowz", "expected the checksum"), (b"", "found 0")]
        {
            std::fs::write(&part, bytes).expect("a writable folder");
            assert!(marks[2].ensure_bytes(&part).expect_err("another").to_string().contains(expected));
        }
        std::fs::write(folder.path().join(MARKS), "00000000000000000009 0000000g\n").expect("a writable folder");
        assert!(read(folder.path(), 1).expect_err("none").to_string().contains("of 1 parts, found 0"));
    }
}
