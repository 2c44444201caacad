//! Functions of two tensors' elements, with numpy's broadcasting, those of any number of tensors, and choices between two.

use super::cast;
use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, int};
use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::reach::EXACT;
use crate::import::registry::Import;
use crate::import::stored;
use crate::onnx::proto::data_type;
use crate::onnx::tensor::{Data, Tensor};
use crate::operator::{Affine, Convert, Reordering, without_weights};
use crate::weights::Op;
use anyhow::{Context, Result};
use sslm_format::{Activation, Binary, ElementType, Operator, Reshape, ValueId, Where};

pub(super) const IMPORTS: &[Import] = &[
    Import::computing("Add", |node| function(node, Binary::Add)).of_integers(),
    Import::computing("Sub", |node| function(node, Binary::Sub)).of_integers(),
    Import::computing("Mul", |node| function(node, Binary::Mul)).of_integers(),
    Import::computing("Div", div).of_integers(),
    Import::computing("Mod", |node| {
        let truncates = node.flag("fmod", false)?;
        function(node, if truncates { Binary::Remainder } else { Binary::Modulus })
    })
    .of_integers(),
    Import::computing("Pow", pow).of_integers(),
    Import::computing("PRelu", prelu),
    Import::computing("Equal", |node| compare(node, Binary::Equal, [0, 1])).of_integers(),
    Import::computing("Less", |node| compare(node, Binary::Less, [0, 1])).of_integers(),
    Import::computing("LessOrEqual", |node| compare(node, Binary::LessOrEqual, [0, 1])).of_integers(),
    Import::computing("Greater", |node| compare(node, Binary::Less, [1, 0])).of_integers(),
    Import::computing("GreaterOrEqual", |node| compare(node, Binary::LessOrEqual, [1, 0])).of_integers(),
    // Truth is 0 or 1.
    Import::computing("And", |node| function(node, Binary::Mul).map(|both| truth(node, both))).of_integers(),
    Import::computing("Or", |node| function(node, Binary::Max).map(|either| truth(node, either))).of_integers(),
    Import::computing("Xor", xor).of_integers(),
    Import::computing("Not", not).of_integers(),
    Import::computing("Neg", |node| with_constant(node, Binary::Mul, -1, false)).of_integers(),
    Import::computing("Reciprocal", |node| with_constant(node, Binary::Div, 1, true)),
    Import::computing("IsNaN", is_nan),
    Import::computing("IsInf", is_infinite),
    Import::computing("Max", |node| chain(node, Binary::Max)).of_integers(),
    Import::computing("Min", |node| chain(node, Binary::Min)).of_integers(),
    Import::computing("Sum", |node| chain(node, Binary::Add)),
    Import::computing("Mean", mean),
    Import::computing("Where", choose).of_integers(),
];

/// What shapes are computed by is computed at once if both operands are stored.
fn function(node: &mut OnnxNode<'_>, function: Binary) -> Result<Binding> {
    align_as_told(node)?;
    combine(node, function, [0, 1])
}

/// As [`function`], of operands of which numpy's broadcasting says how they meet. A stored one gets the rank of the other one, so that
/// channels meet channels.
fn combine(node: &mut OnnxNode<'_>, function: Binary, [a, b]: [usize; 2]) -> Result<Binding> {
    if let Some(combined) = at_once(node, function, [a, b])? {
        return Ok(combined);
    }
    let operands = operands(node, [a, b])?;
    if node.is_integers(a) && node.is_integers(b) && !function.is_comparison() && node.input_type(a).is_integer() {
        return on_integers(node, function, operands, [node.reach(a), node.reach(b)]);
    }
    node.push(function, operands)
}

/// A function of integers of one type, which reach as far as `reaches` says. Results of few bits lose the upper ones, as in two's complement.
fn on_integers(node: &mut OnnxNode<'_>, function: Binary, operands: Vec<ValueId>, reaches: [f64; 2]) -> Result<Binding> {
    let (of, [a, b]) = (node.input_type(0), reaches);
    let reach = match function {
        Binary::Add | Binary::Sub => a + b,
        Binary::Mul => a * b,
        Binary::Modulus | Binary::Remainder => b,
        _ => a.max(b),
    };
    let may_leave = matches!(function, Binary::Add | Binary::Sub | Binary::Mul);
    if may_leave && of.size() < 4 && reach <= EXACT {
        let result = node.inner(function, operands)?;
        return cast::wrapped(node, result, of);
    }
    let result = node.push_as(&node.outputs()[0], function, operands)?;
    let may_be_negative = function == Binary::Sub && matches!(of, ElementType::U32 | ElementType::U64);
    if may_be_negative || reach > 0.0 {
        node.set_reach(result, if may_be_negative { f64::INFINITY } else { reach });
    }
    Ok(Binding::Integers(result))
}

/// The result, if both operands are stored and can be followed; what cannot is computed at run time.
fn at_once(node: &OnnxNode<'_>, function: Binary, [a, b]: [usize; 2]) -> Result<Option<Binding>> {
    let (Some(a), Some(b)) = (node.tensor_if_known(a), node.tensor_if_known(b)) else { return Ok(None) };
    match stored::combined(function, a, b, node.extents_so_far()) {
        Err(_) if !(a.is_known() && b.is_known()) => Ok(None),
        combined => combined.map(|combined| Some(Binding::Tensor(combined))),
    }
}

/// Both operands as values.
fn operands(node: &mut OnnxNode<'_>, [a, b]: [usize; 2]) -> Result<Vec<ValueId>> {
    let rank = node.rank_of_input(a).max(node.rank_of_input(b));
    Ok(vec![node.value_of_rank(a, rank)?, node.value_of_rank(b, rank)?])
}

/// Before opset 7, an attribute may say which axis of operand 0 the first one of operand 1 meets.
fn align_as_told(node: &mut OnnxNode<'_>) -> Result<()> {
    if node.opset() < 7 && node.flag("broadcast", false)? && node.attribute("axis").is_some() {
        align(node, node.axis(0, node.rank_of_input(0))?)?;
    }
    Ok(())
}

/// Gives operand 1 so many axes of extent 1 that its first one meets axis `first` of operand 0.
fn align(node: &mut OnnxNode<'_>, first: usize) -> Result<()> {
    let (rank, own) = (node.rank_of_input(0), node.rank_of_input(1));
    let behind = rank.checked_sub(first + own);
    let behind = behind.with_context(|| format!("axis: expected {own} axes from there on, found {}", rank - first))?;
    let aligned = match node.tensor_if_known(1) {
        Some(t) => Binding::Tensor(Tensor { dims: [t.dims.as_slice(), &vec![1; behind]].concat(), data: t.data.clone() }),
        None => {
            let b = node.value(1)?;
            let b = node.inner(Reshape::to(&[vec![0; own], vec![1; behind]].concat()), vec![b])?;
            node.computed(b)
        }
    };
    node.replace_input(1, aligned);
    Ok(())
}

/// Of integers, without what follows the point.
fn div(node: &mut OnnxNode<'_>) -> Result<Binding> {
    align_as_told(node)?;
    if !node.is_integers(0) {
        return combine(node, Binary::Div, [0, 1]);
    }
    if let Some(quotient) = at_once(node, Binary::Div, [0, 1])? {
        return Ok(quotient);
    }
    let operands = operands(node, [0, 1])?;
    let quotient = node.inner(Binary::Div, operands)?;
    node.push(Activation::Trunc, vec![quotient])
}

/// A square is a product. Powers of integers are integers: what follows the point is cut off.
fn pow(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let squares = node.tensor_if_known(1).is_some_and(|b| {
        b.dims.len() <= node.rank_of_input(0)
            && b.dims.iter().product::<usize>() == 1
            && b.as_floats().is_ok_and(|b| b.floats().is_ok_and(|b| b.at(0) == 2.0))
    });
    node.yields(0, node.input_type(0));
    match node.input(0) {
        Some(&Binding::Value(x)) if squares => return node.push(Binary::Mul, vec![x, x]),
        Some(&Binding::Integers(x)) if squares => return on_integers(node, Binary::Mul, vec![x, x], [node.reach(0); 2]),
        _ => align_as_told(node)?,
    }
    let of_integers = node.is_integers(0);
    if (!of_integers || node.is_integers(1))
        && let Some(power) = at_once(node, Binary::Pow, [0, 1])?
    {
        return Ok(power);
    }
    let operands = operands(node, [0, 1])?;
    let output = &node.outputs()[0];
    if !of_integers {
        return node.push_as(output, Binary::Pow, operands).map(Binding::Value);
    }
    let exponents = node.tensor_if_known(1).and_then(|b| Some(b.as_floats().ok()?.floats().ok()?.iter().collect::<Vec<f32>>()));
    let are_whole = node.is_integers(1) || exponents.as_ref().is_some_and(|all| all.iter().all(|b| b.fract() == 0.0));
    // A power that is an integer may be off in its last digit on a device.
    let whole = if are_whole { Activation::Round } else { Activation::Trunc };
    let power = node.inner(Binary::Pow, operands)?;
    let power = node.push_as(output, whole, vec![power])?;
    let largest = exponents.into_iter().flatten().fold(0.0, |most: f64, b| most.max(b.into()));
    let reach = node.reach(0).powf(largest).min(1e30);
    let fits = node.input_type(0).integers().is_none_or(|(_, most)| reach <= most as f64);
    node.set_reach(power, if fits { reach } else { reach.max(2.0 * EXACT) });
    Ok(Binding::Integers(power))
}

/// Before opset 7, several slopes are one for each channel.
fn prelu(node: &mut OnnxNode<'_>) -> Result<Binding> {
    if node.opset() < 7 && node.rank_of_input(0) > 1 && node.rank_of_input(1) == 1 {
        align(node, 1)?;
    }
    combine(node, Binary::PRelu, [0, 1])
}

/// Truth as integers, whatever is compared.
fn compare(node: &mut OnnxNode<'_>, function: Binary, operands: [usize; 2]) -> Result<Binding> {
    align_as_told(node)?;
    combine(node, function, operands).map(|holds| truth(node, holds))
}

/// The first output, which is truth: integers, whatever they were computed of.
fn truth(node: &mut OnnxNode<'_>, computed: Binding) -> Binding {
    node.yields(0, ElementType::Bool);
    match computed {
        Binding::Value(v) => Binding::Integers(v),
        other => other,
    }
}

/// Two truths that differ.
fn xor(node: &mut OnnxNode<'_>) -> Result<Binding> {
    align_as_told(node)?;
    let equal = match (node.tensor_if_known(0), node.tensor_if_known(1)) {
        (Some(a), Some(b)) => Binding::Tensor(stored::combined(Binary::Equal, a, b, node.extents_so_far())?),
        _ => {
            let operands = operands(node, [0, 1])?;
            node.inner(Binary::Equal, operands).map(Binding::Integers)?
        }
    };
    node.replace_input(0, equal);
    not(node)
}

fn not(node: &mut OnnxNode<'_>) -> Result<Binding> {
    with_constant(node, Binary::Sub, 1, true).map(|other| truth(node, other))
}

/// A function of input 0 and a constant, which comes first or last.
fn with_constant(node: &mut OnnxNode<'_>, function: Binary, constant: i8, first: bool) -> Result<Binding> {
    if let Some(x) = node.tensor_if_known(0) {
        let data =
            if x.is_integers() { Data::Ints([constant.into()].into()) } else { Data::Floats(vec![constant.into()].into()) };
        let constant = Tensor::new(vec![], data)?;
        let operands = if first { [&constant, x] } else { [x, &constant] };
        return stored::combined(function, operands[0], operands[1], node.extents_so_far()).map(Binding::Tensor);
    }
    let x = node.value(0)?;
    let constant = node.inner_constant(constant.into(), node.rank(x))?;
    node.push(function, if first { vec![constant, x] } else { vec![x, constant] })
}

/// What is not equal to itself.
fn is_nan(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let equal = node.inner(Binary::Equal, vec![x, x])?;
    node.replace_input(0, Binding::Value(equal));
    not(node)
}

/// What lies beyond the largest number, in the directions that attributes name.
fn is_infinite(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let rank = node.rank(x);
    let (below, above) = (node.flag("detect_negative", true)?, node.flag("detect_positive", true)?);
    let bound = node.inner_constant(if above { f32::MAX } else { f32::MIN }, rank)?;
    let operands = match (below, above) {
        (true, true) => vec![bound, node.inner(Activation::Abs, vec![x])?],
        (false, true) => vec![bound, x],
        (true, false) => vec![x, bound],
        // Nothing is below itself.
        (false, false) => vec![x, x],
    };
    node.push(Binary::Less, operands).map(|beyond| truth(node, beyond))
}

/// A function of the first two operands, of what that yields and the third one, and so on.
fn chain(node: &mut OnnxNode<'_>, function: Binary) -> Result<Binding> {
    let count = node.input_count();
    if let Some(tensors) = (0..count).map(|i| node.tensor_if_known(i)).collect::<Option<Vec<_>>>() {
        let (first, others) = tensors.split_first().context("expected an input, found none")?;
        let all =
            others.iter().try_fold((*first).clone(), |all, next| stored::combined(function, &all, next, node.extents_so_far()));
        return all.map(Binding::Tensor);
    }
    let rank = (0..count).map(|i| node.rank_of_input(i)).max().unwrap_or(0);
    let mut all = node.value_of_rank(0, rank)?;
    for i in 1..count {
        let next = node.value_of_rank(i, rank)?;
        all = node.push_as(&node.part_name(i, count), function, vec![all, next])?;
    }
    Ok(node.computed(all))
}

fn mean(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let count = node.input_count();
    let rank = (0..count).map(|i| node.rank_of_input(i)).max().unwrap_or(0);
    let mut sum = node.value_of_rank(0, rank)?;
    for i in 1..count {
        let next = node.value_of_rank(i, rank)?;
        sum = node.inner(Binary::Add, vec![sum, next])?;
    }
    let count = node.inner_constant(count as f32, rank)?;
    node.push(Binary::Div, vec![sum, count])
}

fn choose(node: &mut OnnxNode<'_>) -> Result<Binding> {
    node.yields(0, node.input_type(1));
    if let [Some(condition), Some(x), Some(y)] = [0, 1, 2].map(|i| node.tensor_if_known(i)) {
        return stored::chosen(condition, x, y).map(Binding::Tensor);
    }
    let rank = (0..3).map(|i| node.rank_of_input(i)).max().unwrap_or(0);
    let operands = (0..3).map(|i| node.value_of_rank(i, rank)).collect::<Result<Vec<_>>>()?;
    let of_integers = node.is_integers(1);
    let chosen = node.push_as(&node.outputs()[0], Where {}, operands)?;
    Ok(if of_integers { Binding::Integers(chosen) } else { Binding::Value(chosen) })
}

impl Convert for Where {
    without_weights!();
}

impl Write for Where {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        // In ONNX, a condition is no number.
        let zero = w.floats(&[], [0.0]);
        let fails = w.make("Equal", &[call.inputs[0], &zero], vec![]);
        w.push("Where", &[&fails, call.inputs[2], call.inputs[1]], call.output, vec![]);
        Ok(())
    }

    fn repeats(&self, _: usize) -> bool {
        true
    }
}

impl Convert for Binary {
    fn ignores_rows(&self) -> bool {
        true
    }

    without_weights!();

    fn reordered(&self, _: &Reordering<'_>) -> Option<Op> {
        Some((*self).into())
    }

    fn function_of_two(&self) -> Option<Binary> {
        Some(*self)
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
            (Binary::Div | Binary::Pow | Binary::PRelu | Binary::Max | Binary::Min, _) => return None,
            (Binary::Remainder | Binary::Modulus | Binary::Equal | Binary::Less | Binary::LessOrEqual, _) => return None,
        };
        Some(Affine { input, scale, shift })
    }
}

impl Write for Binary {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        match self {
            Binary::Equal | Binary::Less | Binary::LessOrEqual => {
                let truth = w.make(self.name(), call.inputs, vec![]);
                w.push("Cast", &[&truth], call.output, vec![int("to", data_type::FLOAT.into())]);
            }
            Binary::Remainder => w.push("Mod", call.inputs, call.output, vec![int("fmod", 1)]),
            Binary::Modulus => {
                // Of float32, ONNX has only the other one.
                let rest = w.make("Mod", call.inputs, vec![int("fmod", 1)]);
                let sum = w.make("Add", &[&rest, call.inputs[1]], vec![]);
                w.push("Mod", &[&sum, call.inputs[1]], call.output, vec![int("fmod", 1)]);
            }
            Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Pow | Binary::PRelu | Binary::Max | Binary::Min => {
                w.push(self.name(), call.inputs, call.output, vec![]);
            }
        }
        Ok(())
    }

    /// What PRelu applies its slopes to has the shape of the output. A divisor that nobody needs is no 0, as what was removed seems to be.
    fn repeats(&self, input: usize) -> bool {
        !matches!((self, input), (Binary::PRelu, 0) | (Binary::Div, 1))
    }
}
