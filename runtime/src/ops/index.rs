//! Elements at computed indices, and the indices of the largest elements.

use crate::error::Result;
use crate::planning::{Lower, Lowering};
use sslm_format::{GatherElements, GatherNd, Meeting, ScatterElements, ScatterNd, TopK};
use sslm_kernels::index::{GatherAlongTask, GatherAtTask, ScatterAlongTask, ScatterAtTask, TopKTask};
use sslm_kernels::{Task, index};

impl Lower for TopK {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let TopK { axis, k, largest, positions } = *self;
        at.unary(|shape| {
            let [extent, inner] = along(shape, axis);
            let outer = shape[..axis as usize].iter().product();
            TopKTask { outer, extent, inner, k: k as usize, largest, positions }
        });
        Ok(())
    }
}

impl Lower for GatherNd {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let (batch, data) = (self.batch as usize, at.shape(at.x()));
        let (outer, points, count) = split(at, batch);
        let extents = data[batch..batch + count].to_vec();
        let inner = data[batch + count..].iter().product();
        whole(at, GatherAtTask { batches: outer, points, extents, inner });
        Ok(())
    }
}

impl Lower for GatherElements {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let ([extent, inner], [positions, _]) = (along(at.shape(at.x()), self.axis), along(at.shape(at.output), self.axis));
        whole(at, GatherAlongTask { extent, positions, inner });
        Ok(())
    }
}

impl Lower for ScatterNd {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let (_, points, count) = split(at, 0);
        let data = at.shape(at.x());
        let (extents, inner) = (data[..count].to_vec(), data[count..].iter().product());
        whole(at, ScatterAtTask { points, extents, inner, meeting: meeting(self.meeting) });
        Ok(())
    }
}

impl Lower for ScatterElements {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let indices = at.node.inputs[1];
        let ([extent, inner], [positions, _]) = (along(at.shape(at.x()), self.axis), along(at.shape(indices), self.axis));
        whole(at, ScatterAlongTask { extent, positions, inner, meeting: meeting(self.meeting) });
        Ok(())
    }
}

/// Extent of an axis, and elements behind each of its indices.
fn along(shape: &[usize], axis: u32) -> [usize; 2] {
    let axis = axis as usize;
    [shape[axis], shape[axis + 1..].iter().product()]
}

/// Of the second operand: how many common indices there are on its first `batch` axes, how many points of each, and of how many indices
/// each one consists.
fn split(at: &Lowering<'_, '_>, batch: usize) -> (usize, usize, usize) {
    let indices = at.shape(at.node.inputs[1]);
    let last = indices.len() - 1;
    (indices[..batch].iter().product(), indices[batch..last].iter().product(), indices[last])
}

fn meeting(meeting: Meeting) -> index::Meeting {
    match meeting {
        Meeting::Last => index::Meeting::Last,
        Meeting::Sum => index::Meeting::Sum,
        Meeting::Product => index::Meeting::Product,
        Meeting::Larger => index::Meeting::Larger,
        Meeting::Smaller => index::Meeting::Smaller,
    }
}

/// A step that sees all channels of its operands.
fn whole<T: Task + 'static>(at: &mut Lowering<'_, '_>, task: T) {
    at.by_channel = false;
    let reads = at.node.inputs.iter().map(|&v| at.builder.all_channels_of(v)).collect();
    let len = at.shape(at.output).iter().product();
    let place = at.emit(task, reads, len);
    at.define(place);
}
