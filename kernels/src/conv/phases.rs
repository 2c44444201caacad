//! A transposed convolution as an ordinary one. Output positions that lie the strides apart make a *phase*; a tap reaches those of
//! one phase only, and these read the input as the outputs of a convolution without strides do. So all phases together are one
//! convolution without strides, whose filters are those of each phase. Phases that read the same columns, as all do where kernels
//! are as large as strides, share a group of it.

use super::ConvTask;
use super::geometry::{Column, Geometry, KeptGroup};
use crate::Activation;
use get_size2::GetSize;
use sslm_basics::panels::{Panels, ROWS};
use std::collections::HashMap;
use std::ops::Range;

/// The phases of a transposed convolution, row by row.
#[derive(GetSize, Debug)]
pub(super) struct Phases {
    /// How many there are along each axis.
    pub(super) counts: [usize; 2],
    /// Positions of the largest phase.
    pub(super) size: [usize; 2],
    /// Where taps read along each axis, relative to the index of a position in its phase.
    pub(super) reach: [Range<isize>; 2],
    pub(super) groups: Vec<PhaseGroup>,
}

/// Phases of a group that read the same columns.
#[derive(GetSize, Debug)]
pub(super) struct PhaseGroup {
    /// The index of the group.
    pub(super) group: usize,
    /// Its filters.
    pub(super) filters: usize,
    columns: Vec<PhaseColumn>,
    /// Each phase, and which of the group's columns these are in it.
    phases: Vec<(usize, Vec<usize>)>,
}

/// What a column reads in the phase that it reaches.
#[derive(GetSize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PhaseColumn {
    channel: usize,
    /// The row and the column of the input, relative to the index of a position in its phase.
    offsets: [isize; 2],
}

/// The rows of a phase that are computed at a time.
#[derive(GetSize, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// All of them, from the input where it lies.
    All,
    /// So many, from a copy of the rows that they read, with zeros beyond the input.
    Some(usize),
}

impl Phases {
    pub(super) fn new(geometry: &Geometry, groups: &[KeptGroup]) -> Self {
        let taps = [0, 1].map(|axis| taps(geometry, axis));
        // An output without positions is computed as if it had one.
        let output = geometry.output.map(|positions| positions.max(1));
        let counts = [0, 1].map(|axis| geometry.strides[axis].min(output[axis]));
        let size = [0, 1].map(|axis| output[axis].div_ceil(geometry.strides[axis]));
        let with_filters = groups.iter().enumerate().filter(|(_, group)| group.filters > 0);
        let all: Vec<PhaseGroup> = with_filters.flat_map(|(index, group)| phases_of(index, group, counts, &taps)).collect();
        let reach = [0, 1].map(|axis| {
            let offsets = || all.iter().flat_map(|group| &group.columns).map(|column| column.offsets[axis]);
            offsets().min().unwrap_or(0)..offsets().max().unwrap_or(0) + 1
        });
        Phases { counts, size, reach, groups: all }
    }

    /// Whether there is one phase, and weights lie as its convolution reads them.
    pub(super) fn is_plain(&self, groups: &[KeptGroup]) -> bool {
        let all = |group: &PhaseGroup| group.columns.len() == groups[group.group].columns.len();
        self.counts == [1, 1] && self.groups.iter().all(all)
    }

    /// The convolution that computes all phases, each of whose filters begin at a multiple of `lanes`: group after group, phase after
    /// phase. It adds nothing to them.
    pub(super) fn convolution(&self, task: &ConvTask<'_>, rows: Rows, lanes: usize, activation: Activation) -> ConvTask<'static> {
        let geometry = &task.geometry;
        // The offset of the first tap along each axis: padding is what lies before the input's first element.
        let mut first = self.reach.clone().map(|reach| reach.start.min(0));
        let ([mut height, width], [mut out_height, out_width]) = (geometry.input, self.size);
        let mut pad_before = first.map(isize::unsigned_abs);
        if let Rows::Some(rows) = rows {
            (first[0], pad_before[0], out_height) = (self.reach[0].start, 0, rows);
            height = rows + self.reach[0].len() - 1;
        }
        let kernel = [0, 1].map(|axis| (self.reach[axis].end - first[axis]).unsigned_abs());
        let group = |group: &PhaseGroup| {
            let tap = |offset: isize, axis: usize| (offset - first[axis]).unsigned_abs();
            let column = |column: &PhaseColumn| Column {
                channel: column.channel,
                kh: tap(column.offsets[0], 0),
                kw: tap(column.offsets[1], 1),
            };
            KeptGroup { filters: group.rows(lanes), columns: group.columns.iter().map(column).collect() }
        };
        ConvTask {
            images: task.images,
            geometry: Geometry {
                channels: geometry.channels,
                input: [height, width],
                output: [out_height, out_width],
                kernel,
                strides: [1, 1],
                dilations: [1, 1],
                pad_before,
                transposed: false,
            },
            groups: self.groups.iter().map(group).collect(),
            taps: None,
            activation,
            accumulate: false,
        }
    }
}

impl PhaseGroup {
    /// Filters of all its phases.
    pub(super) fn rows(&self, lanes: usize) -> usize {
        self.phases.len() * self.filters.next_multiple_of(lanes)
    }

    /// Columns of each phase.
    pub(super) fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Each phase, with the first of its filters among [`Self::rows`].
    pub(super) fn phases(&self, lanes: usize) -> impl Iterator<Item = (usize, usize)> {
        let each = self.filters.next_multiple_of(lanes);
        self.phases.iter().enumerate().map(move |(i, (phase, _))| (*phase, i * each))
    }

    /// Writes the weights of all its phases, in panels, from those of the group. Those of filters that are not there are zero.
    pub(super) fn gather_weights(&self, weights: Panels<'_, f32>, lanes: usize, to: &mut [f32]) {
        let (each, all, columns) = (self.filters.next_multiple_of(lanes), self.rows(lanes), self.columns.len());
        if columns == 0 {
            return;
        }
        for (first, panel) in (0..all).step_by(ROWS).zip(to.chunks_mut(ROWS * columns)) {
            let height = panel.len() / columns;
            let mut row = 0;
            while row < height {
                let ((_, which), filter) = (&self.phases[(first + row) / each], (first + row) % each);
                // Filters that lie side by side both in the panel that is read and in the one that is written.
                let here = row..row + (height - row).min(each - filter).min(ROWS - filter % ROWS);
                row = here.end;
                let count = here.len().min(self.filters.saturating_sub(filter));
                let from = weights.panel(filter / ROWS);
                for (to, &column) in panel.chunks_exact_mut(height).zip(which) {
                    let (kept, beyond) = to[here.clone()].split_at_mut(count);
                    kept.copy_from_slice(&from.column(column)[filter % ROWS..][..count]);
                    beyond.fill(0.0);
                }
            }
        }
    }

    /// Writes the biases of all its phases, from those of the group.
    pub(super) fn gather_bias(&self, bias: &[f32], lanes: usize, to: &mut [f32]) {
        for to in to.chunks_exact_mut(self.filters.next_multiple_of(lanes)) {
            let (kept, beyond) = to.split_at_mut(self.filters);
            kept.copy_from_slice(bias);
            beyond.fill(0.0);
        }
    }
}

/// The phases of a group, of so many along each axis, given what each tap reaches.
fn phases_of(index: usize, group: &KeptGroup, counts: [usize; 2], taps: &[Vec<Option<(usize, isize)>>; 2]) -> Vec<PhaseGroup> {
    let mut of_phases: HashMap<usize, (Vec<PhaseColumn>, Vec<usize>)> = HashMap::new();
    for (i, column) in group.columns.iter().enumerate() {
        if let Some(((row, down), (phase, right))) = taps[0][column.kh].zip(taps[1][column.kw]) {
            let (columns, which) = of_phases.entry(row * counts[1] + phase).or_default();
            columns.push(PhaseColumn { channel: column.channel, offsets: [down, right] });
            which.push(i);
        }
    }
    let (mut all, mut known): (Vec<PhaseGroup>, HashMap<Vec<PhaseColumn>, usize>) = Default::default();
    for phase in 0..counts[0] * counts[1] {
        let (columns, which) = of_phases.remove(&phase).unwrap_or_default();
        let at = *known.entry(columns).or_insert_with_key(|columns| {
            all.push(PhaseGroup { group: index, filters: group.filters, columns: columns.clone(), phases: Vec::new() });
            all.len() - 1
        });
        all[at].phases.push((phase, which));
    }
    all
}

/// For each tap along `axis` the phase that it reaches, and where it reads relative to the index of a position there. `None` for taps
/// that reach no position of the output from any of the input.
fn taps(geometry: &Geometry, axis: usize) -> Vec<Option<(usize, isize)>> {
    let (stride, input, output) = (geometry.strides[axis], geometry.input[axis] as isize, geometry.output[axis]);
    let tap = |tap: usize| {
        let start = (tap * geometry.dilations[axis]) as isize - geometry.pad_before[axis] as isize;
        let phase = start.rem_euclid(stride as isize) as usize;
        let offset = -start.div_euclid(stride as isize);
        let positions = output.saturating_sub(phase).div_ceil(stride) as isize;
        (positions > 0 && offset < input && offset + positions > 0).then_some((phase, offset))
    };
    (0..geometry.kernel[axis]).map(tap).collect()
}
