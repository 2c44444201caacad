//! Functions of the elements of two values. Which ones there are says the table in `sslm_basics::functions`.

use super::{Check, Operator, Source};
use crate::axes::AxisMap;
use crate::error::Result;
use crate::shape::{Shape, broadcast};
use std::ops::RangeInclusive;

pub use sslm_basics::functions::Binary;

impl Operator for Binary {
    fn name(&self) -> &'static str {
        self.onnx_name()
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        broadcast(inputs[0], inputs[1])
    }

    fn axes(&self, inputs: &[&Shape], output: &Shape) -> Vec<AxisMap> {
        inputs.iter().map(|input| AxisMap::broadcast(input, output)).collect()
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        let [a, b] = [sources[0].one(), sources[1].one()];
        let [zero_a, zero_b] = self.absorbs_zero();
        match (a, b) {
            (Some(a), Some(b)) => Some(self.apply(a, b)),
            // Of finite elements.
            (Some(0.0), _) if zero_a => Some(0.0),
            (_, Some(0.0)) if zero_b => Some(0.0),
            _ => None,
        }
    }
}

impl Check for Binary {}
