//! What methods have in common that compute one group after the other, each in a way of its own.

use crate::Threading;
use crate::conv::finish::Finishing;
use crate::conv::method::{ConvKernel, GroupPlace, Operands, PlacedGroup, Problem};
use crate::simd::Stored;
use get_size2::GetSize;
use sslm_basics::panels::Panels;
use std::fmt::Debug;
use std::ops::Range;

/// One group with what was prepared for it.
pub(super) trait GroupKernel<E>: Debug + Send + Sync {
    /// Elements of scratch memory that [`Self::run`] needs.
    fn scratch_len(&self) -> usize;

    /// Elements of transformed weights that it keeps.
    fn kept_len(&self) -> usize {
        0
    }

    /// Transforms the group's weights. `kept` has [`Self::kept_len`] elements, each of which it overwrites.
    fn transform_weights(&self, _panels: Panels<'_, E>, _kept: &mut [f32]) {}

    /// Sizes, for reports.
    fn describe(&self) -> String;

    /// Computes the group's planes `out` of one image.
    fn run(&self, operands: GroupOperands<'_, E>, image: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading);
}

/// What a group multiplies an image with, and what it does with the sums.
#[derive(Clone, Copy)]
pub(super) struct GroupOperands<'a, E> {
    pub(super) panels: Panels<'a, E>,
    /// What [`GroupKernel::transform_weights`] made of them.
    pub(super) kept: &'a [f32],
    pub(super) finishing: Finishing<'a>,
}

/// Groups that are computed one after the other.
#[derive(GetSize, Debug)]
pub(super) struct EachGroup<K> {
    /// Positions of a plane of the output, and of a row of it.
    plane_len: usize,
    width: usize,
    /// Filters whose outputs lie side by side.
    lanes: usize,
    groups: Vec<(GroupPlace, K)>,
}

impl<K> EachGroup<K> {
    /// With what `prepare` makes of each group.
    pub(super) fn new(problem: &Problem<'_>, groups: &[PlacedGroup<'_>], prepare: impl Fn(PlacedGroup<'_>) -> K) -> Self {
        let groups = groups.iter().map(|&group| (group.place.clone(), prepare(group))).collect();
        let lanes = problem.layouts.writes.lanes(problem.isa);
        EachGroup { plane_len: problem.geometry.output_len(), width: problem.geometry.output[1], lanes, groups }
    }
}

impl<E: Stored, K: GroupKernel<E> + GetSize> ConvKernel<E> for EachGroup<K> {
    fn scratch_len(&self) -> usize {
        self.groups.iter().map(|(_, kernel)| kernel.scratch_len()).max().unwrap_or(0)
    }

    fn kept_len(&self) -> usize {
        self.groups.iter().map(|(_, kernel)| kernel.kept_len()).sum()
    }

    fn transform_weights(&self, weights: &[E], mut kept: &mut [f32]) {
        for (place, kernel) in &self.groups {
            let (of_group, rest) = kept.split_at_mut(kernel.kept_len());
            kernel.transform_weights(place.panels(weights), of_group);
            kept = rest;
        }
    }

    fn describe(&self, group: usize) -> String {
        let kernel = self.groups.iter().find(|(place, _)| place.index == group);
        kernel.map_or_else(String::new, |(_, kernel)| kernel.describe())
    }

    fn run(&self, operands: Operands<'_, E>, image: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        let mut kept = operands.kept;
        for (place, kernel) in &self.groups {
            let (of_group, rest) = kept.split_at(kernel.kept_len());
            kept = rest;
            let Range { start, end } = place.filters;
            let out = &mut out[start * self.plane_len..end.next_multiple_of(self.lanes) * self.plane_len];
            if operands.border.is_some() {
                let blocks = (start..end).step_by(self.lanes).zip(out.chunks_exact_mut(self.plane_len * self.lanes));
                for (first, out) in blocks {
                    match self.lanes {
                        1 => operands.add_border(first, 0..self.plane_len, self.width, out),
                        lanes => operands.add_border_to_block(first..end.min(first + lanes), lanes, [0, self.width], out),
                    }
                }
            }
            let bias = &operands.bias[place.filters.clone()];
            let finishing = Finishing { bias, activation: operands.activation, add: operands.adds() };
            kernel.run(
                GroupOperands { panels: place.panels(operands.weights), kept: of_group, finishing },
                image,
                out,
                scratch,
                threading,
            );
        }
    }
}
