//! Filter lanes: convolutions whose planes are so small that vectors of positions would be half empty, as planes of 7x7 are. Lanes
//! are filters instead, and each output position is what an image of a batch is to a fully connected layer. Padding is written out
//! once, and sums are transposed into planes. Where channels lie in blocks, planes of any size are computed so: an input is read in
//! place if no tap falls into padding, and sums are written as they are.

use super::each_group::{EachGroup, GroupKernel, GroupOperands};
use crate::conv::blocks::{self, BlockStage};
use crate::conv::finish::Finish;
use crate::conv::geometry::{Column, Geometry};
use crate::conv::method::{ConvKernel, ConvMethod, PlacedGroup, Problem};
use crate::conv::stage::{Padding, Stage};
use crate::filter_tile::{FilterItem, LONE_VECTOR, Matrix, PACKED_TILES, Product};
use crate::layout::{Layout, Layouts};
use crate::parallel::{Part, Partition};
use crate::simd::{Isa, Stored};
use crate::tile::Epilogue;
use crate::{Threading, expect_len};
use get_size2::GetSize;
use sslm_basics::panels::Panels;

pub(super) struct FilterLanes;

impl ConvMethod for FilterLanes {
    fn supports(&self, _: Layouts) -> bool {
        true
    }

    fn applies(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> bool {
        let Layouts { reads, writes } = problem.layouts;
        let readable = blocks::fits(problem.geometry);
        (reads == Layout::Planes || readable) && (writes == Layout::Planes || group.has_whole_blocks(problem))
    }

    fn competes(&self, problem: &Problem<'_>) -> bool {
        problem.layouts != Layouts::PLANES || problem.geometry.output_len() <= problem.costs.filter_lanes.most_positions
    }

    fn cost(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> Option<f64> {
        let (costs, geometry) = (&problem.costs.filter_lanes, problem.geometry);
        let (vectors, positions) = (group.place.filters.len().div_ceil(problem.isa.lanes()) as f64, geometry.output_len());
        // Tiles have eight positions or a little fewer.
        let tiles = positions.div_ceil(8);
        let products = group.columns.len() * tiles * 8;
        let rows = Staged::new(problem, group).rows();
        let packed = match problem.keeps_weights && self.kept_len(problem, group) > 0 {
            true => costs.packed[usize::from(tiles < PACKED_TILES)],
            false => 1.0,
        };
        let product = packed
            * match problem.layouts.reads {
                Layout::Planes => costs.product,
                Layout::Blocks => costs.product_in_blocks,
            };
        let far = match problem.layouts.reads {
            Layout::Planes => {
                let strips = group.place.filters.len().div_ceil(problem.isa.filter_tile()[1] * problem.isa.lanes());
                costs.far_page * far_pages(geometry) * (tiles * strips) as f64
            }
            Layout::Blocks => 0.0,
        };
        // In planes throughout, costs are what they were fitted as: without that of lone vectors.
        let (product, output) = match problem.layouts {
            Layouts::PLANES => (product, costs.output),
            Layouts { writes, .. } => {
                let lone = if vectors > 1.0 { 1.0 } else { LONE_VECTOR };
                (product * lone, if writes == Layout::Planes { costs.output } else { costs.output_to_blocks })
            }
        };
        Some(vectors * (product * products as f64 + output * positions as f64) + costs.staged_row * rows as f64 + far)
    }

    fn kept_len(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> usize {
        Product::packed_len_of(problem.isa, group.place.filters.len(), group.columns.len(), problem.geometry.output_len())
    }

    fn prepare(&self, problem: &Problem<'_>, groups: &[PlacedGroup<'_>]) -> Box<dyn ConvKernel<f32>> {
        Box::new(EachGroup::new(problem, groups, |group| FilterLanesGroup::new(problem, group)))
    }
}

/// Pages whose addresses CPUs remember at once, with little to spare (64 to 96).
const PAGES: f64 = 96.0;

/// Pages whose addresses are not remembered, of those that a tile reads planes on.
fn far_pages(geometry: &Geometry) -> f64 {
    let of_plane = (geometry.input_len() * size_of::<f32>()) as f64 / 4096.0;
    let pages = geometry.channels as f64 * of_plane.min(1.0);
    if pages > PAGES { pages } else { 0.0 }
}

/// What columns are read from: the image with its padding.
#[derive(GetSize, Debug)]
enum Staged {
    Planes(Stage),
    Blocks(BlockStage),
}

impl Staged {
    fn new(problem: &Problem<'_>, group: PlacedGroup<'_>) -> Self {
        match problem.layouts.reads {
            Layout::Planes => Staged::Planes(Stage::new(problem.geometry, group.columns.iter().copied(), Padding::Written)),
            Layout::Blocks => Staged::Blocks(BlockStage::new(problem.geometry, problem.isa)),
        }
    }

    /// Where a column reads relative to a position.
    fn column(&self, geometry: &Geometry, column: Column) -> usize {
        match self {
            Staged::Planes(stage) => {
                // Padding is written out, so nothing lies before the input's first element.
                usize::try_from(stage.offset(geometry, column)).expect("a place inside the staged input")
            }
            Staged::Blocks(stage) => stage.column(geometry, column),
        }
    }

    /// Where a position of the output reads.
    fn position(&self, geometry: &Geometry, [row, column]: [usize; 2]) -> usize {
        match self {
            Staged::Planes(stage) => row * stage.pitch(geometry) + column,
            Staged::Blocks(stage) => stage.position(geometry, [row, column]),
        }
    }

    /// Rows that are written.
    fn rows(&self) -> usize {
        match self {
            Staged::Planes(stage) => stage.rows(),
            Staged::Blocks(stage) => stage.rows(),
        }
    }
}

/// One group's convolution.
#[derive(GetSize, Debug)]
struct FilterLanesGroup {
    geometry: Geometry,
    isa: Isa,
    writes: Layout,
    staged: Staged,
    product: Product,
    /// Whether weights are packed before the first run.
    keeps_weights: bool,
    /// In order of the partition's parts.
    items: Vec<FilterItem>,
    partition: Partition,
}

impl FilterLanesGroup {
    fn new(problem: &Problem<'_>, group: PlacedGroup<'_>) -> Self {
        let &Problem { geometry, isa, threads, .. } = problem;
        let staged = Staged::new(problem, group);
        let offsets = group.columns.iter().map(|&column| staged.column(geometry, column)).collect();
        let [height, width] = geometry.output;
        let places = (0..height).flat_map(|row| (0..width).map(move |column| [row, column]));
        let positions = places.map(|place| staged.position(geometry, place)).collect();
        let filters = group.place.filters.len();
        let product = Product::new(isa, filters, offsets, positions);
        let items = product.share(threads);
        // Of blocks, planes are what is one block's.
        let lanes = problem.layouts.writes.lanes(isa);
        let part = |item: &FilterItem| {
            let positions = product.positions(&item.tiles);
            let planes = item.rows.start / lanes..item.rows.end.div_ceil(lanes);
            vec![Part { planes, positions: positions.start * lanes..positions.end * lanes }]
        };
        let parts = items.iter().map(part).collect();
        let partition = Partition::new(filters.div_ceil(lanes), geometry.output_len() * lanes, parts);
        let (geometry, writes) = (geometry.clone(), problem.layouts.writes);
        let keeps_weights = problem.keeps_weights;
        FilterLanesGroup { geometry, isa, writes, staged, product, keeps_weights, items, partition }
    }

    fn stage_len(&self) -> usize {
        let len = match &self.staged {
            Staged::Planes(stage) => stage.len(),
            Staged::Blocks(stage) => stage.len(),
        };
        len.next_multiple_of(16)
    }
}

impl<E: Stored> GroupKernel<E> for FilterLanesGroup {
    fn scratch_len(&self) -> usize {
        self.stage_len().saturating_add(self.partition.shares() * self.product.scratch_len())
    }

    fn kept_len(&self) -> usize {
        if self.keeps_weights { self.product.packed_len() } else { 0 }
    }

    fn transform_weights(&self, panels: Panels<'_, E>, kept: &mut [f32]) {
        if self.keeps_weights {
            self.product.pack(panels, &self.items, kept);
        }
    }

    fn describe(&self) -> String {
        self.product.describe()
    }

    fn run(&self, operands: GroupOperands<'_, E>, image: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        let GroupOperands { panels, kept, finishing } = operands;
        let matrix = Matrix { panels, packed: kept };
        expect_len("bias", finishing.bias, self.product.rows());
        let (planes, scratch) = scratch.split_at_mut(self.stage_len());
        let x = match &self.staged {
            Staged::Planes(stage) => stage.of(&self.geometry, self.isa, image, planes, threading),
            Staged::Blocks(stage) => stage.of(&self.geometry, image, planes, threading),
        };
        self.partition.for_each(out, scratch, self.product.scratch_len(), threading, |i, mut window, scratch| {
            let (item, window) = (&self.items[i], &mut window);
            match self.writes {
                Layout::Planes => self.product.run(matrix, item, x, scratch, |sums| {
                    self.isa.dispatch(Finish { finishing, sums, window });
                }),
                Layout::Blocks => {
                    let epilogue = Epilogue { add: finishing.add, finish: Some((finishing.bias, finishing.activation)) };
                    self.product.run_into_blocks(matrix, item, x, scratch, window, epilogue);
                }
            }
        });
    }
}
