//! Pooling over windows and over whole planes.

use super::{Check, Operator, Source, passed_on};
use crate::axes::AxisMap;
use crate::codec::record;
use crate::error::Result;
use crate::extent::Extent;
use crate::rules::{Site, below};
use crate::shape::{Shape, expect_rank};
use crate::window::{Padding, Window, check_window, reach, windowed};

record! {
    /// ONNX `MaxPool`. Padding never wins.
    pub struct MaxPool {
        /// Geometry.
        pub window: Window,
        /// Round the output size up.
        pub ceil_mode: bool,
    }

    /// ONNX `AveragePool`.
    pub struct AveragePool {
        /// Geometry.
        pub window: Window,
        /// Round the output size up.
        pub ceil_mode: bool,
        /// Divide by the window's size, padding included, rather than by the positions inside the input.
        pub count_include_pad: bool,
    }

    /// Mean over all of height and width.
    pub struct GlobalAveragePool {}

    /// Maximum over all of height and width.
    pub struct GlobalMaxPool {}
}

impl AveragePool {
    /// Whether padding is averaged with what it surrounds.
    fn counts_padding(&self) -> bool {
        let none = Padding::Explicit { top: 0, left: 0, bottom: 0, right: 0 };
        self.count_include_pad && (self.ceil_mode || self.window.padding != none)
    }
}

impl Operator for MaxPool {
    fn name(&self) -> &'static str {
        "MaxPool"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        windowed(inputs[0], &self.window, self.ceil_mode)
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![AxisMap::of_planes(inputs[0].len(), false)]
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources)
    }
}

impl Operator for AveragePool {
    fn name(&self) -> &'static str {
        "AveragePool"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        windowed(inputs[0], &self.window, self.ceil_mode)
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![AxisMap::of_planes(inputs[0].len(), false)]
    }

    /// A mean that counts padding is smaller at the border, unless it is of zeros.
    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources).filter(|&x| x == 0.0 || !self.counts_padding())
    }
}

impl Operator for GlobalAveragePool {
    fn name(&self) -> &'static str {
        "GlobalAveragePool"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        of_one_position(inputs[0])
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![AxisMap::of_planes(inputs[0].len(), true)]
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources)
    }
}

impl Operator for GlobalMaxPool {
    fn name(&self) -> &'static str {
        "GlobalMaxPool"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        of_one_position(inputs[0])
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![AxisMap::of_planes(inputs[0].len(), true)]
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources)
    }
}

/// `[N, C, 1, 1]`.
fn of_one_position(x: &Shape) -> Result<Shape> {
    expect_rank(x, 4)?;
    Ok(vec![x[0].clone(), x[1].clone(), Extent::from(1usize), Extent::from(1usize)])
}

impl Check for MaxPool {
    fn check(&self, _: &Site<'_>) -> Result<()> {
        check_pool(&self.window)
    }
}

impl Check for AveragePool {
    fn check(&self, _: &Site<'_>) -> Result<()> {
        check_pool(&self.window)
    }
}

impl Check for GlobalAveragePool {}
impl Check for GlobalMaxPool {}

/// Every window must see the input, or its maximum or mean would be of nothing.
fn check_pool(window: &Window) -> Result<()> {
    check_window(window)?;
    let Padding::Explicit { top, left, bottom, right } = window.padding else { return Ok(()) };
    for (axis, pad) in [(0, top), (0, bottom), (1, left), (1, right)] {
        below("padding of a pool", pad, reach(window, axis) as u32)?;
    }
    Ok(())
}
