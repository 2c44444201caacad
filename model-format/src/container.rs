//! The outside of a file: header, section table, checksums. Sections lie one after the other in table order, cover the whole
//! file, and are separated only by the zero bytes that their alignment needs.

use crate::codec::{Field, Reader, record};
use crate::error::{Error, ErrorKind, Result};
use std::ops::Range;

/// First bytes of every file: not ASCII (so no text), with CR LF and SUB, so that transfers which rewrite line ends are caught.
pub const MAGIC: [u8; 8] = *b"\x89SSLM\r\n\x1a";
/// Major version, and the newest minor version that this crate knows. A reader refuses other majors and accepts newer minors; a file
/// says the lowest minor that defines all it uses.
pub const VERSION: [u16; 2] = [0, 4];
/// Alignment of the weight section: a page, so that a mapped file can be read in place and shared.
pub const WEIGHT_ALIGN: u64 = 4096;
/// Alignment of every other section and of every blob.
pub(crate) const ALIGN: u64 = 64;

pub(crate) const HEADER_LEN: usize = 32;
pub(crate) const ENTRY_LEN: usize = 32;
const MAX_SECTIONS: u32 = 64;
pub(crate) const MUST_UNDERSTAND: u32 = 1;

/// Four-letter names of sections.
pub(crate) mod tag {
    pub(crate) const GRAPH: [u8; 4] = *b"GRPH";
    pub(crate) const OUTPUT_NAMES: [u8; 4] = *b"OUTN";
    pub(crate) const LABELS: [u8; 4] = *b"LABL";
    pub(crate) const PREPROCESSING: [u8; 4] = *b"PREP";
    pub(crate) const PROVENANCE: [u8; 4] = *b"PROV";
    pub(crate) const TYPES: [u8; 4] = *b"TYPE";
    pub(crate) const WEIGHTS: [u8; 4] = *b"WGTS";
    /// All but the weights.
    pub(crate) const METADATA: [[u8; 4]; 6] = [GRAPH, OUTPUT_NAMES, LABELS, PREPROCESSING, PROVENANCE, TYPES];
}

record! {
    /// One row of the section table.
    pub struct Section {
        /// Four ASCII letters.
        pub tag: [u8; 4],
        /// Bit 0: a reader that does not know the tag must refuse the file. Other bits are 0.
        pub flags: u32,
        /// From the start of the file.
        pub offset: u64,
        /// In bytes, without what alignment adds.
        pub len: u64,
        /// CRC-32 (IEEE) of the section's bytes.
        pub crc: u32,
        /// 0.
        pub reserved: u32,
    }
}

impl Section {
    /// The tag as text.
    pub fn name(&self) -> String {
        self.tag.escape_ascii().to_string()
    }

    /// Whether a reader that does not know the tag must refuse the file.
    pub fn must_understand(&self) -> bool {
        self.flags & MUST_UNDERSTAND != 0
    }

    /// Where the section lies. Only for sections that [`sections`] has checked against the file's length.
    pub(crate) fn range(&self) -> Range<usize> {
        self.offset as usize..(self.offset + self.len) as usize
    }

    pub(crate) fn align(&self) -> u64 {
        if self.tag == tag::WEIGHTS { WEIGHT_ALIGN } else { ALIGN }
    }
}

/// Version and section table of a file, checked: magic, version, length, header checksum, layout.
///
/// # Errors
/// If any of these is wrong, naming the field.
pub fn sections(bytes: &[u8]) -> Result<([u16; 2], Vec<Section>)> {
    let magic = &bytes[..bytes.len().min(MAGIC.len())];
    if magic != MAGIC {
        let at = "magic (first 8 bytes)";
        return Err(Error::new(
            ErrorKind::NotSslm,
            at,
            format!("\"{}\"", MAGIC.escape_ascii()),
            format!("\"{}\"", magic.escape_ascii()),
        )
        .at_offset(0));
    }
    if bytes.len() < HEADER_LEN {
        let truncated = Error::new(ErrorKind::Truncated, "header", format!("{HEADER_LEN} bytes"), bytes.len());
        return Err(truncated.at_offset(bytes.len() as u64));
    }
    let mut header = Reader::new("header", &bytes[MAGIC.len()..HEADER_LEN]);
    let major = u32::read(&mut header)?;
    let (major, minor) = (major as u16, (major >> 16) as u16);
    let (count, file_len, crc, reserved) =
        (u32::read(&mut header)?, u64::read(&mut header)?, u32::read(&mut header)?, u32::read(&mut header)?);
    if major != VERSION[0] {
        return Err(Error::new(ErrorKind::Version, "format major version", VERSION[0], major).at_offset(8));
    }
    if file_len != bytes.len() as u64 {
        return Err(Error::new(
            ErrorKind::Truncated,
            "file length",
            format!("{file_len} bytes (by its header)"),
            format!("{} bytes", bytes.len()),
        )
        .at_offset(bytes.len() as u64));
    }
    if count > MAX_SECTIONS {
        return Err(Error::invalid("section count", format!("at most {MAX_SECTIONS}"), count).at_offset(12));
    }
    let table_end = HEADER_LEN + count as usize * ENTRY_LEN;
    let Some(table) = bytes.get(HEADER_LEN..table_end) else {
        let truncated = Error::new(ErrorKind::Truncated, "section table", format!("{table_end} bytes"), bytes.len());
        return Err(truncated.at_offset(bytes.len() as u64));
    };
    check_crc("header and section table", header_crc(&bytes[..HEADER_LEN], table), crc, 0)?;
    if reserved != 0 {
        return Err(Error::invalid("header: reserved", 0, reserved).at_offset(28));
    }
    let mut reader = Reader::new("table", table);
    let sections: Vec<Section> = (0..count).map(|_| Section::read(&mut reader)).collect::<Result<_>>()?;
    let mut end = table_end as u64;
    for (i, section) in sections.iter().enumerate() {
        let entry = (HEADER_LEN + i * ENTRY_LEN) as u64;
        end = check_section(section, &sections[..i], end, bytes).map_err(|e| e.at_offset(entry))?;
    }
    if end != file_len {
        return Err(Error::invalid("last section", format!("to end at byte {file_len}"), end).at_offset(end));
    }
    Ok(([major, minor], sections))
}

/// Where a section ends that lies behind those `before` it, of which the last one ends at `end`.
fn check_section(s: &Section, before: &[Section], end: u64, bytes: &[u8]) -> Result<u64> {
    let at = |field: &str| format!("section {}: {field}", s.name());
    let expected = end.next_multiple_of(s.align());
    if s.offset != expected {
        return Err(Error::invalid(at("offset"), expected, s.offset));
    }
    let room = (bytes.len() as u64).checked_sub(s.offset);
    if room.is_none_or(|room| s.len > room) {
        return Err(Error::invalid(at("length"), format!("at most {} (the file's end)", room.unwrap_or(0)), s.len));
    }
    if s.flags & !MUST_UNDERSTAND != 0 || s.reserved != 0 {
        return Err(Error::invalid(at("flags and reserved"), "0 or 1, and 0", format!("{} and {}", s.flags, s.reserved)));
    }
    if before.iter().any(|other| other.tag == s.tag) {
        return Err(Error::invalid(at("tag"), "one section of each kind", "a second one"));
    }
    if bytes[end as usize..s.offset as usize].iter().any(|&b| b != 0) {
        return Err(Error::invalid(at("alignment before it"), "zero bytes", "others").at_offset(end));
    }
    Ok(s.offset + s.len)
}

/// CRC of the header with its own CRC field left out, then the table.
pub(crate) fn header_crc(header: &[u8], table: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..24]);
    hasher.update(&header[28..]);
    hasher.update(table);
    hasher.finalize()
}

/// That a checksum is the stored one, of `what` begins at byte `offset`.
pub(crate) fn check_crc(what: impl std::fmt::Display, computed: u32, stored: u32, offset: u64) -> Result<()> {
    if computed == stored {
        return Ok(());
    }
    let (stored, computed) = (format!("checksum {stored:08x}"), format!("{computed:08x}: the bytes are damaged"));
    Err(Error::new(ErrorKind::Checksum, what, stored, computed).at_offset(offset))
}
