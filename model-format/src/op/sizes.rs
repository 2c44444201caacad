//! Tensors of integers that follow from the sizes of inputs alone: extents as elements, and grids of positions.

use super::{Check, Operator};
use crate::axes::AxisMap;
use crate::codec::record;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::rules::{Site, equal};
use crate::shape::{Shape, product};
use std::ops::RangeInclusive;

record! {
    /// Extents, and what is computed of them, as elements (what graphs make of ONNX `Shape`).
    pub struct Sizes {
        /// Shape. All extents are known.
        pub dims: Vec<Extent>,
        /// The elements, row-major.
        pub elements: Vec<Extent>,
    }

    /// ONNX `Range` of integers: `start + i step`, for `i` from 0 to below `count`.
    pub struct Range {
        /// The first element.
        pub start: Extent,
        /// From one to the next.
        pub step: Extent,
        /// How many there are.
        pub count: Extent,
    }
}

impl Operator for Sizes {
    fn name(&self) -> &'static str {
        "Shape"
    }

    fn since(&self) -> u16 {
        4
    }

    fn arity(&self) -> RangeInclusive<usize> {
        0..=0
    }

    fn shape(&self, _: &[&Shape]) -> Result<Shape> {
        Ok(self.dims.clone())
    }

    fn axes(&self, _: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        Vec::new()
    }

    fn extents(&self) -> Vec<&Extent> {
        self.elements.iter().collect()
    }

    fn extents_mut(&mut self) -> Vec<&mut Extent> {
        self.elements.iter_mut().collect()
    }
}

impl Operator for Range {
    fn name(&self) -> &'static str {
        "Range"
    }

    fn since(&self) -> u16 {
        4
    }

    fn arity(&self) -> RangeInclusive<usize> {
        0..=0
    }

    fn shape(&self, _: &[&Shape]) -> Result<Shape> {
        Ok(vec![self.count.clone()])
    }

    fn axes(&self, _: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        Vec::new()
    }

    fn extents(&self) -> Vec<&Extent> {
        vec![&self.start, &self.step, &self.count]
    }

    fn extents_mut(&mut self) -> Vec<&mut Extent> {
        vec![&mut self.start, &mut self.step, &mut self.count]
    }
}

impl Check for Sizes {
    fn check(&self, site: &Site<'_>) -> Result<()> {
        expect_whole(site)?;
        match product(&self.dims).known() {
            Some(count) => equal("elements", count, self.elements.len()),
            None => Err(Error::invalid("dims", "known extents", format!("{:?}", self.dims))),
        }
    }
}

impl Check for Range {
    fn check(&self, site: &Site<'_>) -> Result<()> {
        expect_whole(site)
    }
}

fn expect_whole(site: &Site<'_>) -> Result<()> {
    match site.output.compaction {
        Some(_) => Err(Error::invalid("output", "every channel present", "a kept list")),
        None => Ok(()),
    }
}
