//! Functions of each element. The table in `sslm_basics::functions` lists them.

use crate::error::Result;
use crate::planning::{Lower, Lowering};
use sslm_format::Unary;
use sslm_kernels::Activation;
use sslm_kernels::elementwise::MapTask;

impl Lower for Unary {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        at.unary(|_| MapTask { function: *self });
        Ok(())
    }

    fn activation(&self) -> Option<Activation> {
        Some((*self).into())
    }
}
