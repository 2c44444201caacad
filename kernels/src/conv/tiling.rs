//! What the methods that go tile by tile read of an image: the planes that it is staged in, and where in these the positions of
//! each tile and the columns of each group lie.

use super::geometry::{Column, Geometry};
use super::lowering::Lowering;
use super::stage::{Padding, Stage};
use crate::Threading;
use crate::simd::Isa;
use crate::tile::{self, Tap};
use get_size2::GetSize;

/// The stage, the tiles and the columns of all groups of a layer.
#[derive(GetSize, Debug)]
pub(super) struct Tiling {
    geometry: Geometry,
    isa: Isa,
    pub(super) stage: Stage,
    pub(super) lowering: Lowering,
    /// Positions of the widest tile, in whole vectors.
    pub(super) widest: usize,
}

impl Tiling {
    /// `columns` are those of all groups, one group after the other; no panel of weights has more than `highest` rows.
    pub(super) fn new(geometry: &Geometry, columns: impl Iterator<Item = Column>, highest: usize, isa: Isa) -> Self {
        let stage = Stage::new(geometry, columns, Padding::Masked);
        let lowering = Lowering::new(geometry, &stage, isa.lanes(), tile::vectors_for(highest, isa.tile()));
        let widest = lowering.tiles.iter().map(|t| t.vectors.len()).max().unwrap_or(0) * isa.lanes();
        Tiling { geometry: geometry.clone(), isa, stage, lowering, widest }
    }

    /// What a column reads.
    pub(super) fn tap(&self, column: Column) -> Tap {
        self.lowering.tap(&self.geometry, &self.stage, column)
    }

    /// Elements of the planes.
    pub(super) fn stage_len(&self) -> usize {
        self.stage.len().next_multiple_of(16)
    }

    /// What columns are read from: the image, or what becomes of it in `planes`, which are [`Self::stage_len`] elements.
    pub(super) fn planes_of<'a>(&self, image: &'a [f32], planes: &'a mut [f32], threading: Threading) -> &'a [f32] {
        self.stage.of(&self.geometry, self.isa, image, planes, threading)
    }
}
