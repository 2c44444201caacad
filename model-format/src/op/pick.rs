//! Indices of one axis that are picked.

use super::{Check, Operator, Source, passed_on};
use crate::axes::{AxisMap, Link, Pick};
use crate::codec::record;
use crate::error::{Error, Result};
use crate::rules::{Site, below};
use crate::shape::{Shape, on_axis};

record! {
    /// ONNX `Slice` along one axis, by the rules of that operator: negative bounds count from the end, then both are clamped.
    pub struct Slice {
        /// Axis.
        pub axis: u32,
        /// First index.
        pub start: i64,
        /// One past the last index.
        pub end: i64,
        /// Not 0.
        pub step: i64,
    }

    /// ONNX `Gather` of fixed indices along one axis, which becomes `indices.len()` long. Negative ones count from the end.
    pub struct Gather {
        /// Axis.
        pub axis: u32,
        /// Which ones, in order.
        pub indices: Vec<i64>,
    }
}

impl Slice {
    /// The indices of an axis of `extent` that the slice takes, in order.
    pub fn picked(&self, extent: usize) -> impl ExactSizeIterator<Item = usize> + use<> {
        let extent = extent as i64;
        let last = (extent - 1).max(0);
        let clamp =
            |bound: i64, low: i64, high: i64| (if bound < 0 { bound.saturating_add(extent) } else { bound }).clamp(low, high);
        let (start, count) = if self.step > 0 {
            let (start, end) = (clamp(self.start, 0, extent), clamp(self.end, 0, extent));
            (start, (end - start).max(0).unsigned_abs().div_ceil(self.step.unsigned_abs()))
        } else if extent == 0 {
            (0, 0)
        } else {
            let (start, end) = (clamp(self.start, 0, last), clamp(self.end, -1, last));
            (start, (start - end).max(0).unsigned_abs().div_ceil(self.step.unsigned_abs()))
        };
        let step = self.step;
        (0..count as usize).map(move |i| (start + i as i64 * step) as usize)
    }
}

impl Gather {
    /// The indices of an axis of `extent`, counted from its beginning; `None` where one lies outside.
    pub fn picked(&self, extent: usize) -> Option<Vec<usize>> {
        let index = |&i: &i64| usize::try_from(if i < 0 { i + extent as i64 } else { i }).ok().filter(|&i| i < extent);
        self.indices.iter().map(index).collect()
    }
}

impl Operator for Slice {
    fn name(&self) -> &'static str {
        "Slice"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        on_axis(inputs[0], self.axis, &mut |extent| Ok(extent.map(|e| self.picked(e).len())))
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        let extent = inputs[0].get(self.axis as usize).copied().flatten();
        let pick = extent.map(|e| Pick::Strided { start: self.picked(e).next().unwrap_or(0), step: self.step });
        vec![picking(inputs[0], self.axis, pick)]
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources)
    }
}

impl Operator for Gather {
    fn name(&self) -> &'static str {
        "Gather"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        on_axis(inputs[0], self.axis, &mut |extent| match extent.map(|e| (e, self.picked(e))) {
            Some((extent, None)) => {
                let outside = |i: &&i64| **i >= extent as i64 || **i < -(extent as i64);
                Err(Error::shape("indices", format!("below {extent}"), self.indices.iter().find(outside).copied().unwrap_or(0)))
            }
            _ => Ok(Some(self.indices.len())),
        })
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        let extent = inputs[0].get(self.axis as usize).copied().flatten();
        vec![picking(inputs[0], self.axis, extent.and_then(|e| self.picked(e)).map(Pick::Listed))]
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources)
    }
}

/// One axis picked from, all others as they are.
fn picking(x: &Shape, axis: u32, pick: Option<Pick>) -> AxisMap {
    let to = axis as usize;
    let link = pick.map_or(Link::Windowed { to }, |pick| Link::Picked { to, pick });
    AxisMap::changing(x.len(), |axis| (axis == to).then(|| link.clone()))
}

impl Check for Slice {
    fn check(&self, _: &Site<'_>) -> Result<()> {
        if self.step == 0 {
            return Err(Error::invalid("step", "not 0", 0));
        }
        below("step", self.step.unsigned_abs(), 1 << 40)
    }
}

impl Check for Gather {
    fn check(&self, _: &Site<'_>) -> Result<()> {
        match self.indices.iter().find(|i| i.unsigned_abs() > 1 << 40) {
            Some(i) => Err(Error::invalid("indices", "indices of an axis", i)),
            None => Ok(()),
        }
    }
}
