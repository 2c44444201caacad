//! Channels that become positions, and positions that become channels.

use super::{Check, Operator, Source, passed_on};
use crate::axes::{AxisMap, Link, Pick};
use crate::codec::record;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::rules::{Site, at_least_one, below};
use crate::shape::{Shape, expect_rank};
use crate::window::MAX_WINDOW;

record! {
    /// ONNX `DepthToSpace`: `[N, C b b, H, W]` to `[N, C, H b, W b]`, where b is the block's side. Each block of the output is one
    /// position of as many channels.
    pub struct DepthToSpace {
        /// Side of a block.
        pub block: u32,
        /// Whether the channels of a block are neighbours (mode CRD), or as far apart as the output has channels (DCR).
        pub neighbours: bool,
    }

    /// ONNX `SpaceToDepth`: `[N, C, H b, W b]` to `[N, b b C, H, W]`, where b is the block's side.
    pub struct SpaceToDepth {
        /// Side of a block.
        pub block: u32,
    }
}

impl DepthToSpace {
    /// The channels of the input that become channel `channel` of the output, which has `channels`: one for each position of a block, in
    /// row-major order.
    pub fn origins(&self, channels: usize, channel: usize) -> impl Iterator<Item = usize> + use<> {
        let (positions, neighbours) = (squared(self.block), self.neighbours);
        (0..positions).map(move |i| if neighbours { channel * positions + i } else { i * channels + channel })
    }
}

impl Operator for DepthToSpace {
    fn name(&self) -> &'static str {
        "DepthToSpace"
    }

    fn since(&self) -> u16 {
        4
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let x = inputs[0];
        expect_rank(x, 4)?;
        let channels = divided("channels", &x[1], squared(self.block))?;
        let side = Extent::from(self.block as usize);
        Ok(vec![x[0].clone(), channels, &x[2] * &side, &x[3] * &side])
    }

    fn axes(&self, inputs: &[&Shape], _: &Shape) -> Vec<AxisMap> {
        vec![AxisMap::changing(inputs[0].len(), |axis| (axis > 0).then_some(Link::Windowed { to: axis }))]
    }

    fn only_moves(&self) -> bool {
        true
    }
}

impl Operator for SpaceToDepth {
    fn name(&self) -> &'static str {
        "SpaceToDepth"
    }

    fn since(&self) -> u16 {
        4
    }

    fn shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let x = inputs[0];
        expect_rank(x, 4)?;
        let [height, width] = [("height", &x[2]), ("width", &x[3])].map(|(what, e)| divided(what, e, self.block as usize));
        Ok(vec![x[0].clone(), &x[1] * &Extent::from(squared(self.block)), height?, width?])
    }

    /// The channels of the input come again for each position of a block.
    fn axes(&self, inputs: &[&Shape], output: &Shape) -> Vec<AxisMap> {
        let listed = inputs[0].get(1).and_then(Extent::known).zip(output.get(1).and_then(Extent::known));
        let channels = match listed.filter(|(_, new)| *new < MAX_WINDOW as usize) {
            Some((old, new)) => Link::Picked { to: 1, pick: Pick::Listed((0..new).map(|channel| channel % old).collect()) },
            None => Link::Windowed { to: 1 },
        };
        vec![AxisMap::changing(inputs[0].len(), |axis| match axis {
            0 => None,
            1 => Some(channels.clone()),
            _ => Some(Link::Windowed { to: axis }),
        })]
    }

    fn constant(&self, sources: &[Source<'_>]) -> Option<f32> {
        passed_on(sources)
    }

    fn only_moves(&self) -> bool {
        true
    }
}

impl Check for DepthToSpace {
    fn check(&self, _: &Site<'_>) -> Result<()> {
        check_block(self.block)
    }
}

impl Check for SpaceToDepth {
    fn check(&self, _: &Site<'_>) -> Result<()> {
        check_block(self.block)
    }
}

fn check_block(block: u32) -> Result<()> {
    at_least_one("block", block)?;
    below("block", block, MAX_WINDOW)
}

/// Positions of a block, whose side is below 2^16.
fn squared(block: u32) -> usize {
    block as usize * block as usize
}

fn divided(what: &str, extent: &Extent, by: usize) -> Result<Extent> {
    match extent.known() {
        Some(extent) if !extent.is_multiple_of(by) => Err(Error::shape(what, format!("a multiple of {by}"), extent)),
        _ => Ok(extent.quotient(&Extent::from(by))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape;

    #[test]
    fn blocks_divide_what_they_come_from() {
        let to_space = DepthToSpace { block: 2, neighbours: true };
        assert_eq!(to_space.shape(&[&shape::of(&[1, 8, 3, 5])]).expect("8 of 4"), shape::of(&[1, 2, 6, 10]));
        assert!(to_space.shape(&[&shape::of(&[1, 6, 3, 5])]).is_err());
        let to_depth = SpaceToDepth { block: 3 };
        assert_eq!(to_depth.shape(&[&shape::of(&[1, 2, 6, 3])]).expect("6 and 3 of 3"), shape::of(&[1, 18, 2, 1]));
        assert!(to_depth.shape(&[&shape::of(&[1, 2, 6, 4])]).is_err());
        let [n, h, w] = ["n", "h", "w"].map(Extent::symbol);
        let open = vec![n.clone(), Extent::from(4usize), h.clone(), w.clone()];
        let expected = vec![n, Extent::from(1usize), &h * 2, &w * 2];
        assert_eq!(to_space.shape(&[&open]).expect("of any size"), expected);
    }

    #[test]
    fn channels_of_a_block() {
        let of = |neighbours: bool| DepthToSpace { block: 2, neighbours }.origins(3, 1).collect::<Vec<usize>>();
        assert_eq!(of(true), [4, 5, 6, 7]);
        assert_eq!(of(false), [1, 4, 7, 10]);
    }
}
