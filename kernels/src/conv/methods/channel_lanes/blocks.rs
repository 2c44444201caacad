//! Channels as lanes where they lie so already: each block of the output is computed from the same block of the input, which is read
//! in place. Taps that fall into padding are left out.

use super::{Channel, Channels, gather};
use crate::conv::geometry::Geometry;
use crate::conv::method::{ConvKernel, Operands, PlacedGroup, Problem};
use crate::parallel::{Part, Partition, Window};
use crate::simd::{Grid, GridMut, Isa, MAX_LANES, Simd, Stored, Vectorized};
use crate::tile::{activate, unrolled};
use crate::{Activation, Threading, balanced};
use get_size2::GetSize;
use std::ops::Range;

/// Most outputs that are computed together: their sums, a weight and an operand fit sixteen registers.
const TOGETHER: usize = 8;

/// Rows from which on threads share them.
const MANY_ROWS: usize = 20;

/// Neighbouring outputs of a row.
#[derive(GetSize, Debug)]
struct Tile {
    outputs: Range<usize>,
    /// The columns of the input that they read.
    columns: Range<usize>,
    taps: Vec<ColumnTap>,
}

/// A column of the kernel, at the outputs of a tile.
#[derive(GetSize, Debug)]
struct ColumnTap {
    kw: usize,
    /// The outputs that find input there, counted from the tile's first one.
    outputs: Range<usize>,
    /// Where the first output of the tile reads, or would read, counted from the tile's first column. Invariant: as many strides behind
    /// it as an output of `outputs` says lies a column of the tile. Computed by [`Tile::new`].
    offset: isize,
}

impl Tile {
    fn new(geometry: &Geometry, outputs: Range<usize>) -> Self {
        let first = |kw: usize| {
            (outputs.start * geometry.strides[1] + kw * geometry.dilations[1]) as isize - geometry.pad_before[1] as isize
        };
        let inside = |kw: usize| {
            let all = geometry.inside(1, kw);
            let start = all.start.clamp(outputs.start, outputs.end);
            start - outputs.start..all.end.clamp(start, outputs.end) - outputs.start
        };
        let found = (0..geometry.kernel[1]).map(|kw| (kw, inside(kw), first(kw))).filter(|(_, inside, _)| !inside.is_empty());
        let found: Vec<(usize, Range<usize>, isize)> = found.collect();
        let place = |first: isize, output: usize| first + (output * geometry.strides[1]) as isize;
        let start = found.iter().map(|(_, inside, first)| place(*first, inside.start)).min().unwrap_or(0);
        let end = found.iter().map(|(_, inside, first)| place(*first, inside.end - 1) + 1).max().unwrap_or(0);
        let tap = |(kw, outputs, first): (usize, Range<usize>, isize)| ColumnTap { kw, outputs, offset: first - start };
        Tile { columns: start as usize..end as usize, taps: found.into_iter().map(tap).collect(), outputs }
    }
}

/// Some rows of some vectors of channels.
#[derive(GetSize, Clone, Debug)]
struct BlockItem {
    vectors: Range<usize>,
    rows: Range<usize>,
}

/// Threads take rows of the output where these are many: layers of 1x1 before and behind share their positions, too, so that most of what
/// a thread reads it has written itself. Else they take vectors of channels.
fn share(vectors: usize, height: usize, threads: usize) -> Vec<BlockItem> {
    let each = height.div_ceil(threads);
    if height >= MANY_ROWS && each * threads * 10 <= height * 11 {
        balanced(height, each).map(|rows| BlockItem { vectors: 0..vectors, rows }).collect()
    } else {
        balanced(vectors, vectors.div_ceil(threads)).map(|vectors| BlockItem { vectors, rows: 0..height }).collect()
    }
}

/// What [`ChannelBlocks::usual`] says.
fn usual(geometry: &Geometry, tiles: &[Tile]) -> Option<[usize; 2]> {
    let width = geometry.kernel[1];
    let complete = |tile: &Tile| {
        let count = tile.outputs.len();
        let inner = width / 2..count.saturating_sub(width / 2);
        let has_inner = |tap: &ColumnTap| tap.outputs.start <= inner.start && inner.end <= tap.outputs.end;
        tile.taps.len() == width && tile.taps.iter().all(has_inner)
    };
    (geometry.dilations[1] == 1 && tiles.iter().all(complete)).then_some([width, geometry.strides[1]])
}

/// The groups of a layer that are computed this way: one for each channel.
#[derive(GetSize, Debug)]
pub(super) struct ChannelBlocks {
    isa: Isa,
    geometry: Geometry,
    channels: Channels,
    /// For each output row, the rows of the kernel that find input.
    rows: Vec<Range<usize>>,
    /// The outputs of a row, some at a time.
    tiles: Vec<Tile>,
    /// Width and horizontal stride of the kernel, if tiles miss no tap but at outputs that are less than half of the width from their
    /// ends.
    usual: Option<[usize; 2]>,
    /// Whether weights are gathered before the first run.
    keeps_weights: bool,
    /// What each thread computes.
    items: Vec<BlockItem>,
    partition: Partition,
}

impl ChannelBlocks {
    pub(super) fn new(problem: &Problem<'_>, groups: &[PlacedGroup<'_>]) -> Self {
        let &Problem { geometry, isa, threads, .. } = problem;
        let [height, width] = geometry.kernel;
        let taps = (0..height).flat_map(|kh| (0..width).map(move |kw| [kh, kw])).collect();
        let channels = Channels::with_taps(isa, groups, taps);
        let (lanes, positions, [height, width]) = (isa.lanes(), geometry.output_len(), geometry.output);
        let items = share(channels.vectors.len(), height, threads);
        let part = |BlockItem { vectors, rows }: &BlockItem| {
            let filters = channels.filters(vectors);
            let planes = filters.start / lanes..filters.end.div_ceil(lanes);
            vec![Part { planes, positions: rows.start * width * lanes..rows.end * width * lanes }]
        };
        let parts = items.iter().map(part).collect();
        let tiles: Vec<Tile> = balanced(width, TOGETHER).map(|outputs| Tile::new(geometry, outputs)).collect();
        ChannelBlocks {
            isa,
            geometry: geometry.clone(),
            channels,
            rows: (0..height).map(|row| geometry.taps_inside(0, row)).collect(),
            usual: usual(geometry, &tiles),
            tiles,
            keeps_weights: problem.keeps_weights,
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
        if self.keeps_weights {
            0
        } else {
            self.partition.shares().saturating_mul(self.weights_len().next_multiple_of(MAX_LANES))
        }
    }

    fn kept_len(&self) -> usize {
        if self.keeps_weights { self.channels.vectors.len() * self.weights_len() } else { 0 }
    }

    fn transform_weights(&self, weights: &[E], kept: &mut [f32]) {
        for (channels, to) in self.channels.vectors.iter().zip(kept.chunks_exact_mut(self.weights_len())) {
            let (channels, taps) = (&self.channels.each[channels.clone()], self.channels.taps.len());
            self.isa.dispatch(Gather { channels, taps, weights, to });
        }
    }

    fn describe(&self, _: usize) -> String {
        String::new()
    }

    fn run(&self, operands: Operands<'_, E>, image: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        let (len, taps) = (self.weights_len(), self.channels.taps.len());
        let scratch_len = if self.keeps_weights { 0 } else { len.next_multiple_of(MAX_LANES) };
        self.partition.for_each(out, scratch, scratch_len, threading, |i, mut window, scratch| {
            let BlockItem { vectors, rows } = &self.items[i];
            for vector in vectors.clone() {
                let channels = &self.channels.each[self.channels.vectors[vector].clone()];
                let weights = match self.keeps_weights {
                    true => &operands.kept[vector * len..][..len],
                    false => {
                        let to = &mut scratch[..len];
                        self.isa.dispatch(Gather { channels, taps, weights: operands.weights, to });
                        &*to
                    }
                };
                let rows = rows.clone();
                self.isa.dispatch(Block { of: self, operands, image, channels, rows, weights, window: &mut window });
            }
        });
    }
}

/// Gathers the weights of a vector of channels.
struct Gather<'a, E> {
    channels: &'a [Channel],
    taps: usize,
    weights: &'a [E],
    to: &'a mut [f32],
}

impl<E: Stored> Vectorized for Gather<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            || gather(simd, self.channels, self.taps, self.weights, self.to),
        );
    }
}

/// A block of channels.
struct Block<'a, 'w, E> {
    of: &'a ChannelBlocks,
    operands: Operands<'a, E>,
    image: &'a [f32],
    channels: &'a [Channel],
    rows: Range<usize>,
    weights: &'a [f32],
    window: &'a mut Window<'w>,
}

impl<E: Stored> Vectorized for Block<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Block { of, operands, image, channels, rows, weights, window } = self;
        let (filters, lanes) = (channels[0].filter..channels[0].filter + channels.len(), S::LANES);
        let (input_len, width) = (of.geometry.input_len() * lanes, of.geometry.output[1]);
        let block = filters.start / lanes;
        let out = window.part(block, rows.start * width * lanes..rows.end * width * lanes);
        operands.add_border_to_block(filters.clone(), lanes, [rows.start, width], out);
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
            || outputs.compute_all(simd, rows, out),
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
    fn compute_all<S: Simd>(&self, simd: S, rows: Range<usize>, out: &mut [f32]) {
        let width = self.of.geometry.output[1] * S::LANES;
        let bias = simd.get_first(self.bias);
        for (row, out) in rows.zip(out.chunks_exact_mut(width)) {
            for tile in &self.of.tiles {
                let out = &mut out[tile.outputs.start * S::LANES..tile.outputs.end * S::LANES];
                macro_rules! tile {
                    ($($count:literal)*) => {
                        match tile.outputs.len() {
                            $($count => self.compute::<S, $count>(simd, row, tile, bias, out),)*
                            count => unreachable!("{count} outputs together"),
                        }
                    };
                }
                tile!(1 2 3 4 5 6 7 8);
            }
        }
    }

    /// The `COUNT` outputs of a tile in a row.
    #[inline(always)]
    fn compute<S: Simd, const COUNT: usize>(&self, simd: S, row: usize, tile: &Tile, bias: S::Vector, out: &mut [f32]) {
        let mut sums = [[simd.splat(0.0); 1]; COUNT];
        // What nearly all such layers are. A constant, so that no more is compiled than helps.
        match (self.of.usual, const { COUNT >= 7 && S::LANES >= 8 }) {
            (Some([3, 1]), true) => self.add_usual::<S, 3, 1, COUNT>(simd, row, tile, &mut sums),
            (Some([3, 2]), true) => self.add_usual::<S, 3, 2, COUNT>(simd, row, tile, &mut sums),
            (Some([5, 1]), true) => self.add_usual::<S, 5, 1, COUNT>(simd, row, tile, &mut sums),
            (Some([5, 2]), true) => self.add_usual::<S, 5, 2, COUNT>(simd, row, tile, &mut sums),
            _ => self.add_any::<S, COUNT>(simd, row, tile, &mut sums),
        }
        let mut out = GridMut::<S, COUNT, 1>::new(simd, out, [S::LANES, 0]);
        unrolled::<COUNT, 1>(
            #[inline(always)]
            |i, _| {
                let sum = if self.add { simd.add(sums[i][0], out.get(i, 0)) } else { sums[i][0] };
                sums[i][0] = simd.add(sum, bias);
            },
        );
        activate(simd, self.activation, &mut sums);
        unrolled::<COUNT, 1>(
            #[inline(always)]
            |i, _| out.put(i, 0, sums[i][0]),
        );
    }

    /// For each row of the kernel that finds input: that row's part of the tile's columns, and its weights.
    #[inline(always)]
    fn rows<S: Simd>(&self, row: usize, tile: &Tile) -> impl Iterator<Item = (&[f32], &[f32])> {
        let geometry = &self.of.geometry;
        let [width, kernel_width] = [geometry.input[1], geometry.kernel[1]];
        let columns = tile.columns.clone();
        self.of.rows[row].clone().map(move |kh| {
            let first = geometry.source(0, kh, row) * width + columns.start;
            let x = &self.x[first * S::LANES..][..columns.len() * S::LANES];
            (x, &self.weights[kh * kernel_width * S::LANES..][..kernel_width * S::LANES])
        })
    }

    /// Adds the products of a kernel whose rows are `WIDTH` taps side by side, with a horizontal stride of `STRIDE`: distances are known
    /// when this is compiled, and only outputs at the ends of the tile can miss a tap.
    #[inline(always)]
    fn add_usual<S: Simd, const WIDTH: usize, const STRIDE: usize, const COUNT: usize>(
        &self,
        simd: S,
        row: usize,
        tile: &Tile,
        sums: &mut [[S::Vector; 1]; COUNT],
    ) {
        let taps: &[ColumnTap; WIDTH] = tile.taps.as_slice().try_into().expect("`usual` asked for as many as there are");
        let offset = taps[0].offset * S::LANES as isize;
        for (x, weights) in self.rows::<S>(row, tile) {
            let (x, weights) = (x.as_ptr().wrapping_offset(offset), Grid::<S, WIDTH, 1>::new(simd, weights, [S::LANES, 0]));
            unrolled::<WIDTH, 1>(
                #[inline(always)]
                |kw, _| {
                    let (weight, outputs) = (weights.get(kw, 0), &taps[kw].outputs);
                    unrolled::<COUNT, 1>(
                        #[inline(always)]
                        |i, _| {
                            let (near_start, near_end) = (i < WIDTH / 2, i >= COUNT - WIDTH / 2);
                            if (!near_start || i >= outputs.start) && (!near_end || i < outputs.end) {
                                // SAFETY: `x` has a vector for each of the tile's columns. This output reads one of them, by the
                                // tap's invariant: it is one of `outputs`, or so far from the ends that `usual` says it is.
                                let x = unsafe { simd.load(x.wrapping_add((kw + i * STRIDE) * S::LANES)) };
                                sums[i][0] = simd.mul_add(weight, x, sums[i][0]);
                            }
                        },
                    );
                },
            );
        }
    }

    /// The same of any kernel.
    #[inline(always)]
    fn add_any<S: Simd, const COUNT: usize>(&self, simd: S, row: usize, tile: &Tile, sums: &mut [[S::Vector; 1]; COUNT]) {
        let stride = self.of.geometry.strides[1] * S::LANES;
        for (x, weights) in self.rows::<S>(row, tile) {
            for tap in &tile.taps {
                let weight = simd.get(&weights[tap.kw * S::LANES..]);
                let x = x.as_ptr().wrapping_offset(tap.offset * S::LANES as isize);
                unrolled::<COUNT, 1>(
                    #[inline(always)]
                    |i, _| {
                        if tap.outputs.contains(&i) {
                            // SAFETY: `x` has a vector for each of the tile's columns, one of which this output reads, by the tap's
                            // invariant.
                            let x = unsafe { simd.load(x.wrapping_add(i * stride)) };
                            sums[i][0] = simd.mul_add(weight, x, sums[i][0]);
                        }
                    },
                );
            }
        }
    }
}
