//! Axes that are reduced to one element, or to the index of one.

use crate::error::Result;
use crate::planning::{Lower, Lowering};
use sslm_format::{ArgMax, ReduceMean};
use sslm_kernels::axis::{ArgMaxTask, MeanTask};
use std::ops::Range;

impl Lower for ReduceMean {
    /// One step for each stretch of neighbouring axes, last stretch first.
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let mut stretches: Vec<Range<usize>> = Vec::new();
        for axis in self.axes.iter().map(|&a| a as usize) {
            match stretches.last_mut() {
                Some(stretch) if stretch.end == axis => stretch.end += 1,
                _ => stretches.push(axis..axis + 1),
            }
        }
        let (mut place, mut shape) = at.input();
        for stretch in stretches.into_iter().rev() {
            let (extent, inner) = (shape[stretch.clone()].iter().product(), shape[stretch.end..].iter().product());
            shape[stretch].fill(1);
            place = at.emit(MeanTask { extent, inner }, vec![place], shape.iter().product());
        }
        at.define(place);
        Ok(())
    }
}

impl Lower for ArgMax {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let (axis, last) = (self.axis as usize, self.last);
        at.unary(|shape| ArgMaxTask { extent: shape[axis], inner: shape[axis + 1..].iter().product(), last });
        Ok(())
    }
}
