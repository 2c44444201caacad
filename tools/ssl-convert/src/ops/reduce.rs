//! One element out of many along axes: their mean, sum, largest one and the like, or the position of one.

use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, int, ints};
use crate::import::binding::Binding;
use crate::import::checks;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::onnx::proto::data_type;
use crate::operator::{Convert, MIXES_CHANNELS, Reordering, without_weights};
use crate::weights::Op;
use anyhow::Result;
use sslm_format::{Activation, ArgMax, Binary, ElementType, Operator, Reduce, ReduceMean, Reduction, ValueId};

pub(super) const IMPORTS: &[Import] = &[
    Import::computing("ReduceMean", |node| {
        reduced(node, |node, x, axes, keep| match axes[..] {
            [] => Ok(node.computed(x)),
            _ => node.push(ReduceMean { axes, keep }, vec![x]),
        })
    }),
    Import::computing("ReduceSum", |node| by(node, Reduction::Sum)).of_integers(),
    Import::computing("ReduceProd", |node| by(node, Reduction::Product)).of_integers(),
    Import::computing("ReduceMax", |node| by(node, Reduction::Max)).of_integers(),
    Import::computing("ReduceMin", |node| by(node, Reduction::Min)).of_integers(),
    Import::computing("ReduceL1", |node| by(node, Reduction::SumOfMagnitudes)).of_integers(),
    Import::computing("ReduceSumSquare", |node| by(node, Reduction::SumOfSquares)).of_integers(),
    Import::computing("ReduceL2", |node| then(node, Reduction::SumOfSquares, Activation::Sqrt)),
    Import::computing("ReduceLogSum", |node| then(node, Reduction::Sum, Activation::Log)),
    Import::computing("ReduceLogSumExp", |node| reduced(node, log_sum_exp)),
    Import::computing("ArgMax", |node| {
        let x = node.value(0)?;
        arg_max(node, x)
    })
    .of_integers(),
    Import::computing("ArgMin", |node| {
        let x = node.value(0)?;
        let minus = node.inner_constant(-1.0, node.rank(x))?;
        let negated = node.inner(Binary::Mul, vec![x, minus])?;
        arg_max(node, negated)
    })
    .of_integers(),
];

/// What `reduce` makes of input 0, the axes, and whether they stay. Axes are an attribute, or an input since opset 13 or 18; none are
/// all, or none at all.
fn reduced(
    node: &mut OnnxNode<'_>,
    reduce: impl FnOnce(&mut OnnxNode<'_>, ValueId, Vec<u32>, bool) -> Result<Binding>,
) -> Result<Binding> {
    let x = node.value_of_rank(0, 0)?;
    let rank = node.rank(x);
    let listed = node.integers("axes", 1)?.unwrap_or_default();
    let mut axes: Vec<u32> = listed.iter().map(|&a| checks::axis(a, rank).map(|a| a as u32)).collect::<Result<_>>()?;
    axes.sort_unstable();
    axes.dedup();
    if axes.is_empty() && !node.flag("noop_with_empty_axes", false)? {
        axes = (0..rank as u32).collect();
    }
    let keep = node.flag("keepdims", true)?;
    reduce(node, x, axes, keep)
}

/// The operator that reduces `x`, with what it reads; `None` if that leaves `x` as it is. Without axes, each element is reduced alone.
fn operator(reduction: Reduction, x: ValueId, axes: Vec<u32>, keep: bool) -> Option<(Op, Vec<ValueId>)> {
    match reduction {
        Reduction::SumOfMagnitudes if axes.is_empty() => Some((Activation::Abs.into(), vec![x])),
        Reduction::SumOfSquares if axes.is_empty() => Some((Binary::Mul.into(), vec![x, x])),
        _ if axes.is_empty() => None,
        reduction => Some((Reduce { reduction, axes, keep }.into(), vec![x])),
    }
}

fn by(node: &mut OnnxNode<'_>, reduction: Reduction) -> Result<Binding> {
    reduced(node, |node, x, axes, keep| match operator(reduction, x, axes, keep) {
        Some((op, inputs)) => node.push(op, inputs),
        None => Ok(node.computed(x)),
    })
}

/// A function of what many elements become.
fn then(node: &mut OnnxNode<'_>, reduction: Reduction, function: Activation) -> Result<Binding> {
    reduced(node, |node, x, axes, keep| {
        let all = match operator(reduction, x, axes, keep) {
            Some((op, inputs)) => node.inner(op, inputs)?,
            None => x,
        };
        node.push(function, vec![all])
    })
}

/// The logarithm of a sum of powers, of which none is larger than 1 if the largest exponent is taken away from all.
fn log_sum_exp(node: &mut OnnxNode<'_>, x: ValueId, axes: Vec<u32>, keep: bool) -> Result<Binding> {
    if axes.is_empty() {
        return Ok(node.computed(x));
    }
    let largest = |keep: bool| Reduce { reduction: Reduction::Max, axes: axes.clone(), keep };
    // An infinite one is taken for the largest number: infinities are no differences of themselves.
    let finite = Activation::Clip { low: f32::MIN, high: f32::MAX };
    let shift = node.inner(largest(true), vec![x])?;
    let shift = node.inner(finite, vec![shift])?;
    let shifted = node.inner(Binary::Sub, vec![x, shift])?;
    let powers = node.inner(Activation::Exp, vec![shifted])?;
    let sum = node.inner(Reduce { reduction: Reduction::Sum, axes: axes.clone(), keep }, vec![powers])?;
    let log = node.inner(Activation::Log, vec![sum])?;
    let shift = match keep {
        true => shift,
        false => {
            let shift = node.inner(largest(false), vec![x])?;
            node.inner(finite, vec![shift])?
        }
    };
    node.push(Binary::Add, vec![log, shift])
}

/// Its output are integers in ONNX.
fn arg_max(node: &mut OnnxNode<'_>, x: ValueId) -> Result<Binding> {
    let axis = node.axis(0, node.rank(x))? as u32;
    let (keep, last) = (node.flag("keepdims", true)?, node.flag("select_last_index", false)?);
    node.yields(0, ElementType::I64);
    let output = &node.outputs()[0];
    node.push_as(output, ArgMax { axis, keep, last }, vec![x]).map(Binding::Integers)
}

impl Convert for ReduceMean {
    without_weights!();

    fn reordered(&self, at: &Reordering<'_>) -> Option<Op> {
        let mut axes: Vec<u32> = self.axes.iter().map(|&axis| at.axis(axis)).collect::<Option<_>>()?;
        axes.sort_unstable();
        Some(ReduceMean { axes, keep: self.keep }.into())
    }

    fn why_lost(&self) -> &'static str {
        MIXES_CHANNELS
    }

    fn mean_over(&self) -> Option<&[u32]> {
        self.keep.then_some(&self.axes)
    }
}

impl Convert for Reduce {
    without_weights!();

    fn why_lost(&self) -> &'static str {
        "what it makes of constant elements depends on how many there are, or it mixes channels"
    }
}

impl Convert for ArgMax {
    without_weights!();

    fn why_lost(&self) -> &'static str {
        "it needs every channel"
    }
}

impl Write for ReduceMean {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        w.push("ReduceMean", call.inputs, call.output, vec![ints("axes", &self.axes), int("keepdims", self.keep.into())]);
        Ok(())
    }
}

impl Write for Reduce {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let keep = int("keepdims", self.keep.into());
        if self.reduction == Reduction::Sum {
            // The first one whose axes became an input.
            let axes = w.integers(&self.axes.iter().map(|&axis| axis.into()).collect::<Vec<i64>>());
            w.push("ReduceSum", &[call.inputs[0], &axes], call.output, vec![keep, int("noop_with_empty_axes", 1)]);
        } else {
            w.push(self.name(), call.inputs, call.output, vec![ints("axes", &self.axes), keep]);
        }
        Ok(())
    }
}

impl Write for ArgMax {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let [axis, keep, last] = [self.axis.into(), self.keep.into(), self.last.into()];
        let attributes = vec![int("axis", axis), int("keepdims", keep), int("select_last_index", last)];
        let positions = w.make("ArgMax", call.inputs, attributes);
        w.push("Cast", &[&positions], call.output, vec![int("to", data_type::FLOAT.into())]);
        Ok(())
    }
}
