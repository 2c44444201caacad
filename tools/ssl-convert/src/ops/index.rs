//! Computed indices: TopK, GatherND, GatherElements, ScatterND, ScatterElements, OneHot, and a Gather whose indices are computed.

use super::{layout, shapes};
use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, int, text};
use crate::import::binding::Binding;
use crate::import::checks::{self, positive};
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::onnx::proto::{AttributeProto, data_type};
use crate::onnx::tensor::{Data, Floats, Tensor};
use crate::operator::{Convert, without_weights};
use anyhow::{Context, Result, bail, ensure};
use sslm_format::{
    Activation, Binary, Constant, ElementType, Extent, GatherElements, GatherNd, Meeting, Reshape, ScatterElements, ScatterNd,
    Slice, TopK, Transpose, ValueId, Where,
};

pub(super) const IMPORTS: &[Import] = &[
    Import::moving("TopK", top_k),
    Import::moving("GatherND", gather_nd),
    Import::moving("GatherElements", gather_elements),
    Import::moving("ScatterND", scatter_nd),
    Import::moving("ScatterElements", scatter_elements),
    // Its name before opset 11.
    Import::moving("Scatter", scatter_elements),
    Import::moving("OneHot", one_hot),
];

/// Integers from this one on are not all elements.
const MAX_INDEX: i64 = 1 << 24;

/// Most elements of a OneHot of stored indices.
const MAX_ONE_HOT: usize = 1 << 24;

/// Two outputs, the elements and where they stand.
fn top_k(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = elements(node, 0)?;
    let axis = node.axis(-1, node.rank(x))? as u32;
    let k = match node.attribute("k") {
        Some(_) => node.int("k", 0)?,
        None => match node.integers("k", 1)?.context("k: expected a constant, found none")?[..] {
            [k] => k,
            ref other => bail!("k: expected one integer, found {}", other.len()),
        },
    };
    let record = TopK { axis, k: positive(k, "k")?, largest: node.flag("largest", true)?, positions: false };
    if let Some(output) = node.outputs().get(1).filter(|output| !output.is_empty()) {
        let positions = node.push_as(output, TopK { positions: true, ..record.clone() }, vec![x])?;
        node.yields(1, ElementType::I64);
        node.further_output(Binding::Integers(positions));
    }
    if node.outputs()[0].is_empty() {
        return Ok(Binding::Missing);
    }
    let y = node.push_as(&node.outputs()[0], record, vec![x])?;
    Ok(like(node, 0, y))
}

/// What an output stands for that is `v` and has elements of input `i`.
pub(super) fn like(node: &OnnxNode<'_>, i: usize, v: ValueId) -> Binding {
    match node.input(i) {
        Some(Binding::Integers(_) | Binding::Tensor(Tensor { data: Data::Ints(_), .. })) => Binding::Integers(v),
        _ => Binding::Value(v),
    }
}

/// Input `i`, which may be stored integers.
pub(super) fn elements(node: &mut OnnxNode<'_>, i: usize) -> Result<ValueId> {
    let Some(Tensor { dims, data: Data::Ints(ints) }) = node.tensor_if_known(i).cloned() else { return node.value(i) };
    let large = ints.iter().find(|n| n.unsigned_abs() >= MAX_INDEX.unsigned_abs());
    ensure!(large.is_none(), "input {i}: expected integers below {MAX_INDEX}, found {}", large.unwrap_or(&0));
    let data = Floats::from(ints.iter().map(|&n| n as f32).collect::<Vec<_>>());
    let dims = dims.iter().map(|&d| d as u64).collect();
    node.push_as(&node.inner_name(&format!("input{i}")), Constant { dims, data }, Vec::new())
}

/// Input `i`, which must be integers.
pub(super) fn indices(node: &mut OnnxNode<'_>, i: usize) -> Result<ValueId> {
    let integers = node.is_integers(i);
    ensure!(integers, "indices (input {i}): expected integers, found others");
    elements(node, i)
}

/// A Gather whose indices are computed: a GatherND on its axis, which comes first for a while.
pub(super) fn gather(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let (mut x, indices) = (elements(node, 0)?, indices(node, 1)?);
    let (rank, points) = (node.rank(x), node.rank(indices));
    let axis = node.axis(0, rank)?;
    let dims = [vec![0; points], vec![1]].concat();
    let indices = node.push_as(&node.inner_name("indices"), Reshape::to(&dims), vec![indices])?;
    if axis == 0 {
        let y = node.push_as(&node.outputs()[0], GatherNd { batch: 0 }, vec![x, indices])?;
        return Ok(like(node, 0, y));
    }
    let first: Vec<u32> = std::iter::once(axis).chain((0..rank).filter(|&a| a != axis)).map(|a| a as u32).collect();
    x = node.push_as(&node.inner_name("first"), Transpose { axes: first }, vec![x])?;
    let y = node.push_as(&node.inner_name("gathered"), GatherNd { batch: 0 }, vec![x, indices])?;
    let before = points..points + axis;
    let axes = before.clone().chain(0..points).chain(before.end..points + rank - 1).map(|a| a as u32).collect();
    let y = node.push_as(&node.outputs()[0], Transpose { axes }, vec![y])?;
    Ok(like(node, 0, y))
}

fn gather_nd(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let operands = vec![elements(node, 0)?, indices(node, 1)?];
    let batch = u32::try_from(node.int("batch_dims", 0)?).context("batch_dims: expected no negative number")?;
    let y = node.push_as(&node.outputs()[0], GatherNd { batch }, operands)?;
    Ok(like(node, 0, y))
}

/// ONNX takes indices that are fewer than there are elements on other axes, too: then the elements are cut first.
fn gather_elements(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let (mut x, indices) = (elements(node, 0)?, indices(node, 1)?);
    let rank = node.rank(x);
    let own = node.axis(0, rank)?;
    for axis in (0..rank).filter(|&axis| axis != own) {
        if let (Some(most), Some(wanted)) = (node.extent(x, axis), node.extent(indices, axis))
            && wanted < most
        {
            let slice = Slice::of(axis as u32, 0, wanted as i64, 1);
            x = node.push_as(&node.inner_name(&format!("cut{axis}")), slice, vec![x])?;
        }
    }
    let y = node.push_as(&node.outputs()[0], GatherElements { axis: own as u32 }, vec![x, indices])?;
    Ok(like(node, 0, y))
}

fn scatter_nd(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let operands = vec![elements(node, 0)?, indices(node, 1)?, elements(node, 2)?];
    let meeting = meeting(node)?;
    let y = node.push_as(&node.outputs()[0], ScatterNd { meeting }, operands)?;
    Ok(like(node, 0, y))
}

fn scatter_elements(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let operands = vec![elements(node, 0)?, indices(node, 1)?, elements(node, 2)?];
    let axis = node.axis(0, node.rank(operands[0]))? as u32;
    let meeting = meeting(node)?;
    let y = node.push_as(&node.outputs()[0], ScatterElements { axis, meeting }, operands)?;
    Ok(like(node, 0, y))
}

fn meeting(node: &OnnxNode<'_>) -> Result<Meeting> {
    Ok(match node.text("reduction", "none")? {
        "none" => Meeting::Last,
        "add" => Meeting::Sum,
        "mul" => Meeting::Product,
        "max" => Meeting::Larger,
        "min" => Meeting::Smaller,
        other => bail!("reduction: expected none, add, mul, max or min, found {other}"),
    })
}

/// One element where a place along the new axis is the index, and another one elsewhere. Indices below 0 count from the end.
fn one_hot(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let values = node.needed_tensor(2, "values")?;
    let [off, on] = match &values.data {
        Data::Floats(floats) if floats.len() == 2 => [floats.at(0), floats.at(1)],
        Data::Ints(ints) if ints.len() == 2 => [ints[0] as f32, ints[1] as f32],
        _ => bail!("values: expected two elements, found dims {:?}", values.dims),
    };
    node.yields(0, node.input_type(2));
    let depth = depth(node)?;
    if let Some(depth) = depth.integer() {
        positive(depth, "depth")?;
    }
    if let (Some(Tensor { dims, data: Data::Ints(ints) }), Some(depth)) = (node.tensor_if_known(0), depth.integer()) {
        let axis = checks::axis(node.int("axis", -1)?, dims.len() + 1)?;
        return stored_one_hot((dims, ints), axis, depth, [off, on]).map(Binding::Tensor);
    }
    let mut indices = elements(node, 0)?;
    if !node.is_integers(0) {
        indices = node.inner(Activation::Trunc, vec![indices])?;
    }
    let rank = node.rank(indices);
    let axis = checks::axis(node.int("axis", -1)?, rank + 1)?;
    let mut target = node.extents_of(indices).to_vec();
    target.insert(axis, Extent::from(1usize));
    let dims = layout::dims_to(node.extents_of(indices), &target);
    let indices = node.inner(Reshape { dims }, vec![indices])?;
    let places = shapes::indices(node, &depth, rank - axis)?;
    let depth = node.constant("depth", &Tensor::of_sizes(Vec::new(), vec![depth])?, 0)?;
    let from_end = node.inner(Binary::Sub, vec![places, depth])?;
    let is_place = node.inner(Binary::Equal, vec![indices, places])?;
    let is_from_end = node.inner(Binary::Equal, vec![indices, from_end])?;
    let is_either = node.inner(Binary::Max, vec![is_place, is_from_end])?;
    let (on, off) = (node.inner_constant(on, 0)?, node.inner_constant(off, 0)?);
    let y = node.push_as(&node.outputs()[0], Where {}, vec![is_either, on, off])?;
    Ok(like(node, 2, y))
}

/// How many places there are along the axis that a OneHot adds.
fn depth(node: &OnnxNode<'_>) -> Result<Extent> {
    let depth = node.needed_tensor(1, "depth")?;
    match (depth.sizes(), &depth.data) {
        (Some(sizes), _) if sizes.len() == 1 => Ok(sizes[0].clone()),
        (_, Data::Floats(floats)) if floats.len() == 1 => Ok(Extent::from(floats.at(0) as i64)),
        _ => bail!("depth: expected one number, found dims {:?}", depth.dims),
    }
}

/// The same of stored indices.
fn stored_one_hot((dims, indices): (&[usize], &[i64]), axis: usize, depth: i64, [off, on]: [f32; 2]) -> Result<Tensor> {
    let len = indices.len().checked_mul(depth as usize).filter(|&n| n <= MAX_ONE_HOT);
    let len =
        len.with_context(|| format!("depth: expected at most {MAX_ONE_HOT} elements, found {depth} times {}", indices.len()))?;
    let mut elements = vec![off; len];
    let inner: usize = dims[axis..].iter().product();
    for (i, &index) in indices.iter().enumerate() {
        let index = if index < 0 { index + depth } else { index };
        if (0..depth).contains(&index) {
            elements[(i / inner * depth as usize + index as usize) * inner + i % inner] = on;
        }
    }
    let mut dims = dims.to_vec();
    dims.insert(axis, depth as usize);
    Tensor::new(dims, Data::Floats(elements.into()))
}

/// Why constant channels are lost where indices are computed.
const ANY_INDEX: &str = "its indices are computed, so it needs all channels";

macro_rules! of_indices {
    ($($record:ident)*) => { $(
        impl Convert for $record {
            without_weights!();

            fn why_lost(&self) -> &'static str {
                ANY_INDEX
            }
        }
    )* };
}
of_indices!(GatherNd GatherElements ScatterNd ScatterElements);

impl Convert for TopK {
    without_weights!();

    fn why_lost(&self) -> &'static str {
        "it compares channels, so it needs all of them"
    }
}

/// Indices as ONNX takes them.
pub(super) fn as_integers(w: &mut Writer, indices: &str) -> String {
    w.make("Cast", &[indices], vec![int("to", data_type::INT64.into())])
}

/// The attribute `reduction`, as far as the operator set that is written has it.
fn reduction(meeting: Meeting) -> Result<Vec<AttributeProto>> {
    Ok(match meeting {
        Meeting::Last => vec![],
        Meeting::Sum => vec![text("reduction", "add")],
        Meeting::Product => vec![text("reduction", "mul")],
        Meeting::Larger | Meeting::Smaller => {
            bail!("the larger or smaller of elements that meet, which ONNX has from opset 18 on")
        }
    })
}

impl Write for TopK {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let (k, other) = (w.integers(&[self.k.into()]), w.fresh("TopK"));
        let attributes = vec![int("axis", self.axis.into()), int("largest", self.largest.into())];
        if !self.positions {
            w.push("TopK", &[call.inputs[0], &k], call.output, attributes);
            w.further_output(&other);
            return Ok(());
        }
        let positions = w.fresh("TopK");
        w.push("TopK", &[call.inputs[0], &k], &other, attributes);
        w.further_output(&positions);
        w.push("Cast", &[&positions], call.output, vec![int("to", data_type::FLOAT.into())]);
        Ok(())
    }
}

impl Write for GatherNd {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let indices = as_integers(w, call.inputs[1]);
        w.push("GatherND", &[call.inputs[0], &indices], call.output, vec![int("batch_dims", self.batch.into())]);
        Ok(())
    }
}

impl Write for GatherElements {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let indices = as_integers(w, call.inputs[1]);
        w.push("GatherElements", &[call.inputs[0], &indices], call.output, vec![int("axis", self.axis.into())]);
        Ok(())
    }
}

impl Write for ScatterNd {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let indices = as_integers(w, call.inputs[1]);
        w.push("ScatterND", &[call.inputs[0], &indices, call.inputs[2]], call.output, reduction(self.meeting)?);
        Ok(())
    }
}

impl Write for ScatterElements {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let indices = as_integers(w, call.inputs[1]);
        let mut attributes = reduction(self.meeting)?;
        attributes.push(int("axis", self.axis.into()));
        w.push("ScatterElements", &[call.inputs[0], &indices, call.inputs[2]], call.output, attributes);
        Ok(())
    }
}
