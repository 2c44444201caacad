//! What a method of convolution has to say of itself, and what it is told: [`ConvMethod`] decides from shapes, when a convolution
//! is prepared, and [`ConvKernel`] is what it then makes, which runs. Each method is one file in `methods/`.

use super::border::Border;
use super::cost::CostModel;
use super::geometry::{Column, Geometry, KeptGroup};
use super::tiling::Tiling;
use crate::cpu::Tables;
use crate::layout::Layouts;
use crate::simd::Isa;
use crate::target::WeightsFrom;
use crate::{Activation, Threading};
use get_size2::GetSize;
use sslm_basics::panels::{Element, Panels, ROWS};
use std::cell::OnceCell;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

/// A layer that is to be computed, and on what.
#[derive(Clone, Copy)]
pub(super) struct Problem<'a> {
    pub(super) geometry: &'a Geometry,
    /// How input and output lie in memory.
    pub(super) layouts: Layouts,
    /// Planes of the output.
    pub(super) filters: usize,
    pub(super) isa: Isa,
    /// Threads that may share an image.
    pub(super) threads: usize,
    /// Whether weights may be kept that are transformed before the first run.
    pub(super) keeps_weights: bool,
    /// Where weights are expected to come from.
    pub(super) weights_from: WeightsFrom,
    pub(super) costs: &'static CostModel,
    pub(super) groups: &'a [KeptGroup],
    /// What [`Self::tiling`] yields, as soon as it was asked for.
    pub(super) tiled: &'a OnceCell<Arc<Tiling>>,
}

impl Problem<'_> {
    /// What the methods that go tile by tile read of an image, for all groups.
    pub(super) fn tiling(&self) -> &Arc<Tiling> {
        self.tiled.get_or_init(|| {
            let highest = self.groups.iter().map(|group| group.filters.min(ROWS)).max().unwrap_or(0);
            let columns = self.groups.iter().flat_map(|group| &group.columns).copied();
            Arc::new(Tiling::new(self.geometry, columns, highest, self.isa))
        })
    }
}

/// One convolution group of a layer.
#[derive(Clone, Copy)]
pub(super) struct PlacedGroup<'a> {
    pub(super) place: &'a GroupPlace,
    pub(super) columns: &'a [Column],
}

impl PlacedGroup<'_> {
    /// Whether no other group has filters in a block of the output in which this one has.
    pub(super) fn has_whole_blocks(&self, problem: &Problem<'_>) -> bool {
        let (lanes, filters) = (problem.layouts.writes.lanes(problem.isa), &self.place.filters);
        filters.start.is_multiple_of(lanes) && (filters.end.is_multiple_of(lanes) || filters.end == problem.filters)
    }
}

/// Where a group lies among the others.
#[derive(GetSize, Clone, Debug)]
pub(super) struct GroupPlace {
    /// The group's index.
    pub(super) index: usize,
    /// Its filters, counted over all groups.
    pub(super) filters: Range<usize>,
    /// Its weights, counted over all groups.
    pub(super) weights: Range<usize>,
    /// How many columns it has.
    pub(super) columns: usize,
}

impl GroupPlace {
    /// The group's weights, among those of all groups.
    #[inline]
    pub(super) fn panels<'a, E: Element>(&self, weights: &'a [E]) -> Panels<'a, E> {
        Panels::new(&weights[self.weights.clone()], self.filters.len(), self.columns)
    }
}

/// A way to compute groups of a layer.
pub(super) trait ConvMethod: Sync {
    /// Whether it can read and write these.
    fn supports(&self, layouts: Layouts) -> bool {
        layouts == Layouts::PLANES
    }

    /// Whether it can compute a group in layouts that it [supports](Self::supports).
    fn applies(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> bool;

    /// Whether no other method is as fast for a group to which it applies, as far as was timed: then costs are not compared. Of two
    /// such methods, the later one in the list of all methods is chosen.
    fn is_fastest(&self, _: &Problem<'_>, _: PlacedGroup<'_>) -> bool {
        false
    }

    /// Whether its cost is to be compared with that of others; else it is chosen by [`Self::is_fastest`] or on request only.
    fn competes(&self, _: &Problem<'_>) -> bool {
        true
    }

    /// What one image is expected to cost, in multiply-adds of vectors, for a group to which it applies. `None` for others.
    fn cost(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> Option<f64>;

    /// Elements of transformed weights that it keeps of a group in the problem's layouts, where it may keep them.
    fn kept_len(&self, _: &Problem<'_>, _: PlacedGroup<'_>) -> usize {
        0
    }

    /// Decides everything that shapes decide, for all groups of a layer that are to be computed this way.
    fn prepare(&self, problem: &Problem<'_>, groups: &[PlacedGroup<'_>]) -> Box<dyn ConvKernel<f32>>;
}

/// A method with what it prepared, for weights of one kind of element.
pub(super) trait ConvKernel<E: Element>: Tables + Debug + Send + Sync {
    /// Elements of scratch memory that [`Self::run`] needs.
    fn scratch_len(&self) -> usize;

    /// Elements of transformed weights that it keeps, beside those of the file.
    fn kept_len(&self) -> usize {
        0
    }

    /// Transforms the weights of its groups. `kept` has [`Self::kept_len`] elements, each of which it overwrites.
    fn transform_weights(&self, _weights: &[E], _kept: &mut [f32]) {}

    /// Sizes with which it computes the group of this index, for reports; empty if there are none.
    fn describe(&self, group: usize) -> String;

    /// Computes its groups' planes of one image's output `out`, which has those of all groups.
    fn run(&self, operands: Operands<'_, E>, image: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading);
}

/// What a layer multiplies an image with, and what it does with the sums.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a, E> {
    /// The weights of all groups.
    pub(super) weights: &'a [E],
    /// What [`ConvKernel::transform_weights`] made of those of the kernel's groups.
    pub(super) kept: &'a [f32],
    /// The biases of all groups.
    pub(super) bias: &'a [f32],
    pub(super) border: Option<&'a Border>,
    pub(super) activation: Activation,
    /// Whether the output holds elements that sums are added to.
    pub(super) accumulate: bool,
}

impl<E: Element> Operands<'_, E> {
    /// Whether the output holds something by the time that sums come: what was there before, or what the border adds.
    pub(super) fn adds(&self) -> bool {
        self.accumulate || self.border.is_some()
    }

    /// Has the border, if there is one, add its part to some rows of some filters' block, or write it: from `first_row` on, of `width`
    /// positions each.
    pub(super) fn add_border_to_block(
        &self,
        filters: Range<usize>,
        lanes: usize,
        [first_row, width]: [usize; 2],
        out: &mut [f32],
    ) {
        if let Some(border) = self.border {
            border.run_on_block(filters, lanes, [first_row, width], self.accumulate, out);
        }
    }

    /// Has the border, if there is one, add its part to some positions of a filter's plane, or write it. Rows have `width`
    /// positions.
    pub(super) fn add_border(&self, filter: usize, positions: Range<usize>, width: usize, out: &mut [f32]) {
        if let Some(border) = self.border {
            border.run(filter, positions, width, self.accumulate, out);
        }
    }
}
