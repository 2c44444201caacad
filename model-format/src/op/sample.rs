//! Planes that are looked at wherever another value says.

use super::{Check, Operator, Source, passed_on};
use crate::axes::{AxisMap, Link};
use crate::codec::{choice, record};
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::rules::{Site, at_least_one, below};
use crate::shape::{Shape, expect_extent, expect_rank};
use crate::window::MAX_WINDOW;
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

    /// ONNX `RoiAlign`: `[N, C, H, W]`, regions `[R, 4]` (left, top, right, bottom) and the image that each is of, `[R]`, make
    /// `[R, C, height, width]`.
    pub struct RoiAlign {
        /// Height and width that each region becomes.
        pub size: [u32; 2],
        /// Samples along each axis of an element; 0 for as many as it spans positions, rounded up.
        pub samples: u32,
        /// Multiplies the regions' coordinates.
        pub scale: f32,
        /// Whether the middle of a position, rather than its beginning, is at its index and a half. If not, a region spans one position at
        /// least.
        pub half_pixel: bool,
        /// Whether an element is the largest weighted neighbour of all samples, rather than the mean of the samples.
        pub largest: bool,
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
        expect_extent("coordinates of the grid", &grid[3], 2)?;
        if let (Some(images), found) = (x[0].known(), &grid[0]) {
            expect_extent("images of the grid", found, images)?;
        }
        let images = if x[0].known().is_some() { &x[0] } else { &grid[0] };
        Ok([images, &x[1], &grid[1], &grid[2]].map(Extent::clone).to_vec())
    }

    fn axes(&self, _: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        let grid = [Link::Alike { to: 0 }, Link::Alike { to: 2 }, Link::Alike { to: 3 }, Link::Summed];
        vec![AxisMap::of_planes(4, false), grid.into_iter().collect()]
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources).filter(|x| *x == 0.0 || self.outside != Outside::Zeros)
    }
}

impl Operator for RoiAlign {
    fn name(&self) -> &'static str {
        "RoiAlign"
    }

    fn since(&self) -> u16 {
        4
    }

    fn arity(&self) -> RangeInclusive<usize> {
        3..=3
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (x, regions, images) = (inputs[0], inputs[1], inputs[2]);
        expect_rank(x, 4)?;
        expect_rank(regions, 2)?;
        expect_rank(images, 1)?;
        expect_extent("coordinates of a region", &regions[1], 4)?;
        if let Some(count) = regions[0].known() {
            expect_extent("images of regions", &images[0], count)?;
        }
        let [height, width] = self.size.map(|n| Extent::from(n as usize));
        let count = if regions[0].known().is_some() { &regions[0] } else { &images[0] };
        Ok(vec![count.clone(), x[1].clone(), height, width])
    }

    fn axes(&self, _: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        let planes = [Link::Summed, Link::Alike { to: 1 }, Link::Windowed { to: 2 }, Link::Windowed { to: 3 }];
        let of_region = || Link::Alike { to: 0 };
        vec![
            planes.into_iter().collect(),
            [of_region(), Link::Summed].into_iter().collect(),
            std::iter::once(of_region()).collect(),
        ]
    }

    /// What lies outside is zero.
    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources).filter(|x| *x == 0.0)
    }
}

impl Check for GridSample {
    fn check_shapes(&self, _: &Site<'_>, inputs: &[&Shape], _: &Shape) -> Result<()> {
        check_planes(inputs[0])
    }
}

/// Samples along each axis of an element are fewer.
const MAX_SAMPLES: u32 = 1 << 8;

impl Check for RoiAlign {
    fn check(&self, _: &Site<'_>) -> Result<()> {
        for n in self.size {
            at_least_one("size", n)?;
            below("size", n, MAX_WINDOW)?;
        }
        below("samples", self.samples, MAX_SAMPLES)?;
        if self.scale.is_finite() { Ok(()) } else { Err(Error::invalid("scale", "a finite number", self.scale)) }
    }

    fn check_shapes(&self, _: &Site<'_>, inputs: &[&Shape], _: &Shape) -> Result<()> {
        check_planes(inputs[0])
    }
}

/// Where there is no position, nothing can be looked at.
fn check_planes(x: &Shape) -> Result<()> {
    match x[2..].iter().find(|extent| extent.known() == Some(0)) {
        Some(_) => Err(Error::shape("height and width", "at least 1", 0)),
        None => Ok(()),
    }
}
