//! The door from untrusted bytes to a trusted model: whatever comes out of [`validate`] keeps every rule of the format, so that nothing
//! behind it has to ask again.

use crate::check::check_model;
use crate::codec::{Field, Reader};
use crate::container::{check_crc, sections, tag};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Model;
use crate::value::BlobId;
use std::ops::Range;

/// A checked model and where its weights lie in the bytes that it was read from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The metadata.
    pub model: Model,
    /// Version of the format that the file was written in.
    pub version: [u16; 2],
    /// The weight section, and its checksum.
    weights: Range<usize>,
    weights_crc: u32,
}

impl Loaded {
    /// The elements of a blob, in place. `bytes` are those that were validated, 4-byte aligned (a memory map is).
    ///
    /// # Panics
    /// If `bytes` or `id` are others than those that [`validate`] saw.
    pub fn blob<'a>(&self, bytes: &'a [u8], id: BlobId) -> &'a [f32] {
        let blob = &self.model.graph.blobs[id.index()];
        let start = self.weights.start + blob.offset as usize;
        bytemuck::cast_slice(&bytes[start..start + blob.len as usize * 4])
    }

    /// Checks the weights' checksum, which [`validate`] leaves alone because it takes reading every byte of them. `bytes` are those that
    /// were validated, or what has become of them: they may have changed, and be fewer.
    ///
    /// # Errors
    /// [`ErrorKind::Checksum`] if the weights are damaged, [`ErrorKind::Truncated`] if they are not all there.
    pub fn verify_weights(&self, bytes: &[u8]) -> Result<()> {
        let weights = bytes.get(self.weights.clone());
        let missing = || {
            let truncated = Error::new(ErrorKind::Truncated, "weights", format!("{} bytes", self.weights.end), bytes.len());
            truncated.at_offset(bytes.len() as u64)
        };
        let crc = crc32fast::hash(weights.ok_or_else(missing)?);
        check_crc("section WGTS", crc, self.weights_crc, self.weights.start as u64)
    }

    /// Bytes of the weight section.
    pub fn weight_bytes(&self) -> usize {
        self.weights.len()
    }
}

/// Reads a whole `.sslm` file. Everything but the weights' own checksum is checked ([`Loaded::verify_weights`] does
/// that).
///
/// # Errors
/// One [`Error`] naming the first rule that is broken. No input makes this panic, and memory use is bounded by a small multiple
/// of the metadata's size.
pub fn validate(bytes: &[u8]) -> Result<Loaded> {
    let (version, sections) = sections(bytes)?;
    let mut model = Model::default();
    for s in &sections {
        let body = &bytes[s.range()];
        if tag::METADATA.contains(&s.tag) {
            check_crc(format!("section {}", s.name()), crc32fast::hash(body), s.crc, s.offset)?;
            read_section(&mut model, s.tag, s.offset, body)?;
        } else if s.tag != tag::WEIGHTS && s.must_understand() {
            let at = format!("section {}", s.name());
            return Err(Error::new(ErrorKind::Version, at, "a known section", "one that needs a newer sslm").at_offset(s.offset));
        }
    }
    let section = |tag: [u8; 4]| {
        let missing = || Error::invalid("section table", format!("a section {}", tag.escape_ascii()), "none");
        sections.iter().find(|s| s.tag == tag).ok_or_else(missing)
    };
    section(tag::GRAPH)?;
    let section = section(tag::WEIGHTS)?;
    let (weights, weights_crc) = (section.range(), section.crc);
    check_model(&model, weights.len() as u64)?;
    Ok(Loaded { model, version, weights, weights_crc })
}

/// Decodes one section of [`tag::METADATA`], which begins at byte `offset` of the file, into its part of `model`.
pub(crate) fn read_section(model: &mut Model, section: [u8; 4], offset: u64, bytes: &[u8]) -> Result<()> {
    fn decode<T: Field>(name: &'static str, offset: u64, bytes: &[u8]) -> Result<T> {
        let mut reader = Reader::new(name, bytes);
        let value = T::read(&mut reader).and_then(|value| reader.finish().map(|()| value));
        value.map_err(|e| e.at_offset(offset + reader.field_start() as u64))
    }
    match section {
        tag::GRAPH => model.graph = decode("GRPH", offset, bytes)?,
        tag::OUTPUT_NAMES => model.output_names = decode("OUTN", offset, bytes)?,
        tag::LABELS => model.labels = decode("LABL", offset, bytes)?,
        tag::PREPROCESSING => model.preprocessing = Some(decode("PREP", offset, bytes)?),
        tag::TYPES => model.types = Some(decode("TYPE", offset, bytes)?),
        _ => model.provenance = Some(decode("PROV", offset, bytes)?),
    }
    Ok(())
}
