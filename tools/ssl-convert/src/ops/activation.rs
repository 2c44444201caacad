//! Functions of each element.

use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, float, int};
use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::import::stored;
use crate::onnx::proto::data_type;
use crate::operator::{Convert, Reordering, without_weights};
use crate::weights::Op;
use anyhow::{Result, bail, ensure};
use sslm_format::{Activation, Binary, Operator};
use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

pub(super) const IMPORTS: &[Import] = &[
    Import::computing("Relu", |node| function(node, Activation::Relu)).of_integers(),
    Import::computing("LeakyRelu", |node| {
        let alpha = node.float("alpha", 0.01)?;
        function(node, Activation::LeakyRelu { alpha })
    }),
    Import::computing("Clip", clip).of_integers(),
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
    Import::computing("Selu", selu),
    Import::computing("Celu", celu),
    Import::computing("Mish", |node| function(node, Activation::Mish)),
    Import::computing("Sqrt", |node| function(node, Activation::Sqrt)),
    Import::computing("Softplus", |node| function(node, Activation::Softplus)),
    Import::computing("Softsign", |node| function(node, Activation::Softsign)),
    Import::computing("ThresholdedRelu", |node| {
        let alpha = node.float("alpha", 1.0)?;
        function(node, Activation::ThresholdedRelu { alpha })
    }),
    Import::computing("Shrink", |node| {
        let (lambd, bias) = (node.float("lambd", 0.5)?, node.float("bias", 0.0)?);
        function(node, Activation::Shrink { lambd, bias })
    }),
    Import::computing("Gelu", gelu),
    Import::computing("com.microsoft.Gelu", |node| function(node, Activation::Gelu)),
    Import::computing("Swish", |node| {
        let alpha = node.float("alpha", 1.0)?;
        function(node, Activation::Swish { alpha })
    }),
    Import::computing("com.microsoft.QuickGelu", |node| {
        let alpha = node.float("alpha", 1.702)?;
        function(node, Activation::Swish { alpha })
    }),
    Import::computing("Erf", |node| function(node, Activation::Erf)),
    Import::computing("Exp", |node| function(node, Activation::Exp)),
    Import::computing("Log", |node| function(node, Activation::Log)),
    Import::computing("Abs", |node| function(node, Activation::Abs)).of_integers(),
    Import::computing("Sign", |node| function(node, Activation::Sign)).of_integers(),
    Import::computing("Floor", |node| function(node, Activation::Floor)),
    Import::computing("Ceil", |node| function(node, Activation::Ceil)),
    Import::computing("Round", |node| function(node, Activation::Round)),
    Import::computing("Sin", |node| function(node, Activation::Sin)),
    Import::computing("Cos", |node| function(node, Activation::Cos)),
    Import::computing("Tan", |node| function(node, Activation::Tan)),
    Import::computing("Asin", |node| function(node, Activation::Asin)),
    Import::computing("Acos", |node| function(node, Activation::Acos)),
    Import::computing("Atan", |node| function(node, Activation::Atan)),
    Import::computing("Sinh", |node| function(node, Activation::Sinh)),
    Import::computing("Cosh", |node| function(node, Activation::Cosh)),
    Import::computing("Asinh", |node| function(node, Activation::Asinh)),
    Import::computing("Acosh", |node| function(node, Activation::Acosh)),
    Import::computing("Atanh", |node| function(node, Activation::Atanh)),
];

/// Of a stored tensor at once.
fn function(node: &mut OnnxNode<'_>, function: Activation) -> Result<Binding> {
    match node.tensor_if_known(0) {
        Some(x) => stored::mapped(function, x, node.extents_so_far()).map(Binding::Tensor),
        None => node.unary(function),
    }
}

/// An Elu, scaled.
fn selu(node: &mut OnnxNode<'_>) -> Result<Binding> {
    // The defaults of opset 1 have fewer digits.
    let defaults = if node.opset() < 6 { [1.6732, 1.0507] } else { [1.673_263_2, 1.050_701] };
    let (alpha, gamma) = (node.float("alpha", defaults[0])?, node.float("gamma", defaults[1])?);
    let x = node.value(0)?;
    let (elu, gamma) = (node.inner(Activation::Elu { alpha }, vec![x])?, node.inner_constant(gamma, node.rank(x))?);
    node.push(Binary::Mul, vec![elu, gamma])
}

/// An Elu of what is scaled, scaled back.
fn celu(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let alpha = node.float("alpha", 1.0)?;
    ensure!(alpha > 0.0, "alpha: expected a positive number, found {alpha}");
    if alpha == 1.0 {
        return function(node, Activation::Elu { alpha });
    }
    let x = node.value(0)?;
    let factor = node.inner_constant(alpha, node.rank(x))?;
    let scaled = node.inner(Binary::Div, vec![x, factor])?;
    let elu = node.inner(Activation::Elu { alpha: 1.0 }, vec![scaled])?;
    node.push(Binary::Mul, vec![elu, factor])
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
    fn ignores_rows(&self) -> bool {
        true
    }

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
            Activation::ThresholdedRelu { alpha } => vec![float("alpha", alpha)],
            Activation::Shrink { lambd, bias } => vec![float("lambd", lambd), float("bias", bias)],
            Activation::Trunc => {
                let integers = w.make("Cast", &[x], vec![int("to", data_type::INT64.into())]);
                w.push("Cast", &[&integers], call.output, vec![int("to", data_type::FLOAT.into())]);
                return Ok(());
            }
            Activation::Relu
            | Activation::Sigmoid
            | Activation::Tanh
            | Activation::HardSwish
            | Activation::Sqrt
            | Activation::Erf
            | Activation::Exp
            | Activation::Log
            | Activation::Abs
            | Activation::Floor
            | Activation::Ceil
            | Activation::Round
            | Activation::Sign
            | Activation::Softplus
            | Activation::Softsign
            | Activation::Sin
            | Activation::Cos
            | Activation::Tan
            | Activation::Asin
            | Activation::Acos
            | Activation::Atan
            | Activation::Sinh
            | Activation::Cosh
            | Activation::Asinh
            | Activation::Acosh
            | Activation::Atanh => vec![],
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
