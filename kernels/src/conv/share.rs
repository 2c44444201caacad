//! Who computes what: threads share an image by output positions or by filters, whichever leaves them less apart.

use super::Prepared;
use super::lowering::Tile;
use crate::parallel::{Part, Partition};
use crate::{PANEL_ROWS, balanced};
use std::ops::Range;

/// What packing a column costs, in rows of weights multiplied with it: measured on AVX-512, where a gathered vector takes about as
/// long as four products.
const PACKING: usize = 4;

/// Some panels and some tiles of one group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) group: usize,
    /// Of the group.
    pub(crate) panels: Range<usize>,
    pub(crate) tiles: Range<usize>,
    /// Of all groups' filters: those of the panels.
    pub(crate) filters: Range<usize>,
    /// Those of the tiles.
    pub(crate) positions: Range<usize>,
}

/// The items of one image.
#[derive(Debug)]
pub(crate) struct Share {
    /// In order of the partition's parts.
    items: Vec<Item>,
    partition: Partition,
}

impl Share {
    /// Of the groups that are computed tile by tile, in an output of so many planes and positions.
    pub(super) fn new(groups: &[Prepared], planes: usize, tiles: &[Tile], positions: usize, threads: usize) -> Self {
        let item = |group: usize, panels: Range<usize>, tile_range: Range<usize>| {
            let filters = &groups[group].filters;
            let end = (filters.start + panels.end * PANEL_ROWS).min(filters.end);
            Item {
                group,
                filters: filters.start + panels.start * PANEL_ROWS..end,
                positions: tiles[tile_range.start].positions.start..tiles[tile_range.end - 1].positions.end,
                panels,
                tiles: tile_range,
            }
        };
        let panels = |group: usize| groups[group].filters.len().div_ceil(PANEL_ROWS);
        let working: Vec<usize> =
            (0..groups.len()).filter(|&g| panels(g) > 0 && !tiles.is_empty() && groups[g].form.is_tiled()).collect();
        let cost = |item: &Item| {
            let vectors: usize = tiles[item.tiles.clone()].iter().map(|t| t.vectors.len()).sum();
            (item.filters.len() + PACKING) * groups[item.group].taps.len().max(1) * vectors
        };

        // By positions: (group, tile) in a row, cut where each thread has its part of the cost.
        let all: usize = working.iter().map(|&g| cost(&item(g, 0..panels(g), 0..tiles.len()))).sum();
        let mut by_positions: Vec<Vec<Item>> = vec![Vec::new(); threads];
        let mut before = 0;
        for &group in &working {
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
        let mut by_filters: Vec<Vec<Item>> = vec![Vec::new(); threads];
        for &group in &working {
            let parts = balanced(panels(group), panels(group).div_ceil(threads));
            for (lane, part) in by_filters.iter_mut().zip(parts) {
                lane.push(item(group, part, 0..tiles.len()));
            }
        }
        let slowest = |lanes: &[Vec<Item>]| lanes.iter().map(|lane| lane.iter().map(cost).sum::<usize>()).max();
        let lanes = if slowest(&by_filters) < slowest(&by_positions) { by_filters } else { by_positions };
        let part = |item: &Item| Part { planes: item.filters.clone(), positions: item.positions.clone() };
        let parts = lanes.iter().map(|lane| lane.iter().map(part).collect()).collect();
        Share { items: lanes.into_iter().flatten().collect(), partition: Partition::new(planes, positions, parts) }
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn item(&self, index: usize) -> &Item {
        &self.items[index]
    }

    pub(crate) fn partition(&self) -> &Partition {
        &self.partition
    }
}
