//! Planes that are looked at wherever another value says.

use crate::error::Result;
use crate::planning::{Lower, Lowering};
use sslm_format::{Between, GridSample, Outside, RoiAlign};
use sslm_kernels::sample::{self, GridSampleTask, RoiAlignTask};

impl Lower for GridSample {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let (x, grid) = (at.node.inputs[0], at.node.inputs[1]);
        let (input, output) = (at.shape(x).to_vec(), at.shape(at.output).to_vec());
        let kept = at.kept();
        let task = GridSampleTask {
            channels: kept.map_or(input[1], <[u32]>::len),
            input: [input[2], input[3]],
            positions: output[2] * output[3],
            between: match self.between {
                Between::Linear => sample::Between::Linear,
                Between::Nearest => sample::Between::Nearest,
                Between::Cubic => sample::Between::Cubic,
            },
            outside: match self.outside {
                Outside::Zeros => sample::Outside::Zeros,
                Outside::Border => sample::Outside::Border,
                Outside::Reflection => sample::Outside::Reflection,
            },
            align_corners: self.align_corners,
        };
        let reads = vec![at.builder.channels_of(x, kept), at.builder.all_channels_of(grid)];
        let len = at.builder.physical_len(at.output);
        let place = at.emit(task, reads, len);
        at.builder.define(at.output, place);
        Ok(())
    }
}

impl Lower for RoiAlign {
    fn lower(&self, at: &mut Lowering<'_, '_>) -> Result<()> {
        let &[x, regions, images] = &at.node.inputs[..] else { unreachable!("the rules leave three inputs") };
        let input = at.shape(x).to_vec();
        let kept = at.kept();
        let task = RoiAlignTask {
            images: input[0],
            channels: kept.map_or(input[1], <[u32]>::len),
            input: [input[2], input[3]],
            output: self.size.map(|n| n as usize),
            samples: self.samples as usize,
            scale: self.scale,
            half_pixel: self.half_pixel,
            largest: self.largest,
        };
        let reads =
            vec![at.builder.channels_of(x, kept), at.builder.all_channels_of(regions), at.builder.all_channels_of(images)];
        let len = at.builder.physical_len(at.output);
        let place = at.emit(task, reads, len);
        at.builder.define(at.output, place);
        Ok(())
    }
}
