//! A transposed convolution, prepared: all its [phases](super::phases) are computed by one convolution without strides, and take
//! their places in the output from scratch memory. Where that would not stay in L2, some rows are computed at a time.

use super::border::Border;
use super::cost::CostModel;
use super::geometry::Geometry;
use super::method::GroupPlace;
use super::phases::{Phases, Rows};
use super::spread::Spread;
use super::{ConvCost, ConvParameters, ConvTask, Method, PreparedConv, places};
use crate::cpu::{Call, Kernel, Slices};
use crate::layout::{Layout, Layouts};
use crate::parallel::{Part, Partition};
use crate::simd::{Isa, MAX_LANES};
use crate::target::Target;
use crate::{Activation, Threading, balanced, count_pieces, expect_len};
use get_size2::GetSize;
use std::ops::Range;

/// Elements of all phases that are computed at a time, where there are more: they stay in L2. Half and twice as many are as fast.
const TOGETHER: usize = 128 * 1024;

/// Where not all rows are computed at a time, threads share parts of them, of which there are a multiple of this many.
const SHARES: usize = 4;

/// In which parts a transposed convolution is computed whose output lies in some layout.
#[derive(GetSize, Debug)]
struct PhasedSizes {
    phases: Phases,
    /// Channels of the output whose elements lie side by side.
    lanes: usize,
    /// Rows of all phases that are computed at a time.
    bands: Vec<Range<usize>>,
    /// The most of them.
    rows: Rows,
}

impl PhasedSizes {
    /// `None` if outputs cannot be written in this layout: each group's filters have to begin at a block.
    fn new(task: &ConvTask<'_>, writes: Layout, isa: Isa) -> Option<Self> {
        let lanes = writes.lanes(isa);
        let begins = |place: &GroupPlace| place.filters.is_empty() || place.filters.start.is_multiple_of(lanes);
        if !places(&task.groups).iter().all(begins) {
            return None;
        }
        let phases = Phases::new(&task.geometry, &task.groups);
        let filters: usize = phases.groups.iter().map(|group| group.rows(lanes)).sum();
        let columns = phases.groups.iter().map(|group| group.columns()).max().unwrap_or(0);
        let [height, width] = phases.size;
        // Weights are read for each band: there are to be as many positions as columns, at least.
        let positions = (TOGETHER / filters.max(1)).max(columns);
        let count = height.div_ceil((positions / width).max(1));
        let count = if count > 1 { count.next_multiple_of(SHARES).min(height) } else { 1 };
        let most = height.div_ceil(count);
        let rows = if count > 1 { Rows::Some(most) } else { Rows::All };
        Some(PhasedSizes { phases, lanes, bands: balanced(height, most).collect(), rows })
    }

    fn convolution(&self, task: &ConvTask<'_>, activation: Activation) -> ConvTask<'static> {
        self.phases.convolution(task, self.rows, self.lanes, activation)
    }
}

/// What a transposed convolution is expected to cost in each of the layouts in which it can be computed.
pub(super) fn costs(task: &ConvTask<'_>, target: &Target) -> Vec<ConvCost> {
    let (isa, costs, [_, output]) = (target.isa, &CostModel::of(target.isa).phases, task.extents());
    let mut all = Vec::new();
    for writes in [Layout::Planes, Layout::Blocks] {
        let Some(sizes) = PhasedSizes::new(task, writes, isa) else { continue };
        let convolution = sizes.convolution(task, task.activation);
        let [input, _] = convolution.extents();
        let weights = convolution.weights_len();
        let vectors = |len: usize| (len / isa.lanes()) as f64;
        for mut cost in convolution.costs(target).into_iter().filter(|cost| cost.layouts.writes == writes) {
            if sizes.rows != Rows::All {
                cost.cost += costs.copied * vectors(input.len(cost.layouts.reads, isa));
            }
            cost.cost = cost.cost * sizes.bands.len() as f64 + costs.output * vectors(output.len(writes, isa));
            if target.keeps_weights {
                cost.kept_len += parameters_len(weights, convolution.filters());
            } else {
                cost.cost += costs.weight * weights as f64;
            }
            all.push(cost);
        }
    }
    all
}

/// Elements of weights and biases of all phases.
fn parameters_len(weights: usize, filters: usize) -> usize {
    (weights + filters).next_multiple_of(MAX_LANES)
}

/// A transposed convolution with everything decided that shapes decide.
#[derive(GetSize, Debug)]
pub(super) struct PhasedConv {
    isa: Isa,
    layouts: Layouts,
    geometry: Geometry,
    /// Of the groups.
    places: Vec<GroupPlace>,
    border: Option<Border>,
    #[get_size(ignore)]
    activation: Activation,
    accumulate: bool,
    sizes: PhasedSizes,
    /// Computes the phases of a band.
    convolution: PreparedConv,
    /// For each plane (or block) of the output that of each phase.
    sources: Vec<usize>,
    keeps_weights: bool,
    /// Some bands for each thread.
    partition: Partition,
}

impl PhasedConv {
    /// On a target in whose layouts it [can be computed](costs).
    ///
    /// # Panics
    /// If it cannot, or as [`PreparedConv::new`].
    pub(super) fn new(task: &ConvTask<'_>, target: &Target) -> Self {
        let &Target { isa, layouts, keeps_weights, threads, .. } = target;
        let sizes = PhasedSizes::new(task, layouts.writes, isa).expect("layouts in which it can be computed");
        let ConvTask { ref geometry, taps, activation, accumulate, .. } = *task;
        let filters = task.filters();
        let border = taps.map(|taps| Border::new(geometry, filters, taps));
        // What is there already is added when outputs take their places.
        let adds = accumulate || border.is_some();
        let convolution = sizes.convolution(task, if adds { Activation::None } else { activation });
        let several = sizes.bands.len() > 1;
        let convolution = PreparedConv::on_target(convolution, &Target { threads: if several { 1 } else { threads }, ..*target });
        let places = places(&task.groups);
        let sources = sources(&sizes, &places, filters);
        let partition = share(&sizes, geometry, filters, threads);
        let geometry = geometry.clone();
        PhasedConv {
            isa,
            layouts,
            geometry,
            places,
            border,
            activation,
            accumulate,
            sizes,
            convolution,
            sources,
            keeps_weights,
            partition,
        }
    }

    fn filters(&self) -> usize {
        self.places.last().map_or(0, |place| place.filters.end)
    }

    /// Elements of weights and biases of all phases.
    fn parameters_len(&self) -> usize {
        parameters_len(self.convolution.weights, self.convolution.filters)
    }

    /// Writes the weights and biases of all phases, from those of all groups.
    fn gather(&self, [weights, bias]: [&[f32]; 2], to: &mut [f32]) {
        expect_len("weights", weights, self.places.last().map_or(0, |place| place.weights.end));
        expect_len("bias", bias, self.filters());
        let lanes = self.sizes.lanes;
        let (mut to_weights, mut to_bias) = to.split_at_mut(self.convolution.weights);
        for group in &self.sizes.phases.groups {
            let place = &self.places[group.group];
            let (of_group, of_filters);
            (of_group, to_weights) = to_weights.split_at_mut(group.rows(lanes) * group.columns());
            (of_filters, to_bias) = to_bias.split_at_mut(group.rows(lanes));
            group.gather_weights(place.panels(weights), lanes, of_group);
            group.gather_bias(&bias[place.filters.clone()], lanes, of_filters);
        }
    }

    /// Elements of the input's copy for a band, of the phases there, and of scratch memory that computes them.
    fn band_lens(&self) -> [usize; 3] {
        let [input, output] = self.convolution.extents();
        let copied = if self.sizes.rows == Rows::All { 0 } else { input.len(self.layouts.reads, self.isa) };
        let lens = [copied, output.len(self.layouts.writes, self.isa), self.convolution.scratch_len()];
        lens.map(|len| len.next_multiple_of(MAX_LANES))
    }

    fn band_len(&self) -> usize {
        self.band_lens().into_iter().fold(0, usize::saturating_add)
    }

    /// The phases of a band.
    fn compute_band<'s>(
        &self,
        band: &Range<usize>,
        image: &[f32],
        parameters: ConvParameters<'_>,
        scratch: &'s mut [f32],
        threading: Threading,
    ) -> &'s [f32] {
        let [input, output] = self.convolution.extents();
        let [copied_len, output_len, _] = self.band_lens();
        let (copy, scratch) = scratch.split_at_mut(copied_len);
        let (phases, scratch) = scratch.split_at_mut(output_len);
        let phases = &mut phases[..output.len(self.layouts.writes, self.isa)];
        let x = match self.sizes.rows {
            Rows::All => image,
            Rows::Some(_) => {
                let copy = &mut copy[..input.len(self.layouts.reads, self.isa)];
                self.copy_rows(band.start, image, copy);
                copy
            }
        };
        self.convolution.run(x, parameters, phases, scratch, threading);
        phases
    }

    /// Copies the rows of the input that the rows of phases from `first` on read. What lies beyond the input is zero.
    fn copy_rows(&self, first: usize, image: &[f32], copy: &mut [f32]) {
        let ([height, width], lanes) = (self.geometry.input, self.layouts.reads.lanes(self.isa));
        let (row_len, rows) = (width * lanes, self.convolution.geometry.input[0]);
        let first = first as isize + self.sizes.phases.reach[0].start;
        let before = first.min(0).unsigned_abs().min(rows);
        let start = (first.max(0) as usize).min(height);
        let count = (height - start).min(rows - before);
        for (plane, copy) in image.chunks_exact(height * row_len).zip(copy.chunks_exact_mut(rows * row_len)) {
            let (beyond, copy) = copy.split_at_mut(before * row_len);
            beyond.fill(0.0);
            let (copy, beyond) = copy.split_at_mut(count * row_len);
            copy.copy_from_slice(&plane[start * row_len..][..count * row_len]);
            beyond.fill(0.0);
        }
    }

    /// Writes the rows `out` of a plane (or block) that a band has.
    fn spread(&self, plane: usize, band: &Range<usize>, phases: &[f32], out: &mut [f32]) {
        let PhasedSizes { phases: Phases { counts, size, .. }, lanes, .. } = self.sizes;
        let ([_, width], strides) = (self.geometry.output, self.geometry.strides);
        let first_row = band.start * strides[0];
        if let Some(border) = &self.border {
            let positions = first_row * width..first_row * width + out.len() / lanes;
            match lanes {
                1 => border.run(plane, positions, width, self.accumulate, out),
                _ => {
                    let filters = plane * lanes..self.filters().min((plane + 1) * lanes);
                    border.run_on_block(filters, lanes, [first_row, width], self.accumulate, out);
                }
            }
        }
        let phase_len = self.convolution.geometry.output_len() * lanes;
        let sources = &self.sources[plane * counts[0] * counts[1]..];
        let phase = |[row, column]: [usize; 2]| &phases[sources[row * counts[1] + column] * phase_len..][..phase_len];
        let add = (self.accumulate || self.border.is_some()).then_some(self.activation);
        self.isa.dispatch(Spread { strides, lanes, widths: [width, size[1]], phase, add, out });
    }

    fn run(&self, image: &[f32], parameters: ConvParameters<'_>, out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        let (bands, lanes) = (&self.sizes.bands, self.sizes.lanes);
        let plane_len = self.geometry.output_len() * lanes;
        if let [band] = &bands[..] {
            let phases = self.compute_band(band, image, parameters, scratch, threading);
            threading.for_each_chunk(out, plane_len, |plane, out| self.spread(plane, band, phases, out));
            return;
        }
        self.partition.for_each(out, scratch, self.band_len(), threading, |index, mut window, scratch| {
            let band = &bands[index];
            let phases = self.compute_band(band, image, parameters, scratch, Threading::Single);
            for plane in 0..self.filters().div_ceil(lanes) {
                let out = window.part(plane, positions(band, &self.geometry, lanes));
                self.spread(plane, band, phases, out);
            }
        });
    }
}

impl Kernel for PhasedConv {
    fn scratch_len(&self) -> usize {
        let gathered = if self.keeps_weights { 0 } else { self.parameters_len() };
        gathered.saturating_add(self.partition.shares().saturating_mul(self.band_len()))
    }

    fn kept_len(&self) -> usize {
        if self.keeps_weights { self.parameters_len() + self.convolution.kept_len() } else { 0 }
    }

    fn transform_weights(&self, parameters: Slices<'_>, kept: &mut [f32]) {
        expect_len("kept weights", kept, self.kept_len());
        if !self.keeps_weights {
            return;
        }
        let (gathered, kept) = kept.split_at_mut(self.parameters_len());
        gathered.fill(0.0);
        self.gather([0, 1].map(|i| parameters.get(i)), gathered);
        self.convolution.transform_weights(&gathered[..self.convolution.weights], kept);
    }

    fn compute(&self, Call { reads, parameters, kept, out, scratch, exec }: Call<'_>) {
        if reads.len() > 1 {
            out.copy_from_slice(reads.get(1));
        }
        expect_len("kept weights", kept, self.kept_len());
        let lanes = self.sizes.lanes;
        let out_len = self.filters().next_multiple_of(lanes) * self.geometry.output_len();
        if out_len == 0 {
            return;
        }
        let (gathered, kept, scratch) = if self.keeps_weights {
            let (gathered, kept) = kept.split_at(self.parameters_len());
            (gathered, kept, scratch)
        } else {
            let (gathered, scratch) = scratch.split_at_mut(self.parameters_len());
            self.gather([0, 1].map(|i| parameters.get(i)), gathered);
            (&*gathered, kept, scratch)
        };
        let (weights, bias) = gathered.split_at(self.convolution.weights);
        let parameters = ConvParameters { weights, kept, bias: &bias[..self.convolution.filters] };
        let image_lanes = self.layouts.reads.lanes(self.isa);
        let image_len = self.geometry.channels.next_multiple_of(image_lanes) * self.geometry.input_len();
        let x = reads.get(0);
        expect_len("input", x, count_pieces("output", out, out_len) * image_len);
        for (i, out) in out.chunks_exact_mut(out_len).enumerate() {
            self.run(&x[i * image_len..][..image_len], parameters, out, scratch, exec.threading);
        }
    }

    fn describe(&self) -> Option<String> {
        let [rows, columns] = self.sizes.phases.counts;
        Some(format!("{}, {rows}x{columns} phases", self.convolution.describe()))
    }

    fn method(&self) -> Option<Method> {
        Some(self.convolution.method())
    }
}

/// For each plane (or block) of the output those of each phase.
fn sources(sizes: &PhasedSizes, places: &[GroupPlace], filters: usize) -> Vec<usize> {
    let (lanes, count) = (sizes.lanes, sizes.phases.counts[0] * sizes.phases.counts[1]);
    let mut sources = vec![0; filters.div_ceil(lanes) * count];
    let mut start = 0;
    for group in &sizes.phases.groups {
        let filters = &places[group.group].filters;
        for (phase, first) in group.phases(lanes) {
            for (i, plane) in (filters.start / lanes..filters.end.div_ceil(lanes)).enumerate() {
                sources[plane * count + phase] = (start + first) / lanes + i;
            }
        }
        start += group.rows(lanes);
    }
    sources
}

/// The elements of a plane (or block) of the output that a band has.
fn positions(band: &Range<usize>, geometry: &Geometry, lanes: usize) -> Range<usize> {
    let [height, width] = geometry.output;
    let row = |row: usize| (row * geometry.strides[0]).min(height) * width * lanes;
    row(band.start)..row(band.end)
}

/// Shares the bands out.
fn share(sizes: &PhasedSizes, geometry: &Geometry, filters: usize, threads: usize) -> Partition {
    let (bands, planes) = (&sizes.bands, filters.div_ceil(sizes.lanes));
    let part = |band: &Range<usize>| Part { planes: 0..planes, positions: positions(band, geometry, sizes.lanes) };
    let shares = balanced(bands.len(), bands.len().div_ceil(threads.max(1)));
    let shares = shares.map(|share| bands[share].iter().map(part).collect()).collect();
    Partition::new(planes, geometry.output_len() * sizes.lanes, shares)
}
