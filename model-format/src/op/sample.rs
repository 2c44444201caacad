//! Planes that are looked at wherever another value says.

use super::{Check, Operator, Source, passed_on};
use crate::axes::{AxisMap, Link};
use crate::codec::{choice, record};
use crate::error::{Error, Result};
use crate::shape::{Shape, expect_extent, expect_rank};
use std::ops::RangeInclusive;

record! {
    /// ONNX `GridSample` of planes: `[N, C, H, W]` and a grid `[N, H', W', 2]` of positions (x, y) make `[N, C, H', W']`. Positions go from
    /// -1 to 1 over width and height.
    pub struct GridSample {
        /// How elements are found at a position.
        pub between: Between,
        /// What lies outside.
        pub outside: Outside,
        /// Whether -1 and 1 are the middles of the first and the last element, rather than their outer edges.
        pub align_corners: bool,
    }
}

choice! {
    /// How a GridSample finds an element between others.
    pub enum Between: "way between elements" {
        /// Between two neighbours on each axis, in proportion.
        0 => Linear,
        /// The nearest one; of two equally near, the even one.
        1 => Nearest,
        /// Between four neighbours on each axis, by cubic convolution with the coefficient -3/4.
        2 => Cubic,
    }
}

choice! {
    /// What a GridSample finds outside of its input.
    pub enum Outside: "kind of outside" {
        /// Zeros.
        0 => Zeros,
        /// The border.
        1 => Border,
        /// The mirror image, again and again.
        2 => Reflection,
    }
}

impl Operator for GridSample {
    fn name(&self) -> &'static str {
        "GridSample"
    }

    fn since(&self) -> u16 {
        4
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (x, grid) = (inputs[0], inputs[1]);
        expect_rank(x, 4)?;
        expect_rank(grid, 4)?;
        expect_extent("coordinates of the grid", grid[3], 2)?;
        if let (Some(images), found) = (x[0], grid[0]) {
            expect_extent("images of the grid", found, images)?;
        }
        Ok(vec![x[0].or(grid[0]), x[1], grid[1], grid[2]])
    }

    fn axes(&self, _: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        let grid = [Link::Alike { to: 0 }, Link::Alike { to: 2 }, Link::Alike { to: 3 }, Link::Summed];
        vec![AxisMap::of_planes(4, false), grid.into_iter().collect()]
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources).filter(|x| *x == 0.0 || self.outside != Outside::Zeros)
    }
}

impl Check for GridSample {
    /// Nothing can be looked at.
    fn check_shapes(&self, _: &crate::rules::Site<'_>, inputs: &[&Shape], _: &Shape) -> Result<()> {
        match inputs[0][2..].iter().find(|extent| **extent == Some(0)) {
            Some(_) => Err(Error::shape("height and width", "at least 1", 0)),
            None => Ok(()),
        }
    }
}
