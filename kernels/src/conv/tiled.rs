//! What packing and reading in place have in common: groups are computed tile by tile of output positions, around the register tile
//! of `tile.rs`, and threads share tiles or panels of weights.

use super::method::{GroupPlace, Operands, PlacedGroup, Problem};
use super::share::{Share, TiledItem};
use super::tiling::Tiling;
use crate::Threading;
use crate::parallel::Window;
use crate::simd::{Simd, Stored};
use crate::tile::{self, Epilogue, Lowered, Place, Tap, TileWeights};
use get_size2::GetSize;
use sslm_basics::panels::{Panels, ROWS};
use std::ops::Range;
use std::sync::Arc;

/// What a group is expected to cost this way, from the costs of a product, of a vector that is gathered and, for each of its
/// products, of a column of a register tile.
pub(super) fn cost(problem: &Problem<'_>, group: PlacedGroup<'_>, [product, gathered, column]: [f64; 3]) -> f64 {
    let (tiling, Problem { costs, isa, .. }) = (problem.tiling(), problem);
    let (filters, tiles) = (group.place.filters.len(), &tiling.lowering.tiles);
    let (vectors, positions) = tiles.last().map_or((0, 0), |t| (t.vectors.end, t.positions.end));
    let column = column * isa.tile().iter().product::<usize>() as f64;
    let register_tiles = filters.div_ceil(isa.tile()[0]) * tiles.len();
    let of_column = vectors as f64 * (filters as f64 * product + gathered) + register_tiles as f64 * column;
    let of_outputs = (positions * filters) as f64 * costs.tiles.output;
    group.columns.len() as f64 * of_column + of_outputs + tiling.stage.rows() as f64 * costs.tiles.staged_row
}

/// Groups that are computed tile by tile.
#[derive(GetSize, Debug)]
pub(super) struct TiledGroups {
    /// Counted where it is made.
    #[get_size(ignore)]
    pub(super) tiling: Arc<Tiling>,
    pub(super) groups: Vec<TiledGroup>,
    /// Positions in a row of the output.
    width: usize,
    /// Rows of the highest register tile.
    highest_tile: usize,
    share: Share,
}

/// One of them.
#[derive(GetSize, Debug)]
pub(super) struct TiledGroup {
    pub(super) place: GroupPlace,
    /// What each column reads.
    pub(super) taps: Vec<Tap>,
}

impl TiledGroups {
    pub(super) fn new(problem: &Problem<'_>, groups: &[PlacedGroup<'_>]) -> Self {
        let tiling = Arc::clone(problem.tiling());
        let group = |group: &PlacedGroup<'_>| TiledGroup {
            place: group.place.clone(),
            taps: group.columns.iter().map(|&column| tiling.tap(column)).collect(),
        };
        let groups: Vec<TiledGroup> = groups.iter().map(group).collect();
        let places: Vec<&GroupPlace> = groups.iter().map(|g| &g.place).collect();
        let share = Share::new(&places, problem, &tiling.lowering.tiles);
        let width = problem.geometry.output[1];
        TiledGroups { tiling, groups, width, highest_tile: problem.isa.tile()[0], share }
    }

    /// Elements of scratch memory, where each thread needs `block_len` for itself.
    pub(super) fn scratch_len(&self, block_len: usize) -> usize {
        self.tiling.stage_len().saturating_add(self.share.partition().shares().saturating_mul(block_len))
    }

    /// The largest register tile of a group: rows of weights x positions.
    pub(super) fn describe(&self, group: usize) -> String {
        let rows =
            self.groups.iter().find(|g| g.place.index == group).map_or(0, |g| g.place.filters.len().min(self.highest_tile));
        format!("{rows}x{}", self.tiling.widest)
    }

    /// Calls `compute` with everything that is to be computed of one image, each with `block_len` elements of scratch memory.
    pub(super) fn run<E: Stored>(
        &self,
        operands: Operands<'_, E>,
        image: &[f32],
        out: &mut [f32],
        scratch: &mut [f32],
        (block_len, threading): (usize, Threading),
        compute: impl Fn(TiledPart<'_, '_, E>) + Sync,
    ) {
        if self.share.is_empty() {
            return;
        }
        let (planes, blocks) = scratch.split_at_mut(self.tiling.stage_len());
        let x = self.tiling.planes_of(image, planes, threading);
        self.share.partition().for_each(out, blocks, block_len, threading, |item, mut window, block| {
            let item = self.share.item(item);
            let group = &self.groups[item.group];
            if operands.border.is_some() {
                for filter in item.filters.clone() {
                    let out = window.part(filter, item.positions.clone());
                    operands.add_border(filter, item.positions.clone(), self.width, out);
                }
            }
            let panels = group.place.panels(operands.weights);
            compute(TiledPart { tiling: &self.tiling, group, item, x, panels, operands, window: &mut window, block });
        });
    }
}

/// Some panels and some tiles of one group, of one image.
pub(super) struct TiledPart<'a, 'w, E> {
    pub(super) tiling: &'a Tiling,
    pub(super) group: &'a TiledGroup,
    pub(super) item: &'a TiledItem,
    /// The planes that columns are read from.
    pub(super) x: &'a [f32],
    panels: Panels<'a, E>,
    operands: Operands<'a, E>,
    window: &'a mut Window<'w>,
    /// Scratch memory.
    pub(super) block: &'a mut [f32],
}

impl<E: Stored> TiledPart<'_, '_, E> {
    /// Some `columns` of a panel times a tile: sums are added to those of the columns before, and finished with the last ones. With
    /// `fetch`, the same columns of the next panel are fetched meanwhile.
    #[inline]
    pub(super) fn multiply<S: Simd>(
        &mut self,
        simd: S,
        (panel, columns): (usize, Range<usize>),
        tile: usize,
        lowered: &impl Lowered<S>,
        fetch: bool,
    ) {
        let (operands, all_columns) = (&self.operands, self.panels.columns());
        let weights = self.panels.panel(panel);
        let plane = self.group.place.filters.start + panel * ROWS;
        let last = columns.end == all_columns;
        let finish = last.then(|| (&operands.bias[plane..plane + weights.rows], operands.activation));
        let add = columns.start > 0 || operands.adds();
        let place = Place { window: self.window, plane, positions: self.tiling.lowering.tiles[tile].positions.clone() };
        let to_next = if fetch { weights.elements.len() } else { 0 };
        let weights = TileWeights { panel: weights.columns(columns), to_next };
        tile::multiply(simd, weights, lowered, place, Epilogue { add, finish });
    }
}
