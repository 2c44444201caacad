//! A choice between the elements of two values.

use super::{Check, Operator, Source};
use crate::axes::AxisMap;
use crate::codec::record;
use crate::error::Result;
use crate::shape::{Shape, broadcast};
use std::ops::RangeInclusive;

record! {
    /// ONNX `Where`, of a condition and two values, with numpy's broadcasting: the element of the first value where the condition is not
    /// 0, else that of the second one.
    pub struct Where {}
}

impl Operator for Where {
    fn name(&self) -> &'static str {
        "Where"
    }

    fn since(&self) -> u16 {
        4
    }

    fn arity(&self) -> RangeInclusive<usize> {
        3..=3
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        broadcast(inputs[0], &broadcast(inputs[1], inputs[2])?)
    }

    fn axes(&self, inputs: &[&Shape], output: &Shape) -> Vec<AxisMap> {
        inputs.iter().map(|input| AxisMap::broadcast(input, output)).collect()
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        let [condition, x, y] = [0, 1, 2].map(|i| sources[i].one());
        match condition {
            Some(condition) => {
                if condition != 0.0 {
                    x
                } else {
                    y
                }
            }
            // Whatever the condition is.
            None => x.filter(|_| x == y),
        }
    }
}

impl Check for Where {}
