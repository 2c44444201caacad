//! Fully connected layers: Gemm and MatMul with stored weights.

use crate::blobs::{Blobs, Block, kept_channels};
use crate::export::exporter::{Export, Exporter};
use crate::export::writer::int;
use crate::import::binding::Binding;
use crate::import::checks::positive;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::onnx::tensor::Tensor;
use crate::operator::{Convert, Reordering};
use crate::order::Order;
use crate::slices::{Reads, Slices};
use crate::weights::{Layer, Matrix, Node, Op, Unpacked};
use anyhow::{Result, bail, ensure};
use rayon::prelude::*;
use sslm_format::shape::Shape;
use sslm_format::{Conv, Gemm, Kept, Value, Window};

pub(super) const IMPORTS: &[Import] = &[Import::computing("Gemm", gemm), Import::computing("MatMul", matmul)];

fn gemm(node: &mut OnnxNode<'_>) -> Result<Binding> {
    ensure!(!node.flag("transA", false)?, "transA: expected 0, found 1");
    let transposed = !node.flag("transB", false)?;
    let (alpha, beta) = (node.float("alpha", 1.0)?, node.float("beta", 1.0)?);
    let x = node.value(0)?;
    let rank = node.rank(x);
    ensure!(rank == 2, "input: expected 2 axes, found {rank}");
    let mut matrix = matrix(node.needed_tensor(1, "weights")?, transposed)?;
    let rows = matrix.rows;
    if alpha != 1.0 {
        matrix.scale_rows(&vec![alpha; rows]);
    }
    let bias = match node.tensor(2, "bias")? {
        None => vec![0.0; rows],
        Some(tensor) => {
            let floats = tensor.floats()?;
            let fits = tensor.dims.iter().rev().skip(1).all(|&d| d == 1) && (floats.len() == rows || floats.len() == 1);
            ensure!(fits, "bias: expected {rows} elements for every row of the batch, found dims {:?}", tensor.dims);
            (0..rows).map(|i| beta * floats.at(if floats.len() == 1 { 0 } else { i })).collect()
        }
    };
    node.push(dense(matrix, bias)?, vec![x])
}

fn matmul(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let matrix = matrix(node.needed_tensor(1, "weights")?, true)?;
    let bias = vec![0.0; matrix.rows];
    node.push(dense(matrix, bias)?, vec![x])
}

/// The matrix of stored weights: `K x M` if `transposed`, else `M x K`.
fn matrix(weights: &Tensor, transposed: bool) -> Result<Matrix> {
    let [a, b] = weights.dims[..] else { bail!("weights: expected 2 axes, found dims {:?}", weights.dims) };
    ensure!(a > 0 && b > 0, "weights: expected extents of at least 1, found dims {:?}", weights.dims);
    let (rows, columns) = if transposed { (b, a) } else { (a, b) };
    Ok(Matrix { rows, columns, data: weights.floats()?.clone(), transposed, row_scale: Vec::new() })
}

/// The record of a layer that keeps everything.
fn dense(matrix: Matrix, bias: Vec<f32>) -> Result<Gemm<Unpacked>> {
    Ok(Gemm {
        features: positive(matrix.columns as i64, "features")?,
        rows: positive(matrix.rows as i64, "rows")?,
        columns: Kept::All,
        weights: matrix,
        bias,
    })
}

impl Convert for Gemm<Unpacked> {
    fn is_finite(&self) -> bool {
        self.weights.is_finite() && self.bias.iter().all(|x| x.is_finite())
    }

    fn layer(&self) -> Option<Layer<'_>> {
        let (kept, matrix) = (std::slice::from_ref(&self.columns), &self.weights);
        Some(Layer { groups: 1, filters: matrix.rows, columns: matrix.columns, taps: 1, kept, matrix })
    }

    fn matrix_mut(&mut self) -> Option<&mut Matrix> {
        Some(&mut self.weights)
    }

    /// At each position of the axes between the batch and the features.
    fn macs(&self, output: &Value, shape: &Shape) -> Option<(u64, u64)> {
        let positions = shape.get(1..shape.len() - 1).unwrap_or_default().iter().copied().product::<Option<usize>>()? as u64;
        let kept = (self.kept_rows(output) * self.columns.count(self.features as usize)) as u64;
        Some((u64::from(self.rows) * u64::from(self.features) * positions, kept * positions))
    }

    /// As a 1x1 convolution.
    fn favourite_order(&self, x: &Shape) -> Option<Order> {
        Order::channels_first(x)
    }

    fn reordered(&self, at: &Reordering<'_>) -> Option<Op> {
        let last = at.input.len() as u32 - 1;
        let fits = at.x == at.y && at.x.axes().len() == 4 && at.axis(last) == Some(1);
        let (channels, filters) = (self.features, self.rows);
        let pointwise = || Conv {
            group: 1,
            channels,
            filters,
            window: Window::pointwise(),
            columns: vec![Kept::All],
            weights: self.weights.clone(),
            bias: self.bias.clone(),
            taps: None,
        };
        fits.then(|| pointwise().into())
    }

    /// Of other ranks than 2, the features are not axis 1.
    fn rows_mut(&mut self, shape: &Shape) -> Option<(&mut Matrix, &mut Vec<f32>)> {
        (shape.len() == 2).then_some((&mut self.weights, &mut self.bias))
    }

    fn forward(&mut self, inputs: &[Slices<'_>], _: &Slices<'_>) -> Vec<Option<f32>> {
        let x = inputs[0].constants();
        let of_row = |row: usize| {
            let (mut live, mut sum) = (false, f64::from(self.bias[row]));
            for column in 0..self.weights.columns {
                let w = self.weights.at(row, column);
                if w != 0.0 {
                    match x.and_then(|x| x[column]) {
                        Some(value) => sum += f64::from(w) * f64::from(value),
                        None => live = true,
                    }
                }
            }
            (sum as f32, live)
        };
        let rows: Vec<(f32, bool)> = (0..self.weights.rows).into_par_iter().map(of_row).collect();
        self.bias = rows.iter().map(|(sum, _)| *sum).collect();
        rows.into_iter().map(|(sum, live)| (!live).then_some(sum)).collect()
    }

    fn backward(&mut self, inputs: &[Slices<'_>], _: &Slices<'_>, wanted: Option<&[bool]>) -> Vec<Reads> {
        let Some(wanted) = wanted else { return vec![Reads::All] };
        let (rows, total): (Vec<usize>, usize) = ((0..self.weights.rows).filter(|&r| wanted[r]).collect(), self.weights.columns);
        let used = |column: usize| inputs[0].is_live(column) && rows.iter().any(|&r| self.weights.at(r, column) != 0.0);
        let read: Vec<bool> = (0..total).into_par_iter().map(used).collect();
        let columns = (0..).zip(&read).filter(|(_, read)| **read).map(|(column, _)| column).collect();
        self.columns = Kept::from_list(columns, total);
        vec![Reads::Some(read)]
    }

    fn forget(&mut self) {
        self.columns = Kept::List(Vec::new());
    }

    fn takes_constants(&self) -> bool {
        true
    }

    fn stored<'g>(&'g self, output: &Value, blobs: &mut Blobs<'g>) -> sslm_format::Op {
        let Gemm { features, rows, .. } = *self;
        let bias = blobs.per_channel(&self.bias, 1, output);
        let block = Block { rows: kept_channels(output, rows as usize), columns: self.columns.iter(features as usize).collect() };
        let weights = blobs.panels(&self.weights, vec![block]);
        Gemm { features, rows, columns: self.columns.clone(), weights, bias }.into()
    }
}

impl Export for Gemm<Unpacked> {
    fn export(&self, e: &mut Exporter<'_>, node: &Node) -> Result<()> {
        let (x, out, output) = (node.inputs[0], node.output, e.name(node.output));
        let (matrix, bias) = (&self.weights, &self.bias);
        if e.shape(out).len() != 2 {
            let at = |i: usize| matrix.at(i % matrix.rows, i / matrix.rows);
            let weights = e.w.floats(&[matrix.columns, matrix.rows], (0..matrix.columns * matrix.rows).map(at));
            let bias = e.w.floats(&[matrix.rows], bias.iter().copied());
            let x = e.name(x);
            let product = e.w.make("MatMul", &[&x, &weights], vec![]);
            e.w.push("Add", &[&product, &bias], &output, vec![]);
            return Ok(());
        }
        let (rows, features) = (e.physical(out)?, e.physical(x)?);
        ensure!(!features.is_empty(), "a layer without inputs");
        let kept: Vec<bool> = features.iter().map(|&f| self.columns.contains(f)).collect();
        let elements = rows
            .iter()
            .flat_map(|&r| features.iter().zip(&kept).map(move |(&f, &kept)| if kept { matrix.at(r, f) } else { 0.0 }));
        let weights = e.w.floats(&[rows.len(), features.len()], elements);
        let bias = e.w.floats(&[rows.len()], rows.iter().map(|&r| bias[r]));
        let x = e.name(x);
        e.w.push("Gemm", &[&x, &weights, &bias], &output, vec![int("transB", 1)]);
        Ok(())
    }

    fn carry(&self, e: &mut Exporter<'_>, node: &Node) -> Result<String> {
        e.carrier(node.inputs[0])
    }
}
