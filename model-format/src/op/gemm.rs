//! Fully connected layers.

use super::conv::check_columns;
use super::{Check, Operator};
use crate::axes::{AxisMap, Link};
use crate::codec::record;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::rules::{Site, at_least_one, below, equal};
use crate::shape::{self, Shape, expect_extent};
use crate::value::{Kept, Value};
use crate::weights::Weights;

record! {
    /// Fully connected layer on the last axis: `y = x W^T + bias` (ONNX `Gemm`, `MatMul`).
    pub struct Gemm<W> {
        /// Logical input features.
        pub features: u32,
        /// Logical output features (rows of W). Those that exist are the output value's kept channels.
        pub rows: u32,
        /// The input features that are read.
        pub columns: Kept,
        /// Kept rows x kept columns in panels ([`crate::panels`]).
        pub weights: W::Matrix,
        /// One element per kept row.
        pub bias: W::Vector,
    }
}

impl<W: Weights> Gemm<W> {
    /// How many rows exist, given the channels that `output` keeps.
    pub fn kept_rows(&self, output: &Value) -> usize {
        output.compaction.as_ref().map_or(self.rows as usize, |c| c.kept.len())
    }
}

impl<W: Weights> Operator for Gemm<W> {
    fn name(&self) -> &'static str {
        "Gemm"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let mut out = inputs[0].clone();
        let Some(last) = out.last_mut() else { return Err(Error::shape("input rank", "at least 1", 0)) };
        expect_extent("input features", last, self.features as usize)?;
        *last = Extent::from(self.rows as usize);
        Ok(out)
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        let rank = inputs[0].len();
        vec![AxisMap::changing(rank, |axis| (axis + 1 == rank).then_some(Link::Summed))]
    }

    /// Its features lie on the last axis, which is axis 1 of two.
    fn needs_whole(&self, inputs: &[&Shape]) -> bool {
        inputs[0].len() != 2
    }
}

impl Check for Gemm {
    fn check(&self, site: &Site<'_>) -> Result<()> {
        let (input, output) = (site.inputs[0], site.output);
        for (what, n) in [("features", self.features), ("rows", self.rows)] {
            at_least_one(what, n)?;
            below(what, n, shape::MAX_CHANNELS)?;
        }
        Site::expect_logical("input", input, self.features)?;
        Site::expect_logical("output", output, self.rows)?;
        let features = self.features as usize;
        check_columns(&self.columns, features, 1, 0..features, input)?;
        let rows = self.kept_rows(output);
        let weights = rows.saturating_mul(self.columns.count(features));
        equal("elements of weights", weights, site.blob_len("weights", self.weights)?)?;
        equal("elements of bias", rows, site.blob_len("bias", self.bias)?)
    }

    fn check_shapes(&self, site: &Site<'_>, inputs: &[&Shape], output: &Shape) -> Result<()> {
        let compact = [site.inputs[0], site.output].iter().any(|value| value.compaction.is_some());
        if compact && self.needs_whole(inputs) {
            let expected = "2 axes, so that the removed channels are its features";
            return Err(Error::invalid("rank", expected, output.len()));
        }
        Ok(())
    }
}
