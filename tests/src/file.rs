//! Editing `.sslm` files below the level of the library: broken ones cannot be written with it. Offsets are those of
//! `docs/sslm-format.md`.

use sslm_format::Section;

const HEADER_LEN: usize = 32;
const ENTRY_LEN: usize = 32;
const HEADER_CRC: usize = 24;

/// The section of a valid file with this name.
///
/// # Panics
/// If there is none.
pub fn section(file: &[u8], name: &str) -> Section {
    let (_, sections) = sslm_format::sections(file).expect("a valid file");
    sections.into_iter().find(|s| s.name() == name).unwrap_or_else(|| panic!("no section {name}"))
}

/// Recomputes all checksums from whatever the section table says, as far as it lies inside the file.
pub fn repair_checksums(file: &mut [u8]) {
    if file.len() < HEADER_LEN {
        return;
    }
    let count = u32_at(file, 12) as usize;
    let table_end = HEADER_LEN + count.min(64) * ENTRY_LEN;
    if file.len() < table_end {
        return;
    }
    for entry in (HEADER_LEN..table_end).step_by(ENTRY_LEN) {
        let (offset, len) = (u64_at(file, entry + 8) as usize, u64_at(file, entry + 16) as usize);
        if let Some(body) = offset.checked_add(len).and_then(|end| file.get(offset..end)) {
            let crc = crc32fast::hash(body);
            file[entry + 24..entry + 28].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&file[..HEADER_CRC]);
    hasher.update(&file[HEADER_CRC + 4..table_end]);
    file[HEADER_CRC..HEADER_CRC + 4].copy_from_slice(&hasher.finalize().to_le_bytes());
}

/// Position of the table entry of a section.
///
/// # Panics
/// If there is none.
pub fn entry_of(file: &[u8], name: &str) -> usize {
    let (_, sections) = sslm_format::sections(file).expect("a valid file");
    let index = sections.iter().position(|s| s.name() == name).unwrap_or_else(|| panic!("no section {name}"));
    HEADER_LEN + index * ENTRY_LEN
}

/// Position of the only place where `needle` stands in a section.
///
/// # Panics
/// If it stands there never or twice.
pub fn find(file: &[u8], section_name: &str, needle: &[u8]) -> usize {
    let s = section(file, section_name);
    let body = &file[s.offset as usize..(s.offset + s.len) as usize];
    let places: Vec<usize> = (0..body.len()).filter(|&i| body[i..].starts_with(needle)).collect();
    assert_eq!(places.len(), 1, "{needle:?} stands {} times in {section_name}", places.len());
    s.offset as usize + places[0]
}

fn u32_at(file: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(file: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(file[at..at + 8].try_into().expect("eight bytes"))
}
