//! Shape and Size: extents of a tensor as integers. Range: equally spaced integers. NonZero: indices of elements. What else computes with shapes are the operators
//! themselves, on tensors whose elements are expressions of symbolic dims.

use crate::export::exporter::{Call, Write};
use crate::export::writer::{Writer, int};
use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::onnx::proto::data_type;
use crate::onnx::tensor::{Data, Tensor};
use crate::operator::{Convert, without_weights};
use anyhow::{Context, Result, bail, ensure};
use sslm_format::{ElementType, Extent, Range, Reshape, Sizes, ValueId};

pub(super) const IMPORTS: &[Import] = &[
    Import::moving("Shape", shape),
    Import::moving("Size", size),
    Import::moving("Range", range),
    Import::moving("NonZero", non_zero),
];

/// The extents of input 0.
fn extents(node: &OnnxNode<'_>) -> Result<Vec<Extent>> {
    Ok(match node.first()? {
        Binding::Tensor(t) => t.dims.iter().map(|&d| Extent::from(d)).collect(),
        Binding::Value(v) | Binding::Integers(v) => node.extents_of(v).to_vec(),
        Binding::Missing => bail!("input 0: expected a tensor, found none"),
    })
}

fn shape(node: &mut OnnxNode<'_>) -> Result<Binding> {
    node.yields(0, ElementType::I64);
    let extents = extents(node)?;
    let rank = extents.len() as i64;
    let bound = |name: &str, default: i64| -> Result<usize> {
        let bound = node.int(name, default)?;
        Ok((if bound < 0 { bound + rank } else { bound }).clamp(0, rank) as usize)
    };
    let (start, end) = (bound("start", 0)?, bound("end", rank)?);
    let extents = extents[start..end.max(start)].to_vec();
    Tensor::of_sizes(vec![extents.len()], extents).map(Binding::Tensor)
}

fn size(node: &mut OnnxNode<'_>) -> Result<Binding> {
    node.yields(0, ElementType::I64);
    let all = extents(node)?.iter().fold(Extent::from(1usize), |product, extent| &product * extent);
    Tensor::of_sizes(vec![], vec![all]).map(Binding::Tensor)
}

/// Where the elements of a stored tensor are that are not 0: for each axis, a list of their indices.
fn non_zero(node: &mut OnnxNode<'_>) -> Result<Binding> {
    node.yields(0, ElementType::I64);
    let t = node.needed_tensor(0, "input")?;
    let places: Vec<usize> = match t.ints() {
        Ok(ints) => (0..ints.len()).filter(|&i| ints[i] != 0).collect(),
        Err(_) => t.floats()?.iter().enumerate().filter(|(_, x)| *x != 0.0).map(|(i, _)| i).collect(),
    };
    let index = |axis: usize, place: usize| (place / t.dims[axis + 1..].iter().product::<usize>() % t.dims[axis]) as i64;
    let indices = (0..t.dims.len()).flat_map(|axis| places.iter().map(move |&place| index(axis, place))).collect();
    Tensor::new(vec![t.dims.len(), places.len()], Data::Ints(indices)).map(Binding::Tensor)
}

/// Integers are a node where they depend on symbolic dims, and a tensor where they are known.
fn range(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let element = |i: usize, what: &str| -> Result<Tensor> {
        let tensor = node.tensor(i, what)?.with_context(|| format!("{what} (input {i}): expected one element, found none"))?;
        ensure!(tensor.dims.iter().all(|&d| d == 1), "{what}: expected one element, found dims {:?}", tensor.dims);
        Ok(tensor.clone())
    };
    let [start, limit, step] = [element(0, "start")?, element(1, "limit")?, element(2, "delta")?];
    let all = [&start, &limit, &step];
    let integers: Option<Vec<Extent>> = all.iter().map(|t| Some(t.sizes()?.swap_remove(0))).collect();
    let floats: Option<Vec<f64>> = all.iter().map(|t| Some(f64::from(t.floats().ok()?.at(0)))).collect();
    let whole: Option<Vec<Extent>> = all.iter().map(|t| whole(t)).collect();
    match (integers, floats, whole) {
        (Some(integers), _, _) => equally_spaced(node, integers, true),
        (None, Some(floats), _) => {
            let [start, limit, step] = floats[..] else { bail!("expected three inputs") };
            ensure!(step != 0.0 && step.is_finite(), "delta: expected a number other than 0, found {step}");
            let count = ((limit - start) / step).ceil().max(0.0);
            ensure!(count <= (1 << 24) as f64, "expected at most {} elements, found {count}", 1 << 24);
            let elements: Vec<f32> = (0..count as usize).map(|i| (start + i as f64 * step) as f32).collect();
            Tensor::new(vec![elements.len()], Data::Floats(elements.into())).map(Binding::Tensor)
        }
        (None, None, Some(whole)) => equally_spaced(node, whole, false),
        (None, None, None) => bail!("expected integers, found fractions of sizes that depend on symbolic dims"),
    }
}

/// The one element of a tensor of float32, if it is whole.
fn whole(t: &Tensor) -> Option<Extent> {
    let (extent, factor) = t.scaled()?.swap_remove(0);
    (factor.fract() == 0.0).then(|| &extent * factor as i64)
}

fn equally_spaced(node: &mut OnnxNode<'_>, bounds: Vec<Extent>, integers: bool) -> Result<Binding> {
    let [start, limit, step] = &bounds[..] else { bail!("expected three inputs") };
    let step_known = step.integer().filter(|step| *step != 0);
    let step_known = step_known.with_context(|| format!("delta: expected a known integer other than 0, found '{step}'"))?;
    let reach = if step_known > 0 { limit - start } else { start - limit };
    let count = reach.greatest(&Extent::from(0usize)).quotient_up(&Extent::from(step_known.saturating_abs()));
    if let (true, Some(start), Some(count)) = (integers, start.integer(), count.known()) {
        ensure!(count <= 1 << 24, "expected at most {} elements, found {count}", 1 << 24);
        let element = |i: usize| start.saturating_add(step_known.saturating_mul(i as i64));
        return Tensor::new(vec![count], Data::Ints((0..count).map(element).collect())).map(Binding::Tensor);
    }
    let output = &node.outputs()[0];
    let range = node.push_as(output, Range { start: start.clone(), step: step.clone(), count }, vec![])?;
    Ok(if integers { Binding::Integers(range) } else { Binding::Value(range) })
}

/// The indices of an axis of `count` elements, with `behind` axes of extent 1 behind it.
pub(super) fn indices(node: &mut OnnxNode<'_>, count: &Extent, behind: usize) -> Result<ValueId> {
    let range = Range { start: Extent::from(0usize), step: Extent::from(1usize), count: count.clone() };
    let range = node.inner(range, Vec::new())?;
    if behind == 0 { Ok(range) } else { node.inner(Reshape::to(&[vec![-1], vec![1; behind]].concat()), vec![range]) }
}

impl Convert for Sizes {
    without_weights!();
}

impl Convert for Range {
    without_weights!();
}

impl Write for Sizes {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let dims: Vec<i64> = self.dims.iter().map(|d| d.integer().unwrap_or(1)).collect();
        let (elements, dims) = (w.sizes(&self.elements), w.integers(&dims));
        let shaped = w.make("Reshape", &[&elements, &dims], vec![]);
        w.push("Cast", &[&shaped], call.output, vec![int("to", data_type::FLOAT.into())]);
        Ok(())
    }
}

impl Write for Range {
    fn write(&self, w: &mut Writer, call: &Call<'_>) -> Result<()> {
        let limit = &self.start + &(&self.step * &self.count);
        let [start, limit, step] = [&self.start, &limit, &self.step].map(|extent| w.size(extent));
        let range = w.make("Range", &[&start, &limit, &step], vec![]);
        w.push("Cast", &[&range], call.output, vec![int("to", data_type::FLOAT.into())]);
        Ok(())
    }
}
