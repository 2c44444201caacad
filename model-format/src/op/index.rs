//! Elements at indices that are computed, and the indices of the largest elements. Indices are elements like others: whole numbers, of
//! which an f32 holds those below 2^24 exactly.

use super::{Check, Operator, Source, passed_on};
use crate::axes::{AxisMap, Link};
use crate::codec::{choice, record};
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::rules::{Site, at_least_one};
use crate::shape::{Shape, on_axis};
use std::ops::RangeInclusive;

record! {
    /// ONNX `TopK`: the largest or smallest elements along an axis, the first of them first, or where they stand.
    pub struct TopK {
        /// Axis.
        pub axis: u32,
        /// How many.
        pub k: u32,
        /// Whether the largest are meant.
        pub largest: bool,
        /// Whether it yields where they stand.
        pub positions: bool,
    }

    /// ONNX `GatherND`: the last axis of operand 1 holds indices on the axes of operand 0 behind `batch` common ones.
    pub struct GatherNd {
        /// Axes that both operands have in common.
        pub batch: u32,
    }

    /// ONNX `GatherElements`: an element for each of operand 1, which is its index on one axis of operand 0.
    pub struct GatherElements {
        /// Axis.
        pub axis: u32,
    }

    /// ONNX `ScatterND`: operand 0, with operand 2 at the indices that the last axis of operand 1 holds.
    pub struct ScatterNd {
        /// What becomes of elements that meet.
        pub meeting: Meeting,
    }

    /// ONNX `ScatterElements`: operand 0, with each element of operand 2 at the index on one axis that operand 1 has for it.
    pub struct ScatterElements {
        /// Axis.
        pub axis: u32,
        /// What becomes of elements that meet.
        pub meeting: Meeting,
    }
}

choice! {
    /// What becomes of an element that is there and one that comes to it.
    #[derive(Copy)]
    pub enum Meeting: "reduction" {
        /// The one that comes last.
        0 => Last,
        /// Their sum.
        1 => Sum,
        /// Their product.
        2 => Product,
        /// The larger one.
        3 => Larger,
        /// The smaller one.
        4 => Smaller,
    }
}

impl Operator for TopK {
    fn name(&self) -> &'static str {
        "TopK"
    }

    fn since(&self) -> u16 {
        4
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let k = self.k as usize;
        on_axis(inputs[0], self.axis, &mut |extent| match extent.known() {
            Some(extent) if extent < k => Err(Error::shape("k", format!("at most {extent}"), k)),
            _ => Ok(Extent::from(k)),
        })
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![besides(self.axis, inputs[0])]
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        if self.positions { None } else { passed_on(sources) }
    }
}

impl Operator for GatherNd {
    fn name(&self) -> &'static str {
        "GatherND"
    }

    fn since(&self) -> u16 {
        4
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (data, indices, batch) = (inputs[0], inputs[1], self.batch as usize);
        if batch >= indices.len() {
            return Err(Error::shape("batch", format!("below the rank {} of the indices", indices.len()), batch));
        }
        let behind = batch + count_of_indices(indices)?;
        if behind > data.len() {
            return Err(Error::shape("indices", format!("on at most {} axes", data.len()), behind));
        }
        data.iter().zip(indices).take(batch).enumerate().try_for_each(|(axis, (a, b))| expect_alike(axis, a, b))?;
        Ok([&indices[..indices.len() - 1], &data[behind..]].concat())
    }

    fn axes(&self, inputs: &[&Shape], output: &Shape) -> Vec<AxisMap> {
        let (batch, rank) = (self.batch as usize, inputs[0].len());
        // The axes that are not looked up are the last ones of both.
        let whole = rank - (output.len() + 1 - inputs[1].len());
        let of_data = (0..rank).map(|axis| match axis {
            _ if axis < batch => Link::Alike { to: axis },
            _ if axis < whole => Link::Summed,
            _ => Link::Alike { to: axis + output.len() - rank },
        });
        let last = inputs[1].len() - 1;
        let of_indices = (0..=last).map(|axis| if axis < last { Link::Alike { to: axis } } else { Link::Summed });
        vec![of_data.collect(), of_indices.collect()]
    }
}

impl Operator for GatherElements {
    fn name(&self) -> &'static str {
        "GatherElements"
    }

    fn since(&self) -> u16 {
        4
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        expect_alike_besides(self.axis, inputs[1], inputs[0])?;
        Ok(inputs[1].clone())
    }

    fn axes(&self, inputs: &[&Shape], output: &Shape) -> Vec<AxisMap> {
        vec![besides(self.axis, inputs[0]), AxisMap::identity(output.len())]
    }
}

impl Operator for ScatterNd {
    fn name(&self) -> &'static str {
        "ScatterND"
    }

    fn since(&self) -> u16 {
        4
    }

    fn arity(&self) -> RangeInclusive<usize> {
        3..=3
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [data, indices, updates] = [inputs[0], inputs[1], inputs[2]];
        let count = count_of_indices(indices)?;
        if count > data.len() {
            return Err(Error::shape("indices", format!("on at most {} axes", data.len()), count));
        }
        let expected = [&indices[..indices.len() - 1], &data[count..]].concat();
        if expected.len() != updates.len() {
            return Err(Error::shape("rank of the updates", expected.len(), updates.len()));
        }
        expected.iter().zip(updates).enumerate().try_for_each(|(axis, (a, b))| expect_alike(axis, a, b))?;
        Ok(data.clone())
    }

    fn axes(&self, inputs: &[&Shape], output: &Shape) -> Vec<AxisMap> {
        let (rank, points) = (output.len(), inputs[1].len() - 1);
        let whole = rank - (inputs[2].len() - points);
        let of_data = AxisMap::changing(rank, |axis| (axis < whole).then_some(Link::Whole { to: axis }));
        let of_updates = (0..inputs[2].len()).map(|axis| match axis.checked_sub(points) {
            Some(behind) => Link::Alike { to: whole + behind },
            None => Link::Summed,
        });
        vec![of_data, (0..=points).map(|_| Link::Summed).collect(), of_updates.collect()]
    }
}

impl Operator for ScatterElements {
    fn name(&self) -> &'static str {
        "ScatterElements"
    }

    fn since(&self) -> u16 {
        4
    }

    fn arity(&self) -> RangeInclusive<usize> {
        3..=3
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let [data, indices, updates] = [inputs[0], inputs[1], inputs[2]];
        expect_alike_besides(self.axis, indices, data)?;
        if indices.len() != updates.len() {
            return Err(Error::shape("rank of the updates", indices.len(), updates.len()));
        }
        indices.iter().zip(updates).enumerate().try_for_each(|(axis, (a, b))| expect_alike(axis, a, b))?;
        Ok(data.clone())
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        inputs.iter().map(|x| besides(self.axis, x)).collect()
    }
}

/// Every index on one axis depends on all, and the others stay what they are.
fn besides(own: u32, x: &Shape) -> AxisMap {
    AxisMap::changing(x.len(), |to| (to == own as usize).then_some(Link::Windowed { to }))
}

/// On how many axes the last axis of `indices` holds indices.
fn count_of_indices(indices: &Shape) -> Result<usize> {
    match indices.last().map(Extent::known) {
        Some(Some(count)) => Ok(count),
        Some(None) => Err(Error::shape("last axis of the indices", "a known extent", "a symbolic one")),
        None => Err(Error::shape("rank of the indices", "at least 1", 0)),
    }
}

fn expect_alike(axis: usize, a: &Extent, b: &Extent) -> Result<()> {
    match (a.known(), b.known()) {
        (Some(a), Some(b)) if a != b => Err(Error::shape(format!("axis {axis}"), a, b)),
        _ => Ok(()),
    }
}

/// Checks that both have the same extents on all axes but `axis`.
fn expect_alike_besides(axis: u32, indices: &Shape, data: &Shape) -> Result<()> {
    if indices.len() != data.len() || axis as usize >= data.len() {
        return Err(Error::shape("rank of the indices", format!("{}, above the axis {axis}", data.len()), indices.len()));
    }
    let pairs = data.iter().zip(indices).enumerate().filter(|(i, _)| *i != axis as usize);
    pairs.into_iter().try_for_each(|(i, (a, b))| expect_alike(i, a, b))
}

impl Check for TopK {
    fn check(&self, _: &Site<'_>) -> Result<()> {
        at_least_one("k", self.k)
    }
}

impl Check for GatherNd {}
impl Check for GatherElements {}
impl Check for ScatterNd {}
impl Check for ScatterElements {}
