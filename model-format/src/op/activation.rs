//! Functions of each element. Which ones there are says the table in `sslm_basics::functions`.

use super::{Check, Operator, Source, passed_on};
use crate::axes::AxisMap;
use crate::error::Result;
use crate::shape::Shape;

pub use sslm_basics::functions::Unary as Activation;

impl Operator for Activation {
    fn name(&self) -> &'static str {
        self.onnx_name()
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
