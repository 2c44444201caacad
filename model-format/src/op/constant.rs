//! Stored tensors.

use super::{Check, Operator};
use crate::axes::AxisMap;
use crate::codec::record;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::rules::Site;
use crate::shape::Shape;
use crate::weights::Weights;
use std::ops::RangeInclusive;

record! {
    /// A tensor stored in the file, read in place.
    pub struct Constant<W> {
        /// Shape.
        pub dims: Vec<u64>,
        /// Its elements, row-major.
        pub data: W::Tensor,
    }
}

impl<W: Weights> Operator for Constant<W> {
    fn name(&self) -> &'static str {
        "Constant"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        0..=0
    }

    fn shape(&self, _: &[&Shape]) -> Result<Shape> {
        let extent =
            |&d: &u64| usize::try_from(d).map(Extent::from).map_err(|_| Error::shape("dims", "extents that fit in memory", d));
        self.dims.iter().map(extent).collect()
    }

    fn axes(&self, _: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        Vec::new()
    }
}

impl Check for Constant {
    fn check(&self, site: &Site<'_>) -> Result<()> {
        if site.output.compaction.is_some() {
            return Err(Error::invalid("output", "every channel present", "a kept list"));
        }
        let elements = self.dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
        match (elements, site.blob_len("data", self.data)?) {
            (Some(n), len) if n == len as u64 => Ok(()),
            (_, len) => Err(Error::invalid("data", format!("as many elements as dims {:?} say", self.dims), len)),
        }
    }
}
