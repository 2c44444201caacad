//! Convolutions over volumes: images that have a depth besides height and width.

use super::{Check, Conv, Operator};
use crate::axes::AxisMap;
use crate::codec::record;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::rules::{Site, at_least_one, below};
use crate::shape::{Shape, expect_extent, expect_rank};
use crate::weights::Weights;
use crate::window::{MAX_WINDOW, Padding, Sliding, Window};

record! {
    /// How a window slides over the depth of a volume.
    pub struct Depth {
        /// KD.
        pub kernel: u32,
        /// Slices from one position to the next.
        pub stride: u32,
        /// Slices from one tap to the next; 1 is dense.
        pub dilation: u32,
        /// Zeros before the first slice.
        pub before: u32,
        /// Zeros behind the last one.
        pub after: u32,
    }

    /// Convolution over depth, height and width (ONNX `Conv` of `[N, C, D, H, W]`), over kept columns. The lowered matrix has one column per
    /// (channel, kd, kh, kw), so it is that of a convolution whose kernel has the rows of all slices, one slice after the other.
    pub struct VolumeConv<W> {
        /// How the window slides over depth.
        pub depth: Depth,
        /// Everything else. The window's kernel has `KD * KH` rows; its other fields say how it slides over height and width. Its padding
        /// is explicit.
        pub conv: Conv<W>,
    }
}

impl Depth {
    /// Slices that one window spans.
    pub fn reach(&self) -> usize {
        (self.kernel as usize - 1) * self.dilation as usize + 1
    }
}

impl<W: Weights> VolumeConv<W> {
    /// The window over height and width alone.
    pub fn plane(&self) -> Window {
        let window = self.conv.window.clone();
        Window { kernel: [window.kernel[0] / self.depth.kernel, window.kernel[1]], ..window }
    }
}

impl<W: Weights> Operator for VolumeConv<W> {
    fn name(&self) -> &'static str {
        "Conv"
    }

    fn since(&self) -> u16 {
        4
    }

    /// `[N, filters, D, H, W]`.
    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (x, &Depth { stride, before, after, .. }) = (inputs[0], &self.depth);
        expect_rank(x, 5)?;
        expect_extent("input channels", &x[1], self.conv.channels as usize)?;
        let depth = Sliding { axis: "depth", stride, reach: self.depth.reach(), padding: Some([before, after]) };
        let plane = self.plane();
        let [height, width] = [0, 1].map(|axis| Sliding::over(&plane, axis));
        let filters = Extent::from(self.conv.filters as usize);
        Ok(vec![x[0].clone(), filters, depth.count(&x[2], false)?, height.count(&x[3], false)?, width.count(&x[4], false)?])
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        Conv::<W>::axes(inputs[0].len())
    }
}

impl Check for VolumeConv<crate::Stored> {
    fn check(&self, site: &Site<'_>) -> Result<()> {
        let Depth { kernel, stride, dilation, before, after } = self.depth;
        for (what, n) in [("kernel", kernel), ("strides", stride), ("dilations", dilation)] {
            at_least_one(what, n)?;
            below(what, n, MAX_WINDOW)?;
        }
        for pad in [before, after] {
            below("padding", pad, MAX_WINDOW)?;
        }
        let window = &self.conv.window;
        if window.kernel[0] == 0 || !window.kernel[0].is_multiple_of(kernel) {
            return Err(Error::invalid("kernel rows", format!("a multiple of the {kernel} slices"), window.kernel[0]));
        }
        if !matches!(window.padding, Padding::Explicit { .. }) {
            return Err(Error::invalid("padding", "explicit amounts", "amounts that follow from the size"));
        }
        self.conv.check(site)
    }
}
