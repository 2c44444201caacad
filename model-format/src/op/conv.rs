//! Convolutions over kept columns, and their transposes.

use super::{Check, Operator};
use crate::axes::{AxisMap, Link};
use crate::codec::record;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::rules::{Site, at_least_one, below, check_list, equal};
use crate::shape::{self, Shape, expect_extent, expect_rank};
use crate::value::{Kept, Value};
use crate::weights::Weights;
use crate::window::{Padding, Window, check_window, reach, resolve_padding, windowed};
use std::ops::Range;

record! {
    /// 2-D convolution over kept columns (ONNX `Conv`). The lowered matrix of group `g` has one column per
    /// (channel, kh, kw), with the index `(channel * KH + kh) * KW + kw`, where `channel` is counted inside the group.
    pub struct Conv<W> {
        /// Groups.
        pub group: u32,
        /// Logical input channels of all groups.
        pub channels: u32,
        /// Logical filters of all groups. Those that exist are the output value's kept channels.
        pub filters: u32,
        /// Kernel, strides, dilations, padding.
        pub window: Window,
        /// The columns that exist, per group.
        pub columns: Vec<Kept>,
        /// Per group, kept filters x kept columns in panels ([`crate::panels`]), one group after the other.
        pub weights: W::Matrix,
        /// One element per kept filter.
        pub bias: W::Vector,
        /// `[kept filters][KH][KW]`: what the constant input channels add through each tap that lies inside the input.
        /// Absent where it is all zero; taps that can never fall into padding are in `bias` instead.
        pub taps: Option<W::Vector>,
    }

    /// Transposed convolution (ONNX `ConvTranspose`): what `conv` says, with the window's taps scattering from the input instead
    /// of gathering: output position o takes tap k from input position `(o + pad - k * dilation) / stride` where that is whole.
    pub struct ConvTranspose<W> {
        /// Sizes, columns and weights, as of a convolution from `channels` to `filters`. Padding is explicit.
        pub conv: Conv<W>,
        /// Rows and columns added behind the output.
        pub output_padding: [u32; 2],
    }
}

impl<W: Weights> Conv<W> {
    /// Columns of the lowered matrix of one group before anything was removed.
    pub fn columns_per_group(&self) -> usize {
        self.channels_per_group() * self.window.taps()
    }

    /// Input channels of one group before anything was removed.
    pub fn channels_per_group(&self) -> usize {
        (self.channels / self.group) as usize
    }

    /// Filters of one group before anything was removed.
    pub fn filters_per_group(&self) -> usize {
        (self.filters / self.group) as usize
    }

    /// The channel of the input and the tap, in row-major order, of a column of `group`.
    pub fn place_of(&self, group: usize, column: usize) -> (usize, usize) {
        let taps = self.window.taps();
        (group * self.channels_per_group() + column / taps, column % taps)
    }

    /// How many filters of each group exist, given the channels that `output` keeps.
    pub fn kept_filters(&self, output: &Value) -> Vec<usize> {
        let per_group = self.filters_per_group();
        match &output.compaction {
            None => vec![per_group; self.group as usize],
            Some(c) => {
                let below = |limit: usize| c.kept.partition_point(|&f| (f as usize) < limit);
                (0..self.group as usize).map(|g| below((g + 1) * per_group) - below(g * per_group)).collect()
            }
        }
    }

    /// The input's channels are summed over; the output's are filters.
    pub(super) fn axes(rank: usize) -> Vec<AxisMap> {
        vec![AxisMap::changing(rank, |axis| match axis {
            0 => None,
            1 => Some(Link::Summed),
            _ => Some(Link::Windowed { to: axis }),
        })]
    }
}

impl<W: Weights> Operator for Conv<W> {
    fn name(&self) -> &'static str {
        "Conv"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let mut out = windowed(inputs[0], &self.window, false)?;
        expect_extent("input channels", &inputs[0][1], self.channels as usize)?;
        out[1] = Extent::from(self.filters as usize);
        Ok(out)
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        Self::axes(inputs[0].len())
    }
}

impl<W: Weights> Operator for ConvTranspose<W> {
    fn name(&self) -> &'static str {
        "ConvTranspose"
    }

    /// `[N, filters, H, W]`.
    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let (x, conv) = (inputs[0], &self.conv);
        expect_rank(x, 4)?;
        expect_extent("input channels", &x[1], conv.channels as usize)?;
        let mut out = vec![x[0].clone(), Extent::from(conv.filters as usize)];
        let [top, left, bottom, right] = resolve_padding(&conv.window, 0, 0);
        for (axis, padding) in [(0, top + bottom), (1, left + right)] {
            let stride = i64::from(conv.window.strides[axis]);
            let further = reach(&conv.window, axis) as i64 + i64::from(self.output_padding[axis]);
            let spread = &(&(&x[2 + axis] + -1) * stride) + further;
            let extent = &spread + -(padding as i64);
            if x[2 + axis].known() == Some(0) || extent.integer().is_some_and(|extent| extent < 0) {
                return Err(Error::shape("padding", format!("at most the {spread} positions there are"), padding));
            }
            out.push(extent);
        }
        Ok(out)
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        Conv::<W>::axes(inputs[0].len())
    }
}

impl Check for Conv {
    fn check(&self, site: &Site<'_>) -> Result<()> {
        let (input, output) = (site.inputs[0], site.output);
        for (what, n) in [("group", self.group), ("channels", self.channels), ("filters", self.filters)] {
            at_least_one(what, n)?;
            below(what, n, shape::MAX_CHANNELS)?;
        }
        if !self.channels.is_multiple_of(self.group) || !self.filters.is_multiple_of(self.group) {
            let found = format!("{} channels, {} filters", self.channels, self.filters);
            return Err(Error::invalid("group", format!("channels and filters divisible by {}", self.group), found));
        }
        check_window(&self.window)?;
        let columns = u64::from(self.channels / self.group) * self.window.taps() as u64;
        if columns > u64::from(u32::MAX) {
            return Err(Error::invalid("columns per group", format!("at most {}", u32::MAX), columns));
        }
        Site::expect_logical("input", input, self.channels)?;
        Site::expect_logical("output", output, self.filters)?;
        equal("kept-column lists", self.group as usize, self.columns.len())?;

        let (columns, channels) = (self.columns_per_group(), self.channels_per_group());
        let kept_filters = self.kept_filters(output);
        let mut weights = 0usize;
        for (g, (kept, &filters)) in self.columns.iter().zip(&kept_filters).enumerate() {
            check_columns(kept, columns, self.window.taps(), g * channels..(g + 1) * channels, input)
                .map_err(|e| e.within(format!("group {g}")))?;
            weights = weights.saturating_add(filters.saturating_mul(kept.count(columns)));
        }
        let filters: usize = kept_filters.iter().sum();
        equal("elements of weights", weights, site.blob_len("weights", self.weights)?)?;
        equal("elements of bias", filters, site.blob_len("bias", self.bias)?)?;
        match self.taps {
            Some(taps) => equal("elements of taps", filters.saturating_mul(self.window.taps()), site.blob_len("taps", taps)?),
            None => Ok(()),
        }
    }
}

impl Check for ConvTranspose {
    fn check(&self, site: &Site<'_>) -> Result<()> {
        let window = &self.conv.window;
        for (axis, &extra) in self.output_padding.iter().enumerate() {
            // Where it is not, positions would exist that no input reaches.
            let limit = window.strides[axis].max(window.dilations[axis]).max(1);
            below("output padding", extra, limit)?;
        }
        if !matches!(window.padding, Padding::Explicit { .. }) {
            return Err(Error::invalid("padding", "explicit amounts", "amounts that follow from the size"));
        }
        self.conv.check(site)
    }
}

/// Kept columns are increasing, and the channel of each one (of those in `channels`) exists in `input`.
pub(super) fn check_columns(kept: &Kept, total: usize, taps: usize, channels: Range<usize>, input: &Value) -> Result<()> {
    if let Kept::List(list) = kept {
        check_list("kept columns", list, total)?;
    }
    let Some(c) = &input.compaction else { return Ok(()) };
    let first = c.kept.partition_point(|&k| (k as usize) < channels.start);
    let mut present = c.kept[first..].iter().copied().peekable();
    let missing = |channel: usize| {
        Err(Error::invalid("kept columns", "only columns of channels that the input keeps", format!("channel {channel}")))
    };
    match kept {
        // All columns of a group need all of its channels.
        Kept::All if total > 0 => {
            let end = c.kept.partition_point(|&k| (k as usize) < channels.end);
            if end - first == channels.len() { Ok(()) } else { missing(channels.start + (end - first)) }
        }
        Kept::All => Ok(()),
        Kept::List(list) => {
            for &column in list {
                let channel = channels.start + column as usize / taps;
                while present.next_if(|&k| (k as usize) < channel).is_some() {}
                if present.peek().is_none_or(|&k| k as usize != channel) {
                    return missing(channel);
                }
            }
            Ok(())
        }
    }
}
