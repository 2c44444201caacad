//! Depthwise: groups of one input channel. What a register tile would compute of each is too little to pay for setting it up, so
//! here all groups are computed in one pass over the planes.
//!
//! A part of a plane is copied at a time, with its padding, into a patch that stays in L1. In a strided convolution each phase is
//! copied by itself, so that neighbouring outputs read neighbouring elements there. Taps that lie below each other in a patch make
//! a run: for some rows of sums, a run reads each row of the patch once, where single taps would each read it.

use crate::conv::cost::PlanesCosts;
use crate::conv::geometry::{Column, Geometry};
use crate::conv::method::{ConvKernel, ConvMethod, GroupPlace, Operands, PlacedGroup, Problem};
use crate::conv::stage;
use crate::parallel::{Part, Partition, Window};
use crate::simd::{Isa, MAX_LANES, Simd, Stored, Vectorized};
use crate::tile::{self, unrolled};
use crate::{Activation, Threading, balanced};
use get_size2::GetSize;
use sslm_basics::panels::ROWS as PANEL_ROWS;
use std::ops::Range;

/// Most rows of sums that are computed together, and most taps of a run: sums, weights and an operand fit sixteen registers.
const ROWS: usize = 8;
const TAPS: usize = 3;

/// Elements of a patch's row. Their count is the same for all layers, so that rows are found without a check each. It is an odd
/// multiple of a cache line, so that rows do not compete for places in the cache.
const PITCH: usize = 144;
/// Outputs of a patch's row at most, and how far taps may reach beyond them.
const WIDTH: usize = 128;
const REACH: usize = PITCH - WIDTH;
/// Rows of a patch, which fill half of L1.
const HEIGHT: usize = 64;

type Row = [f32; PITCH];

pub(super) struct Depthwise;

impl ConvMethod for Depthwise {
    fn applies(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> bool {
        let geometry = problem.geometry;
        let fits = |c: &Column| c.channel == group.columns[0].channel && stage::split(geometry, *c).1[1] <= REACH;
        group.columns.iter().all(fits)
    }

    fn is_fastest(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> bool {
        group.place.filters.len() <= problem.costs.planes.most_filters
    }

    fn competes(&self, _: &Problem<'_>) -> bool {
        false
    }

    fn cost(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> Option<f64> {
        let (geometry, costs) = (problem.geometry, &problem.costs.planes);
        let product = if geometry.strides[1] == 1 { costs.product } else { costs.strided_product };
        let taps = group.place.filters.len() * group.columns.len();
        Some(product * (taps * geometry.output[0] * geometry.output[1].div_ceil(problem.isa.lanes())) as f64)
    }

    fn prepare(&self, problem: &Problem<'_>, groups: &[PlacedGroup<'_>]) -> Box<dyn ConvKernel<f32>> {
        Box::new(DepthwiseGroups::new(problem, groups))
    }
}

/// The groups of a layer that are computed this way.
#[derive(GetSize, Debug)]
struct DepthwiseGroups {
    geometry: Geometry,
    channels: Vec<PlaneGroup>,
    /// Where in the padded input those elements start that lie the strides apart: row and column.
    phases: Vec<[usize; 2]>,
    /// Output rows and columns of a patch.
    size: [usize; 2],
    /// Rows and columns that each phase has more than that.
    beyond: [usize; 2],
    items: Vec<PlanesItem>,
    partition: Partition,
    isa: Isa,
}

/// One group.
#[derive(GetSize, Debug)]
struct PlaneGroup {
    /// The plane of the input that it reads.
    plane: usize,
    place: GroupPlace,
    /// The columns in the order of the runs.
    columns: Vec<usize>,
    runs: Vec<Run>,
}

/// Taps of neighbouring rows.
#[derive(GetSize, Debug)]
struct Run {
    /// Row and column of a patch that the first one reads for the first output.
    start: [usize; 2],
    taps: usize,
}

/// What one thread computes in a row: all rows of some groups, or some rows of one.
#[derive(GetSize, Debug)]
struct PlanesItem {
    channels: Range<usize>,
    rows: Range<usize>,
}

impl DepthwiseGroups {
    fn new(problem: &Problem<'_>, groups: &[PlacedGroup<'_>]) -> Self {
        let &Problem { geometry, isa, threads, .. } = problem;
        let mut phases: Vec<[usize; 2]> = Vec::new();
        let mut beyond = [0, 0];
        for column in groups.iter().flat_map(|group| group.columns) {
            let (phase, cell) = stage::split(geometry, *column);
            if !phases.contains(&phase) {
                phases.push(phase);
            }
            beyond = [0, 1].map(|axis| cell[axis].max(beyond[axis]));
        }
        phases.sort_unstable();
        let [height, width] = geometry.output;
        let rows = (HEIGHT / phases.len().max(1)).saturating_sub(beyond[0]).max(ROWS).min(height);
        let place = |column: Column| {
            let (phase, [row, cell]) = stage::split(geometry, column);
            let before = phases.iter().take_while(|p| **p < phase).count();
            [before * (rows + beyond[0]) + row, cell]
        };
        let channel = |group: &PlacedGroup<'_>| {
            // Taps below each other become neighbours.
            let mut taps: Vec<([usize; 2], usize)> = group.columns.iter().map(|c| place(*c)).zip(0..).collect();
            taps.sort_by_key(|&([row, column], _)| [column, row]);
            let mut runs: Vec<Run> = Vec::new();
            for &([row, column], _) in &taps {
                match runs.last_mut() {
                    Some(run) if run.taps < TAPS && [run.start[0] + run.taps, run.start[1]] == [row, column] => run.taps += 1,
                    _ => runs.push(Run { start: [row, column], taps: 1 }),
                }
            }
            let plane = group.columns.first().map_or(0, |c| c.channel);
            let columns = taps.into_iter().map(|(_, column)| column).collect();
            PlaneGroup { plane, place: group.place.clone(), columns, runs }
        };
        let channels: Vec<PlaneGroup> = groups.iter().map(channel).collect();
        let items = share(&channels, height, threads, &problem.costs.planes);
        let part = |item: &PlanesItem| Part {
            planes: channels[item.channels.start].place.filters.start..channels[item.channels.end - 1].place.filters.end,
            positions: item.rows.start * width..item.rows.end * width,
        };
        let parts = items.iter().map(|share| share.iter().map(part).collect()).collect();
        DepthwiseGroups {
            geometry: geometry.clone(),
            phases,
            size: [rows, width.min(WIDTH)],
            beyond,
            items: items.into_iter().flatten().collect(),
            partition: Partition::new(problem.filters, geometry.output_len(), parts),
            isa,
            channels,
        }
    }

    /// Elements of a patch, which has rows even where no group has columns.
    fn patch_len(&self) -> usize {
        self.phases.len().max(1) * (self.size[0] + self.beyond[0]) * PITCH
    }

    /// Elements of scratch memory of one thread: a patch, and a filter's weights.
    fn thread_len(&self) -> usize {
        let taps = self.channels.iter().map(|c| c.columns.len()).max().unwrap_or(0);
        (self.patch_len() + taps).next_multiple_of(MAX_LANES).max(MAX_LANES)
    }
}

impl<E: Stored> ConvKernel<E> for DepthwiseGroups {
    fn scratch_len(&self) -> usize {
        self.partition.shares().saturating_mul(self.thread_len())
    }

    fn describe(&self, _: usize) -> String {
        String::new()
    }

    fn run(&self, operands: Operands<'_, E>, image: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        self.partition.for_each(out, scratch, self.thread_len(), threading, |i, mut window, scratch| {
            let (patch, weights) = scratch.split_at_mut(self.patch_len());
            let (patch, _) = patch.as_chunks_mut();
            self.isa.dispatch(Planes { to: self, operands, image, item: &self.items[i], window: &mut window, patch, weights });
        });
    }
}

/// The items of each thread: all have about as much to do.
fn share(channels: &[PlaneGroup], height: usize, threads: usize, costs: &PlanesCosts) -> Vec<Vec<PlanesItem>> {
    // Of one row.
    let cost = |channel: &PlaneGroup| channel.place.filters.len() * channel.columns.len() + costs.copied_row;
    let all: usize = channels.iter().map(|c| cost(c) * height).sum();
    let mut shares: Vec<Vec<PlanesItem>> = (0..threads).map(|_| Vec::new()).collect();
    let mut before = 0;
    for (index, channel) in channels.iter().enumerate() {
        let cut = |thread: usize| ((thread * all / threads).saturating_sub(before) / cost(channel)).min(height);
        for (thread, share) in shares.iter_mut().enumerate() {
            let rows = cut(thread)..cut(thread + 1);
            match share.last_mut() {
                _ if rows.is_empty() => {}
                Some(last)
                    if last.rows == rows
                        && rows.len() == height
                        && channels[last.channels.end - 1].place.filters.end == channel.place.filters.start =>
                {
                    last.channels.end = index + 1;
                }
                _ => share.push(PlanesItem { channels: index..index + 1, rows }),
            }
        }
        before += cost(channel) * height;
    }
    shares
}

/// One item, for any instruction set.
struct Planes<'a, 'w, E> {
    to: &'a DepthwiseGroups,
    operands: Operands<'a, E>,
    image: &'a [f32],
    item: &'a PlanesItem,
    window: &'a mut Window<'w>,
    patch: &'a mut [Row],
    weights: &'a mut [f32],
}

impl<E: Stored> Vectorized for Planes<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Planes { to, operands, item, .. } = self;
        let width = to.geometry.output[1];
        // Padding stays zero from here on, but where it lies depends on the columns.
        self.patch.as_flattened_mut().fill(0.0);
        for channel in &to.channels[item.channels.clone()] {
            for rows in balanced(item.rows.len(), to.size[0]) {
                let rows = item.rows.start + rows.start..item.rows.start + rows.end;
                let positions = rows.start * width..rows.end * width;
                for columns in (0..width).step_by(to.size[1]) {
                    let columns = columns..width.min(columns + to.size[1]);
                    if !channel.runs.is_empty() {
                        if to.size[1] < width {
                            self.patch.as_flattened_mut().fill(0.0);
                        }
                        self.copy(simd, channel.plane, rows.clone(), columns.clone());
                    }
                    for filter in channel.place.filters.clone() {
                        self.gather(channel, filter - channel.place.filters.start);
                        let out = self.window.part(filter, positions.clone());
                        if columns.start == 0 {
                            operands.add_border(filter, positions.clone(), width, out);
                        }
                        let blocks = Blocks {
                            patch: self.patch,
                            runs: &channel.runs,
                            weights: self.weights,
                            bias: operands.bias[filter],
                            activation: operands.activation,
                            add: operands.adds(),
                            out,
                            width,
                            columns: columns.clone(),
                        };
                        blocks.run(simd, rows.len());
                    }
                }
            }
        }
    }
}

impl<E: Stored> Planes<'_, '_, E> {
    /// Fills the patch with what some rows and columns of the output read of a plane.
    #[inline(always)]
    fn copy<S: Simd>(&mut self, simd: S, plane: usize, rows: Range<usize>, columns: Range<usize>) {
        match self.to.geometry.strides[1] {
            1 => self.copy_every::<S, 1>(simd, plane, rows, columns),
            2 => self.copy_every::<S, 2>(simd, plane, rows, columns),
            _ => self.copy_every::<S, 0>(simd, plane, rows, columns),
        }
    }

    /// The same for a horizontal stride of `STRIDE`; 0 stands for any.
    fn copy_every<S: Simd, const STRIDE: usize>(&mut self, simd: S, plane: usize, rows: Range<usize>, columns: Range<usize>) {
        let DepthwiseGroups { geometry, phases, size, beyond, .. } = self.to;
        let x = &self.image[plane * geometry.input_len()..];
        let patch = &mut *self.patch;
        simd.vectorize(
            #[inline(always)]
            move || {
                let width = geometry.input[1];
                let [row_stride, stride] = [geometry.strides[0], if STRIDE == 0 { geometry.strides[1] } else { STRIDE }];
                for (phase, patch) in phases.iter().zip(patch.chunks_exact_mut(size[0] + beyond[0])) {
                    let patch = &mut patch[..rows.len() + beyond[0]];
                    let start = [rows.start * row_stride + phase[0], columns.start * stride + phase[1]];
                    let inside =
                        [geometry.cells(0, start[0], patch.len()), geometry.cells(1, start[1], columns.len() + beyond[1])];
                    patch[..inside[0].start].iter_mut().for_each(|row| row[inside[1].clone()].fill(0.0));
                    patch[inside[0].end..].iter_mut().for_each(|row| row[inside[1].clone()].fill(0.0));
                    if inside[0].is_empty() || inside[1].is_empty() {
                        continue;
                    }
                    let source =
                        |axis: usize| start[axis] + inside[axis].start * geometry.strides[axis] - geometry.pad_before[axis];
                    let x = &x[source(0) * width + source(1)..];
                    for (row, out) in patch[inside[0].clone()].iter_mut().enumerate() {
                        stage::every(simd, stride, &x[row * row_stride * width..], &mut out[inside[1].clone()]);
                    }
                }
            },
        );
    }

    /// Puts the weights of a group's `filter` in the order of its runs.
    fn gather(&mut self, channel: &PlaneGroup, filter: usize) {
        let panel = channel.place.panels(self.operands.weights).panel(filter / PANEL_ROWS);
        for (weight, column) in self.weights.iter_mut().zip(&channel.columns) {
            *weight = panel.column(*column)[filter % PANEL_ROWS].widen();
        }
    }
}

/// Rows of some columns of one filter's plane.
struct Blocks<'a> {
    /// From the row on that the first output reads.
    patch: &'a [Row],
    runs: &'a [Run],
    weights: &'a [f32],
    bias: f32,
    activation: Activation,
    add: bool,
    /// Whole rows, of `width` elements.
    out: &'a mut [f32],
    width: usize,
    columns: Range<usize>,
}

impl Blocks<'_> {
    /// Computes `rows` rows in as few blocks as can be: some of them have one row more than the others.
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S, rows: usize) {
        let count = rows.div_ceil(ROWS);
        let (least, more) = (rows / count, rows % count);
        for (rows, count) in [(least + 1, more), (least, count - more)] {
            if count > 0 {
                let (out, rest) = self.out.split_at_mut(rows * count * self.width);
                let columns = self.columns.clone();
                Blocks { out, columns, ..self }.of(simd, rows);
                self = Blocks { out: rest, patch: &self.patch[rows * count..], ..self };
            }
        }
    }

    #[inline(always)]
    fn of<S: Simd>(self, simd: S, rows: usize) {
        match rows {
            1 => self.rows::<S, 1>(simd),
            2 => self.rows::<S, 2>(simd),
            3 => self.rows::<S, 3>(simd),
            4 => self.rows::<S, 4>(simd),
            5 => self.rows::<S, 5>(simd),
            6 => self.rows::<S, 6>(simd),
            7 => self.rows::<S, 7>(simd),
            8 => self.rows::<S, 8>(simd),
            _ => unreachable!("a block of {rows} rows"),
        }
    }

    fn rows<S: Simd, const ROWS: usize>(self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            move || {
                let Blocks { patch, runs, weights: all, bias, activation, add, out, width, columns } = self;
                for (block, out) in out.chunks_exact_mut(ROWS * width).enumerate() {
                    for at in columns.clone().step_by(S::LANES) {
                        let mut sums = [[simd.splat(bias)]; ROWS];
                        let mut weights = all;
                        for run in runs {
                            let rows = &patch[run.start[0] + block * ROWS..][..ROWS + run.taps - 1];
                            let x = Reads { rows, column: run.start[1] + at - columns.start };
                            match run.taps {
                                1 => x.add::<S, ROWS, 1>(simd, weights, &mut sums),
                                2 => x.add::<S, ROWS, 2>(simd, weights, &mut sums),
                                _ => x.add::<S, ROWS, 3>(simd, weights, &mut sums),
                            }
                            weights = &weights[run.taps..];
                        }
                        let end = columns.end.min(at + S::LANES);
                        if add {
                            unrolled::<ROWS, 1>(
                                #[inline(always)]
                                |row, _| {
                                    let before = simd.get_first(&out[row * width + at..row * width + end]);
                                    sums[row][0] = simd.add(sums[row][0], before);
                                },
                            );
                        }
                        tile::activate(simd, activation, &mut sums);
                        unrolled::<ROWS, 1>(
                            #[inline(always)]
                            |row, _| simd.put_first(&mut out[row * width + at..row * width + end], sums[row][0]),
                        );
                    }
                }
            },
        );
    }
}

/// What a run of taps reads for a vector of outputs in each of some rows.
#[derive(Clone, Copy)]
struct Reads<'a> {
    rows: &'a [Row],
    column: usize,
}

impl Reads<'_> {
    /// Adds the products of so many taps to as many rows of sums.
    #[inline(always)]
    fn add<S: Simd, const ROWS: usize, const TAPS: usize>(self, simd: S, weights: &[f32], sums: &mut [[S::Vector; 1]; ROWS]) {
        let mut taps = [simd.splat(0.0); TAPS];
        assert!(weights.len() >= TAPS && self.rows.len() >= ROWS + TAPS - 1, "{TAPS} taps of {ROWS} rows");
        unrolled::<TAPS, 1>(
            #[inline(always)]
            |tap, _| taps[tap] = simd.splat(weights[tap]),
        );
        unrolled::<ROWS, 1>(
            #[inline(always)]
            |row, _| self.add_row(simd, row, taps, sums),
        );
        unrolled::<TAPS, 1>(
            #[inline(always)]
            |more, _| {
                if more > 0 {
                    self.add_row(simd, ROWS + more - 1, taps, sums);
                }
            },
        );
    }

    /// Adds what the taps read in one row.
    #[inline(always)]
    fn add_row<S: Simd, const ROWS: usize, const TAPS: usize>(
        self,
        simd: S,
        row: usize,
        taps: [S::Vector; TAPS],
        sums: &mut [[S::Vector; 1]; ROWS],
    ) {
        let x = simd.get(&self.rows[row][self.column..]);
        unrolled::<TAPS, 1>(
            #[inline(always)]
            |tap, _| {
                if tap <= row && row - tap < ROWS {
                    sums[row - tap][0] = simd.mul_add(taps[tap], x, sums[row - tap][0]);
                }
            },
        );
    }
}
