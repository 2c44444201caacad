//! Functions of each element.

use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, float};
use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::operator::{Convert, Reordering, without_weights};
use crate::weights::Op;
use anyhow::{Result, bail};
use sslm_format::{Activation, Operator};
use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

pub(super) const IMPORTS: &[Import] = &[
    Import::computing("Relu", |node| function(node, Activation::Relu)),
    Import::computing("LeakyRelu", |node| {
        let alpha = node.float("alpha", 0.01)?;
        function(node, Activation::LeakyRelu { alpha })
    }),
    Import::computing("Clip", clip),
    Import::computing("Sigmoid", |node| function(node, Activation::Sigmoid)),
    Import::computing("Tanh", |node| function(node, Activation::Tanh)),
    Import::computing("HardSigmoid", |node| {
        let (alpha, beta) = (node.float("alpha", 0.2)?, node.float("beta", 0.5)?);
        function(node, Activation::HardSigmoid { alpha, beta })
    }),
    Import::computing("HardSwish", |node| function(node, Activation::HardSwish)),
    Import::computing("Elu", |node| {
        let alpha = node.float("alpha", 1.0)?;
        function(node, Activation::Elu { alpha })
    }),
    Import::computing("Mish", |node| function(node, Activation::Mish)),
    Import::computing("Sqrt", |node| function(node, Activation::Sqrt)),
    Import::computing("Gelu", gelu),
    Import::computing("Swish", |node| {
        let alpha = node.float("alpha", 1.0)?;
        function(node, Activation::Swish { alpha })
    }),
];

fn function(node: &mut OnnxNode<'_>, function: Activation) -> Result<Binding> {
    node.unary(function)
}

/// The bounds are attributes before opset 11, and inputs since.
fn clip(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let bound = |i: usize, what: &str, none: f32| -> Result<f32> {
        if node.opset() < 11 { node.float(what, none) } else { Ok(node.element(i, what)?.unwrap_or(none)) }
    };
    let (low, high) = (bound(1, "min", f32::MIN)?, bound(2, "max", f32::MAX)?);
    function(node, Activation::Clip { low, high })
}

/// Two functions that differ by little, of one name.
fn gelu(node: &mut OnnxNode<'_>) -> Result<Binding> {
    match node.text("approximate", "none")? {
        "none" => function(node, Activation::Gelu),
        "tanh" => function(node, Activation::GeluTanh),
        other => bail!("approximate: expected none or tanh, found {other}"),
    }
}

impl Convert for Activation {
    without_weights!();

    fn reordered(&self, _: &Reordering<'_>) -> Option<Op> {
        Some((*self).into())
    }

    fn function(&self) -> Option<Activation> {
        Some(*self)
    }
}

impl Write for Activation {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let x = call.inputs[0];
        let attributes = match *self {
            Activation::LeakyRelu { alpha } | Activation::Elu { alpha } => vec![float("alpha", alpha)],
            Activation::HardSigmoid { alpha, beta } => vec![float("alpha", alpha), float("beta", beta)],
            Activation::Clip { low, high } => {
                let (low, high) = (w.floats(&[], [low]), w.floats(&[], [high]));
                w.push("Clip", &[x, &low, &high], call.output, vec![]);
                return Ok(());
            }
            Activation::Mish => {
                // Before opset 18, by its definition.
                let soft = w.make("Softplus", &[x], vec![]);
                let gate = w.make("Tanh", &[&soft], vec![]);
                w.push("Mul", &[x, &gate], call.output, vec![]);
                return Ok(());
            }
            Activation::Swish { alpha } => {
                let scaled = if alpha == 1.0 {
                    x.to_owned()
                } else {
                    let factor = w.floats(&[], [alpha]);
                    w.make("Mul", &[x, &factor], vec![])
                };
                let gate = w.make("Sigmoid", &[&scaled], vec![]);
                w.push("Mul", &[x, &gate], call.output, vec![]);
                return Ok(());
            }
            Activation::Gelu => {
                let factor = w.floats(&[], [FRAC_1_SQRT_2]);
                let scaled = w.make("Mul", &[x, &factor], vec![]);
                let odd = w.make("Erf", &[&scaled], vec![]);
                write_gelu(w, call, &odd);
                return Ok(());
            }
            Activation::GeluTanh => {
                let [of_cube, of_sum] = [0.044_715, FRAC_2_SQRT_PI * FRAC_1_SQRT_2].map(|factor| w.floats(&[], [factor]));
                let square = w.make("Mul", &[x, x], vec![]);
                let cube = w.make("Mul", &[&square, x], vec![]);
                let part = w.make("Mul", &[&cube, &of_cube], vec![]);
                let sum = w.make("Add", &[x, &part], vec![]);
                let scaled = w.make("Mul", &[&sum, &of_sum], vec![]);
                let odd = w.make("Tanh", &[&scaled], vec![]);
                write_gelu(w, call, &odd);
                return Ok(());
            }
            Activation::Relu | Activation::Sigmoid | Activation::Tanh | Activation::HardSwish | Activation::Sqrt => vec![],
        };
        w.push(self.name(), &[x], call.output, attributes);
        Ok(())
    }
}

/// `x / 2 (1 + odd)`, as Gelu is defined before opset 20.
fn write_gelu(w: &mut Writer, call: &Call<'_>, odd: &str) {
    let [half, one] = [0.5, 1.0].map(|constant| w.floats(&[], [constant]));
    let halved = w.make("Mul", &[call.inputs[0], &half], vec![]);
    let sum = w.make("Add", &[odd, &one], vec![]);
    w.push("Mul", &[&halved, &sum], call.output, vec![]);
}
