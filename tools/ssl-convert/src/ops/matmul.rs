//! Products of two computed values, and of stored matrices that are no layer: MatMul, FusedMatMul and what of a Gemm is neither.

use super::{gemm, layout};
use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, ints};
use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::operator::{Convert, MIXES_CHANNELS, MatrixProduct, without_weights};
use anyhow::{Result, ensure};
use sslm_format::{Extent, MatMul, Reshape, Transpose, ValueId};

pub(super) const IMPORTS: &[Import] =
    &[Import::computing("MatMul", matmul), Import::computing("com.microsoft.FusedMatMul", fused_matmul)];

/// A fully connected layer, if the second operand is a stored matrix.
fn matmul(node: &mut OnnxNode<'_>) -> Result<Binding> {
    if let Some(layer) = gemm::without_bias(node)? {
        return Ok(layer);
    }
    let operands = [node.value(0)?, node.value(1)?];
    product(node, operands, MatMul { transposed: [false; 2], alpha: 1.0 })
}

/// onnxruntime's product with transposed operands.
fn fused_matmul(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let mut operands = [node.value(0)?, node.value(1)?];
    for (i, flag) in ["transBatchA", "transBatchB"].into_iter().enumerate() {
        let rank = node.rank(operands[i]) as u32;
        if node.flag(flag, false)? && rank > 2 {
            // The first axis goes behind those of the batch.
            let axes = (1..rank - 1).chain([0, rank - 1]).collect();
            operands[i] = node.push_as(&node.inner_name(flag), Transpose { axes }, vec![operands[i]])?;
        }
    }
    let transposed = [node.flag("transA", false)?, node.flag("transB", false)?];
    let alpha = node.float("alpha", 1.0)?;
    product(node, operands, MatMul { transposed, alpha })
}

/// Adds a product that yields the first output. As numpy has it, an operand of one axis is a row on the left and a column on the right,
/// whose axis goes from the result again.
pub(super) fn product(node: &mut OnnxNode<'_>, operands: [ValueId; 2], mut record: MatMul) -> Result<Binding> {
    let ranks = operands.map(|v| node.rank(v));
    ensure!(!ranks.contains(&0), "inputs: expected one axis at least, found a scalar");
    let mut matrices = operands;
    for i in [0, 1].into_iter().filter(|&i| ranks[i] == 1) {
        let (dims, name) = [([1, -1], "row"), ([-1, 1], "column")][i];
        record.transposed[i] = false;
        matrices[i] = node.push_as(&node.inner_name(name), Reshape::to(&dims), vec![operands[i]])?;
    }
    if !ranks.contains(&1) {
        return node.push(record, matrices.to_vec());
    }
    let y = node.push_as(&node.inner_name("product"), record, matrices.to_vec())?;
    let of_matrices = node.rank(y) - 2;
    let stays = |axis: &usize| axis.checked_sub(of_matrices).is_none_or(|i| ranks[i] != 1);
    let target: Vec<Extent> = (0..node.rank(y)).filter(stays).map(|axis| node.extents_of(y)[axis].clone()).collect();
    layout::reshape_to(node, y, &target)
}

impl Convert for MatMul {
    without_weights!();

    fn product_mut(&mut self) -> Option<MatrixProduct<'_>> {
        Some(MatrixProduct { transposed: &mut self.transposed, alpha: &mut self.alpha })
    }

    fn why_lost(&self) -> &'static str {
        MIXES_CHANNELS
    }
}

impl Write for MatMul {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let mut operands = Vec::new();
        for (i, (x, &rank)) in call.inputs.iter().zip(call.ranks).enumerate() {
            let mut perm: Vec<i64> = (0..rank as i64).collect();
            perm.swap(rank - 2, rank - 1);
            operands.push(match self.transposed[i] {
                true => w.make("Transpose", &[x], vec![ints("perm", &perm)]),
                false => (*x).to_owned(),
            });
        }
        let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
        if self.alpha == 1.0 {
            w.push("MatMul", &operands, call.output, vec![]);
        } else {
            let (product, factor) = (w.make("MatMul", &operands, vec![]), w.floats(&[], [self.alpha]));
            w.push("Mul", &[&product, &factor], call.output, vec![]);
        }
        Ok(())
    }
}
