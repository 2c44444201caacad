//! Channel lanes: groups of one input channel and one filter, as in depthwise convolutions, where planes are small or strided: rows
//! of vectors would be half empty, or every other element of them unused. Lanes are channels instead. A vector of planes is
//! transposed into one plane of vectors, with its padding, in which every tap of every output is one load. Where channels lie in blocks,
//! nothing needs to be transposed: `blocks.rs`.

mod blocks;

use crate::conv::cost::BlockCosts;
use crate::conv::finish::{Finish, Finishing};
use crate::conv::geometry::{Column, Geometry};
use crate::conv::method::{ConvKernel, ConvMethod, Operands, PlacedGroup, Problem};
use crate::filter_tile::Sums;
use crate::layout::{Layout, Layouts};
use crate::parallel::{Part, Partition, Window};
use crate::simd::{Isa, MAX_LANES, Simd, Stored, Vectorized};
use crate::tile::unrolled;
use crate::{Threading, balanced};
use blocks::ChannelBlocks;
use get_size2::GetSize;
use std::ops::Range;

/// Most outputs that are computed together: their sums, a weight and an operand fit sixteen registers.
const TOGETHER: usize = 8;

/// Positions of a padded plane at most: of 16 channels they are half of L2.
const MOST_POSITIONS: usize = 8 * 1024;

/// Taps of a kernel at most where blocks are read, all of which have room among the weights, whatever is kept of them.
const MOST_TAPS: usize = 1024;

pub(super) struct ChannelLanes;

impl ConvMethod for ChannelLanes {
    fn supports(&self, layouts: Layouts) -> bool {
        layouts.reads == layouts.writes
    }

    fn applies(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> bool {
        let (geometry, columns) = (problem.geometry, group.columns);
        let len = || geometry.padded().iter().try_fold(1usize, |len, n| len.checked_mul(*n));
        let one_plane = columns.windows(2).all(|pair| pair[0].channel == pair[1].channel);
        // Columns that are listed twice are for the other methods.
        let tap = |c: &Column| c.kh * geometry.kernel[1] + c.kw;
        let increasing = columns.windows(2).all(|pair| tap(&pair[0]) < tap(&pair[1]));
        let one_filter = group.place.filters.len() == 1;
        // Blocks are read and written where they lie: the channels of the input have to be those of the output.
        let in_place = || columns.first().is_some_and(|column| column.channel == group.place.filters.start);
        let fits = match problem.layouts.reads {
            Layout::Planes => len().is_some_and(|len| len <= MOST_POSITIONS),
            Layout::Blocks => in_place() && geometry.kernel[0].saturating_mul(geometry.kernel[1]) <= MOST_TAPS,
        };
        one_filter && !columns.is_empty() && one_plane && increasing && fits
    }

    fn is_fastest(&self, problem: &Problem<'_>, _: PlacedGroup<'_>) -> bool {
        let (geometry, costs) = (problem.geometry, &problem.costs.planes);
        let most = if geometry.strides[1] == 1 { costs.small } else { costs.small_strided };
        geometry.padded().iter().product::<usize>() <= most
    }

    fn competes(&self, problem: &Problem<'_>) -> bool {
        problem.layouts == Layouts::BLOCKS
    }

    fn cost(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> Option<f64> {
        let (geometry, costs) = (problem.geometry, &problem.costs.planes);
        let [products, reads, outputs] =
            [group.columns.len() * geometry.output_len(), geometry.input_len(), geometry.output_len()].map(|count| count as f64);
        let computed = match problem.layouts.reads {
            Layout::Planes => costs.product_of_channels * products + costs.transposed * (reads + outputs),
            Layout::Blocks => {
                let BlockCosts { product, read, output } = costs.in_blocks;
                product * products + read * reads + output * outputs
            }
        };
        let gathered = match (problem.layouts.reads, problem.keeps_weights) {
            (Layout::Blocks, true) => 0.0,
            _ => costs.gathered * group.columns.len() as f64,
        };
        Some((computed + gathered) / problem.isa.lanes() as f64)
    }

    /// Of a vector of channels, which begins with a block, those of all.
    fn kept_len(&self, problem: &Problem<'_>, group: PlacedGroup<'_>) -> usize {
        let (lanes, [height, width]) = (problem.isa.lanes(), problem.geometry.kernel);
        let begins =
            problem.layouts == Layouts::BLOCKS && self.applies(problem, group) && group.place.filters.start.is_multiple_of(lanes);
        if begins { height * width * lanes } else { 0 }
    }

    fn prepare(&self, problem: &Problem<'_>, groups: &[PlacedGroup<'_>]) -> Box<dyn ConvKernel<f32>> {
        match problem.layouts.reads {
            Layout::Planes => Box::new(ChannelLanesGroups::new(problem, groups)),
            Layout::Blocks => Box::new(ChannelBlocks::new(problem, groups)),
        }
    }
}

/// The groups of a layer: one channel each.
#[derive(GetSize, Debug)]
struct Channels {
    each: Vec<Channel>,
    /// Channels whose filters follow each other, at most as many as a vector has lanes.
    vectors: Vec<Range<usize>>,
    /// Kernel row and column of each tap that any of them has.
    taps: Vec<[usize; 2]>,
}

/// The groups of a layer that are computed from planes.
#[derive(GetSize, Debug)]
struct ChannelLanesGroups {
    isa: Isa,
    input_len: usize,
    output: [usize; 2],
    channels: Channels,
    /// In the padded plane: where each element of the input goes, where each output's first tap reads, and how far from there each
    /// tap does. What no tap reads goes behind its end.
    places: Vec<usize>,
    reads: Vec<usize>,
    taps: Vec<usize>,
    padded_len: usize,
    /// Vectors that each thread computes.
    items: Vec<Range<usize>>,
    partition: Partition,
}

/// One group.
#[derive(GetSize, Debug)]
struct Channel {
    plane: usize,
    /// The index of its filter among those of all groups.
    filter: usize,
    weights: ChannelWeights,
}

/// Where a channel's weights lie among those of all groups: one for each tap that any group has.
#[derive(GetSize, Debug)]
enum ChannelWeights {
    /// It has one for every such tap; they lie one after the other from this index on.
    All(usize),
    /// For each such tap the index of its weight, if the tap is kept.
    Some(Vec<Option<usize>>),
}

impl Channels {
    fn new(isa: Isa, groups: &[PlacedGroup<'_>]) -> Self {
        let mut taps: Vec<[usize; 2]> = groups.iter().flat_map(|group| group.columns).map(|c| [c.kh, c.kw]).collect();
        taps.sort_unstable();
        taps.dedup();
        Self::with_taps(isa, groups, taps)
    }

    /// With these taps, in order; a channel that does not have one of them has no weight for it.
    fn with_taps(isa: Isa, groups: &[PlacedGroup<'_>], taps: Vec<[usize; 2]>) -> Self {
        let channel = |group: &PlacedGroup<'_>| {
            let start = group.place.weights.start;
            let weight = |tap: &[usize; 2]| group.columns.iter().position(|c| [c.kh, c.kw] == *tap);
            let weights = match group.columns.len() == taps.len() {
                true => ChannelWeights::All(start),
                false => ChannelWeights::Some(taps.iter().map(|tap| Some(start + weight(tap)?)).collect()),
            };
            Channel { plane: group.columns[0].channel, filter: group.place.filters.start, weights }
        };
        let each: Vec<Channel> = groups.iter().map(channel).collect();
        let mut vectors: Vec<Range<usize>> = Vec::new();
        for (i, channel) in each.iter().enumerate() {
            match vectors.last_mut() {
                Some(last) if last.len() < isa.lanes() && each[last.end - 1].filter + 1 == channel.filter => last.end = i + 1,
                _ => vectors.push(i..i + 1),
            }
        }
        Channels { each, vectors, taps }
    }

    /// The filters of some vectors.
    fn filters(&self, vectors: &Range<usize>) -> Range<usize> {
        let [first, last] = [vectors.start, vectors.end - 1].map(|vector| &self.vectors[vector]);
        self.each[first.start].filter..self.each[last.end - 1].filter + 1
    }
}

impl ChannelLanesGroups {
    fn new(problem: &Problem<'_>, groups: &[PlacedGroup<'_>]) -> Self {
        let &Problem { geometry, isa, threads, .. } = problem;
        let channels = Channels::new(isa, groups);
        let vectors = channels.vectors.len();

        let [rows, width] = geometry.padded();
        let Geometry { strides, dilations, pad_before, .. } = *geometry;
        let place = |row: usize, column: usize| match [row + pad_before[0], column + pad_before[1]] {
            [row, column] if row < rows && column < width => row * width + column,
            _ => rows * width,
        };
        let each = |[height, width]: [usize; 2]| (0..height).flat_map(move |row| (0..width).map(move |column| [row, column]));
        let item = |part: Range<usize>| {
            let planes = channels.filters(&part);
            (part, vec![Part { planes, positions: 0..geometry.output_len() }])
        };
        let (items, parts) = balanced(vectors, vectors.div_ceil(threads)).map(item).unzip();
        ChannelLanesGroups {
            isa,
            input_len: geometry.input_len(),
            output: geometry.output,
            places: each(geometry.input).map(|[row, column]| place(row, column)).collect(),
            reads: each(geometry.output).map(|[row, column]| row * strides[0] * width + column * strides[1]).collect(),
            taps: channels.taps.iter().map(|[kh, kw]| kh * dilations[0] * width + kw * dilations[1]).collect(),
            padded_len: rows * width + 1,
            channels,
            items,
            partition: Partition::new(problem.filters, geometry.output_len(), parts),
        }
    }

    /// Elements of a padded plane, of the sums and of the weights of a vector of channels.
    fn lens(&self) -> [usize; 3] {
        [self.padded_len, self.reads.len(), self.taps.len()].map(|len| len * self.isa.lanes())
    }

    fn thread_len(&self) -> usize {
        self.lens().iter().sum::<usize>().next_multiple_of(MAX_LANES)
    }
}

impl<E: Stored> ConvKernel<E> for ChannelLanesGroups {
    fn scratch_len(&self) -> usize {
        self.partition.shares().saturating_mul(self.thread_len())
    }

    fn describe(&self, _: usize) -> String {
        String::new()
    }

    fn run(&self, operands: Operands<'_, E>, image: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        let [padded_len, sums_len, weights_len] = self.lens();
        self.partition.for_each(out, scratch, self.thread_len(), threading, |i, mut window, scratch| {
            let (padded, scratch) = scratch.split_at_mut(padded_len);
            let (sums, scratch) = scratch.split_at_mut(sums_len);
            let weights = &mut scratch[..weights_len];
            // Padding stays zero from here on.
            padded.fill(0.0);
            for channels in &self.channels.vectors[self.items[i].clone()] {
                let channels = &self.channels.each[channels.clone()];
                let window = &mut window;
                self.isa.dispatch(ChannelVector { of: self, operands, image, channels, padded, weights, sums, window });
            }
        });
    }
}

/// A vector of channels.
struct ChannelVector<'a, 'w, E> {
    of: &'a ChannelLanesGroups,
    operands: Operands<'a, E>,
    image: &'a [f32],
    channels: &'a [Channel],
    padded: &'a mut [f32],
    weights: &'a mut [f32],
    sums: &'a mut [f32],
    window: &'a mut Window<'w>,
}

impl<E: Stored> Vectorized for ChannelVector<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            || {
                self.spread(simd);
                gather(simd, self.channels, self.of.taps.len(), self.operands.weights, self.weights);
                match S::LANES {
                    MAX_LANES => self.multiply::<S, MAX_LANES>(simd),
                    8 => self.multiply::<S, 8>(simd),
                    _ => self.multiply::<S, 4>(simd),
                }
            },
        );
        let ChannelVector { of, operands, channels, sums, window, .. } = self;
        let (rows, positions) = (channels[0].filter..channels[0].filter + channels.len(), 0..of.reads.len());
        for filter in rows.clone() {
            operands.add_border(filter, positions.clone(), of.output[1], window.part(filter, positions.clone()));
        }
        let finishing = Finishing { bias: operands.bias, activation: operands.activation, add: operands.adds() };
        Finish { finishing, sums: Sums { rows, positions, elements: sums, width: S::LANES }, window }.run(simd);
    }
}

impl<E: Stored> ChannelVector<'_, '_, E> {
    /// Transposes the planes into the padded one.
    #[inline(always)]
    fn spread<S: Simd>(&mut self, simd: S) {
        let len = self.of.input_len;
        for (block, places) in self.of.places.chunks(S::LANES).enumerate() {
            let mut square = [simd.splat(0.0); MAX_LANES];
            for (vector, channel) in square[..S::LANES].iter_mut().zip(self.channels) {
                *vector = simd.get_first(&self.image[channel.plane * len..][..len][block * S::LANES..]);
            }
            simd.transpose(&mut square);
            for (place, x) in places.iter().zip(&square) {
                simd.put(&mut self.padded[place * S::LANES..], *x);
            }
        }
    }

    /// `LANES` is the set's, once more: chunks of slices need to be told.
    #[inline(always)]
    fn multiply<S: Simd, const LANES: usize>(&mut self, simd: S) {
        let (padded, weights) = (self.padded.as_chunks().0, self.weights.as_chunks().0);
        let (sums, _) = self.sums.as_chunks_mut();
        for part in balanced(self.of.reads.len(), TOGETHER) {
            let (reads, sums) = (&self.of.reads[part.clone()], &mut sums[part]);
            let call = Outputs::<LANES> { padded, weights, taps: &self.of.taps, reads, sums };
            match reads.len() {
                1 => call.compute::<S, 1>(simd),
                2 => call.compute::<S, 2>(simd),
                3 => call.compute::<S, 3>(simd),
                4 => call.compute::<S, 4>(simd),
                5 => call.compute::<S, 5>(simd),
                6 => call.compute::<S, 6>(simd),
                7 => call.compute::<S, 7>(simd),
                TOGETHER => call.compute::<S, TOGETHER>(simd),
                count => unreachable!("{count} outputs together"),
            }
        }
    }
}

/// A few outputs of a vector of channels.
struct Outputs<'a, const LANES: usize> {
    padded: &'a [[f32; LANES]],
    weights: &'a [[f32; LANES]],
    taps: &'a [usize],
    reads: &'a [usize],
    sums: &'a mut [[f32; LANES]],
}

impl<const LANES: usize> Outputs<'_, LANES> {
    #[inline(always)]
    fn compute<S: Simd, const COUNT: usize>(self, simd: S) {
        let reads: &[usize; COUNT] = self.reads.try_into().expect("`multiply` asked for as many as there are");
        let mut sums = [simd.splat(0.0); COUNT];
        for (tap, weight) in self.taps.iter().zip(self.weights) {
            let weight = simd.get(weight);
            unrolled::<COUNT, 1>(
                #[inline(always)]
                |i, _| sums[i] = simd.mul_add(weight, simd.get(&self.padded[reads[i] + tap]), sums[i]),
            );
        }
        unrolled::<COUNT, 1>(
            #[inline(always)]
            |i, _| simd.put(&mut self.sums[i], sums[i]),
        );
    }
}

/// Transposes the weights, so that those of a tap lie side by side. Those that are not kept are 0.
#[inline(always)]
fn gather<S: Simd, E: Stored>(simd: S, channels: &[Channel], taps: usize, weights: &[E], out: &mut [f32]) {
    for first in (0..taps).step_by(S::LANES) {
        let count = S::LANES.min(taps - first);
        let mut square = [simd.splat(0.0); MAX_LANES];
        for (vector, channel) in square[..S::LANES].iter_mut().zip(channels) {
            *vector = match &channel.weights {
                ChannelWeights::All(start) => E::get_first(simd, &weights[start + first..][..count]),
                ChannelWeights::Some(at) => {
                    let mut elements = [0.0; MAX_LANES];
                    for (element, at) in elements.iter_mut().zip(&at[first..first + count]) {
                        *element = at.map_or(0.0, |at| weights[at].widen());
                    }
                    simd.get(&elements)
                }
            };
        }
        simd.transpose(&mut square);
        for (to, x) in out[first * S::LANES..].chunks_exact_mut(S::LANES).zip(&square[..count]) {
            simd.put(to, *x);
        }
    }
}
