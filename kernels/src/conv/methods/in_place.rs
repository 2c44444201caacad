//! In place: columns are read where they lie in the input. Few filters gain nothing from gathering.

use crate::Threading;
use crate::conv::lowering::Runs;
use crate::conv::method::{ConvKernel, ConvMethod, Operands, PlacedGroup, Problem};
use crate::conv::tiled::{self, TiledGroups, TiledPart};
use crate::simd::{Isa, Simd, Stored, Vectorized};
use crate::tile::{InPlaceTile, Segment};
use get_size2::GetSize;

pub(super) struct InPlace;

impl ConvMethod for InPlace {
    /// Unless positions lie in more runs than can be read in place.
    fn applies(&self, problem: &Problem<'_>, _: PlacedGroup<'_>) -> bool {
        match problem.tiling().lowering.runs_of_vectors {
            Runs::One(_) | Runs::Two(_) => true,
            Runs::More => false,
        }
    }

    fn cost(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> Option<f64> {
        let costs = &problem.costs.tiles.in_place;
        let column = match problem.tiling().lowering.runs_of_vectors {
            Runs::One(_) if problem.tiling().lowering.masked() => costs.column_of_one_masked_run,
            Runs::One(_) => costs.column_of_one_run,
            Runs::Two(_) => costs.column_of_two_runs,
            Runs::More => return None,
        };
        Some(tiled::cost(problem, group, [costs.product, 0.0, column]))
    }

    fn prepare(&self, problem: &Problem<'_>, groups: &[PlacedGroup<'_>]) -> Box<dyn ConvKernel<f32>> {
        Box::new(InPlaceGroups { isa: problem.isa, tiled: TiledGroups::new(problem, groups) })
    }
}

/// The groups of a layer that are computed this way.
#[derive(GetSize, Debug)]
struct InPlaceGroups {
    isa: Isa,
    tiled: TiledGroups,
}

/// Elements of scratch memory of a thread. It needs none, but work is handed out with a stretch of it.
const BLOCK_LEN: usize = 16;

impl<E: Stored> ConvKernel<E> for InPlaceGroups {
    fn scratch_len(&self) -> usize {
        self.tiled.scratch_len(BLOCK_LEN)
    }

    fn describe(&self, group: usize) -> String {
        self.tiled.describe(group)
    }

    fn run(&self, operands: Operands<'_, E>, image: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        self.tiled.run(operands, image, out, scratch, (BLOCK_LEN, threading), |part| self.isa.dispatch(InPlacePart(part)));
    }
}

struct InPlacePart<'a, 'w, E>(TiledPart<'a, 'w, E>);

impl<E: Stored> Vectorized for InPlacePart<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lowering = &self.0.tiling.lowering;
        match (&lowering.runs_of_vectors, lowering.masked()) {
            (Runs::One(segments), true) => self.multiply::<S, 1, true>(simd, segments),
            (Runs::One(segments), false) => self.multiply::<S, 1, false>(simd, segments),
            // Vectors are put together by masks anyway.
            (Runs::Two(segments), _) => self.multiply::<S, 2, true>(simd, segments),
            (Runs::More, _) => unreachable!("vectors of more runs than are read in place"),
        }
    }
}

impl<E: Stored> InPlacePart<'_, '_, E> {
    fn multiply<S: Simd, const SEGMENTS: usize, const MASKED: bool>(self, simd: S, segments: &[[Segment; SEGMENTS]]) {
        let InPlacePart(mut part) = self;
        let (lowering, taps) = (&part.tiling.lowering, &part.group.taps);
        for tile in part.item.tiles.clone() {
            let segments = &segments[lowering.tiles[tile].vectors.clone()];
            let lowered = InPlaceTile::<SEGMENTS, MASKED>::new::<S>(part.x, taps, segments, lowering.masks(tile));
            for panel in part.item.panels.clone() {
                part.multiply(simd, (panel, 0..taps.len()), tile, &lowered, false);
            }
        }
    }
}
