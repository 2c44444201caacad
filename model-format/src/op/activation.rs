//! Functions of each element. The table in `sslm_basics::functions` lists them.

pub use sslm_basics::functions::Unary as Activation;

use super::{Check, Operator, Source, passed_on};
use crate::axes::AxisMap;
use crate::error::Result;
use crate::shape::Shape;

/// The highest codes of functions that versions 0.1 to 0.3 of the format define.
const LAST_OF: [u8; 3] = [9, 11, 12];

impl Operator for Activation {
    fn name(&self) -> &'static str {
        self.onnx_name()
    }

    fn since(&self) -> u16 {
        1 + LAST_OF.iter().filter(|last| self.code() > **last).count() as u16
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        Ok(inputs[0].clone())
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![AxisMap::identity(inputs[0].len())]
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources).map(|x| self.apply(x))
    }
}

impl Check for Activation {}
