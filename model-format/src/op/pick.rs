//! Indices of one axis that are picked.

use super::{Check, Operator, Source, passed_on};
use crate::axes::{AxisMap, Link, Pick};
use crate::codec::record;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::rules::{Site, below};
use crate::shape::{Shape, on_axis};

record! {
    /// ONNX `Slice` along one axis, by the rules of that operator: negative bounds count from the end, then both are clamped.
    pub struct Slice {
        /// Axis.
        pub axis: u32,
        /// First index.
        pub start: Extent,
        /// One past the last index.
        pub end: Extent,
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
    /// A slice between bounds that are known.
    pub fn of(axis: u32, start: i64, end: i64, step: i64) -> Self {
        Slice { axis, start: start.into(), end: end.into(), step }
    }

    /// The first index and how many there are, of an axis of `extent`.
    fn taken(&self, extent: &Extent) -> (Extent, Extent) {
        let from_end = |bound: &Extent| if bound.bounds().1 < 0 { bound + extent } else { bound.clone() };
        let (start, end) = (from_end(&self.start), from_end(&self.end));
        let (zero, step) = (Extent::from(0usize), Extent::from(self.step.saturating_abs()));
        let (start, reach) = if self.step > 0 {
            let [start, end] = [start, end].map(|bound| bound.greatest(&zero).least(extent));
            let reach = &end - &start;
            (start, reach)
        } else {
            let last = extent + -1;
            // Of an axis without indices, both are -1.
            let [start, end] = [(start, 0i64), (end, -1)].map(|(bound, low)| bound.greatest(&Extent::from(low)).least(&last));
            let reach = &start - &end;
            (start, reach)
        };
        (start, reach.greatest(&zero).quotient_up(&step))
    }

    /// The indices of an axis of `extent` that the slice takes, in order; `None` where its bounds are symbolic.
    pub fn picked(&self, extent: usize) -> Option<impl ExactSizeIterator<Item = usize> + use<>> {
        let (start, count) = self.taken(&Extent::from(extent));
        let (start, count, step) = (start.integer()?, count.known()?, self.step);
        Some((0..count).map(move |i| (start + i as i64 * step) as usize))
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
        on_axis(inputs[0], self.axis, &mut |extent| Ok(self.taken(extent).1))
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        let start = inputs[0].get(self.axis as usize).and_then(|extent| self.taken(extent).0.known());
        vec![picking(inputs[0], self.axis, start.map(|start| Pick::Strided { start, step: self.step }))]
    }

    fn extents(&self) -> Vec<&Extent> {
        vec![&self.start, &self.end]
    }

    fn extents_mut(&mut self) -> Vec<&mut Extent> {
        vec![&mut self.start, &mut self.end]
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
        on_axis(inputs[0], self.axis, &mut |extent| match extent.known().map(|e| (e, self.picked(e))) {
            Some((extent, None)) => {
                let outside = |i: &&i64| **i >= extent as i64 || **i < -(extent as i64);
                Err(Error::shape("indices", format!("below {extent}"), self.indices.iter().find(outside).copied().unwrap_or(0)))
            }
            _ => Ok(Extent::from(self.indices.len())),
        })
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        let extent = inputs[0].get(self.axis as usize).and_then(Extent::known);
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
