//! Channels as lanes where they lie so already: each block of the output is computed from the same block of the input, which is read
//! in place. Taps that fall into padding are left out: outputs in the middle of a row have all taps and are computed some at a time.

use super::{Channel, Channels, gather};
use crate::conv::geometry::Geometry;
use crate::conv::method::{ConvKernel, Operands, PlacedGroup, Problem};
use crate::parallel::{Part, Partition, Window};
use crate::simd::{Isa, MAX_LANES, Simd, Stored, Vectorized};
use crate::tile::{activate, unrolled};
use crate::{Activation, Threading, balanced};
use std::ops::Range;

/// Most outputs that are computed together: their sums, a weight and an operand fit sixteen registers.
const TOGETHER: usize = 8;

/// The groups of a layer that are computed this way: one for each channel.
#[derive(Debug)]
pub(super) struct ChannelBlocks {
    isa: Isa,
    geometry: Geometry,
    channels: Channels,
    /// For each output row, the rows of the kernel that find input.
    rows: Vec<Range<usize>>,
    /// Neighbouring outputs of a row with the columns of the kernel that find input at all of them.
    columns: Vec<(Range<usize>, Range<usize>)>,
    /// Blocks that each thread computes.
    items: Vec<Range<usize>>,
    partition: Partition,
}

impl ChannelBlocks {
    pub(super) fn new(problem: &Problem<'_>, groups: &[PlacedGroup<'_>]) -> Self {
        let &Problem { geometry, isa, threads, .. } = problem;
        let [height, width] = geometry.kernel;
        let taps = (0..height).flat_map(|kh| (0..width).map(move |kw| [kh, kw])).collect();
        let channels = Channels::with_taps(isa, groups, taps);
        let (lanes, positions) = (isa.lanes(), geometry.output_len());
        let item = |part: Range<usize>| {
            let filters = channels.filters(&part);
            let planes = filters.start / lanes..filters.end.div_ceil(lanes);
            (part, vec![Part { planes, positions: 0..positions * lanes }])
        };
        let vectors = channels.vectors.len();
        let (items, parts) = balanced(vectors, vectors.div_ceil(threads)).map(item).unzip();
        let [height, width] = geometry.output;
        // Runs of outputs that find input at the same columns of the kernel.
        let mut columns: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        for output in 0..width {
            let taps = geometry.taps_inside(1, output);
            match columns.last_mut() {
                Some((outputs, last)) if *last == taps => outputs.end = output + 1,
                _ => columns.push((output..output + 1, taps)),
            }
        }
        let tiles = |(outputs, taps): (Range<usize>, Range<usize>)| {
            balanced(outputs.len(), TOGETHER)
                .map(move |tile| (outputs.start + tile.start..outputs.start + tile.end, taps.clone()))
        };
        ChannelBlocks {
            isa,
            geometry: geometry.clone(),
            channels,
            rows: (0..height).map(|row| geometry.taps_inside(0, row)).collect(),
            columns: columns.into_iter().flat_map(tiles).collect(),
            items,
            partition: Partition::new(problem.filters.div_ceil(lanes), positions * lanes, parts),
        }
    }

    /// Elements of a vector of channels' weights.
    fn weights_len(&self) -> usize {
        self.channels.taps.len() * self.isa.lanes()
    }
}

impl<E: Stored> ConvKernel<E> for ChannelBlocks {
    fn scratch_len(&self) -> usize {
        self.partition.shares().saturating_mul(self.weights_len().next_multiple_of(MAX_LANES))
    }

    fn describe(&self, _: usize) -> String {
        String::new()
    }

    fn run(&self, operands: Operands<'_, E>, image: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        let len = self.weights_len();
        self.partition.for_each(out, scratch, len.next_multiple_of(MAX_LANES), threading, |i, mut window, scratch| {
            for channels in &self.channels.vectors[self.items[i].clone()] {
                let channels = &self.channels.each[channels.clone()];
                let (weights, window) = (&mut scratch[..len], &mut window);
                self.isa.dispatch(Block { of: self, operands, image, channels, weights, window });
            }
        });
    }
}

/// A block of channels.
struct Block<'a, 'w, E> {
    of: &'a ChannelBlocks,
    operands: Operands<'a, E>,
    image: &'a [f32],
    channels: &'a [Channel],
    weights: &'a mut [f32],
    window: &'a mut Window<'w>,
}

impl<E: Stored> Vectorized for Block<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Block { of, operands, image, channels, weights, window } = self;
        simd.vectorize(
            #[inline(always)]
            || gather(simd, channels, of.channels.taps.len(), operands.weights, weights),
        );
        let (filters, lanes) = (channels[0].filter..channels[0].filter + channels.len(), S::LANES);
        let [input_len, len] = [of.geometry.input_len(), of.geometry.output_len()].map(|len| len * lanes);
        let block = filters.start / lanes;
        let out = window.part(block, 0..len);
        operands.add_border_to_block(filters.clone(), lanes, of.geometry.output[1], out);
        let outputs = Outputs {
            of,
            x: &image[block * input_len..][..input_len],
            weights,
            bias: &operands.bias[filters],
            activation: operands.activation,
            add: operands.adds(),
        };
        // One function for all tiles: calls would take as long as a third of a tile.
        simd.vectorize(
            #[inline(always)]
            || outputs.compute_all(simd, out),
        );
    }
}

/// What outputs of a block are computed from.
struct Outputs<'a> {
    of: &'a ChannelBlocks,
    /// The block of the input.
    x: &'a [f32],
    weights: &'a [f32],
    bias: &'a [f32],
    activation: Activation,
    /// Whether the output holds something that sums are added to.
    add: bool,
}

impl Outputs<'_> {
    #[inline(always)]
    fn compute_all<S: Simd>(&self, simd: S, out: &mut [f32]) {
        let width = self.of.geometry.output[1] * S::LANES;
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            for (columns, taps) in &self.of.columns {
                let out = &mut out[columns.start * S::LANES..columns.end * S::LANES];
                let place = [row, columns.start];
                match columns.len() {
                    1 => self.compute::<S, 1>(simd, place, taps, out),
                    2 => self.compute::<S, 2>(simd, place, taps, out),
                    3 => self.compute::<S, 3>(simd, place, taps, out),
                    4 => self.compute::<S, 4>(simd, place, taps, out),
                    5 => self.compute::<S, 5>(simd, place, taps, out),
                    6 => self.compute::<S, 6>(simd, place, taps, out),
                    7 => self.compute::<S, 7>(simd, place, taps, out),
                    TOGETHER => self.compute::<S, TOGETHER>(simd, place, taps, out),
                    count => unreachable!("{count} outputs together"),
                }
            }
        }
    }

    /// `COUNT` neighbouring outputs from a row and a column on, at all of which the kernel's `columns` find input.
    #[inline(always)]
    fn compute<S: Simd, const COUNT: usize>(&self, simd: S, [row, column]: [usize; 2], columns: &Range<usize>, out: &mut [f32]) {
        let geometry = &self.of.geometry;
        let (width, kernel_width) = (geometry.input[1], geometry.kernel[1]);
        let [step, stride] = [geometry.dilations[1], geometry.strides[1]].map(|places| places * S::LANES);
        let mut sums = [[simd.splat(0.0); 1]; COUNT];
        if !columns.is_empty() {
            let first = geometry.source(1, columns.start, column);
            let reach = (columns.len() - 1) * step + (COUNT - 1) * stride + S::LANES;
            for kh in self.of.rows[row].clone() {
                let x = &self.x[(geometry.source(0, kh, row) * width + first) * S::LANES..][..reach];
                let weights = &self.weights[(kh * kernel_width + columns.start) * S::LANES..];
                for (kw, weight) in weights.chunks_exact(S::LANES).take(columns.len()).enumerate() {
                    let weight = simd.get(weight);
                    unrolled::<COUNT, 1>(
                        #[inline(always)]
                        |i, _| {
                            // SAFETY: `reach` ends behind the last of `COUNT` vectors at the last column.
                            let x = unsafe { simd.load(x.as_ptr().add(kw * step + i * stride)) };
                            sums[i][0] = simd.mul_add(weight, x, sums[i][0]);
                        },
                    );
                }
            }
        }
        let bias = simd.get_first(self.bias);
        let out = &mut out[..COUNT * S::LANES];
        unrolled::<COUNT, 1>(
            #[inline(always)]
            |i, _| {
                let sum = if self.add { simd.add(sums[i][0], simd.get(&out[i * S::LANES..])) } else { sums[i][0] };
                sums[i][0] = simd.add(sum, bias);
            },
        );
        activate(simd, self.activation, &mut sums);
        unrolled::<COUNT, 1>(
            #[inline(always)]
            |i, _| simd.put(&mut out[i * S::LANES..], sums[i][0]),
        );
    }
}
