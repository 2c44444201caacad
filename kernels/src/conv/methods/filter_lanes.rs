//! Filter lanes: convolutions whose planes are so small that vectors of positions would be half empty, as planes of 7x7 are. Lanes
//! are filters instead, and each output position is what an image of a batch is to a fully connected layer. Padding is written out
//! once, and sums are transposed into planes.

use super::each_group::{EachGroup, GroupKernel, GroupOperands};
use crate::conv::finish::Finish;
use crate::conv::geometry::Geometry;
use crate::conv::method::{ConvKernel, ConvMethod, PlacedGroup, Problem};
use crate::conv::stage::{Padding, Stage};
use crate::filter_tile::{FilterItem, Product};
use crate::parallel::{Part, Partition};
use crate::simd::{Isa, Stored};
use crate::{Threading, expect_len};

pub(super) struct FilterLanes;

impl ConvMethod for FilterLanes {
    fn applies(&self, _: &Problem<'_>, _: PlacedGroup<'_>) -> bool {
        true
    }

    fn cost(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> Option<f64> {
        let (costs, geometry) = (&problem.costs.filter_lanes, problem.geometry);
        let (vectors, positions) = (group.place.filters.len().div_ceil(problem.isa.lanes()) as f64, geometry.output_len());
        if positions > costs.most_positions {
            return None;
        }
        // Tiles have eight positions or a little fewer.
        let products = group.columns.len() * positions.next_multiple_of(8);
        let rows = staged(geometry, group).rows();
        Some(vectors * (costs.product * products as f64 + costs.output * positions as f64) + costs.staged_row * rows as f64)
    }

    fn prepare(&self, problem: &Problem<'_>, groups: &[PlacedGroup<'_>]) -> Box<dyn ConvKernel<f32>> {
        Box::new(EachGroup::new(problem.geometry, groups, |group| FilterLanesGroup::new(problem, group)))
    }
}

/// What columns are read from: the image with its padding.
fn staged(geometry: &Geometry, group: PlacedGroup<'_>) -> Stage {
    Stage::new(geometry, group.columns.iter().copied(), Padding::Written)
}

/// One group's convolution.
#[derive(Debug)]
struct FilterLanesGroup {
    geometry: Geometry,
    isa: Isa,
    stage: Stage,
    product: Product,
    /// In order of the partition's parts.
    items: Vec<FilterItem>,
    partition: Partition,
}

impl FilterLanesGroup {
    fn new(problem: &Problem<'_>, group: PlacedGroup<'_>) -> Self {
        let &Problem { geometry, isa, threads, .. } = problem;
        let stage = staged(geometry, group);
        let offset = |(i, &column)| {
            // Padding is written out, so nothing lies before the input's first element.
            usize::try_from(stage.offset(geometry, i, column)).expect("a place inside the staged input")
        };
        let offsets = group.columns.iter().enumerate().map(offset).collect();
        let ([height, width], pitch) = (geometry.output, stage.pitch(geometry));
        let positions = (0..height).flat_map(|row| (0..width).map(move |column| row * pitch + column)).collect();
        let filters = group.place.filters.len();
        let product = Product::new(isa, filters, offsets, positions);
        let items = product.share(threads);
        let part = |item: &FilterItem| vec![Part { planes: item.rows.clone(), positions: product.positions(&item.tiles) }];
        let partition = Partition::new(filters, geometry.output_len(), items.iter().map(part).collect());
        FilterLanesGroup { geometry: geometry.clone(), isa, stage, product, items, partition }
    }

    fn stage_len(&self) -> usize {
        self.stage.len(&self.geometry).next_multiple_of(16)
    }
}

impl<E: Stored> GroupKernel<E> for FilterLanesGroup {
    fn scratch_len(&self) -> usize {
        self.stage_len().saturating_add(self.partition.shares() * self.product.scratch_len())
    }

    fn describe(&self) -> String {
        self.product.describe()
    }

    fn run(&self, operands: GroupOperands<'_, E>, image: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        let GroupOperands { panels, finishing } = operands;
        expect_len("bias", finishing.bias, self.product.rows());
        let (planes, scratch) = scratch.split_at_mut(self.stage_len());
        let x = self.stage.of(&self.geometry, self.isa, image, planes, threading);
        self.partition.for_each(out, scratch, self.product.scratch_len(), threading, |i, mut window, scratch| {
            self.product.run(panels, &self.items[i], x, scratch, |sums| {
                self.isa.dispatch(Finish { finishing, sums, window: &mut window });
            });
        });
    }
}
