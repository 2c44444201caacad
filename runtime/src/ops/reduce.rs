//! Axes that are reduced to one element, or to the index of one.

use crate::error::Result;
use crate::planning::{Lower, Lowering};
use sslm_format::{ArgMax, Reduce, ReduceMean};
use sslm_kernels::axis::{ArgMaxTask, ReduceTask, Reduction};
use std::ops::Range;

impl Lower for ReduceMean {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        reduce(at, &self.axes, Reduction::Mean);
        Ok(())
    }
}

impl Lower for Reduce {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let reduction = match self.reduction {
            sslm_format::Reduction::Sum => Reduction::Sum,
            sslm_format::Reduction::Product => Reduction::Product,
            sslm_format::Reduction::Max => Reduction::Max,
            sslm_format::Reduction::Min => Reduction::Min,
            sslm_format::Reduction::SumOfMagnitudes => Reduction::SumOfMagnitudes,
            sslm_format::Reduction::SumOfSquares => Reduction::SumOfSquares,
        };
        reduce(at, &self.axes, reduction);
        Ok(())
    }
}

/// One step for each stretch of neighbouring axes, last stretch first.
fn reduce(at: &mut Lowering<'_, '_>, axes: &[u32], first: Reduction) {
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for axis in axes.iter().map(|&a| a as usize) {
        match stretches.last_mut() {
            Some(stretch) if stretch.end == axis => stretch.end += 1,
            _ => stretches.push(axis..axis + 1),
        }
    }
    let (mut place, mut shape) = at.input();
    let mut reduction = first;
    for stretch in stretches.into_iter().rev() {
        let (extent, inner) = (shape[stretch.clone()].iter().product(), shape[stretch.end..].iter().product());
        shape[stretch].fill(1);
        place = at.emit(ReduceTask { reduction, extent, inner }, vec![place], shape.iter().product());
        // Of sums, what is left is to add them.
        if matches!(first, Reduction::SumOfMagnitudes | Reduction::SumOfSquares) {
            reduction = Reduction::Sum;
        }
    }
    at.define(place);
}

impl Lower for ArgMax {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let (axis, last) = (self.axis as usize, self.last);
        at.unary(|shape| ArgMaxTask { extent: shape[axis], inner: shape[axis + 1..].iter().product(), last });
        Ok(())
    }
}
