//! `.sslm` files as fuzzers need them: without checksums, offsets and padding, all of which follow from the rest. So every mutation
//! of a section's bytes gets behind them.
//!
//! ```text
//! [extents] [instruction set]  then for each section  [kind] [length, 4 bytes] [its bytes]
//! ```
//!
//! The bytes of the weights are their length (4 bytes) and a pattern, which is repeated.

use crate::file::repair_checksums;
use sslm_format::{MAGIC, VERSION, WEIGHT_ALIGN};

const TAGS: [&[u8; 4]; 8] = [b"GRPH", b"OUTN", b"LABL", b"PREP", b"PROV", b"TYPE", b"WGTS", b"NEWS"];
/// Which of them a reader must understand.
const NEEDED: [&[u8; 4]; 3] = [b"GRPH", b"TYPE", b"WGTS"];
const WEIGHTS: u8 = 6;
const HEADER_LEN: usize = 32;
const ENTRY_LEN: usize = 32;
const ALIGN: usize = 64;

/// More bytes of weights are not made.
const MOST_WEIGHTS: usize = 1 << 16;

/// A file in few bytes, and how it is to be run.
pub struct Sections {
    /// What the model is prepared for: [`super::models::options`] reads it.
    pub setup: [u8; 2],
    /// Kind, as an index into the list of tags, and bytes.
    pub sections: Vec<(u8, Vec<u8>)>,
}

impl Sections {
    /// What a fuzzer's bytes say. Every list of bytes says something.
    pub fn decode(data: &[u8]) -> Self {
        let mut setup = [0; 2];
        let (first, mut rest) = data.split_at(data.len().min(setup.len()));
        setup[..first.len()].copy_from_slice(first);
        let mut sections = Vec::new();
        while let Some((head, body)) = rest.split_first_chunk::<5>() {
            let [kind, len @ ..] = *head;
            let len = (u32::from_le_bytes(len) as usize).min(body.len());
            sections.push((kind, body[..len].to_vec()));
            rest = &body[len..];
        }
        Sections { setup, sections }
    }

    /// The bytes that say this.
    pub fn encode(&self) -> Vec<u8> {
        let mut data = self.setup.to_vec();
        for (kind, body) in &self.sections {
            data.push(*kind);
            data.extend((body.len() as u32).to_le_bytes());
            data.extend(body);
        }
        data
    }

    /// The sections of a valid file.
    ///
    /// # Panics
    /// If it is not valid.
    pub fn of_file(file: &[u8]) -> Self {
        let (_, sections) = sslm_format::sections(file).expect("a valid file");
        let section = |section: &sslm_format::Section| {
            let kind = TAGS.iter().position(|tag| **tag == section.tag).expect("a known section") as u8;
            let body = &file[section.offset as usize..(section.offset + section.len) as usize];
            let len = if kind == WEIGHTS { (body.len() as u32).to_le_bytes().to_vec() } else { Vec::new() };
            (kind, [&len, body].concat())
        };
        Sections { setup: [0; 2], sections: sections.iter().map(section).collect() }
    }

    /// The file, with checksums that are right.
    pub fn to_file(&self) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.resize(HEADER_LEN + self.sections.len() * ENTRY_LEN, 0);
        for (i, (kind, body)) in self.sections.iter().enumerate() {
            let tag = TAGS[usize::from(*kind) % TAGS.len()];
            file.resize(file.len().next_multiple_of(if tag == b"WGTS" { WEIGHT_ALIGN as usize } else { ALIGN }), 0);
            let offset = file.len();
            if tag == b"WGTS" {
                file.extend(weights(body))
            } else {
                file.extend(body)
            }
            let len = file.len() - offset;
            let entry = &mut file[HEADER_LEN + i * ENTRY_LEN..][..ENTRY_LEN];
            entry[..4].copy_from_slice(tag);
            entry[4] = u8::from(NEEDED.contains(&tag));
            entry[8..16].copy_from_slice(&(offset as u64).to_le_bytes());
            entry[16..24].copy_from_slice(&(len as u64).to_le_bytes());
        }
        let len = file.len() as u64;
        file[8..10].copy_from_slice(&VERSION[0].to_le_bytes());
        file[10..12].copy_from_slice(&VERSION[1].to_le_bytes());
        file[12..16].copy_from_slice(&(self.sections.len() as u32).to_le_bytes());
        file[16..24].copy_from_slice(&len.to_le_bytes());
        repair_checksums(&mut file);
        file
    }
}

fn weights(body: &[u8]) -> Vec<u8> {
    let Some((len, pattern)) = body.split_first_chunk::<4>() else { return Vec::new() };
    let len = (u32::from_le_bytes(*len) as usize).min(MOST_WEIGHTS);
    if pattern.is_empty() { vec![0; len] } else { pattern.iter().copied().cycle().take(len).collect() }
}
