//! Axes that are reduced to one element, or to the index of one.

use super::{Check, Operator, Source, passed_on};
use crate::axes::{AxisMap, Link};
use crate::codec::record;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::rules::{Site, check_list};
use crate::shape::{MAX_RANK, Shape, on_axis};

record! {
    /// Mean over axes (ONNX `ReduceMean`).
    pub struct ReduceMean {
        /// Axes, strictly increasing.
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

impl Operator for ReduceMean {
    fn name(&self) -> &'static str {
        "ReduceMean"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let x = inputs[0];
        if let Some(axis) = self.axes.iter().find(|&&a| a as usize >= x.len()) {
            return Err(Error::shape("axes", format!("below the rank {}", x.len()), axis));
        }
        let reduced = |axis: usize| self.axes.contains(&(axis as u32));
        let axes = x.iter().enumerate().filter(|&(axis, _)| self.keep || !reduced(axis));
        Ok(axes.map(|(axis, extent)| if reduced(axis) { Extent::from(1usize) } else { extent.clone() }).collect())
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![reducing(inputs[0].len(), &self.axes, self.keep)]
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources)
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

impl Check for ArgMax {}
