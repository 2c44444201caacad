//! Functions of the elements of two values, and choices between them.

use crate::error::Result;
use crate::planning::{Lower, Lowering, Operand};
use sslm_format::{Binary, ValueId, Where};
use sslm_kernels::Activation;
use sslm_kernels::elementwise::{BinaryTask, Broadcast, GateTask, WhereTask};
use sslm_kernels::layout::Extents;

impl Lower for Binary {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let (mut reads, mut shapes) = operands(at);
        let (function, relu, len) = (*self, at.activation == Activation::Relu, at.seen(at.output).iter().product());
        if matches!(self, Binary::Add | Binary::Mul) && gated(&shapes[1], &shapes[0]).is_some() {
            reads.swap(0, 1);
            shapes.swap(0, 1);
        }
        let place = match gated(&shapes[0], &shapes[1]) {
            Some(extents) => at.emit(GateTask { function, extents, relu }, reads, len),
            None => at.emit(BinaryTask { function, broadcast: Broadcast::new([&shapes[0], &shapes[1]]), relu }, reads, len),
        };
        at.define(place);
        Ok(())
    }

    fn applies(&self, activation: Activation) -> bool {
        activation == Activation::Relu
    }

    fn is_sum(&self) -> bool {
        *self == Binary::Add
    }
}

impl Lower for Where {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let (reads, shapes) = operands(at);
        let broadcast = Broadcast::new([&shapes[0], &shapes[1], &shapes[2]]);
        let len = at.seen(at.output).iter().product();
        let place = at.emit(WhereTask { broadcast }, reads, len);
        at.define(place);
        Ok(())
    }
}

/// The operands of a function of elements, and their shapes, as its kernel sees them. Each operand has the output's channels, or one for
/// all of them; if neither, it is seen whole, and so is the output.
fn operands(at: &mut Lowering<'_, '_>) -> (Vec<Operand>, Vec<Vec<usize>>) {
    let (kept, shape) = (at.kept(), at.shape(at.output).to_vec());
    let aligned = |at: &Lowering<'_, '_>, v: ValueId| {
        let own = at.shape(v);
        own.len() == shape.len() && own.len() >= 2 && (own[1] == shape[1] || own[1] == 1)
    };
    // One channel for all of them on every side means that the output has one channel.
    at.by_channel = at.node.inputs.iter().all(|&v| aligned(at, v));
    let (mut reads, mut shapes) = (Vec::new(), Vec::new());
    for &v in &at.node.inputs {
        let mut own = at.shape(v).to_vec();
        let wanted = if at.by_channel && own[1] == shape[1] { kept } else { None };
        if let Some(wanted) = wanted {
            own[1] = wanted.len();
        }
        reads.push(at.builder.channels_of(v, wanted));
        shapes.push(own);
    }
    (reads, shapes)
}

/// The sizes of `a`, if `b` has one element for each of its channels and `a` has more.
fn gated(a: &[usize], b: &[usize]) -> Option<Extents> {
    let &[images, channels, ref plane @ ..] = a else { return None };
    let fits = b.len() == a.len() && b[..2] == a[..2] && b[2..].iter().all(|&extent| extent == 1);
    let extents = Extents { images, channels, plane: plane.iter().product() };
    (fits && extents.plane > 1).then_some(extents)
}
