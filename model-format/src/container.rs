//! The outside of a file: header, section table, checksums. Sections lie one after the other in table order, cover the whole
//! file, and are separated only by the zero bytes that their alignment needs.

use crate::codec::{Field, Reader, record};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Model;
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;

/// First bytes of every file: not ASCII (so no text), with CR LF and SUB, so that transfers which rewrite line ends are caught.
pub const MAGIC: [u8; 8] = *b"\x89SSLM\r\n\x1a";
/// Major and minor version that this crate writes. A reader refuses other majors and accepts newer minors.
pub const VERSION: [u16; 2] = [0, 1];
/// Alignment of the weight section: a page, so that a mapped file can be read in place and shared.
pub const WEIGHT_ALIGN: u64 = 4096;
/// Alignment of every other section and of every blob.
pub(crate) const ALIGN: u64 = 64;

const HEADER_LEN: usize = 32;
const ENTRY_LEN: usize = 32;
const MAX_SECTIONS: u32 = 64;
const MUST_UNDERSTAND: u32 = 1;

/// Four-letter names of sections.
pub(crate) mod tag {
    pub(crate) const GRAPH: [u8; 4] = *b"GRPH";
    pub(crate) const LABELS: [u8; 4] = *b"LABL";
    pub(crate) const PREPROCESSING: [u8; 4] = *b"PREP";
    pub(crate) const PROVENANCE: [u8; 4] = *b"PROV";
    pub(crate) const WEIGHTS: [u8; 4] = *b"WGTS";
    /// All but the weights.
    pub(crate) const METADATA: [[u8; 4]; 4] = [GRAPH, LABELS, PREPROCESSING, PROVENANCE];
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

    fn align(&self) -> u64 {
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
        ));
    }
    if bytes.len() < HEADER_LEN {
        return Err(Error::new(ErrorKind::Truncated, "header", format!("{HEADER_LEN} bytes"), bytes.len()));
    }
    let mut header = Reader::new("header", &bytes[MAGIC.len()..HEADER_LEN]);
    let major = u32::read(&mut header)?;
    let (major, minor) = (major as u16, (major >> 16) as u16);
    let (count, file_len, crc, reserved) =
        (u32::read(&mut header)?, u64::read(&mut header)?, u32::read(&mut header)?, u32::read(&mut header)?);
    if major != VERSION[0] {
        return Err(Error::new(ErrorKind::Unsupported, "format major version", VERSION[0], major));
    }
    if file_len != bytes.len() as u64 {
        return Err(Error::new(
            ErrorKind::Truncated,
            "file length",
            format!("{file_len} bytes (by its header)"),
            format!("{} bytes", bytes.len()),
        ));
    }
    if count > MAX_SECTIONS {
        return Err(Error::invalid("section count", format!("at most {MAX_SECTIONS}"), count));
    }
    let table_end = HEADER_LEN + count as usize * ENTRY_LEN;
    let Some(table) = bytes.get(HEADER_LEN..table_end) else {
        return Err(Error::new(ErrorKind::Truncated, "section table", format!("{table_end} bytes"), bytes.len()));
    };
    check_crc("header and section table", header_crc(&bytes[..HEADER_LEN], table), crc)?;
    if reserved != 0 {
        return Err(Error::invalid("header: reserved", 0, reserved));
    }
    let mut reader = Reader::new("table", table);
    let sections: Vec<Section> = (0..count).map(|_| Section::read(&mut reader)).collect::<Result<_>>()?;
    let mut end = table_end as u64;
    for (i, s) in sections.iter().enumerate() {
        let at = |field: &str| format!("section {}: {field}", s.name());
        let expected = end.next_multiple_of(s.align());
        if s.offset != expected {
            return Err(Error::invalid(at("offset"), expected, s.offset));
        }
        let room = file_len.checked_sub(s.offset);
        if room.is_none_or(|room| s.len > room) {
            return Err(Error::invalid(at("length"), format!("at most {} (the file's end)", room.unwrap_or(0)), s.len));
        }
        if s.flags & !MUST_UNDERSTAND != 0 || s.reserved != 0 {
            return Err(Error::invalid(at("flags and reserved"), "0 or 1, and 0", format!("{} and {}", s.flags, s.reserved)));
        }
        if sections[..i].iter().any(|other| other.tag == s.tag) {
            return Err(Error::invalid(at("tag"), "one section of each kind", "a second one"));
        }
        if bytes[end as usize..s.offset as usize].iter().any(|&b| b != 0) {
            return Err(Error::invalid(at("alignment before it"), "zero bytes", "others"));
        }
        end = s.offset + s.len;
    }
    if end != file_len {
        return Err(Error::invalid("last section", format!("to end at byte {file_len}"), end));
    }
    Ok(([major, minor], sections))
}

/// CRC of the header with its own CRC field left out, then the table.
fn header_crc(header: &[u8], table: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..24]);
    hasher.update(&header[28..]);
    hasher.update(table);
    hasher.finalize()
}

pub(crate) fn check_crc(what: impl std::fmt::Display, computed: u32, stored: u32) -> Result<()> {
    if computed == stored {
        return Ok(());
    }
    let (stored, computed) = (format!("checksum {stored:08x}"), format!("{computed:08x}: the bytes are damaged"));
    Err(Error::new(ErrorKind::Checksum, what, stored, computed))
}

/// Checks the weights' checksum, which [`crate::validate`] leaves alone because it reads every byte of them.
///
/// # Errors
/// [`ErrorKind::Checksum`] if they are damaged; as [`sections`] otherwise.
pub fn verify_weights(bytes: &[u8]) -> Result<()> {
    let (_, sections) = sections(bytes)?;
    for s in sections.iter().filter(|s| s.tag == tag::WEIGHTS) {
        check_crc(format!("section {}", s.name()), crc32fast::hash(&bytes[s.range()]), s.crc)?;
    }
    Ok(())
}

/// Writes a file: metadata from `model`, and the numbers of blob `i` from `fill(i, buffer)`, called once for each in order with
/// an empty buffer, so that only one blob is in memory at a time. What is written passes [`crate::validate`].
///
/// # Errors
/// If `model` breaks a rule of the format, if `fill` yields another count than `model.graph.blobs[i].len`, or if `out` fails.
pub fn write<W: Write + Seek>(out: &mut W, model: &Model, mut fill: impl FnMut(usize, &mut Vec<f32>)) -> Result<()> {
    let weights_len = model.graph.blobs.iter().map(|b| b.offset + b.len * 4).max().unwrap_or(0);
    crate::validate::check_model(model, weights_len)?;

    let mut graph = Vec::new();
    model.graph.write(&mut graph);
    let mut metadata = vec![(tag::GRAPH, MUST_UNDERSTAND, graph)];
    let mut optional = |tag, present: bool, encode: &dyn Fn(&mut Vec<u8>)| {
        if present {
            let mut bytes = Vec::new();
            encode(&mut bytes);
            metadata.push((tag, 0, bytes));
        }
    };
    optional(tag::LABELS, !model.labels.is_empty(), &|out| model.labels.write(out));
    optional(tag::PREPROCESSING, model.preprocessing.is_some(), &|out| model.preprocessing.iter().for_each(|p| p.write(out)));
    optional(tag::PROVENANCE, model.provenance.is_some(), &|out| model.provenance.iter().for_each(|p| p.write(out)));

    // Lengths of strings and lists have limits that only the encoding knows.
    let mut reread = Model::default();
    for (tag, _, bytes) in &metadata {
        crate::validate::read_section(&mut reread, *tag, bytes)?;
    }

    let start = out.stream_position()?;
    let count = metadata.len() + 1;
    let mut at = (HEADER_LEN + count * ENTRY_LEN) as u64;
    let mut table: Vec<Section> = Vec::new();
    out.seek(SeekFrom::Start(start + at))?;
    for (tag, flags, bytes) in &metadata {
        let section =
            Section { tag: *tag, flags: *flags, offset: 0, len: bytes.len() as u64, crc: crc32fast::hash(bytes), reserved: 0 };
        at = pad(out, at, section.align())?;
        table.push(Section { offset: at, ..section });
        out.write_all(bytes)?;
        at += bytes.len() as u64;
    }

    let weights_at = pad(out, at, WEIGHT_ALIGN)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut written = 0;
    let mut buffer = Vec::new();
    for (i, blob) in model.graph.blobs.iter().enumerate() {
        buffer.clear();
        fill(i, &mut buffer);
        if blob.offset != (written as u64).next_multiple_of(ALIGN) || buffer.len() as u64 != blob.len {
            let expected = format!("{} numbers at byte {}", blob.len, blob.offset);
            return Err(Error::invalid(format!("blob {i}"), expected, format!("{} numbers after byte {written}", buffer.len())));
        }
        let padding = [0; ALIGN as usize];
        let numbers: Vec<u8>;
        let bytes: &[u8] = if cfg!(target_endian = "little") {
            bytemuck::cast_slice(&buffer)
        } else {
            numbers = buffer.iter().flat_map(|x| x.to_le_bytes()).collect();
            &numbers
        };
        for part in [&padding[..blob.offset as usize - written], bytes] {
            hasher.update(part);
            out.write_all(part)?;
            written += part.len();
        }
    }
    table.push(Section {
        tag: tag::WEIGHTS,
        flags: MUST_UNDERSTAND,
        offset: weights_at,
        len: written as u64,
        crc: hasher.finalize(),
        reserved: 0,
    });

    let mut header = MAGIC.to_vec();
    (u32::from(VERSION[0]) | u32::from(VERSION[1]) << 16).write(&mut header);
    (count as u32).write(&mut header);
    (weights_at + written as u64).write(&mut header);
    0u32.write(&mut header);
    0u32.write(&mut header);
    let mut table_bytes = Vec::new();
    table.iter().for_each(|s| s.write(&mut table_bytes));
    let crc = header_crc(&header, &table_bytes);
    header[24..28].copy_from_slice(&crc.to_le_bytes());
    out.seek(SeekFrom::Start(start))?;
    out.write_all(&header)?;
    out.write_all(&table_bytes)?;
    Ok(())
}

/// Writes zeros up to the next multiple of `align`.
fn pad(out: &mut impl Write, at: u64, align: u64) -> Result<u64> {
    let aligned = at.next_multiple_of(align);
    out.write_all(&vec![0; (aligned - at) as usize])?;
    Ok(aligned)
}
