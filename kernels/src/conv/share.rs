//! Who computes what: threads share an image by output positions or by filters, whichever leaves the slowest of them less to do.

use super::lowering::Tile;
use super::method::{GroupPlace, Problem};
use crate::balanced;
use crate::parallel::{Part, Partition};
use get_size2::GetSize;
use sslm_basics::panels::ROWS;
use std::ops::Range;

/// Some panels and some tiles of one group.
#[derive(GetSize, Clone, Debug, PartialEq)]
pub(crate) struct TiledItem {
    /// The index of the group among those that are computed tile by tile.
    pub(crate) group: usize,
    /// Which panels of the group.
    pub(crate) panels: Range<usize>,
    pub(crate) tiles: Range<usize>,
    /// The filters of the panels, counted over all groups.
    pub(crate) filters: Range<usize>,
    /// The positions of the tiles.
    pub(crate) positions: Range<usize>,
}

/// The items of one image.
#[derive(GetSize, Debug)]
pub(crate) struct Share {
    /// In order of the partition's parts.
    items: Vec<TiledItem>,
    partition: Partition,
}

impl Share {
    /// Shares out the groups that are computed tile by tile.
    pub(super) fn new(groups: &[&GroupPlace], problem: &Problem<'_>, tiles: &[Tile]) -> Self {
        let (threads, gathering) = (problem.threads, problem.costs.tiles.gathering);
        let item = |group: usize, panels: Range<usize>, tile_range: Range<usize>| {
            let filters = &groups[group].filters;
            let end = (filters.start + panels.end * ROWS).min(filters.end);
            TiledItem {
                group,
                filters: filters.start + panels.start * ROWS..end,
                positions: tiles[tile_range.start].positions.start..tiles[tile_range.end - 1].positions.end,
                panels,
                tiles: tile_range,
            }
        };
        let panels = |group: usize| groups[group].filters.len().div_ceil(ROWS);
        let working = if tiles.is_empty() { 0..0 } else { 0..groups.len() };
        let cost = |item: &TiledItem| {
            let vectors: usize = tiles[item.tiles.clone()].iter().map(|t| t.vectors.len()).sum();
            (item.filters.len() + gathering) * groups[item.group].columns.max(1) * vectors
        };

        // By positions: (group, tile) in a row, cut where each thread has its part of the cost.
        let all: usize = working.clone().map(|g| cost(&item(g, 0..panels(g), 0..tiles.len()))).sum();
        let mut by_positions: Vec<Vec<TiledItem>> = vec![Vec::new(); threads];
        let mut before = 0;
        for group in working.clone() {
            for tile in 0..tiles.len() {
                let one = item(group, 0..panels(group), tile..tile + 1);
                let cost = cost(&one);
                // A tile belongs to the thread whose part its middle falls into.
                let thread = ((2 * before + cost) * threads / (2 * all)).min(threads - 1);
                before += cost;
                match by_positions[thread].last_mut() {
                    Some(last) if last.group == group => *last = item(group, last.panels.clone(), last.tiles.start..tile + 1),
                    _ => by_positions[thread].push(one),
                }
            }
        }
        // By filters: each thread packs all columns for its panels.
        let mut by_filters: Vec<Vec<TiledItem>> = vec![Vec::new(); threads];
        for group in working {
            let parts = balanced(panels(group), panels(group).div_ceil(threads));
            for (share, part) in by_filters.iter_mut().zip(parts) {
                share.push(item(group, part, 0..tiles.len()));
            }
        }
        let slowest = |shares: &[Vec<TiledItem>]| shares.iter().map(|share| share.iter().map(cost).sum::<usize>()).max();
        let shares = if slowest(&by_filters) < slowest(&by_positions) { by_filters } else { by_positions };
        let part = |item: &TiledItem| Part { planes: item.filters.clone(), positions: item.positions.clone() };
        let parts = shares.iter().map(|share| share.iter().map(part).collect()).collect();
        let partition = Partition::new(problem.filters, problem.geometry.output_len(), parts);
        Share { items: shares.into_iter().flatten().collect(), partition }
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn item(&self, index: usize) -> &TiledItem {
        &self.items[index]
    }

    pub(crate) fn partition(&self) -> &Partition {
        &self.partition
    }
}
