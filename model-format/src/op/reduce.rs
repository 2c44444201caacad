//! Axes that are reduced to one element, or to the index of one.

use super::{Check, Operator, Source, passed_on};
use crate::axes::{AxisMap, Link};
use crate::codec::{choice, record};
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::rules::{Site, at_least_one, check_list};
use crate::shape::{MAX_RANK, Shape, on_axis};

record! {
    /// Mean over axes (ONNX `ReduceMean`).
    pub struct ReduceMean {
        /// Axes, strictly increasing.
        pub axes: Vec<u32>,
        /// Whether they stay as extents of 1.
        pub keep: bool,
    }

    /// What a [`Reduction`] makes of the elements along axes.
    pub struct Reduce {
        /// What that is.
        pub reduction: Reduction,
        /// Axes, one at least, strictly increasing.
        pub axes: Vec<u32>,
        /// Whether they stay as extents of 1.
        pub keep: bool,
    }

    /// ONNX `ArgMax`, with the index as an f32.
    pub struct ArgMax {
        /// Axis.
        pub axis: u32,
        /// Whether the axis stays as an extent of 1.
        pub keep: bool,
        /// Of equal largest elements, whether the last one is meant.
        pub last: bool,
    }
}

choice! {
    /// What many elements become.
    pub enum Reduction: "reduction" {
        /// Their sum.
        0 => Sum,
        /// Their product.
        1 => Product,
        /// The largest one; NaN only where all are.
        2 => Max,
        /// The smallest one; NaN only where all are.
        3 => Min,
        /// The sum of their magnitudes.
        4 => SumOfMagnitudes,
        /// The sum of their squares.
        5 => SumOfSquares,
    }
}

impl Operator for ReduceMean {
    fn name(&self) -> &'static str {
        "ReduceMean"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        reduced(inputs[0], &self.axes, self.keep)
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![reducing(inputs[0].len(), &self.axes, self.keep)]
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources)
    }
}

impl Operator for Reduce {
    fn name(&self) -> &'static str {
        match self.reduction {
            Reduction::Sum => "ReduceSum",
            Reduction::Product => "ReduceProd",
            Reduction::Max => "ReduceMax",
            Reduction::Min => "ReduceMin",
            Reduction::SumOfMagnitudes => "ReduceL1",
            Reduction::SumOfSquares => "ReduceSumSquare",
        }
    }

    fn since(&self) -> u16 {
        4
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        reduced(inputs[0], &self.axes, self.keep)
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![reducing(inputs[0].len(), &self.axes, self.keep)]
    }

    /// Of equal elements, however many; sums of other ones than 0 depend on their count.
    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        let x = passed_on(sources)?;
        match self.reduction {
            Reduction::Max | Reduction::Min => Some(x),
            Reduction::Sum | Reduction::SumOfMagnitudes | Reduction::SumOfSquares => (x == 0.0).then_some(x),
            Reduction::Product => (x == 0.0 || x == 1.0).then_some(x),
        }
    }
}

impl Operator for ArgMax {
    fn name(&self) -> &'static str {
        "ArgMax"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let mut out = on_axis(inputs[0], self.axis, &mut |_| Ok(Extent::from(1usize)))?;
        if !self.keep {
            out.remove(self.axis as usize);
        }
        Ok(out)
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![reducing(inputs[0].len(), &[self.axis], self.keep)]
    }
}

/// The shape of what is left of `x` when `axes` are reduced.
fn reduced(x: &Shape, axes: &[u32], keep: bool) -> Result<Shape> {
    if let Some(axis) = axes.iter().find(|&&a| a as usize >= x.len()) {
        return Err(Error::shape("axes", format!("below the rank {}", x.len()), axis));
    }
    let reduced = |axis: usize| axes.contains(&(axis as u32));
    let left = x.iter().enumerate().filter(|&(axis, _)| keep || !reduced(axis));
    Ok(left.map(|(axis, extent)| if reduced(axis) { Extent::from(1usize) } else { extent.clone() }).collect())
}

/// The axes `reduced` go, or stay with an extent of 1; the others move up.
fn reducing(rank: usize, reduced: &[u32], keep: bool) -> AxisMap {
    let is_reduced = |axis: usize| reduced.contains(&(axis as u32));
    let to = |axis: usize| if keep { axis } else { (0..axis).filter(|&before| !is_reduced(before)).count() };
    (0..rank).map(|axis| if is_reduced(axis) { Link::Summed } else { Link::Alike { to: to(axis) } }).collect()
}

impl Check for ReduceMean {
    fn check(&self, _: &Site<'_>) -> Result<()> {
        check_list("axes", &self.axes, MAX_RANK)
    }
}

impl Check for Reduce {
    fn check(&self, _: &Site<'_>) -> Result<()> {
        at_least_one("axes", self.axes.len() as u32)?;
        check_list("axes", &self.axes, MAX_RANK)
    }
}

impl Check for ArgMax {}
