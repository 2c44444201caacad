//! Joining values, and repeating one.

use super::{Check, Operator, Source};
use crate::axes::{AxisMap, Link};
use crate::codec::record;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::shape::{Shape, broadcast, expect_rank};
use std::ops::RangeInclusive;

record! {
    /// ONNX `Concat`.
    pub struct Concat {
        /// Axis.
        pub axis: u32,
    }

    /// ONNX `Expand`: broadcast to (at least) these dims.
    pub struct Expand {
        /// Aligned with the input at the last axis.
        pub dims: Vec<Extent>,
    }
}

impl Operator for Concat {
    fn name(&self) -> &'static str {
        "Concat"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        1..=usize::MAX
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        concatenated(inputs, self.axis as usize)
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        let joined = self.axis as usize;
        let mut first = Some(0);
        let map = |x: &&Shape| {
            let link = first.map_or(Link::Windowed { to: joined }, |first| Link::Joined { to: joined, first });
            first = first.zip(x[joined].known()).map(|(first, extent)| first + extent);
            AxisMap::changing(x.len(), |axis| (axis == joined).then(|| link.clone()))
        };
        inputs.iter().map(map).collect()
    }

    /// What is joined agrees on it.
    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        let mut all = sources.iter().filter(|source| **source != Source::Nothing).map(Source::one);
        let first = all.next()??;
        all.all(|other| other == Some(first)).then_some(first)
    }
}

impl Operator for Expand {
    fn name(&self) -> &'static str {
        "Expand"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        broadcast(inputs[0], &self.dims)
    }

    fn axes(&self, inputs: &[&Shape], output: &Shape) -> Vec<AxisMap> {
        vec![AxisMap::broadcast(inputs[0], output)]
    }

    fn extents(&self) -> Vec<&Extent> {
        self.dims.iter().collect()
    }

    fn extents_mut(&mut self) -> Vec<&mut Extent> {
        self.dims.iter_mut().collect()
    }
}

impl Check for Concat {}
impl Check for Expand {}

fn concatenated(inputs: &[&Shape], axis: usize) -> Result<Shape> {
    let Some((first, rest)) = inputs.split_first() else { return Err(Error::shape("inputs", "at least one", 0)) };
    if axis >= first.len() {
        return Err(Error::shape("axis", format!("below the rank {}", first.len()), axis));
    }
    let mut out = (*first).clone();
    for x in rest {
        expect_rank(x, out.len())?;
        for (i, (have, more)) in out.iter_mut().zip(x.iter()).enumerate() {
            if i == axis {
                *have = &*have + more;
            } else {
                match (have.known(), more.known()) {
                    (Some(a), Some(b)) if a != b => return Err(Error::shape(format!("axis {i}"), a, b)),
                    (None, Some(_)) => have.clone_from(more),
                    _ => {}
                }
            }
        }
    }
    Ok(out)
}
