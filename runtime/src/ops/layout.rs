//! Other shapes and orders of the same elements.

use crate::error::Result;
use crate::planning::{Lower, Lowering};
use sslm_format::{Flatten, Reshape, Transpose};
use sslm_kernels::axis::StridedCopy;

impl Lower for Flatten {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        view(at);
        Ok(())
    }
}

impl Lower for Reshape {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        view(at);
        Ok(())
    }
}

impl Lower for Transpose {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let axes: Vec<usize> = self.axes.iter().map(|&a| a as usize).collect();
        at.unary(|from| {
            let strides = row_major_strides(from);
            let [shape, strides] = [from, &strides].map(|all| axes.iter().map(|&a| all[a]).collect::<Vec<usize>>());
            StridedCopy::new(&shape, &strides)
        });
        Ok(())
    }
}

/// Nothing is copied where the removed channels fall out of the result in the same way.
fn view(at: &mut Lowering<'_, '_>) {
    let (x, output) = (at.x(), at.output);
    let (from, to) = (at.shape(x), at.shape(output));
    let same_channels = from.len() >= 2 && to.len() >= 2 && from[..2] == to[..2];
    let flattened = from.len() >= 2 && to.len() == 2 && from[0] == to[0];
    let run = if same_channels { 1 } else { at.builder.plane(x) };
    let same_content = match (at.compaction(x), at.compaction(output)) {
        (None, None) => true,
        (Some(before), Some(after)) if same_channels || flattened => after.keeps_runs_of(before, run),
        _ => false,
    };
    if same_content {
        let place = at.builder.place_of(x);
        at.builder.define(output, place);
    } else {
        let place = at.builder.all_channels_of(x);
        at.builder.define_from_all(output, place);
    }
}

pub(super) fn row_major_strides(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}
