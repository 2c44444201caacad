//! Functions of each element.

use crate::error::Result;
use crate::planning::{Lower, Lowering};
use sslm_format::Activation as Record;
use sslm_kernels::Activation;
use sslm_kernels::elementwise::{Function, MapTask};

impl Lower for Record {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        at.unary(|_| MapTask { function: function(self) });
        Ok(())
    }

    fn activation(&self) -> Option<Activation> {
        match function(self) {
            Function::Activation(activation) => Some(activation),
            _ => None,
        }
    }
}

/// The kernels' name of a function.
fn function(activation: &Record) -> Function {
    match *activation {
        Record::Relu => Function::Activation(Activation::Relu),
        Record::LeakyRelu { alpha } => Function::Activation(Activation::LeakyRelu { alpha }),
        Record::Clip { low, high } => Function::Activation(Activation::Clip { low, high }),
        Record::Sigmoid => Function::Sigmoid,
        Record::Tanh => Function::Tanh,
        Record::HardSigmoid { alpha, beta } => Function::HardSigmoid { alpha, beta },
        Record::HardSwish => Function::HardSwish,
        Record::Elu { alpha } => Function::Elu { alpha },
        Record::Mish => Function::Mish,
        Record::Sqrt => Function::Sqrt,
    }
}
