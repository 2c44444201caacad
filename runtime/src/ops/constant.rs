//! Stored tensors: they lie in the file, and no step computes them.

use crate::error::Result;
use crate::planning::{Lower, Lowering, Operand};
use sslm_format::Constant;

impl Lower for Constant {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        at.builder.define(at.output, Operand::Blob(self.data));
        Ok(())
    }
}
