//! Products of two values that are both computed.

use crate::error::Result;
use crate::planning::{Emit, Lower, Lowering, axes_of};
use sslm_format::{AxisMap, Link, MatMul};
use sslm_kernels::matmul::MatMulTask;

impl Lower for MatMul {
    /// An operand whose channels are the output's is read with those that the output keeps; if there is none, all are seen whole.
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let maps = axes_of(at.node, at.builder.shapes());
        let alike = |map: &AxisMap| map.links.get(1).and_then(Link::alike) == Some(1);
        let elsewhere = |map: &AxisMap| map.links.iter().enumerate().any(|(axis, link)| axis != 1 && link.targets().contains(&1));
        at.by_channel = maps.iter().any(alike) && !maps.iter().any(elsewhere);
        let (mut reads, mut shapes) = (Vec::new(), Vec::new());
        for (&v, map) in at.node.inputs.iter().zip(&maps) {
            let as_output = at.by_channel && alike(map);
            reads.push(at.builder.channels_of(v, if as_output { at.kept() } else { None }));
            shapes.push(if as_output { at.seen(v) } else { at.shape(v).to_vec() });
        }
        let task = MatMulTask::new([&shapes[0], &shapes[1]], self.transposed, self.alpha);
        let (macs, len) = (task.macs(), at.seen(at.output).iter().product());
        let place = at.emit_with(task, reads, len, |step| Emit { macs, ..step });
        at.define(place);
        Ok(())
    }
}
