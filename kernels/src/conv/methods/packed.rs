//! Packed: a tile's columns are gathered into a block that all panels of weights are multiplied with. The lowered matrix never
//! exists as a whole. This is the method that applies to every group.

use crate::conv::method::{ConvKernel, ConvMethod, Operands, PlacedGroup, Problem};
use crate::conv::packing;
use crate::conv::tiled::{self, TiledGroups, TiledPart};
use crate::simd::{Isa, Simd, Stored, Vectorized};
use crate::tile::PackedTile;
use crate::{Threading, balanced};
use get_size2::GetSize;
use std::ops::Range;

/// Elements of a lowered block that is packed at a time: it is read once for each panel of weights, from L2.
const BLOCK: usize = 128 * 1024;

/// Weights of a group that are more elements than this do not stay in L2 from tile to tile.
const NEAR: usize = 64 * 1024;

/// Most columns of a block: one panel's weights for them, 24 KiB, stay in L1.
const MAX_COLUMNS: usize = 768;

pub(super) struct Packed;

impl ConvMethod for Packed {
    fn applies(&self, _: &Problem<'_>, _: PlacedGroup<'_>) -> bool {
        true
    }

    fn cost(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> Option<f64> {
        let costs = &problem.costs.tiles.packed;
        let whole = problem.tiling().lowering.has_whole_vectors();
        let gathered = if whole { costs.gathered_whole } else { costs.gathered_in_runs };
        Some(tiled::cost(problem, group, [costs.product, gathered, costs.column]))
    }

    fn prepare(&self, problem: &Problem<'_>, groups: &[PlacedGroup<'_>]) -> Box<dyn ConvKernel<f32>> {
        let (tiling, columns) = (problem.tiling(), groups.iter().map(|group| group.columns.len()));
        let block_len = columns.map(|columns| block_len(columns, tiling.widest, tiling.lowering.tiles.len())).max().unwrap_or(0);
        Box::new(PackedGroups { isa: problem.isa, block_len, tiled: TiledGroups::new(problem, groups) })
    }
}

/// The groups of a layer that are computed this way.
#[derive(GetSize, Debug)]
struct PackedGroups {
    isa: Isa,
    /// Elements of packed blocks that one thread needs.
    block_len: usize,
    tiled: TiledGroups,
}

/// Elements of packed blocks that one thread needs for a group of so many columns, where there are so many tiles, of at most so many
/// positions.
fn block_len(columns: usize, widest: usize, tiles: usize) -> usize {
    let columns = most_columns(columns);
    (tiles_at_once(columns, widest).min(tiles) * columns * widest + packing::SLACK).next_multiple_of(16)
}

impl<E: Stored> ConvKernel<E> for PackedGroups {
    fn scratch_len(&self) -> usize {
        self.tiled.scratch_len(self.block_len)
    }

    fn describe(&self, group: usize) -> String {
        self.tiled.describe(group)
    }

    fn run(&self, operands: Operands<'_, E>, image: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        self.tiled.run(operands, image, out, scratch, (self.block_len, threading), |part| {
            self.isa.dispatch(PackedPart(part));
        });
    }
}

struct PackedPart<'a, 'w, E>(TiledPart<'a, 'w, E>);

impl<E: Stored> Vectorized for PackedPart<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let PackedPart(mut part) = self;
        let (lowering, taps) = (&part.tiling.lowering, &part.group.taps);
        let fetches = part.group.place.weights.len() > NEAR;
        let widest = lowering.tiles[part.item.tiles.clone()].iter().map(|t| t.vectors.len()).max().unwrap_or(0) * S::LANES;
        let at_once = tiles_at_once(most_columns(taps.len()), widest);
        let mut first = part.item.tiles.start;
        while first < part.item.tiles.end {
            let tiles = first..(first + at_once).min(part.item.tiles.end);
            first = tiles.end;
            for columns in column_blocks(taps.len()) {
                let taps = &taps[columns.clone()];
                let mut packed = 0;
                for tile in tiles.clone() {
                    packed += packing::pack(simd, part.x, taps, lowering, tile, &mut part.block[packed..]);
                }
                for panel in part.item.panels.clone() {
                    let mut start = 0;
                    for tile in tiles.clone() {
                        let vectors = lowering.tiles[tile].vectors.len();
                        let len = taps.len() * vectors * S::LANES;
                        let block = std::mem::take(&mut part.block);
                        let lowered = PackedTile::new::<S>(&block[start..start + len], taps.len(), vectors);
                        part.multiply(simd, (panel, columns.clone()), tile, &lowered, fetches && tile + 1 == tiles.end);
                        part.block = block;
                        start += len;
                    }
                }
            }
        }
    }
}

/// Columns in parts that are packed at a time; one empty part where there are none.
fn column_blocks(columns: usize) -> impl Iterator<Item = Range<usize>> {
    let none = (columns == 0).then_some(0..0);
    balanced(columns, MAX_COLUMNS).chain(none)
}

/// Columns of the longest of these parts.
fn most_columns(columns: usize) -> usize {
    column_blocks(columns).map(|part| part.len()).max().unwrap_or(0)
}

/// Tiles of `width` positions of so many columns that are packed at a time.
fn tiles_at_once(columns: usize, width: usize) -> usize {
    (BLOCK / (columns * width).max(1)).max(1)
}
