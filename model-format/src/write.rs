//! A model to a file.

use crate::check::check_model;
use crate::codec::Field;
use crate::container::{ALIGN, ENTRY_LEN, HEADER_LEN, MAGIC, MUST_UNDERSTAND, Section, VERSION, WEIGHT_ALIGN, header_crc, tag};
use crate::element::ElementType;
use crate::error::{Error, Result};
use crate::graph::Model;
use crate::op::Operator;
use crate::read::read_section;
use std::io::{Seek, SeekFrom, Write};

/// The minor version that defines types of elements.
const TYPES_SINCE: u16 = 4;

/// Writes a file: metadata from `model`, and the elements of blob `i` from `fill(i, buffer)`, called once for each in order with
/// an empty buffer, so that only one blob is in memory at a time. What is written passes [`crate::validate`].
///
/// # Errors
/// If `model` breaks a rule of the format, if `fill` yields another count than `model.graph.blobs[i].len`, or if `out` fails.
pub fn write<W: Write + Seek>(out: &mut W, model: &Model, mut fill: impl FnMut(usize, &mut Vec<f32>)) -> Result<()> {
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
    let mut hasher = crc32fast::Hasher::new();
    let mut written = 0;
    let mut buffer = Vec::new();
    for (i, blob) in model.graph.blobs.iter().enumerate() {
        buffer.clear();
        fill(i, &mut buffer);
        if blob.offset != (written as u64).next_multiple_of(ALIGN) || buffer.len() as u64 != blob.len {
            let expected = format!("{} elements at byte {}", blob.len, blob.offset);
            return Err(Error::invalid(format!("blob {i}"), expected, format!("{} elements after byte {written}", buffer.len())));
        }
        let padding = [0; ALIGN as usize];
        let swapped: Vec<u8>;
        let bytes: &[u8] = if cfg!(target_endian = "little") {
            bytemuck::cast_slice(&buffer)
        } else {
            swapped = buffer.iter().flat_map(|x| x.to_le_bytes()).collect();
            &swapped
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

    let of_types = types.map(|_| TYPES_SINCE);
    let of_names = (!model.output_names.is_empty()).then_some(4);
    let minor = model.graph.nodes.iter().map(|node| node.op.since()).chain(of_types).chain(of_names).max().unwrap_or(1);
    let mut header = MAGIC.to_vec();
    (u32::from(VERSION[0]) | u32::from(minor) << 16).write(&mut header);
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
