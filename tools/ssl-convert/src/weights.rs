//! Weights while a network is converted: they lie where the ONNX file has them, and are seen through a transposition and factors.

use crate::onnx::tensor::Floats;
use sslm_format::{Kept, Weights};
use std::borrow::Cow;

/// Weights are in memory, or where the ONNX file has them.
#[derive(Clone, Debug, PartialEq)]
pub enum Unpacked {}

impl Weights for Unpacked {
    type Matrix = Matrix;
    type Vector = Vec<f32>;
    type Tensor = Floats;
}

/// An operator with its weights.
pub type Op = sslm_format::Op<Unpacked>;
/// A node with its weights.
pub type Node = sslm_format::Node<Unpacked>;

/// A weight matrix in place, seen through an optional transposition and per-row factors.
#[derive(Clone, Debug, PartialEq)]
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
    #[inline]
    pub fn at(&self, row: usize, column: usize) -> f32 {
        let stored = self.data.at(self.place(row, column));
        match self.row_scale.get(row) {
            Some(scale) => stored * scale,
            None => stored,
        }
    }

    /// Whether every element in place is finite.
    pub fn is_finite(&self) -> bool {
        self.data.is_finite()
    }

    #[inline]
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
        self.data = Floats::Masked { elements: Box::new(self.data.clone()), zero: bits.into() };
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
    pub kept: Cow<'a, [Kept]>,
    /// All groups' filters x one group's columns.
    pub matrix: &'a Matrix,
}
