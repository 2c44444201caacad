//! Functions of the elements of two values. The table in `sslm_basics::functions` lists them.

pub use sslm_basics::functions::Binary;

use super::{Check, Operator, Source};
use crate::axes::AxisMap;
use crate::error::Result;
use crate::shape::{Shape, broadcast};
use std::ops::RangeInclusive;

/// The highest code of a function that version 0.1 of the format defines.
const LAST_OF_FIRST: u8 = 5;

impl Operator for Binary {
    fn name(&self) -> &'static str {
        self.onnx_name()
    }

    fn since(&self) -> u16 {
        if self.code() > LAST_OF_FIRST { 4 } else { 1 }
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
        let [left, right] = self.absorbs_zero();
        match (sources[0].one(), sources[1].one()) {
            (Some(a), Some(b)) => Some(self.apply(a, b)),
            // Of finite elements.
            (Some(a), None) => (left && a == 0.0).then_some(0.0),
            (None, Some(b)) => (right && b == 0.0).then_some(0.0),
            (None, None) => None,
        }
    }
}

impl Check for Binary {}
