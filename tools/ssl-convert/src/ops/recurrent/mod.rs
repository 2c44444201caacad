//! Recurrent layers: LSTM, GRU and RNN, from ONNX. What compaction asks them stands in `compact`, how they are written in `export`.
//!
//! The record has sequences as `[N, features, T]`, with features and units on the axis along which channels can be left out, while ONNX
//! has positions first. So there are Transposes around it, of which most cancel those that exporters write.

mod compact;
mod export;

use super::layout;
use crate::import::binding::Binding;
use crate::import::checks::positive;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::onnx::tensor::{Floats, Tensor};
use crate::weights::{Matrix, Op, Unpacked};
use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use sslm_format::{
    Activation, Binary, Cell, Concat, Direction, ElementType, Expand, Extent, Kept, Recurrent, Reshape, Slice, Transpose, ValueId,
};

pub(super) const IMPORTS: &[Import] = &[
    // What may be integers are the lengths of sequences.
    Import::computing("LSTM", |node| recurrent(node, "LSTM")).of_integers(),
    Import::computing("GRU", |node| recurrent(node, "GRU")).of_integers(),
    Import::computing("RNN", |node| recurrent(node, "RNN")).of_integers(),
];

/// Nodes behind each other through which a length or a zero is followed.
const MOST_STEPS: usize = 8;

/// A layer that is imported.
struct Imported {
    record: Recurrent<Unpacked>,
    /// What it reads, in the order of the record.
    inputs: Vec<ValueId>,
    /// Whether sequences come first.
    batch_first: bool,
}

/// Its outputs are the states of all positions, those behind the last position, and those of an LSTM's cells there.
fn recurrent(node: &mut OnnxNode<'_>, operator: &str) -> Result<Binding> {
    (0..node.outputs().len()).for_each(|i| node.yields(i, ElementType::F32));
    let Imported { record, inputs, batch_first } = imported(node, operator)?;
    let states = node.push_as(&node.inner_name("states"), record.clone(), inputs.clone())?;
    for i in 1..node.outputs().len() {
        if !node.is_read(i) {
            node.further_output(Binding::Missing);
            continue;
        }
        let of_output = match i {
            1 => states,
            2 if record.cell == Cell::Lstm => {
                let record = Recurrent { yields_cells: true, ..record.clone() };
                node.push_as(&node.inner_name("cells"), record, inputs.clone())?
            }
            _ => bail!("expected outputs that {operator} has, found one more"),
        };
        let last = last(node, &record, of_output)?;
        let axes = if batch_first { vec![0, 1, 2] } else { vec![1, 0, 2] };
        let last = node.push_as(&node.outputs()[i], Transpose { axes }, vec![last])?;
        node.further_output(Binding::Value(last));
    }
    if !node.is_read(0) {
        return Ok(Binding::Missing);
    }
    // Directions get an axis of their own.
    let extents = node.extents_of(states).to_vec();
    let split = [record.direction.count(), record.hidden as usize].map(Extent::from);
    let dims = layout::dims_to(&extents, &[&extents[..1], &split, &extents[2..]].concat());
    let apart = node.inner(Reshape { dims }, vec![states])?;
    let axes = if batch_first { vec![0, 3, 1, 2] } else { vec![3, 1, 0, 2] };
    node.push_as(&node.outputs()[0], Transpose { axes }, vec![apart]).map(Binding::Value)
}

/// The states behind the last position that each direction comes to, `[N, directions, hidden]`.
fn last(node: &mut OnnxNode<'_>, record: &Recurrent<Unpacked>, states: ValueId) -> Result<ValueId> {
    let hidden = i64::from(record.hidden);
    let ways = record.direction.backward();
    let mut ends = Vec::new();
    for (i, &backward) in (0..).zip(ways) {
        let of_way = match ways.len() {
            1 => states,
            _ => node.inner(Slice::of(1, i * hidden, (i + 1) * hidden, 1), vec![states])?,
        };
        let end = if backward { Slice::of(2, 0, 1, 1) } else { Slice::of(2, -1, i64::from(u32::MAX), 1) };
        ends.push(node.inner(end, vec![of_way])?);
    }
    let all = if ends.len() == 1 { ends[0] } else { node.inner(Concat { axis: 1 }, ends)? };
    node.inner(Reshape::to(&[0, ways.len() as i64, hidden]), vec![all])
}

fn imported(node: &mut OnnxNode<'_>, operator: &str) -> Result<Imported> {
    let direction = match node.text("direction", "forward")? {
        "forward" => Direction::Forward,
        "reverse" => Direction::Backward,
        "bidirectional" => Direction::Both,
        other => bail!("direction: expected forward, reverse or bidirectional, found {other}"),
    };
    let cell = cell(node, operator, direction.count())?;
    if let Some(clip) = node.attribute("clip") {
        bail!("clip: expected none, found {}", clip.f);
    }
    ensure!(!node.flag("input_forget", false)?, "input_forget: expected 0, found 1");
    let peepholes = node.tensor(7, "P")?.map(Tensor::floats).transpose()?;
    ensure!(peepholes.is_none_or(|p| p.iter().all(|p| p == 0.0)), "P (input 7): expected none or zeros, found others");
    let batch_first = node.flag("layout", false)?;
    let x = node.value(0)?;
    ensure!(node.rank(x) == 3, "X: expected 3 axes, found {}", node.rank(x));
    expect_whole_sequences(node, x, usize::from(batch_first))?;
    let axes = if batch_first { vec![0, 2, 1] } else { vec![1, 2, 0] };
    let x = node.inner(Transpose { axes }, vec![x])?;

    let record = layer(node, cell, direction, x)?;
    let mut inputs = vec![x];
    inputs.extend(states(node, &record, x, batch_first)?);
    Ok(Imported { record, inputs, batch_first })
}

/// What a unit computes. The activations of both directions must be the same.
fn cell(node: &OnnxNode<'_>, operator: &str, directions: usize) -> Result<Cell> {
    let (usual, cell): (&[&str], Cell) = match operator {
        "LSTM" => (&["sigmoid", "tanh", "tanh"], Cell::Lstm),
        "GRU" => (&["sigmoid", "tanh"], Cell::Gru),
        _ => (&["tanh"], Cell::Tanh),
    };
    let found: Vec<String> = node.texts("activations")?.into_iter().map(str::to_lowercase).collect();
    let all_are = |usual: &[&str]| found.len() == usual.len() * directions && found.chunks(usual.len()).all(|of| of == usual);
    match cell {
        _ if found.is_empty() || all_are(usual) => Ok(cell),
        Cell::Tanh if all_are(&["relu"]) => Ok(Cell::Relu),
        _ => {
            let expected = if cell == Cell::Tanh { "tanh or relu, the same".to_owned() } else { usual.join(", ") };
            bail!("activations: expected {expected} for each direction, found {}", found.join(", "))
        }
    }
}

/// That each sequence is as long as axis `axis` of `x`.
fn expect_whole_sequences(node: &OnnxNode<'_>, x: ValueId, axis: usize) -> Result<()> {
    let positions = &node.extents_of(x)[axis];
    let whole = node.input(4).is_none() || uniform(node, 4).is_some_and(|length| length == *positions);
    ensure!(whole, "sequence_lens (input 4): expected the length of the whole sequence ({positions}) for all, found others");
    Ok(())
}

/// The integer that all elements of an input are, if that follows from what it is made of.
fn uniform(node: &OnnxNode<'_>, i: usize) -> Option<Extent> {
    match node.input(i)? {
        Binding::Tensor(tensor) => tensor.sizes().map_or_else(|| one_integer(tensor.floats().ok()?), |sizes| one_size(&sizes)),
        Binding::Value(value) | Binding::Integers(value) => uniform_value(node, *value, MOST_STEPS),
        Binding::Missing => None,
    }
}

/// As [`uniform`], of a value: how exporters say that lengths are those of the sequence, or that states are zeros.
fn uniform_value(node: &OnnxNode<'_>, value: ValueId, steps: usize) -> Option<Extent> {
    let definition = node.definition(value)?;
    let of_input = |i: usize| uniform_value(node, definition.inputs[i], steps.checked_sub(1)?);
    match &definition.op {
        Op::Constant(constant) => one_integer(&constant.data),
        Op::Sizes(sizes) => one_size(&sizes.elements),
        Op::Expand(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Activation(Activation::Trunc) => of_input(0),
        Op::Binary(Binary::Mul) => Some(&of_input(0)? * &of_input(1)?),
        _ => None,
    }
}

fn one_size(sizes: &[Extent]) -> Option<Extent> {
    sizes.first().filter(|first| sizes.iter().all(|size| size == *first)).cloned()
}

fn one_integer(floats: &Floats) -> Option<Extent> {
    let first = floats.iter().next().filter(|first| first.fract() == 0.0 && floats.iter().all(|x| x == *first))?;
    Some(Extent::from(first as i64))
}

/// The record, with the weights of inputs 1 to 3, for sequences `x`.
fn layer(node: &OnnxNode<'_>, cell: Cell, direction: Direction, x: ValueId) -> Result<Recurrent<Unpacked>> {
    let (directions, gates) = (direction.count(), cell.gates());
    let (w, r) = (node.needed_tensor(1, "W")?, node.needed_tensor(2, "R")?);
    let hidden = node.int("hidden_size", r.dims.get(2).map_or(0, |&d| d as i64))?;
    let hidden = positive(hidden, "hidden_size")? as usize;
    let features = node.extent(x, 1).context("X: expected a known count of features, found a symbolic one")?;
    let (b, rows) = (node.tensor(3, "B")?, gates * hidden);
    let of_bias = b.map(|b| ("B", b, vec![directions, 2 * rows]));
    let of_weights = [("W", w, vec![directions, rows, features]), ("R", r, vec![directions, rows, hidden])];
    for (what, found, dims) in of_weights.into_iter().chain(of_bias) {
        ensure!(found.dims == dims, "{what}: expected dims {dims:?}, found {:?}", found.dims);
    }
    let b = b.map(Tensor::floats).transpose()?;
    // Of a row of the inputs, or of the state.
    let bias_at = |of_state: usize, row: usize| {
        let (direction, row) = (row / (gates * hidden), row % (gates * hidden));
        b.map_or(0.0, |b| b.at((2 * direction + of_state) * gates * hidden + row))
    };
    let resets_products = cell == Cell::Gru && node.flag("linear_before_reset", false)?;
    let is_reset = |row: usize| resets_products && row % (gates * hidden) >= 2 * hidden;
    let bias = (0..directions * gates * hidden).map(|row| {
        let of_state = if is_reset(row) { 0.0 } else { bias_at(1, row) };
        (f64::from(bias_at(0, row)) + f64::from(of_state)) as f32
    });
    let reset = (0..directions * gates * hidden).filter(|&row| is_reset(row)).map(|row| bias_at(1, row));
    let w = w.floats()?;
    // Units as rows, and the gates of a feature side by side, as a convolution has its taps.
    let at = |i: usize| {
        let (unit, column) = (i / (features * gates), i % (features * gates));
        let (direction, unit, feature, gate) = (unit / hidden, unit % hidden, column / gates, column % gates);
        w.at(((direction * gates + gate) * hidden + unit) * features + feature)
    };
    let (rows, columns, mut data) = (directions * hidden, features * gates, Vec::new());
    data.try_reserve_exact(w.len()).context("W: expected fewer elements, found more than there is memory for")?;
    data.par_extend((0..w.len()).into_par_iter().map(at));
    Ok(Recurrent {
        direction,
        yields_cells: false,
        features: positive(features as i64, "features")?,
        hidden: hidden as u32,
        columns: Kept::All,
        units: Kept::All,
        weights: Matrix { rows, columns, data: Floats::from(data), transposed: false, row_scale: Vec::new() },
        recurrent: r.floats()?.clone(),
        bias: bias.collect(),
        reset_bias: resets_products.then(|| reset.collect()),
        cell,
    })
}

/// The states before the first position, as the record has them; none where they are zeros.
fn states(node: &mut OnnxNode<'_>, record: &Recurrent<Unpacked>, x: ValueId, batch_first: bool) -> Result<Vec<ValueId>> {
    let count = if record.cell == Cell::Lstm { 2 } else { 1 };
    let is_given = |node: &OnnxNode<'_>, i: usize| node.input(i).is_some() && uniform(node, i) != Some(Extent::from(0usize));
    let Some(given) = (0..count).rposition(|i| is_given(node, 5 + i)) else { return Ok(Vec::new()) };
    let units = record.all_units();
    let mut states = Vec::new();
    for i in 0..=given {
        if !is_given(node, 5 + i) {
            let zero = node.inner_constant(0.0, 2)?;
            let dims = vec![node.extents_of(x)[0].clone(), Extent::from(units)];
            states.push(node.inner(Expand { dims }, vec![zero])?);
            continue;
        }
        let given = node.value(5 + i)?;
        let rank = node.rank(given);
        ensure!(rank == 3, "initial state (input {}): expected 3 axes, found {rank}", 5 + i);
        let axes = if batch_first { vec![0, 1, 2] } else { vec![1, 0, 2] };
        let given = node.inner(Transpose { axes }, vec![given])?;
        for (what, axis, expected) in [("directions", 1, record.direction.count()), ("units", 2, record.hidden as usize)] {
            let found = node.extent(given, axis).unwrap_or(expected);
            ensure!(found == expected, "initial state (input {}): expected {expected} {what}, found {found}", 5 + i);
        }
        states.push(node.inner(Reshape::to(&[0, units as i64]), vec![given])?);
    }
    Ok(states)
}
