//! Headers of a Parquet file, looked at before its reader is: to that, an element of a list of truth values costs no byte, so that a few
//! bytes may keep it busy for as long as they say; and it takes as much memory for a page as its header says. Headers are structures of
//! Thrift's compact protocol.

use anyhow::{Context, Result, bail, ensure};
use parquet::file::metadata::ParquetMetaData;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

/// How many bytes one of gzip can stand for, at most; of Snappy and LZ4 it is less.
const MOST_PACKED: u64 = 1032;
/// What stands for more in pages of little: levels that are not packed, and ends of streams.
const LEAST: u64 = 1 << 16;
/// The length of the footer, and what ends a file.
const TRAILER: u64 = 8;
/// How deep structures and lists may lie in each other: the format has fewer.
const DEPTH: usize = 32;

/// What types are called.
const INT: u8 = 5;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// Refuses a file whose footer has what no footer has.
pub(crate) fn ensure_footer(file: &File) -> Result<()> {
    let len = file.metadata()?.len();
    let trailer = len.checked_sub(TRAILER).context("expected a footer, found the end of the file")?;
    let mut footer_len = [0; 4];
    let mut reader = file;
    reader.seek(SeekFrom::Start(trailer))?;
    reader.read_exact(&mut footer_len)?;
    let footer_len = u64::from(u32::from_le_bytes(footer_len));
    let start = trailer.checked_sub(footer_len).context("expected a footer within the file")?;
    Header::at(file, start, footer_len)?.sizes().context("footer").map(drop)
}

/// Refuses a file of whose pages one has a header that no page has.
pub(crate) fn ensure_pages(file: &File, metadata: &ParquetMetaData) -> Result<()> {
    let len = file.metadata()?.len();
    for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let part = |number: i64| u64::try_from(number).ok().context("expected pages within the file");
        // As `ColumnChunkMetaData::byte_range` has it, which takes negative ones for its own fault.
        let mut at = part(column.dictionary_page_offset().unwrap_or(column.data_page_offset()))?;
        let end = at.checked_add(part(column.compressed_size())?).filter(|&end| end <= len);
        let end = end.context("expected pages within the file")?;
        while at < end {
            let mut header = Header::at(file, at, end - at)?;
            let [unpacked, packed] = header.sizes().with_context(|| format!("page at {at}"))?;
            let most = packed.saturating_mul(MOST_PACKED).saturating_add(LEAST);
            ensure!(
                unpacked <= most,
                "page at {at}: expected at most {most} bytes that are packed in {packed}, found {unpacked}"
            );
            // What lies behind the last page is none of the reader's.
            at = (end - header.left).saturating_add(packed);
        }
    }
    Ok(())
}

/// A structure that is read to its end.
struct Header<'a> {
    reader: BufReader<&'a File>,
    /// Bytes that it may have.
    left: u64,
}

impl<'a> Header<'a> {
    fn at(file: &'a File, start: u64, len: u64) -> Result<Self> {
        let mut reader = BufReader::with_capacity(256, file);
        reader.seek(SeekFrom::Start(start))?;
        Ok(Header { reader, left: len })
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.left = self.left.checked_sub(1).context("expected more, found its end")?;
        self.reader.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn skip(&mut self, count: u64) -> Result<()> {
        self.left = self.left.checked_sub(count).with_context(|| format!("expected {count} bytes, found {}", self.left))?;
        Ok(self.reader.seek_relative(i64::try_from(count)?)?)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut all = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            all |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(all);
            }
        }
        bail!("expected an integer of 64 bits, found more")
    }

    /// Reads a header. Yields its fields 2 and 3, which are the sizes of a page, unpacked and packed; 0 where they are not there.
    fn sizes(&mut self) -> Result<[u64; 2]> {
        let size = |size: i64| u64::try_from(size).ok().context("expected a size, found a negative one");
        let [unpacked, packed] = self.structure(DEPTH)?;
        Ok([size(unpacked)?, size(packed)?])
    }

    /// Reads a structure, in which so many others may lie in each other. Yields its fields 2 and 3, if they are integers of 32 bits.
    fn structure(&mut self, depth: usize) -> Result<[i64; 2]> {
        let (mut found, mut id) = ([0; 2], 0i64);
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(found);
            }
            // Other fields come by how much larger their number is, or with it.
            id = if head >> 4 == 0 { unzigzag(self.varint()?) } else { id.wrapping_add(i64::from(head >> 4)) };
            let of = head & 0x0f;
            let place = usize::try_from(id).unwrap_or(0).wrapping_sub(2);
            match found.get_mut(place).filter(|_| of == INT) {
                Some(place) => *place = unzigzag(self.varint()?),
                None => self.value(of, depth)?,
            }
        }
    }

    fn value(&mut self, of: u8, depth: usize) -> Result<()> {
        ensure!(depth > 0, "expected at most {DEPTH} structures in each other, found more");
        match of {
            // A truth value of a structure lies in the field's head.
            1 | 2 => Ok(()),
            3 => self.skip(1),
            4..=6 => self.varint().map(drop),
            7 => self.skip(8),
            8 => {
                let len = self.varint()?;
                self.skip(len)
            }
            LIST => {
                let head = self.byte()?;
                let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                let of = head & 0x0f;
                ensure!(of > 2 || count == 0, "expected no list of truth values");
                (0..count).try_for_each(|_| self.value(of, depth - 1))
            }
            STRUCT => self.structure(depth - 1).map(drop),
            _ => bail!("expected a value, a list or a structure, found type {of}"),
        }
    }
}

fn unzigzag(of: u64) -> i64 {
    (of >> 1) as i64 ^ -((of & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn sizes(bytes: &[u8]) -> Result<[u64; 2]> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("it is written");
        Header::at(&file, 0, bytes.len() as u64)?.sizes()
    }

    #[test]
    fn structures_are_read_to_their_ends() {
        // A data page: type 0, 300 bytes in 20, and a header of its own that has a list, a text and a truth value.
        let inner = [0x19, 0x25, 2, 4, 0x18, 3, b'a', b'b', b'c', 0x11, 0];
        let page = [&[0x15, 0, 0x15, 0xd8, 4, 0x15, 40, 0x2c][..], &inner, &[0, 7, 7]].concat();
        assert_eq!(sizes(&page).expect("a page"), [300, 20]);
        for len in 0..page.len() - 2 {
            assert!(sizes(&page[..len]).is_err(), "{len}");
        }
        // The field's number stands beside it.
        assert_eq!(sizes(&[0x05, 6, 40, 0]).expect("a page"), [0, 20]);
    }

    #[test]
    fn what_costs_no_byte_is_refused() {
        let message = |bytes: &[u8]| sizes(bytes).expect_err("an error").to_string();
        assert_eq!(message(&[0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 7, 0]), "expected no list of truth values");
        assert_eq!(message(&[0x1b, 0, 0]), "expected a value, a list or a structure, found type 11");
        assert_eq!(message(&[0x15, 0, 0x15, 1, 0]), "expected a size, found a negative one");
        assert_eq!(message(&[0x18, 0xff, 0x7f, 0]), "expected 16383 bytes, found 1");
        assert!(message(&[0x1c; 40]).starts_with("expected at most 32 structures"));
        assert_eq!(message(&[&[0x16][..], &[0xff; 12]].concat()), "expected an integer of 64 bits, found more");
    }
}
