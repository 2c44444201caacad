//! The network while it is converted: a `.sslm` graph whose weights are still where the ONNX file has them. Importing yields a
//! dense one; folding and compaction change it in place; emission packs what is left.

use crate::onnx::tensor::Floats;
use sslm_format::shape::Shape;
use sslm_format::{BlobId, Kept, Node, Op, ValueId};

/// Stands where a blob will be assigned at emission.
pub const UNASSIGNED: BlobId = BlobId(u32::MAX);

/// A network with its weights. Clones share the weights themselves.
#[derive(Clone)]
pub struct Graph {
    /// Values, inputs, outputs, nodes. Blob ids are [`UNASSIGNED`], and there are no blobs.
    pub graph: sslm_format::Graph,
    /// What each node of `graph.nodes` computes with.
    pub weights: Vec<Weights>,
    /// Logical shape of each value; extents that depend on symbolic dims are unknown.
    pub shapes: Vec<Shape>,
}

/// The numbers that belong to a node.
#[derive(Clone, Debug)]
pub enum Weights {
    /// The operator has none.
    None,
    /// Of a Conv or Gemm.
    Matrix {
        /// Logical filters x logical columns of one group.
        matrix: Matrix,
        /// One per logical filter.
        bias: Vec<f32>,
        /// What constant input channels add through each tap, `[logical filters][KH][KW]`, or empty.
        taps: Vec<f32>,
    },
    /// Of a BatchNorm: one of each per logical channel.
    ScaleShift {
        /// Multipliers.
        scale: Vec<f32>,
        /// Added.
        shift: Vec<f32>,
    },
    /// Of a Constant.
    Tensor(Floats),
}

/// A weight matrix in place, seen through an optional transposition and per-row factors.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// Rows: filters.
    pub rows: usize,
    /// Columns of one group.
    pub columns: usize,
    /// `rows x columns`, or `columns x rows` if transposed.
    pub data: Floats,
    /// Whether `data` holds the transposed matrix.
    pub transposed: bool,
    /// Multiplies each row; empty where nothing does.
    pub row_scale: Vec<f32>,
}

impl Matrix {
    /// The element in place, times its row's factor.
    pub fn at(&self, row: usize, column: usize) -> f32 {
        let stored = self.data.at(self.place(row, column));
        match self.row_scale.get(row) {
            Some(scale) => stored * scale,
            None => stored,
        }
    }

    fn place(&self, row: usize, column: usize) -> usize {
        if self.transposed { column * self.rows + row } else { row * self.columns + column }
    }

    /// Makes the elements for which `zero(row, column)` holds read as 0 from now on. Costs one bit for each element.
    pub fn mask(&mut self, zero: impl Fn(usize, usize) -> bool) {
        let mut bits = vec![0u64; self.data.len().div_ceil(64)];
        for row in 0..self.rows {
            for column in (0..self.columns).filter(|&column| zero(row, column)) {
                let i = self.place(row, column);
                bits[i / 64] |= 1 << (i % 64);
            }
        }
        self.data = Floats::Masked { numbers: Box::new(self.data.clone()), zero: bits.into() };
    }

    /// Multiplies row `row` by `factors[row]` from now on.
    pub fn scale_rows(&mut self, factors: &[f32]) {
        if self.row_scale.is_empty() {
            self.row_scale = factors.to_vec();
        } else {
            self.row_scale.iter_mut().zip(factors).for_each(|(have, more)| *have *= more);
        }
    }
}

/// A node with weights as filters and columns: one view of every such operator.
pub struct Layer<'a> {
    /// Groups of filters, each with columns of its own.
    pub groups: usize,
    /// Filters of one group.
    pub filters: usize,
    /// Columns of one group.
    pub columns: usize,
    /// Columns of one input channel.
    pub taps: usize,
    /// The columns that each group keeps.
    pub kept: &'a [Kept],
    /// All groups' filters x one group's columns.
    pub matrix: &'a Matrix,
}

impl Graph {
    /// Node `i` as a layer, if it has weights.
    pub fn layer(&self, i: usize) -> Option<Layer<'_>> {
        let Weights::Matrix { matrix, .. } = &self.weights[i] else { return None };
        let op = &self.graph.nodes[i].op;
        let (groups, taps, kept) = match (op.conv(), op) {
            (Some(conv), _) => (conv.group as usize, conv.window.taps(), &conv.columns[..]),
            (_, Op::Gemm(gemm)) => (1, 1, std::slice::from_ref(&gemm.columns)),
            _ => return None,
        };
        Some(Layer { groups, filters: matrix.rows / groups, columns: matrix.columns, taps, kept, matrix })
    }

    /// Positions in `graph.nodes` of those that read each value.
    pub fn readers(&self) -> Vec<Vec<usize>> {
        let mut readers = vec![Vec::new(); self.graph.values.len()];
        for (i, node) in self.graph.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|v| readers[v.index()].push(i));
        }
        readers
    }

    /// Position of the node that defines each value; `None` for inputs.
    pub fn producers(&self) -> Vec<Option<usize>> {
        let mut producers = vec![None; self.graph.values.len()];
        self.graph.nodes.iter().enumerate().for_each(|(i, node)| producers[node.output.index()] = Some(i));
        producers
    }

    /// Shape of a value.
    pub fn shape(&self, value: ValueId) -> &Shape {
        &self.shapes[value.index()]
    }

    /// Multiply-accumulates of node `i` for one image: of all its logical filters and columns, and of those that it keeps.
    /// `None` for operators without weights or where the output's size is symbolic.
    pub fn macs(&self, i: usize) -> Option<(u64, u64)> {
        let node = &self.graph.nodes[i];
        let output = &self.graph.values[node.output.index()];
        let shape = self.shape(node.output);
        match &node.op {
            Op::Conv(_) | Op::ConvTranspose(_) => {
                let conv = node.op.conv()?;
                let positions = (shape[2]? * shape[3]?) as u64;
                let columns = conv.columns_per_group();
                let kept: usize = conv.kept_filters(output).iter().zip(&conv.columns).map(|(f, c)| f * c.count(columns)).sum();
                Some((conv.filters as u64 * columns as u64 * positions, kept as u64 * positions))
            }
            Op::Gemm(gemm) => {
                let kept = gemm.kept_rows(output) * gemm.columns.count(gemm.features as usize);
                Some((u64::from(gemm.rows) * u64::from(gemm.features), kept as u64))
            }
            _ => None,
        }
    }
}

/// Drops nodes for which `keep` is false, with their weights. Values stay; see [`drop_unused_values`].
pub fn retain_nodes(g: &mut Graph, keep: impl Fn(usize, &Node) -> bool) {
    let nodes = std::mem::take(&mut g.graph.nodes);
    let weights = std::mem::take(&mut g.weights);
    for (i, (node, weights)) in nodes.into_iter().zip(weights).enumerate() {
        if keep(i, &node) {
            g.graph.nodes.push(node);
            g.weights.push(weights);
        }
    }
}

/// Drops values that no input or node defines, and renumbers the others.
pub fn drop_unused_values(g: &mut Graph) {
    let mut new_id = vec![None; g.graph.values.len()];
    let defined = g.graph.inputs.iter().map(|i| i.value).chain(g.graph.nodes.iter().map(|n| n.output));
    defined.for_each(|v| new_id[v.index()] = Some(ValueId(0)));
    let used: Vec<usize> = (0..new_id.len()).filter(|&i| new_id[i].is_some()).collect();
    used.iter().enumerate().for_each(|(new, &old)| new_id[old] = Some(ValueId(new as u32)));
    let renumber = |v: &mut ValueId| {
        if let Some(new) = new_id[v.index()] {
            *v = new;
        }
    };
    g.graph.values = used.iter().map(|&i| g.graph.values[i].clone()).collect();
    g.shapes = used.iter().map(|&i| g.shapes[i].clone()).collect();
    g.graph.inputs.iter_mut().for_each(|i| renumber(&mut i.value));
    g.graph.outputs.iter_mut().for_each(renumber);
    for node in &mut g.graph.nodes {
        node.inputs.iter_mut().for_each(renumber);
        renumber(&mut node.output);
    }
}
