//! Channels that become positions, and positions that become channels: copies in another order.

use crate::error::Result;
use crate::planning::{Lower, Lowering};
use sslm_format::{DepthToSpace, SpaceToDepth};
use sslm_kernels::axis::StridedCopy;

impl Lower for DepthToSpace {
    /// Where channels are missing, those that are read are put side by side first.
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let (x, block) = (at.x(), self.block as usize);
        let [images, _, height, width] = [0, 1, 2, 3].map(|axis| at.shape(x)[axis]);
        let channels = at.shape(at.output)[1];
        let (place, kept, neighbours) = if at.compaction(x).is_none() && at.kept().is_none() {
            (at.builder.place_of(x), channels, self.neighbours)
        } else {
            let kept: Vec<usize> = match at.kept() {
                Some(kept) => kept.iter().map(|&channel| channel as usize).collect(),
                None => (0..channels).collect(),
            };
            let read: Vec<u32> = kept.iter().flat_map(|&c| self.origins(channels, c)).map(|c| c as u32).collect();
            (at.builder.channels_of(x, Some(&read)), kept.len(), true)
        };
        let plane = height * width;
        // From one channel of the output to the next, and from one channel of a block to the next.
        let [channel, tap] = if neighbours { [block * block * plane, plane] } else { [plane, kept * plane] };
        let image = block * block * kept * plane;
        let copy = StridedCopy::new(&[images, kept, height, block, width, block], &[image, channel, width, block * tap, 1, tap]);
        let place = at.emit(copy, vec![place], images * image);
        at.builder.define(at.output, place);
        Ok(())
    }
}

impl Lower for SpaceToDepth {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let block = self.block as usize;
        at.unary(|from| {
            let &[images, channels, height, width] = from else { unreachable!("the shape rules leave four axes") };
            let plane = height * width;
            StridedCopy::new(
                &[images, block, block, channels, height / block, width / block],
                &[channels * plane, width, 1, plane, block * width, block],
            )
        });
        Ok(())
    }
}
