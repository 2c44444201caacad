//! Writing: a `.sslm` model from a graph, its weights packed into panels one layer at a time.

use crate::graph::{Graph, Weights};
use anyhow::{Context, Result};
use sslm_format::{Blob, BlobId, ConvTranspose, Model, Op, Preprocessing, Provenance, panels};
use std::io::{Seek, Write};

/// What a file says besides the network.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// Class names.
    pub labels: Vec<String>,
    /// From images to inputs.
    pub preprocessing: Option<Preprocessing>,
    /// Where the network came from.
    pub provenance: Option<Provenance>,
}

/// The numbers of a blob: small ones at hand, weights to be packed when they are written.
enum Numbers {
    Ready(Vec<f32>),
    MatrixOf(usize),
    TensorOf(usize),
}

/// Writes `g` to `out`.
///
/// # Errors
/// If `out` fails, or the graph breaks a rule of the format.
pub fn write(g: &Graph, metadata: Metadata, out: &mut (impl Write + Seek)) -> Result<()> {
    let mut graph = g.graph.clone();
    let mut numbers: Vec<Numbers> = Vec::new();
    for (i, node) in graph.nodes.iter_mut().enumerate() {
        let mut assign = |len: usize, source: Numbers| {
            let end = graph.blobs.last().map_or(0, |b| b.offset + b.len * 4);
            graph.blobs.push(Blob { offset: end.next_multiple_of(64), len: len as u64 });
            numbers.push(source);
            BlobId(graph.blobs.len() as u32 - 1)
        };
        let mut ready = |all: &[f32], per_channel: usize| {
            let kept = kept_rows(g, i, all, per_channel);
            assign(kept.len(), Numbers::Ready(kept))
        };
        match (&mut node.op, &g.weights[i]) {
            (Op::Conv(conv) | Op::ConvTranspose(ConvTranspose { conv, .. }), Weights::Matrix { bias, taps, .. }) => {
                conv.bias = ready(bias, 1);
                let per_filter = conv.window.taps();
                if kept_rows(g, i, taps, per_filter).iter().any(|&t| t != 0.0) {
                    conv.taps = Some(ready(taps, per_filter));
                }
                conv.weights = assign(blocks(g, i).iter().map(Block::len).sum(), Numbers::MatrixOf(i));
            }
            (Op::Gemm(gemm), Weights::Matrix { bias, .. }) => {
                gemm.bias = ready(bias, 1);
                gemm.weights = assign(blocks(g, i).iter().map(Block::len).sum(), Numbers::MatrixOf(i));
            }
            (Op::BatchNorm(norm), Weights::ScaleShift { scale, shift }) => {
                (norm.scale, norm.shift) = (ready(scale, 1), ready(shift, 1));
            }
            (Op::InstanceNorm(norm), Weights::ScaleShift { scale, shift }) => {
                (norm.scale, norm.shift) = (ready(scale, 1), ready(shift, 1));
            }
            (Op::Constant(constant), Weights::Tensor(data)) => constant.data = assign(data.len(), Numbers::TensorOf(i)),
            _ => {}
        }
    }
    let Metadata { labels, preprocessing, provenance } = metadata;
    let model = Model { graph, labels, preprocessing, provenance };
    sslm_format::write(out, &model, |blob, buffer| match &numbers[blob] {
        Numbers::Ready(numbers) => buffer.extend(numbers),
        Numbers::TensorOf(node) => {
            if let Weights::Tensor(data) = &g.weights[*node] {
                buffer.extend(data.iter());
            }
        }
        Numbers::MatrixOf(node) => {
            if let Weights::Matrix { matrix, .. } = &g.weights[*node] {
                for Block { rows, columns } in blocks(g, *node) {
                    panels::pack(rows.len(), columns.len(), |r, c| matrix.at(rows[r], columns[c]), buffer);
                }
            }
        }
    })
    .context("the model cannot be written")
}

/// Of numbers that come `per_channel` for each logical output channel of node `i`, those of kept channels.
fn kept_rows(g: &Graph, i: usize, all: &[f32], per_channel: usize) -> Vec<f32> {
    match &g.graph.values[g.graph.nodes[i].output.index()].compaction {
        None => all.to_vec(),
        Some(_) if all.is_empty() => Vec::new(),
        Some(c) => c.kept.iter().flat_map(|&row| &all[row as usize * per_channel..][..per_channel]).copied().collect(),
    }
}

/// The part of a weight matrix that one group stores.
struct Block {
    rows: Vec<usize>,
    columns: Vec<usize>,
}

impl Block {
    fn len(&self) -> usize {
        self.rows.len() * self.columns.len()
    }
}

/// What node `i` stores of its matrix: one block for each group.
fn blocks(g: &Graph, i: usize) -> Vec<Block> {
    let node = &g.graph.nodes[i];
    let output = &g.graph.values[node.output.index()];
    let kept = |total: usize| match &output.compaction {
        Some(c) => c.kept.iter().map(|&row| row as usize).collect(),
        None => (0..total).collect::<Vec<_>>(),
    };
    match &node.op {
        Op::Conv(conv) | Op::ConvTranspose(ConvTranspose { conv, .. }) => {
            let mut rows = kept(conv.filters as usize).into_iter();
            let columns = conv.columns.iter().map(|c| c.iter(conv.columns_per_group()).collect());
            let filters = conv.kept_filters(output);
            columns
                .zip(filters)
                .map(|(columns, filters)| Block { rows: rows.by_ref().take(filters).collect(), columns })
                .collect()
        }
        Op::Gemm(gemm) => {
            vec![Block { rows: kept(gemm.rows as usize), columns: gemm.columns.iter(gemm.features as usize).collect() }]
        }
        _ => Vec::new(),
    }
}
