//! Normalisations.

use super::{Check, Operator, Source};
use crate::axes::{AxisMap, Link};
use crate::codec::record;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::rules::{Site, at_least_one, below, equal};
use crate::shape::{MAX_CHANNELS, Shape, product};
use crate::value::BlobId;
use crate::weights::Weights;
use std::ops::Range;

record! {
    /// ONNX `LRN` over channels: `x / (bias + alpha / size * sum of squares)^beta`, over the `size` logical channels around.
    pub struct Lrn {
        /// Channels in the window.
        pub size: u32,
        /// Scale of the sum of squares, before division by `size`.
        pub alpha: f32,
        /// Exponent.
        pub beta: f32,
        /// Added to the scaled sum.
        pub bias: f32,
    }

    /// `y = scale * x + shift` per channel: an inference-time ONNX `BatchNormalization` that no layer before it could absorb.
    /// Both have one element per kept output channel.
    pub struct BatchNorm<W> {
        /// Multiplier.
        pub scale: W::Vector,
        /// Added.
        pub shift: W::Vector,
    }

    /// ONNX `InstanceNormalization`: each channel of each image is brought to mean 0 and variance 1, then scaled and shifted.
    /// `scale` and `shift` have one element per kept output channel.
    pub struct InstanceNorm<W> {
        /// Multiplier.
        pub scale: W::Vector,
        /// Added.
        pub shift: W::Vector,
        /// Added to the variance.
        pub epsilon: f32,
    }

    /// ONNX `LayerNormalization`: the elements on the axes from `axis` on are together brought to mean 0 and variance 1, then each is
    /// scaled and shifted. `scale` and `shift` have one element for each combination of indices on those axes, whatever is kept.
    pub struct LayerNorm<W> {
        /// First of the axes.
        pub axis: u32,
        /// Multiplier.
        pub scale: W::Tensor,
        /// Added.
        pub shift: W::Tensor,
        /// Added to the variance.
        pub epsilon: f32,
    }

    /// ONNX `LayerNormalization` over axis 1 alone: the channels of each position are together brought to mean 0 and variance 1, then
    /// each is scaled and shifted. `scale` and `shift` have one element for each channel, whatever is kept.
    pub struct ChannelNorm<W> {
        /// Multiplier.
        pub scale: W::Tensor,
        /// Added.
        pub shift: W::Tensor,
        /// Added to the variance.
        pub epsilon: f32,
    }

    /// Softmax over the axes `start..end` taken together.
    pub struct Softmax {
        /// First axis.
        pub start: u32,
        /// One past the last axis.
        pub end: u32,
    }

    /// ONNX `LogSoftmax`: the logarithm of a [`Softmax`], also where that is too small for an f32.
    pub struct LogSoftmax {
        /// First axis.
        pub start: u32,
        /// One past the last axis.
        pub end: u32,
    }

    /// ONNX `GroupNormalization`: each of `groups` equal parts of the channels of each image is brought to mean 0 and variance 1, then each
    /// channel is scaled and shifted. `scale` and `shift` have one element for each channel, whatever is kept.
    pub struct GroupNorm<W> {
        /// Parts.
        pub groups: u32,
        /// Multiplier.
        pub scale: W::Tensor,
        /// Added.
        pub shift: W::Tensor,
        /// Added to the variance.
        pub epsilon: f32,
    }
}

impl Operator for Lrn {
    fn name(&self) -> &'static str {
        "LRN"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        with_channels(inputs[0])
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        let before = (self.size as usize - 1) / 2;
        let near = Link::Near { to: 1, before, after: self.size as usize - 1 - before };
        vec![AxisMap::changing(inputs[0].len(), |axis| (axis == 1).then(|| near.clone()))]
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        let Source::Near { slices, own } = sources[0] else { return None };
        let own = slices[own]?;
        // Zero stays zero, whatever its neighbours are: the divisor is positive for every sane bias.
        if own == 0.0 && self.bias > 0.0 && self.alpha >= 0.0 {
            return Some(0.0);
        }
        let squares: Option<f32> = slices.iter().map(|x| x.map(|x| x * x)).sum();
        Some(own / (self.bias + self.alpha / self.size as f32 * squares?).powf(self.beta))
    }
}

impl<W: Weights> Operator for BatchNorm<W> {
    fn name(&self) -> &'static str {
        "BatchNormalization"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        with_channels(inputs[0])
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![AxisMap::identity(inputs[0].len())]
    }
}

impl<W: Weights> Operator for InstanceNorm<W> {
    fn name(&self) -> &'static str {
        "InstanceNormalization"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        with_channels(inputs[0])
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![AxisMap::changing(inputs[0].len(), |axis| (axis >= 2).then_some(Link::Whole { to: axis }))]
    }
}

impl<W: Weights> Operator for LayerNorm<W> {
    fn name(&self) -> &'static str {
        "LayerNormalization"
    }

    fn since(&self) -> u16 {
        2
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let rank = inputs[0].len();
        if self.axis as usize >= rank {
            return Err(Error::shape("axis", format!("below the rank {rank}"), self.axis));
        }
        Ok(inputs[0].clone())
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        let first = self.axis as usize;
        vec![AxisMap::changing(inputs[0].len(), |axis| (axis >= first).then_some(Link::Whole { to: axis }))]
    }
}

impl<W: Weights> Operator for ChannelNorm<W> {
    fn name(&self) -> &'static str {
        "LayerNormalization"
    }

    fn since(&self) -> u16 {
        4
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        with_channels(inputs[0])
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![AxisMap::changing(inputs[0].len(), |axis| (axis == 1).then_some(Link::Whole { to: 1 }))]
    }
}

impl Operator for Softmax {
    fn name(&self) -> &'static str {
        "Softmax"
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        along_axes(inputs[0], self.start, self.end)
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![whole(inputs[0].len(), self.start..self.end)]
    }
}

impl Operator for LogSoftmax {
    fn name(&self) -> &'static str {
        "LogSoftmax"
    }

    fn since(&self) -> u16 {
        4
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        along_axes(inputs[0], self.start, self.end)
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![whole(inputs[0].len(), self.start..self.end)]
    }
}

impl<W: Weights> Operator for GroupNorm<W> {
    fn name(&self) -> &'static str {
        "GroupNormalization"
    }

    fn since(&self) -> u16 {
        4
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let groups = self.groups as usize;
        match inputs[0].get(1).map(Extent::known) {
            Some(Some(channels)) if channels.checked_rem(groups) != Some(0) => {
                Err(Error::shape("channels", format!("a multiple of {groups} groups"), channels))
            }
            _ => with_channels(inputs[0]),
        }
    }

    /// Channels depend on those of their group, of which an axis map does not know.
    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![whole(inputs[0].len(), 1..inputs[0].len() as u32)]
    }
}

/// The shape of what an operator along the axes `start..end` yields.
fn along_axes(x: &Shape, start: u32, end: u32) -> Result<Shape> {
    let rank = x.len();
    if start >= end || end as usize > rank {
        return Err(Error::shape("axes", format!("a range within 0..{rank}"), format!("{start}..{end}")));
    }
    Ok(x.clone())
}

/// On these axes, every index depends on all.
fn whole(rank: usize, axes: Range<u32>) -> AxisMap {
    AxisMap::changing(rank, |axis| axes.contains(&(axis as u32)).then_some(Link::Whole { to: axis }))
}

fn with_channels(x: &Shape) -> Result<Shape> {
    if x.len() < 2 { Err(Error::shape("input rank", "at least 2", x.len())) } else { Ok(x.clone()) }
}

impl Check for Lrn {
    fn check(&self, _: &Site<'_>) -> Result<()> {
        at_least_one("size", self.size)?;
        below("size", self.size, MAX_CHANNELS)
    }
}

/// Each scale has its shift.
fn expect_equally_many(site: &Site<'_>, scale: BlobId, shift: BlobId) -> Result<()> {
    equal("elements of shift", site.blob_len("scale", scale)?, site.blob_len("shift", shift)?)
}

impl Check for BatchNorm {
    fn check(&self, site: &Site<'_>) -> Result<()> {
        expect_equally_many(site, self.scale, self.shift)
    }

    fn check_shapes(&self, site: &Site<'_>, _: &[&Shape], output: &Shape) -> Result<()> {
        expect_per_channel(site, output, site.blob_len("scale", self.scale)?)
    }
}

impl Check for InstanceNorm {
    fn check(&self, site: &Site<'_>) -> Result<()> {
        expect_equally_many(site, self.scale, self.shift)
    }

    fn check_shapes(&self, site: &Site<'_>, _: &[&Shape], output: &Shape) -> Result<()> {
        expect_per_channel(site, output, site.blob_len("scale", self.scale)?)
    }
}

impl Check for LayerNorm {
    fn check(&self, site: &Site<'_>) -> Result<()> {
        expect_equally_many(site, self.scale, self.shift)
    }

    fn check_shapes(&self, site: &Site<'_>, _: &[&Shape], output: &Shape) -> Result<()> {
        match product(&output[self.axis as usize..]).known() {
            Some(normalised) => equal("elements of scale", normalised, site.blob_len("scale", self.scale)?),
            None => Ok(()),
        }
    }
}

impl Check for ChannelNorm {
    fn check(&self, site: &Site<'_>) -> Result<()> {
        expect_equally_many(site, self.scale, self.shift)
    }

    fn check_shapes(&self, site: &Site<'_>, _: &[&Shape], output: &Shape) -> Result<()> {
        match output[1].known() {
            Some(channels) => equal("elements of scale", channels, site.blob_len("scale", self.scale)?),
            None => Ok(()),
        }
    }
}

impl Check for Softmax {}

impl Check for LogSoftmax {}

impl Check for GroupNorm {
    fn check(&self, site: &Site<'_>) -> Result<()> {
        at_least_one("groups", self.groups)?;
        expect_equally_many(site, self.scale, self.shift)
    }

    fn check_shapes(&self, site: &Site<'_>, _: &[&Shape], output: &Shape) -> Result<()> {
        match output[1].known() {
            Some(channels) => equal("elements of scale", channels, site.blob_len("scale", self.scale)?),
            None => Ok(()),
        }
    }
}

/// A scale has one element for each kept channel, where their count is known.
fn expect_per_channel(site: &Site<'_>, output: &Shape, scale: usize) -> Result<()> {
    let Some(channels) = output.get(1).and_then(Extent::known) else { return Ok(()) };
    let kept = site.output.compaction.as_ref().map_or(channels, |c| c.kept.len());
    equal("elements of scale", kept, scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zero stays zero beside anything where the divisor is positive.
    #[test]
    fn a_channel_of_zeros_is_normalised_to_zeros() {
        let of = |alpha: f32, bias: f32, around: Option<f32>| {
            let slices = [around, Some(0.0), Some(0.0)];
            Lrn { size: 3, alpha, beta: 0.75, bias }.constant(&[Source::Near { slices: &slices, own: 1 }])
        };
        for alpha in [0.0, 0.5] {
            assert_eq!(of(alpha, 1.0, None), Some(0.0));
            assert_eq!(of(alpha, 0.0, None), None, "nothing is said of 0 / 0");
        }
        assert_eq!(of(-0.5, 1.0, None), None);
        assert_eq!(of(-0.5, 1.0, Some(1.0)), Some(0.0));
    }
}
