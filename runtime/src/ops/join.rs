//! Joining values, and repeating one.

use super::layout::row_major_strides;
use crate::error::Result;
use crate::planning::{Lower, Lowering};
use sslm_format::{Concat, Expand};
use sslm_kernels::axis::StridedCopy;
use sslm_kernels::channels::{ConcatTask, JoinTask};

impl Lower for Concat {
    /// Whatever axis is joined, inputs are read with just the channels that the output keeps.
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let (axis, kept) = (self.axis as usize, at.kept());
        let (mut reads, mut lens, mut channels, mut first) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for &x in &at.node.inputs {
            let extent = at.shape(x)[axis];
            let wanted: Option<Vec<u32>> = match kept {
                Some(kept) if axis == 1 => {
                    let below = |limit: usize| kept.partition_point(|&c| (c as usize) < limit);
                    Some(kept[below(first)..below(first + extent)].iter().map(|&c| c - first as u32).collect())
                }
                Some(kept) => Some(kept.to_vec()),
                None => None,
            };
            // An input that keeps all of its channels does not say so by a list.
            let wanted = wanted.filter(|w| w.len() < at.shape(x)[1]);
            let mut physical = at.shape(x).to_vec();
            if let Some(wanted) = &wanted {
                physical[1] = wanted.len();
            }
            lens.push(physical[axis..].iter().product());
            channels.extend(physical.get(1));
            reads.push(at.builder.channels_of(x, wanted.as_deref()));
            first += extent;
        }
        let len = at.builder.physical_len(at.output);
        let place = if axis == 1 {
            let (images, plane) = (at.shape(at.output)[0], at.builder.plane(at.output));
            at.emit(JoinTask { images, channels, plane }, reads, len)
        } else {
            at.emit(ConcatTask { lens }, reads, len)
        };
        at.builder.define(at.output, place);
        Ok(())
    }
}

impl Lower for Expand {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let shape = at.seen(at.output);
        at.unary(|from| {
            let (missing, own) = (shape.len() - from.len(), row_major_strides(from));
            let stride = |axis: usize| if axis < missing || from[axis - missing] == 1 { 0 } else { own[axis - missing] };
            StridedCopy::new(&shape, &(0..shape.len()).map(stride).collect::<Vec<_>>())
        });
        Ok(())
    }
}
