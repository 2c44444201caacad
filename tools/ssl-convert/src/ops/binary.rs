//! Functions of two tensors' elements, with numpy's broadcasting, and sums of one or more tensors.

use crate::export::exporter::{Call, Write};
use crate::export::writer::Writer;
use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::import::stored;
use crate::operator::{Affine, Convert, Reordering, without_weights};
use crate::weights::Op;
use anyhow::Result;
use sslm_format::{Binary, Operator, ValueId};

pub(super) const IMPORTS: &[Import] = &[
    Import::computing("Add", |node| function(node, Binary::Add)),
    Import::computing("Sub", |node| function(node, Binary::Sub)),
    Import::computing("Mul", |node| function(node, Binary::Mul)),
    Import::computing("Div", |node| function(node, Binary::Div)),
    Import::computing("Pow", pow),
    Import::computing("PRelu", |node| function(node, Binary::PRelu)),
    Import::computing("Sum", sum),
];

/// What shapes are computed by is computed at once if both operands are stored. Otherwise a stored operand gets the rank of the other one,
/// so that channels meet channels.
fn function(node: &mut OnnxNode<'_>, function: Binary) -> Result<Binding> {
    if let (Some(of_integers), Some(a), Some(b)) = (function.of_integers(), node.tensor_if_known(0), node.tensor_if_known(1)) {
        return stored::combined(function, of_integers, a, b).map(Binding::Tensor);
    }
    let rank = |i: usize| match node.input(i) {
        Some(Binding::Value(v)) => node.rank(*v),
        Some(Binding::Tensor(t)) => t.dims.len(),
        _ => 0,
    };
    let rank = rank(0).max(rank(1));
    let operands = vec![node.value_of_rank(0, rank)?, node.value_of_rank(1, rank)?];
    node.push(function, operands)
}

/// A square is a product.
fn pow(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let squares = node
        .tensor_if_known(1)
        .is_some_and(|b| b.dims.iter().product::<usize>() == 1 && b.floats().is_ok_and(|b| b.at(0) == 2.0));
    match node.input(0) {
        Some(&Binding::Value(x)) if squares && node.tensor_if_known(1).is_some_and(|b| b.dims.len() <= node.rank(x)) => {
            node.push(Binary::Mul, vec![x, x])
        }
        _ => function(node, Binary::Pow),
    }
}

fn sum(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let mut sum: ValueId = node.value(0)?;
    for i in 1..node.input_count() {
        let next = node.value_of_rank(i, node.rank(sum))?;
        sum = node.push_as(&node.part_name(i, node.input_count()), Binary::Add, vec![sum, next])?;
    }
    Ok(node.computed(sum))
}

impl Convert for Binary {
    without_weights!();

    fn reordered(&self, _: &Reordering<'_>) -> Option<Op> {
        Some((*self).into())
    }

    fn is_product(&self) -> bool {
        *self == Binary::Mul
    }

    fn affine(&self, constants: &[Option<Vec<f32>>]) -> Option<Affine> {
        // Of two stored operands, the second one counts.
        let (input, constant) = match constants {
            [_, Some(b)] => (0, b),
            [Some(a), None] => (1, a),
            _ => return None,
        };
        let negated = || constant.iter().map(|k| -k).collect();
        let (scale, shift) = match (self, input) {
            (Binary::Add, _) => (None, constant.clone()),
            (Binary::Sub, 0) => (None, negated()),
            (Binary::Sub, _) => (Some(vec![-1.0; constant.len()]), constant.clone()),
            (Binary::Mul, _) => (Some(constant.clone()), vec![0.0; constant.len()]),
            (Binary::Div, 0) if constant.iter().all(|&k| (1.0 / k).is_finite()) => {
                (Some(constant.iter().map(|k| 1.0 / k).collect()), vec![0.0; constant.len()])
            }
            (Binary::Div | Binary::Pow | Binary::PRelu, _) => return None,
        };
        Some(Affine { input, scale, shift })
    }
}

impl Write for Binary {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        w.push(self.name(), call.inputs, call.output, vec![]);
        Ok(())
    }
}
