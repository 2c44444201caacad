//! A model to a file.

use crate::check::check_model;
use crate::codec::Field;
use crate::container::{ALIGN, ENTRY_LEN, HEADER_LEN, MAGIC, MUST_UNDERSTAND, Section, VERSION, WEIGHT_ALIGN, header_crc, tag};
use crate::element::ElementType;
use crate::error::{Error, Result};
use crate::graph::Model;
use crate::op::Operator;
use crate::read::read_section;
use crate::value::Blob;
use std::io::{self, Seek, SeekFrom, Write};

/// The minor version that defines types of elements.
const TYPES_SINCE: u16 = 4;

/// What takes in the elements of a blob, as many at a time as whoever has them likes.
pub type Sink<'a> = dyn FnMut(&[f32]) -> io::Result<()> + 'a;

/// Writes a file: metadata from `model`, and the elements of blob `i` from `fill(i, sink)`, called once for each in order, which hands
/// them to the sink part by part, so that no whole blob has to be in memory. What is written passes [`crate::validate`].
///
/// # Errors
/// If `model` breaks a rule of the format, if `fill` yields another count than `model.graph.blobs[i].len`, or if `out` fails.
pub fn write<W: Write + Seek>(
    out: &mut W,
    model: &Model,
    fill: impl FnMut(usize, &mut Sink<'_>) -> io::Result<()>,
) -> Result<()> {
    let weights_len = model.graph.blobs.iter().map(|b| b.offset + b.len * 4).max().unwrap_or(0);
    check_model(model, weights_len)?;

    let mut graph = Vec::new();
    model.graph.write(&mut graph);
    let mut metadata = vec![(tag::GRAPH, MUST_UNDERSTAND, graph)];
    let types = model.types.iter().find(|types| types.inputs.iter().chain(&types.outputs).any(|&t| t != ElementType::F32));
    if let Some(types) = types {
        let mut bytes = Vec::new();
        types.write(&mut bytes);
        metadata.push((tag::TYPES, MUST_UNDERSTAND, bytes));
    }
    let mut optional = |tag, present: bool, encode: &dyn Fn(&mut Vec<u8>)| {
        if present {
            let mut bytes = Vec::new();
            encode(&mut bytes);
            metadata.push((tag, 0, bytes));
        }
    };
    optional(tag::OUTPUT_NAMES, !model.output_names.is_empty(), &|out| model.output_names.write(out));
    optional(tag::LABELS, !model.labels.is_empty(), &|out| model.labels.write(out));
    optional(tag::PREPROCESSING, model.preprocessing.is_some(), &|out| model.preprocessing.iter().for_each(|p| p.write(out)));
    optional(tag::PROVENANCE, model.provenance.is_some(), &|out| model.provenance.iter().for_each(|p| p.write(out)));

    // Lengths of strings and lists have limits that only the encoding knows.
    let mut reread = Model::default();
    for (tag, _, bytes) in &metadata {
        // Where it will stand in the file is not known yet.
        read_section(&mut reread, *tag, 0, bytes)?;
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
    let (written, crc) = write_weights(out, &model.graph.blobs, fill)?;
    table.push(Section { tag: tag::WEIGHTS, flags: MUST_UNDERSTAND, offset: weights_at, len: written, crc, reserved: 0 });

    let of_types = types.map(|_| TYPES_SINCE);
    let of_names = (!model.output_names.is_empty()).then_some(4);
    let minor = model.graph.nodes.iter().map(|node| node.op.since()).chain(of_types).chain(of_names).max().unwrap_or(1);
    let mut header = MAGIC.to_vec();
    (u32::from(VERSION[0]) | u32::from(minor) << 16).write(&mut header);
    (count as u32).write(&mut header);
    (weights_at + written).write(&mut header);
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

/// Writes the blobs one behind the other, and yields how many bytes that are, and their checksum.
fn write_weights(
    out: &mut impl Write,
    blobs: &[Blob],
    mut fill: impl FnMut(usize, &mut Sink<'_>) -> io::Result<()>,
) -> Result<(u64, u32)> {
    let mut hasher = crc32fast::Hasher::new();
    let mut written = 0u64;
    for (i, blob) in blobs.iter().enumerate() {
        let at = written.next_multiple_of(ALIGN);
        if blob.offset != at {
            return Err(Error::invalid(
                format!("blob {i}"),
                format!("its elements at byte {at}"),
                format!("byte {}", blob.offset),
            ));
        }
        let padding = &[0; ALIGN as usize][..(at - written) as usize];
        let mut put = |bytes: &[u8]| {
            hasher.update(bytes);
            out.write_all(bytes)
        };
        put(padding)?;
        let mut count = 0;
        fill(i, &mut |elements| {
            count += elements.len() as u64;
            if cfg!(target_endian = "little") {
                put(bytemuck::cast_slice(elements))
            } else {
                put(&elements.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
            }
        })?;
        if count != blob.len {
            return Err(Error::invalid(format!("blob {i}"), format!("{} elements", blob.len), count));
        }
        written = at + 4 * count;
    }
    Ok((written, hasher.finalize()))
}

/// Writes zeros up to the next multiple of `align`.
fn pad(out: &mut impl Write, at: u64, align: u64) -> Result<u64> {
    let aligned = at.next_multiple_of(align);
    out.write_all(&vec![0; (aligned - at) as usize])?;
    Ok(aligned)
}
