//! Fully connected layers: Gemm, and MatMul with stored weights.

use crate::blobs::{Blobs, Block, kept_channels};
use crate::export::existing::Existing;
use crate::export::exporter::{Export, Exporter};
use crate::export::writer::int;
use crate::import::binding::Binding;
use crate::import::checks::positive;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::onnx::tensor::{Floats, Tensor};
use crate::operator::{Convert, Reordering};
use crate::order::Order;
use crate::slices::{Reads, Slices};
use crate::weights::{Layer, Matrix, Node, Op, Unpacked};
use anyhow::{Result, bail, ensure};
use rayon::prelude::*;
use sslm_format::shape::Shape;
use sslm_format::{Binary, Constant, Conv, Extent, Gemm, Kept, MatMul, Transpose, Value, ValueId, Window};

pub(super) const IMPORTS: &[Import] = &[Import::computing("Gemm", gemm)];

/// A layer, if the second operand is stored; what of the rest is not stored is added behind it, or multiplied as it is computed.
fn gemm(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let transposed = [node.flag("transA", false)?, node.flag("transB", false)?];
    let (alpha, beta) = (node.float("alpha", 1.0)?, node.float("beta", 1.0)?);
    let mut x = node.value(0)?;
    let rank = node.rank(x);
    ensure!(rank == 2, "input: expected 2 axes, found {rank}");
    let addend = node.input(2).is_some() && beta != 0.0;
    let Some(weights) = node.tensor_if_known(1).cloned() else {
        let operands = [x, node.value(1)?];
        let product = MatMul { transposed, alpha };
        if !addend {
            return node.push(product, operands.to_vec());
        }
        let product = node.push_as(&node.inner_name("product"), product, operands.to_vec())?;
        return add(node, product, beta);
    };
    let mut matrix = matrix(&weights, !transposed[1])?;
    let rows = matrix.rows;
    if alpha != 1.0 {
        matrix.scale_rows(&vec![alpha; rows]);
    }
    if transposed[0] {
        x = node.push_as(&node.inner_name("transposed"), Transpose { axes: vec![1, 0] }, vec![x])?;
    }
    let bias = match node.tensor_if_known(2).filter(|_| addend) {
        None => None,
        Some(tensor) => {
            let floats = tensor.floats()?;
            let fits = tensor.dims.iter().rev().skip(1).all(|&d| d == 1) && (floats.len() == rows || floats.len() == 1);
            let one = floats.len() == 1;
            fits.then(|| (0..rows).map(|i| beta * floats.at(if one { 0 } else { i })).collect())
        }
    };
    let addend = addend && bias.is_none();
    let layer = dense(matrix, bias.unwrap_or_else(|| vec![0.0; rows]))?;
    if !addend {
        return node.push(layer, vec![x]);
    }
    let layer = node.push_as(&node.inner_name("product"), layer, vec![x])?;
    add(node, layer, beta)
}

/// Adds `beta` times input 2.
fn add(node: &mut OnnxNode<'_>, product: ValueId, beta: f32) -> Result<Binding> {
    let mut addend = node.value_of_rank(2, 2)?;
    if beta != 1.0 {
        let factor = Constant { dims: Vec::new(), data: Floats::from(vec![beta]) };
        let factor = node.push_as(&node.inner_name("beta"), factor, Vec::new())?;
        addend = node.push_as(&node.inner_name("addend"), Binary::Mul, vec![addend, factor])?;
    }
    node.push(Binary::Add, vec![product, addend])
}

/// A product with stored weights as a layer without a bias; `None` if the second operand is no stored matrix, but for axes of extent 1
/// that the first one has, too.
pub(super) fn without_bias(node: &mut OnnxNode<'_>) -> Result<Option<Binding>> {
    let Some(mut weights) = node.tensor_if_known(1).cloned() else { return Ok(None) };
    let x = node.value(0)?;
    let outer = weights.dims.len().saturating_sub(2);
    if weights.dims.len() < 2 || weights.dims.len() > node.rank(x) || weights.dims[..outer].iter().any(|&d| d != 1) {
        return Ok(None);
    }
    weights.dims.drain(..outer);
    let matrix = matrix(&weights, true)?;
    let bias = vec![0.0; matrix.rows];
    node.push(dense(matrix, bias)?, vec![x]).map(Some)
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
        let (kept, matrix) = (std::slice::from_ref(&self.columns).into(), &self.weights);
        Some(Layer { groups: 1, filters: matrix.rows, columns: matrix.columns, taps: 1, kept, matrix })
    }

    fn matrix_mut(&mut self) -> Option<&mut Matrix> {
        Some(&mut self.weights)
    }

    /// At each position of the axes between the batch and the features.
    fn macs(&self, output: &Value, shape: &Shape) -> Option<(u64, u64)> {
        let between = shape.get(1..shape.len() - 1).unwrap_or_default();
        let positions = between.iter().map(Extent::known).product::<Option<usize>>()? as u64;
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
    fn settle(&self, existing: &mut Existing<'_>, node: &Node) {
        let (x, out) = (node.inputs[0], node.output);
        if existing.g.shape(out).len() != 2 {
            [x, out].into_iter().for_each(|v| existing.fill(v));
        } else if existing.is_empty(x) {
            existing.add(x, 0);
        }
    }

    fn export(&self, e: &mut Exporter<'_>, node: &Node) -> Result<()> {
        let (x, out) = (node.inputs[0], node.output);
        let matrix = &self.weights;
        let (from, output) = (e.tensor(x)?, e.name(out));
        if e.shape(out).len() != 2 {
            let at = |i: usize| matrix.at(i % matrix.rows, i / matrix.rows);
            let weights = e.w.floats(&[matrix.columns, matrix.rows], (0..matrix.columns * matrix.rows).map(at));
            if self.bias.iter().all(|&b| b == 0.0) {
                e.w.push("MatMul", &[&from, &weights], &output, vec![]);
                return Ok(());
            }
            let bias = e.w.floats(&[matrix.rows], self.bias.iter().copied());
            let product = e.w.make("MatMul", &[&from, &weights], vec![]);
            e.w.push("Add", &[&product, &bias], &output, vec![]);
            return Ok(());
        }
        let (rows, features) = (e.physical(out)?, e.physical(x)?);
        // What features contribute that are missing goes into the bias.
        let missing: Vec<Option<f32>> = e.existing.missing_constants(x).unwrap_or_default();
        let missing: Vec<(usize, f32)> = (0..).zip(missing).filter_map(|(feature, c)| Some((feature, c?))).collect();
        let contributed = |row: usize| missing.iter().map(|&(f, c)| f64::from(matrix.at(row, f)) * f64::from(c)).sum::<f64>();
        let bias: Vec<f32> = rows.iter().map(|&row| (f64::from(self.bias[row]) + contributed(row)) as f32).collect();
        let elements = rows.iter().flat_map(|&row| features.iter().map(move |&feature| matrix.at(row, feature)));
        let mut inputs = vec![from, e.w.floats(&[rows.len(), features.len()], elements)];
        if bias.iter().any(|&b| b != 0.0) {
            inputs.push(e.w.floats(&[rows.len()], bias));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        e.w.push("Gemm", &inputs, &output, vec![int("transB", 1)]);
        Ok(())
    }
}
