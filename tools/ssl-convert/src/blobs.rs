//! The blobs of a file while it is laid out: where each one lies, and where its elements come from when it is written.

use crate::onnx::tensor::Floats;
use crate::weights::Matrix;
use sslm_format::{Blob, BlobId, Sink, Value, panels};
use std::io;

/// About so many elements of a weight matrix or a stored tensor are in memory at a time: a panel may have more.
const PART: usize = 1 << 16;

/// Blobs in the order in which they are written.
#[derive(Default)]
pub struct Blobs<'g> {
    /// Where they lie in the weight section.
    pub places: Vec<Blob>,
    sources: Vec<Source<'g>>,
}

/// Where a blob's elements come from: small ones are at hand, weights are packed when they are written.
#[derive(PartialEq)]
enum Source<'g> {
    Ready(Vec<f32>),
    /// Blocks are compared first: matrices have many elements.
    Panels {
        blocks: Vec<Block>,
        matrix: &'g Matrix,
    },
    Tensor(&'g Floats),
}

/// The part of a weight matrix that one group stores.
#[derive(PartialEq)]
pub struct Block {
    /// Rows of the matrix.
    pub rows: Vec<usize>,
    /// Columns of the group.
    pub columns: Vec<usize>,
}

impl<'g> Blobs<'g> {
    fn push(&mut self, len: usize, source: Source<'g>) -> BlobId {
        let end = self.places.last().map_or(0, |b| b.offset + b.len * 4);
        self.places.push(Blob { offset: end.next_multiple_of(64), len: len as u64 });
        self.sources.push(source);
        BlobId(self.places.len() as u32 - 1)
    }

    /// Elements that come `per_channel` for each logical channel of `output`: those of the channels that it keeps.
    pub fn per_channel(&mut self, elements: &[f32], per_channel: usize, output: &Value) -> BlobId {
        let kept = kept_of(elements, per_channel, output);
        self.push(kept.len(), Source::Ready(kept))
    }

    /// As [`Self::push`]; what several nodes read is stored once.
    fn share(&mut self, len: usize, source: Source<'g>) -> BlobId {
        match self.sources.iter().position(|other| *other == source) {
            Some(same) if len > 0 => BlobId(same as u32),
            _ => self.push(len, source),
        }
    }

    /// These elements.
    pub fn elements(&mut self, elements: Vec<f32>) -> BlobId {
        self.share(elements.len(), Source::Ready(elements))
    }

    /// Blocks of a matrix in panels, one behind the other.
    pub fn panels(&mut self, matrix: &'g Matrix, blocks: Vec<Block>) -> BlobId {
        let len = blocks.iter().map(|block| block.rows.len() * block.columns.len()).sum();
        self.share(len, Source::Panels { blocks, matrix })
    }

    /// A stored tensor as it is.
    pub fn tensor(&mut self, data: &'g Floats) -> BlobId {
        self.share(data.len(), Source::Tensor(data))
    }

    /// Hands the elements of blob `i` to `sink`.
    ///
    /// # Errors
    /// If that fails.
    pub fn fill(&self, i: usize, sink: &mut Sink<'_>) -> io::Result<()> {
        let mut part = Vec::new();
        match &self.sources[i] {
            Source::Ready(elements) => sink(elements)?,
            Source::Tensor(data) => {
                for first in (0..data.len()).step_by(PART) {
                    part.clear();
                    part.extend((first..data.len().min(first + PART)).map(|i| data.at(i)));
                    sink(&part)?;
                }
            }
            Source::Panels { matrix, blocks } => {
                for Block { rows, columns } in blocks {
                    // Whole panels: each one is packed like a matrix of its own.
                    let few = (PART / columns.len().max(1)).max(1).next_multiple_of(panels::ROWS);
                    for rows in rows.chunks(few) {
                        part.clear();
                        panels::pack(rows.len(), columns.len(), |r, c| matrix.at(rows[r], columns[c]), &mut part);
                        sink(&part)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The elements of the channels that `output` keeps, of those that come `per_channel` for each logical channel.
pub fn kept_of(elements: &[f32], per_channel: usize, output: &Value) -> Vec<f32> {
    match &output.compaction {
        None => elements.to_vec(),
        Some(c) => {
            c.kept.iter().flat_map(|&channel| &elements[channel as usize * per_channel..][..per_channel]).copied().collect()
        }
    }
}

/// The channels of `total` that `output` keeps.
pub fn kept_channels(output: &Value, total: usize) -> Vec<usize> {
    match &output.compaction {
        Some(c) => c.kept.iter().map(|&channel| channel as usize).collect(),
        None => (0..total).collect(),
    }
}
