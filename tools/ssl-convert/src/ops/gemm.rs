//! Fully connected layers: Gemm and MatMul with stored weights.

use crate::graph::{Matrix, UNASSIGNED, Weights};
use crate::import::binding::Binding;
use crate::import::checks::positive;
use crate::import::node::Node;
use crate::import::registry::Import;
use crate::onnx::tensor::Tensor;
use anyhow::{Result, bail, ensure};
use sslm_format::{Gemm, Kept, Op};

pub(super) const IMPORTS: &[Import] = &[Import::computing("Gemm", gemm), Import::computing("MatMul", matmul)];

fn gemm(node: &mut Node<'_>) -> Result<Binding> {
    ensure!(!node.flag("transA", false)?, "transA: expected 0, found 1");
    let transposed = !node.flag("transB", false)?;
    let (alpha, beta) = (node.float("alpha", 1.0)?, node.float("beta", 1.0)?);
    let x = node.value(0)?;
    let rank = node.rank(x);
    ensure!(rank == 2, "input: expected 2 axes, found {rank}");
    let (op, mut matrix) = fully_connected(node.needed_tensor(1, "weights")?, transposed)?;
    let rows = matrix.rows;
    if alpha != 1.0 {
        matrix.scale_rows(&vec![alpha; rows]);
    }
    let bias = match node.tensor(2, "bias")? {
        None => vec![0.0; rows],
        Some(tensor) => {
            let floats = tensor.floats()?;
            let fits = tensor.dims.iter().rev().skip(1).all(|&d| d == 1) && (floats.len() == rows || floats.len() == 1);
            ensure!(fits, "bias: expected {rows} numbers for every row of the batch, found dims {:?}", tensor.dims);
            (0..rows).map(|i| beta * floats.at(if floats.len() == 1 { 0 } else { i })).collect()
        }
    };
    node.push_weighted(op, vec![x], Weights::Matrix { matrix, bias, taps: Vec::new() })
}

fn matmul(node: &mut Node<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let (op, matrix) = fully_connected(node.needed_tensor(1, "weights")?, true)?;
    let bias = vec![0.0; matrix.rows];
    node.push_weighted(op, vec![x], Weights::Matrix { matrix, bias, taps: Vec::new() })
}

/// The operator and matrix of stored weights: `K x M` if `transposed`, else `M x K`.
fn fully_connected(weights: &Tensor, transposed: bool) -> Result<(Op, Matrix)> {
    let [a, b] = weights.dims[..] else { bail!("weights: expected 2 axes, found dims {:?}", weights.dims) };
    ensure!(a > 0 && b > 0, "weights: expected extents of at least 1, found dims {:?}", weights.dims);
    let (rows, columns) = if transposed { (b, a) } else { (a, b) };
    let op = Op::Gemm(Gemm {
        features: positive(columns as i64, "features")?,
        rows: positive(rows as i64, "rows")?,
        columns: Kept::All,
        weights: UNASSIGNED,
        bias: UNASSIGNED,
    });
    Ok((op, Matrix { rows, columns, data: weights.floats()?.clone(), transposed, row_scale: Vec::new() }))
}
