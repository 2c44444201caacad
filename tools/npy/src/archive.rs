//! `.npz` files: archives of the zip format with a `.npy` file for each array.

use crate::{Array, parse_from, write};
use anyhow::{Context, Result, bail, ensure};
use flate2::bufread::DeflateDecoder;
use rawzip::path::EntryPath;
use rawzip::{CompressionMethod, ZipArchive, ZipArchiveWriter};
use std::io::{Read, Write};
use std::path::Path;

/// What each array's file ends in.
const SUFFIX: &str = ".npy";

/// No stream that is packed becomes longer than this many times its own bytes: what says that it does is damaged.
const MOST_PACKED: u64 = 1032;

/// Reads all arrays of an archive, packed or not, with their names, if they take no more than `most` bytes together when they are unpacked: a
/// small file can hold very many zeros.
///
/// # Errors
/// If the file cannot be read, is no such archive, naming the array that is damaged, or holds more.
pub fn read_all(path: &Path, most: u64) -> Result<Vec<(String, Array)>> {
    parse_all(&std::fs::read(path)?, most)
}

/// As [`read_all`], from the bytes of a file.
///
/// # Errors
/// As [`read_all`].
pub fn parse_all(bytes: &[u8], most: u64) -> Result<Vec<(String, Array)>> {
    let archive = ZipArchive::from_slice(bytes).context("no archive")?;
    let (mut arrays, mut entries, mut all) = (Vec::new(), archive.entries(), 0u64);
    while let Some(entry) = entries.next_entry()? {
        let path = entry.file_path();
        let name = str::from_utf8(path.as_ref()).context("the name of an array is not UTF-8")?;
        let name = name.strip_suffix(SUFFIX).with_context(|| format!("found '{}', which is no array", name.escape_debug()))?;
        let (method, packed, len) = (entry.compression_method(), entry.compressed_size_hint(), entry.uncompressed_size_hint());
        all = all.saturating_add(len);
        ensure!(all <= most, "arrays when they are unpacked: expected at most {most} bytes, found {all} or more");
        let array = archive.get_entry(entry.wayfinder()).map_err(anyhow::Error::from).and_then(|entry| {
            ensure!(len / MOST_PACKED <= packed, "{packed} bytes cannot hold the {len} that they are said to");
            match method {
                CompressionMethod::STORE => all_of(entry.verifying_reader(entry.data()), len),
                CompressionMethod::DEFLATE => all_of(entry.verifying_reader(DeflateDecoder::new(entry.data())), len),
                other => bail!("packed by method {}: expected none or 8 (deflate)", other.as_u16()),
            }
        });
        arrays.push((name.to_owned(), array.with_context(|| format!("array '{}'", name.escape_debug()))?));
    }
    Ok(arrays)
}

/// An array of `len` bytes, behind which nothing may follow: its checksum is checked at its end.
fn all_of(mut from: impl Read, len: u64) -> Result<Array> {
    let array = parse_from(&mut from, len)?;
    ensure!(from.read(&mut [0])? == 0, "more follows behind the elements");
    Ok(array)
}

/// Writes arrays with their names, not packed.
///
/// # Errors
/// As [`write()`].
pub fn write_all<'a>(to: impl Write, arrays: impl IntoIterator<Item = (&'a str, &'a Array)>) -> Result<()> {
    let mut archive = ZipArchiveWriter::new(to);
    for (name, array) in arrays {
        let file = format!("{name}{SUFFIX}");
        // Names are those of tensors, slashes and all; only what is not ASCII has to be marked as UTF-8.
        let path = if file.is_ascii() { EntryPath::verbatim(file.as_bytes()) } else { EntryPath::conformant(file.as_str()) };
        let (mut entry, config) = archive.new_file(path).start()?;
        let mut writer = config.wrap(&mut entry);
        write(&mut writer, array).with_context(|| format!("array '{name}'"))?;
        let (_, descriptor) = writer.finish()?;
        entry.finish(descriptor)?;
    }
    archive.finish()?.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sslm_format::ElementType;

    const MOST: u64 = 1 << 20;

    fn two() -> [(&'static str, Array); 2] {
        let classes = Array { shape: vec![2], element_type: ElementType::I64, elements: vec![3.0, -1.0] };
        [("/head/out", Array::of_floats(vec![1, 2], vec![0.5, -2.0])), ("größe", classes)]
    }

    fn archive() -> Vec<u8> {
        let (arrays, mut bytes) = (two(), Vec::new());
        write_all(&mut bytes, arrays.iter().map(|(name, array)| (*name, array))).expect("memory takes everything");
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let found = parse_all(&archive(), MOST).expect("an archive");
        assert_eq!(found, two().map(|(name, array)| (name.to_owned(), array)));
    }

    #[test]
    fn packed_arrays_are_read() {
        let (array, mut npy, mut bytes) = (Array::of_floats(vec![500], vec![1.5; 500]), Vec::new(), Vec::new());
        write(&mut npy, &array).expect("memory takes everything");
        let mut archive = ZipArchiveWriter::new(&mut bytes);
        let file = archive.new_file("x.npy").compression_method(CompressionMethod::DEFLATE);
        let (mut entry, config) = file.start().expect("memory takes everything");
        let mut writer = config.wrap(flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::default()));
        writer.write_all(&npy).expect("memory takes everything");
        let (encoder, descriptor) = writer.finish().expect("memory takes everything");
        encoder.finish().expect("memory takes everything");
        entry.finish(descriptor).expect("memory takes everything");
        archive.finish().expect("memory takes everything");
        assert!(bytes.len() < 500);
        assert_eq!(parse_all(&bytes, npy.len() as u64).expect("an archive"), [("x".to_owned(), array)]);
        let message = parse_all(&bytes, npy.len() as u64 - 1).expect_err("it is longer").to_string();
        assert_eq!(message, "arrays when they are unpacked: expected at most 2127 bytes, found 2128 or more");
    }

    #[test]
    fn damage_is_named() {
        let refuses = |bytes: &[u8], expected: &str| {
            let message = format!("{:#}", parse_all(bytes, MOST).expect_err(expected));
            assert!(message.contains(expected), "expected '{expected}' in: {message}");
        };
        let whole = archive();
        refuses(b"no archive at all", "no archive");
        refuses(&whole[..whole.len() - 30], "no archive");
        let half = whole.windows(4).position(|bytes| bytes == 0.5f32.to_le_bytes()).expect("an element");
        let mut damaged = whole.clone();
        damaged[half] ^= 1;
        refuses(&damaged, "array '/head/out'");
    }
}
