//! Tensors that the graph states: Constant and ConstantOfShape.

use crate::blobs::Blobs;
use crate::export::existing::Existing;
use crate::export::exporter::{Export, Exporter};
use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::import::stored::MAX_REPEATED;
use crate::onnx::proto::data_type;
use crate::onnx::tensor::{Data, Floats, Tensor};
use crate::operator::Convert;
use crate::slices::Slices;
use crate::weights::{Node, Unpacked};
use anyhow::{Context, Result, bail, ensure};
use sslm_format::{Constant, Expand, Value};

pub(super) const IMPORTS: &[Import] =
    &[Import::computing("Constant", constant), Import::computing("ConstantOfShape", constant_of_shape)];

/// How many integers are repeated at once: more than any shape has.
const MAX_INTEGERS: usize = 1 << 16;

fn constant(node: &mut OnnxNode<'_>) -> Result<Binding> {
    if let Some(t) = node.attribute("value").and_then(|a| a.t.as_ref()) {
        data_type::element_type(t.data_type).into_iter().for_each(|t| node.yields(0, t));
        return node.stored(t).map(Binding::Tensor);
    }
    if let Some(t) = node.attribute("sparse_value").and_then(|a| a.sparse_tensor.as_ref()) {
        return node.stored_sparse(t).map(Binding::Tensor);
    }
    let found = ["value_float", "value_floats", "value_int", "value_ints"].iter().find_map(|name| node.attribute(name));
    let a = found.context("expected a value of numbers, found none")?;
    let (dims, data) = match a.name.as_str() {
        "value_float" => (vec![], Data::Floats(vec![a.f].into())),
        "value_floats" => (vec![a.floats.len()], Data::Floats(a.floats.clone().into())),
        "value_int" => (vec![], Data::Ints([a.i].into())),
        _ => (vec![a.ints.len()], Data::Ints(a.ints.clone().into())),
    };
    Tensor::new(dims, data).map(Binding::Tensor)
}

fn constant_of_shape(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let shape = node.needed_tensor(0, "shape")?.clone();
    if !shape.is_known() {
        return constant_of_sizes(node, &shape);
    }
    let extent = |&d: &i64| usize::try_from(d).with_context(|| format!("shape: expected no negative extent, found {d}"));
    let dims: Vec<usize> = shape.ints()?.iter().map(extent).collect::<Result<_>>()?;
    let len = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= MAX_REPEATED);
    let len = len.with_context(|| format!("shape: expected at most {MAX_REPEATED} elements, found {dims:?}"))?;
    let value = repeated_value(node)?;
    let data = match &value.data {
        Data::Floats(f) if f.len() == 1 => Data::Floats(Floats::Repeated { value: f.at(0), len }),
        Data::Ints(i) if i.len() == 1 => {
            ensure!(len <= MAX_INTEGERS, "shape: expected at most {MAX_INTEGERS} integers, found {len}");
            Data::Ints(vec![i[0]; len].into())
        }
        _ => bail!("value: expected one element"),
    };
    Tensor::new(dims, data).map(Binding::Tensor)
}

/// What a ConstantOfShape repeats.
fn repeated_value(node: &mut OnnxNode<'_>) -> Result<Tensor> {
    match node.attribute("value").and_then(|a| a.t.as_ref()) {
        Some(t) => {
            data_type::element_type(t.data_type).into_iter().for_each(|t| node.yields(0, t));
            node.stored(t)
        }
        None => Tensor::new(vec![1], Data::Floats(vec![0.0].into())),
    }
}

/// A ConstantOfShape whose extents depend on symbolic dims: its element, expanded.
fn constant_of_sizes(node: &mut OnnxNode<'_>, shape: &Tensor) -> Result<Binding> {
    let dims = shape.sizes().context("shape: expected integers")?;
    let value = repeated_value(node)?;
    ensure!(value.dims.iter().all(|&d| d == 1), "value: expected one element");
    let one = node.constant("value", &value, dims.len())?;
    let output = &node.outputs()[0];
    let expanded = node.push_as(output, Expand { dims }, vec![one])?;
    Ok(if value.is_integers() { Binding::Integers(expanded) } else { Binding::Value(expanded) })
}

impl Convert for Constant<Unpacked> {
    fn is_finite(&self) -> bool {
        self.data.is_finite()
    }

    fn tensor(&self) -> Option<&Floats> {
        Some(&self.data)
    }

    /// The channels that are one element each.
    fn forward(&mut self, _: &[Slices<'_>], output: &Slices<'_>) -> Vec<Option<f32>> {
        let channels = output.constants().map_or(0, <[_]>::len);
        let plane = self.dims.iter().skip(2).product::<u64>() as usize;
        let first = |c: usize| (self.data.len() > c * plane).then(|| self.data.at(c * plane));
        let mut found: Vec<Option<f32>> = (0..channels).map(first).collect();
        for (i, x) in self.data.iter().enumerate() {
            let channel = &mut found[i / plane.max(1) % channels];
            *channel = channel.filter(|v| *v == x);
        }
        found
    }

    fn takes_constants(&self) -> bool {
        true
    }

    fn stored<'g>(&'g self, _: &Value, blobs: &mut Blobs<'g>) -> sslm_format::Op {
        Constant { dims: self.dims.clone(), data: blobs.tensor(&self.data) }.into()
    }
}

/// Stored tensors are written where they are read: of what channels depends on the reader.
impl Export for Constant<Unpacked> {
    fn settle(&self, _: &mut Existing<'_>, _: &Node) {}

    fn export(&self, _: &mut Exporter<'_>, _: &Node) -> Result<()> {
        Ok(())
    }
}
