//! Winograd's minimal filtering for dense 3x3 and 5x5 convolutions of stride 1: six by six numbers of an image yield 4x4 or 2x2
//! outputs by 36 products where the definition takes 144 or 100. In one dimension, outputs are `A^T ((G g) * (B^T d))`, in two the
//! transforms are applied along both axes (Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks").
//!
//! The points that polynomials are evaluated at are 0, +-a, +-b and infinity with a^2 = 1/2 and b^2 = 2. They keep all factors of
//! the transforms near 1, so that results are nearly as exact as sums of products.
//!
//! Weights are transformed anew in every run, some filters and channels at a time: a stored copy would be four times as large as
//! they are, and reading that from memory takes about as long. So they stay in the file, and only there. Columns that are not kept
//! count as zeros.

use super::geometry::{Column, Geometry};
use super::{GroupKernel, Weighted};
use crate::parallel::{self, Part, Partition, Window};
use crate::simd::{Isa, MAX_LANES, Simd, Vectorized};
use crate::tile::{self, Epilogue, Packed, Panel, Place};
use crate::{Activation, PANEL_ROWS, Threading, balanced};
use std::ops::Range;

/// Numbers of a tile along an axis, and so points of evaluation.
const POINTS: usize = 6;
/// Products of a tile.
const PRODUCTS: usize = POINTS * POINTS;
/// The finite points besides 0.
const A: f32 = std::f32::consts::FRAC_1_SQRT_2;
const B: f32 = std::f32::consts::SQRT_2;

/// Panels whose weights are transformed together, and channels: 36 x 32 x 128 numbers stay in the second-level cache.
const PANELS: usize = 4;
const CHANNELS: usize = 128;
/// Tiles of an image that are worked on together: enough for the transform of weights to pay, few enough for the cache.
const TILES: usize = 224;

/// Numbers between the stretches of different products: without them, they would often lie whole pages apart, and caches hold few
/// lines of the same place in a page.
const GAP: usize = 16;

/// One group's convolution.
#[derive(Debug)]
pub(crate) struct Winograd {
    geometry: Geometry,
    filters: usize,
    /// Input planes that some column reads, and where each one's taps are among the columns.
    channels: Vec<Channel>,
    columns: usize,
    /// Outputs of a tile along an axis.
    outputs: usize,
    /// Tiles of an image, vertically and horizontally.
    grid: [usize; 2],
    /// Rows of tiles that are worked on together.
    rows: usize,
    /// Vectors of tiles in a register tile.
    vectors: usize,
    isa: Isa,
    threads: usize,
    /// How threads share the channels of transformed images: planes are blocks of tiles of one product.
    partition: Partition,
}

#[derive(Debug)]
struct Channel {
    plane: usize,
    /// For each tap (`kh * KW + kw`) the number of its column, if it is kept.
    columns: Vec<Option<u32>>,
}

impl Winograd {
    /// `None` where the method does not apply.
    pub(crate) fn new(geometry: &Geometry, filters: usize, columns: &[Column], isa: Isa, threads: usize) -> Option<Self> {
        let [height, width] = geometry.kernel;
        let applies = height == width
            && [3, 5].contains(&width)
            && !geometry.transposed
            && geometry.strides == [1, 1]
            && geometry.dilations == [1, 1]
            && geometry.pad_before.iter().all(|&p| p < width)
            && filters > 0
            && !columns.is_empty();
        if !applies {
            return None;
        }
        let outputs = POINTS + 1 - width;
        let mut channels: Vec<Channel> = Vec::new();
        for (number, column) in columns.iter().enumerate() {
            let known = channels.iter().rposition(|c| c.plane == column.channel);
            let at = known.unwrap_or(channels.len());
            if known.is_none() {
                channels.push(Channel { plane: column.channel, columns: vec![None; width * width] });
            }
            // Columns that are listed twice are for the other methods.
            if channels[at].columns[column.kh * width + column.kw].replace(u32::try_from(number).ok()?).is_some() {
                return None;
            }
        }
        let grid = geometry.output.map(|size| size.div_ceil(outputs));
        let (rows, vectors) = blocking(grid, isa);
        let width = vectors * isa.lanes();
        let blocks = (rows * grid[1]).div_ceil(width);
        let share = |thread: usize| thread * channels.len() / threads * width..(thread + 1) * channels.len() / threads * width;
        let part = |thread: usize| vec![Part { planes: 0..PRODUCTS * blocks, positions: share(thread) }];
        let partition = Partition::new(PRODUCTS * blocks, channels.len() * width + GAP, (0..threads).map(part).collect());
        let geometry = geometry.clone();
        Some(Winograd {
            geometry,
            filters,
            channels,
            columns: columns.len(),
            outputs,
            grid,
            rows,
            vectors,
            isa,
            threads,
            partition,
        })
    }

    /// What one image is expected to cost, in multiply-adds of vectors (see `choice.rs`).
    pub(super) fn cost(&self) -> f64 {
        let of_rows = |rows: usize| (rows * self.grid[1]).next_multiple_of(self.width()) / self.isa.lanes();
        let vectors = (self.grid[0] / self.rows * of_rows(self.rows) + of_rows(self.grid[0] % self.rows)) as f64;
        let (channels, filters, panels) = (self.channels.len(), self.filters, self.filters.div_ceil(PANEL_ROWS));
        // A register tile of one vector loads as much as it computes.
        let products = (PRODUCTS * filters * channels) as f64 * if self.vectors == 1 { 1.5 } else { 1.0 };
        let weights = (panels * channels * self.grid[0].div_ceil(self.rows)) as f64;
        vectors * (products + 1650.0 * channels as f64 + 650.0 * filters as f64) + 250.0 * weights
    }

    /// Tiles that are worked on together, at most.
    fn tiles(&self) -> usize {
        self.rows * self.grid[1]
    }

    /// Tiles in one register tile.
    fn width(&self) -> usize {
        self.vectors * self.isa.lanes()
    }

    fn padded_tiles(&self) -> usize {
        self.tiles().next_multiple_of(self.width())
    }

    /// Blocks of register tiles.
    fn blocks(&self) -> usize {
        self.padded_tiles() / self.width()
    }

    /// Numbers of transformed images: `[product][block of tiles][channel][tile]`.
    fn image_len(&self) -> usize {
        PRODUCTS * self.blocks() * self.block_len()
    }

    /// Numbers from one block of tiles to the next.
    fn block_len(&self) -> usize {
        self.channels.len() * self.width() + GAP
    }

    /// Numbers of the transformed weights of some filters and channels.
    fn weights_len(&self) -> usize {
        PRODUCTS * PANELS * (PANEL_ROWS * CHANNELS.min(self.channels.len()) + GAP)
    }

    /// Scratch memory of one thread.
    fn thread_len(&self) -> usize {
        let lanes = self.isa.lanes();
        let image = (POINTS * RING + (POINTS + PRODUCTS) * lanes) * lanes;
        let filters = PANELS * PANEL_ROWS;
        let weights = self.weights_len();
        let products = PRODUCTS * (filters * self.padded_tiles() + GAP);
        let outputs = self.outputs * self.outputs * self.padded_tiles();
        image.max(weights + products + outputs).next_multiple_of(MAX_LANES)
    }

    /// Channels that a thread transforms.
    fn channel_share(&self, thread: usize) -> Range<usize> {
        let count = self.channels.len();
        thread * count / self.threads..(thread + 1) * count / self.threads
    }
}

impl GroupKernel for Winograd {
    fn describe(&self) -> String {
        format!("winograd {0}x{0} {1}", self.outputs, self.isa)
    }

    fn scratch_len(&self) -> usize {
        self.image_len().saturating_add(self.threads.saturating_mul(self.thread_len()))
    }

    fn run(&self, layer: Weighted<'_>, image: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        let plane = self.geometry.output_len();
        crate::expect_len("output of a group", out, self.filters * plane);
        let (transformed, scratch) = scratch.split_at_mut(self.image_len());
        let share = self.filters.div_ceil(PANEL_ROWS).div_ceil(self.threads) * PANEL_ROWS;
        for first in (0..self.grid[0]).step_by(self.rows) {
            let rows = first..(first + self.rows).min(self.grid[0]);
            self.partition.for_each(transformed, scratch, self.thread_len(), threading, |i, mut window, scratch| {
                let share = self.channel_share(i);
                for first in share.clone().step_by(self.isa.lanes()) {
                    let channels = first..share.end.min(first + self.isa.lanes());
                    let run = TransformImage { to: self, image, rows: rows.clone(), channels, window: &mut window, scratch };
                    self.isa.dispatch(run);
                }
            });
            let transformed = &*transformed;
            parallel::zip_with_scratch(out, share * plane, scratch, self.thread_len(), threading, |i, out, scratch| {
                let filters = i * share..i * share + out.len() / plane;
                self.isa.dispatch(Filters { to: self, layer, transformed, rows: rows.clone(), filters, out, scratch });
            });
        }
    }
}

/// Rows of tiles to work on together, and vectors of a register tile: about [`TILES`] tiles, such that few lanes stay empty.
fn blocking(grid: [usize; 2], isa: Isa) -> (usize, usize) {
    let most = (TILES / grid[1]).clamp(1, grid[0]);
    let options = (1..=most).flat_map(|rows| [(rows, 3), (rows, 2), (rows, 1)]);
    let filled = |&(rows, vectors): &(usize, usize)| {
        let of = |rows: usize| (rows * grid[1]).next_multiple_of(vectors * isa.lanes());
        let tiles = grid[0] / rows * of(rows) + of(grid[0] % rows);
        // A register tile of one vector loads as much as it computes.
        (tiles * if vectors == 1 { 3 } else { 2 }, usize::MAX - rows, 3 - vectors)
    };
    options.filter(|&(_, vectors)| vectors <= isa.tile()[1]).min_by_key(filled).unwrap_or((1, 1))
}

/// `factor * x + plus`.
#[inline(always)]
fn times<S: Simd>(simd: S, factor: f32, x: S::Vector, plus: S::Vector) -> S::Vector {
    simd.mul_add(simd.splat(factor), x, plus)
}

/// `N` vectors, at most six, made one by one: [`std::array::from_fn`] may not be inlined into code of another instruction set.
#[inline(always)]
fn vectors<S: Simd, const N: usize>(simd: S, mut f: impl FnMut(usize) -> S::Vector) -> [S::Vector; N] {
    let mut all = [simd.splat(0.0); N];
    macro_rules! each {
        ($($i:literal)*) => {{ $(if $i < N { all[$i] = f($i) })* }};
    }
    each!(0 1 2 3 4 5);
    all
}

/// `B^T d` for six vectors.
#[inline(always)]
fn transform_input<S: Simd>(simd: S, d: [S::Vector; POINTS]) -> [S::Vector; POINTS] {
    let (even_a, odd_a) = (times(simd, -2.0, d[2], d[4]), simd.mul(simd.splat(A), times(simd, -2.0, d[1], d[3])));
    let (even_b, odd_b) = (times(simd, -0.5, d[2], d[4]), simd.mul(simd.splat(B), times(simd, -0.5, d[1], d[3])));
    [
        times(simd, -2.5, d[2], simd.add(d[0], d[4])),
        simd.add(even_a, odd_a),
        simd.sub(even_a, odd_a),
        simd.add(even_b, odd_b),
        simd.sub(even_b, odd_b),
        times(simd, -2.5, d[3], simd.add(d[1], d[5])),
    ]
}

/// The polynomial of the taps `g` at `p` and at `-p`, times `factor`.
#[inline(always)]
fn evaluate<S: Simd, const TAPS: usize>(simd: S, g: [S::Vector; TAPS], p: f32, factor: f32) -> [S::Vector; 2] {
    let pp = p * p;
    let (even, odd) = match TAPS {
        5 => (times(simd, pp, times(simd, pp, g[4], g[2]), g[0]), times(simd, pp, g[3], g[1])),
        _ => (times(simd, pp, g[2], g[0]), g[1]),
    };
    let even = simd.mul(simd.splat(factor), even);
    [times(simd, p * factor, odd, even), times(simd, -p * factor, odd, even)]
}

/// `G g` for the vectors of three or five taps. The factors divide by the differences of a point to all others.
#[inline(always)]
fn transform_weights<S: Simd, const TAPS: usize>(simd: S, g: [S::Vector; TAPS]) -> [S::Vector; POINTS] {
    let ([plus_a, minus_a], [plus_b, minus_b]) = (evaluate(simd, g, A, 1.0 / -1.5), evaluate(simd, g, B, 1.0 / 6.0));
    [g[0], plus_a, minus_a, plus_b, minus_b, g[TAPS - 1]]
}

/// `G g G^T` for the taps of a channel, whose columns `load` loads; `store` takes the products one by one.
#[inline(always)]
fn transform_taps<S: Simd, const TAPS: usize>(
    simd: S,
    channel: &Channel,
    mut load: impl FnMut(usize) -> S::Vector,
    mut store: impl FnMut(usize, S::Vector),
) {
    let mut down = [[simd.splat(0.0); TAPS]; POINTS];
    for j in 0..TAPS {
        let taps = vectors::<S, TAPS>(
            simd,
            #[inline(always)]
            |i| match channel.columns[i * TAPS + j] {
                None => simd.splat(0.0),
                Some(column) => load(column as usize),
            },
        );
        for (down, x) in down.iter_mut().zip(transform_weights::<S, TAPS>(simd, taps)) {
            down[j] = x;
        }
    }
    for (i, down) in down.into_iter().enumerate() {
        for (j, x) in transform_weights::<S, TAPS>(simd, down).into_iter().enumerate() {
            store(i * POINTS + j, x);
        }
    }
}

/// `A^T m` for six vectors.
#[inline(always)]
fn transform_output<S: Simd, const OUTPUTS: usize>(simd: S, m: [S::Vector; POINTS]) -> [S::Vector; OUTPUTS] {
    let (sum_a, difference_a) = (simd.add(m[1], m[2]), simd.sub(m[1], m[2]));
    let (sum_b, difference_b) = (simd.add(m[3], m[4]), simd.sub(m[3], m[4]));
    let y = [
        simd.add(m[0], simd.add(sum_a, sum_b)),
        times(simd, B, difference_b, simd.mul(simd.splat(A), difference_a)),
        times(simd, 2.0, sum_b, simd.mul(simd.splat(0.5), sum_a)),
        times(simd, 2.0 * B, difference_b, simd.mul(simd.splat(0.5 * A), difference_a)),
    ];
    vectors::<S, OUTPUTS>(
        simd,
        #[inline(always)]
        |i| if i + 1 == OUTPUTS { simd.add(y[i], m[5]) } else { y[i] },
    )
}

/// Columns of transformed rows that are remembered: the six of a tile may begin in one vector's columns and end in the next one's.
const RING: usize = 2 * MAX_LANES;

/// Transforms the tiles of some rows in a few channels, side by side: along a row lanes are columns, and where columns are told
/// apart they are channels. Tiles are collected until they make up vectors.
struct TransformImage<'a, 'w> {
    to: &'a Winograd,
    image: &'a [f32],
    rows: Range<usize>,
    /// As many as a vector has lanes, or fewer.
    channels: Range<usize>,
    window: &'a mut Window<'w>,
    scratch: &'a mut [f32],
}

impl Vectorized for TransformImage<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.to.outputs {
            4 => simd.vectorize(
                #[inline(always)]
                || self.transform::<S, 4>(simd),
            ),
            _ => simd.vectorize(
                #[inline(always)]
                || self.transform::<S, 2>(simd),
            ),
        }
    }
}

impl TransformImage<'_, '_> {
    #[inline(always)]
    fn transform<S: Simd, const OUTPUTS: usize>(mut self, simd: S) {
        let (across, pad) = (self.to.grid[1], self.to.geometry.pad_before[1]);
        let scratch = std::mem::take(&mut self.scratch);
        // `[point][column][channel]`, `[point][channel][column]` and `[product][tile][channel]`.
        let (ring, rest) = scratch.split_at_mut(POINTS * RING * S::LANES);
        let (down, products) = rest.split_at_mut(POINTS * S::LANES * S::LANES);
        let in_ring = |point: usize, column: usize| (point * RING + column % RING) * S::LANES;
        let mut tiles = 0;
        for row in self.rows.clone() {
            for point in 0..POINTS {
                ring[in_ring(point, 0)..][..pad * S::LANES].fill(0.0);
            }
            let (mut tile, mut ready) = (0, pad);
            while tile < across {
                self.transform_columns::<S, OUTPUTS>(
                    simd,
                    [row, ready - pad],
                    down,
                    #[inline(always)]
                    |point, column, x| simd.put(&mut ring[in_ring(point, ready + column)..], x),
                );
                ready += S::LANES;
                while tile < across && tile * OUTPUTS + POINTS <= ready {
                    for i in 0..POINTS {
                        let d = vectors::<S, POINTS>(
                            simd,
                            #[inline(always)]
                            |j| simd.get(&ring[in_ring(i, tile * OUTPUTS + j)..]),
                        );
                        for (j, x) in transform_input(simd, d).into_iter().enumerate() {
                            simd.put(&mut products[((i * POINTS + j) * S::LANES + tiles % S::LANES) * S::LANES..], x);
                        }
                    }
                    (tile, tiles) = (tile + 1, tiles + 1);
                    if tiles.is_multiple_of(S::LANES) {
                        self.store(simd, tiles - S::LANES, products);
                    }
                }
            }
        }
        if !tiles.is_multiple_of(S::LANES) {
            // Lanes behind the last tile hold anything: what becomes of them is no output.
            self.store(simd, tiles - tiles % S::LANES, products);
        }
    }

    /// Transforms a vector of columns, from `first` on, of a row of tiles: `put(point, column, x)` takes a vector of channels.
    /// `down` is `[point][channel][column]`.
    #[inline(always)]
    fn transform_columns<S: Simd, const OUTPUTS: usize>(
        &self,
        simd: S,
        [row, first]: [usize; 2],
        down: &mut [f32],
        mut put: impl FnMut(usize, usize, S::Vector),
    ) {
        let point_len = S::LANES * S::LANES;
        if first >= self.to.geometry.input[1] {
            // Behind the image.
            return (0..POINTS).for_each(|point| (0..S::LANES).for_each(|column| put(point, column, simd.splat(0.0))));
        }
        for (lane, channel) in self.channels.clone().enumerate() {
            let source = self.source::<S, OUTPUTS>(channel, row);
            let d = vectors::<S, POINTS>(
                simd,
                #[inline(always)]
                |i| {
                    let here = source.row(i, first);
                    simd.prefetch(here.as_ptr().wrapping_offset(source.next));
                    simd.get_first(here)
                },
            );
            for (down, x) in down.chunks_exact_mut(point_len).zip(transform_input(simd, d)) {
                simd.put(&mut down[lane * S::LANES..], x);
            }
        }
        for (point, down) in down.chunks_exact(point_len).enumerate() {
            for (column, x) in transposed(simd, down)[..S::LANES].iter().enumerate() {
                put(point, column, *x);
            }
        }
    }

    /// What a channel has for a row of tiles.
    #[inline(always)]
    fn source<S: Simd, const OUTPUTS: usize>(&self, channel: usize, row: usize) -> Source<'_> {
        let [height, width] = self.to.geometry.input;
        let plane = self.to.channels[channel].plane;
        // Later the same numbers are needed of the rows below, and then of other channels.
        let next = match self.to.channels.get(channel + S::LANES) {
            Some(later) if row + 1 == self.rows.end => {
                (later.plane as isize - plane as isize) * (height * width) as isize
                    - ((row - self.rows.start) * OUTPUTS * width) as isize
            }
            _ => (OUTPUTS * width) as isize,
        };
        Source {
            plane: &self.image[plane * height * width..][..height * width],
            width,
            first_row: (row * OUTPUTS) as isize - self.to.geometry.pad_before[0] as isize,
            next,
        }
    }

    /// Puts a vector of tiles, from `first` on, where they are multiplied: for each product and channel side by side.
    #[inline(always)]
    fn store<S: Simd>(&mut self, simd: S, first: usize, products: &[f32]) {
        let block = self.to.width();
        for (product, tiles) in products.chunks_exact(S::LANES * S::LANES).take(PRODUCTS).enumerate() {
            let plane = product * self.to.blocks() + first / block;
            let out = self.window.part(plane, self.channels.start * block..self.channels.end * block);
            for (vector, out) in transposed(simd, tiles).iter().zip(out.chunks_exact_mut(block)) {
                simd.put(&mut out[first % block..], *vector);
            }
        }
    }
}

/// The columns of a square of numbers, whose rows are vectors.
#[inline(always)]
fn transposed<S: Simd>(simd: S, rows: &[f32]) -> [S::Vector; MAX_LANES] {
    let mut vectors = [simd.splat(0.0); MAX_LANES];
    for (vector, row) in vectors.iter_mut().zip(rows.chunks_exact(S::LANES)) {
        *vector = simd.get(row);
    }
    simd.transpose(&mut vectors);
    vectors
}

/// A plane, of which six rows are read.
struct Source<'a> {
    plane: &'a [f32],
    width: usize,
    /// Rows may lie in the padding.
    first_row: isize,
    /// How far away the numbers lie that are read later in the place of these.
    next: isize,
}

impl Source<'_> {
    /// The numbers of the row that is number `i` of the six from `column` on, if there are any. Where there are none, still a
    /// place in the plane: masked loads from places that are not mapped take long.
    #[inline(always)]
    fn row(&self, i: usize, column: usize) -> &[f32] {
        let row = usize::try_from(self.first_row + i as isize).ok().filter(|_| column < self.width);
        let row = row.and_then(|row| self.plane.get(row * self.width + column..(row + 1) * self.width));
        row.unwrap_or(&self.plane[..0])
    }
}

/// The products of some filters with the transformed tiles of some rows, and their outputs.
struct Filters<'a> {
    to: &'a Winograd,
    layer: Weighted<'a>,
    transformed: &'a [f32],
    rows: Range<usize>,
    filters: Range<usize>,
    /// The planes of just these filters.
    out: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl Vectorized for Filters<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.to.outputs {
            4 => self.filters::<S, 3, 4>(simd),
            _ => self.filters::<S, 5, 2>(simd),
        }
    }
}

impl Filters<'_> {
    fn filters<S: Simd, const TAPS: usize, const OUTPUTS: usize>(mut self, simd: S) {
        let scratch = std::mem::take(&mut self.scratch);
        let (weights, rest) = scratch.split_at_mut(self.to.weights_len());
        let (products, outputs) = rest.split_at_mut(PRODUCTS * (PANELS * PANEL_ROWS * self.to.padded_tiles() + GAP));
        for first in self.filters.clone().step_by(PANELS * PANEL_ROWS) {
            let filters = first..(first + PANELS * PANEL_ROWS).min(self.filters.end);
            for block in balanced(self.to.channels.len(), CHANNELS) {
                simd.vectorize(
                    #[inline(always)]
                    || self.transform_weights::<S, TAPS>(simd, filters.clone(), block.clone(), weights),
                );
                self.multiply(simd, filters.len(), block, weights, products);
            }
            for filter in filters.clone() {
                simd.vectorize(
                    #[inline(always)]
                    || self.outputs::<S, OUTPUTS>(simd, filter, filters.clone(), products, outputs),
                );
            }
        }
    }

    /// `[product][panel][channel][row]` of some filters and channels.
    #[inline(always)]
    fn transform_weights<S: Simd, const TAPS: usize>(
        &self,
        simd: S,
        filters: Range<usize>,
        channels: Range<usize>,
        out: &mut [f32],
    ) {
        let (count, columns) = (channels.len(), self.to.columns);
        let panel_len = PANEL_ROWS * count + GAP;
        let product_len = filters.len().div_ceil(PANEL_ROWS) * panel_len;
        let panel = |first: usize| {
            // Panels of the matrix end at its last row, whichever filters these are.
            let rows = PANEL_ROWS.min(self.to.filters - first);
            (rows, &self.layer.weights[first * columns..][..rows * columns])
        };
        let mut first = filters.start;
        while first < filters.end {
            let (rows, weights) = panel(first);
            let offset = (first - filters.start) / PANEL_ROWS * panel_len;
            // A vector of two panels' rows takes two panels.
            if S::LANES == 2 * PANEL_ROWS && first + S::LANES <= filters.end {
                let (_, second) = panel(first + PANEL_ROWS);
                for (c, channel) in self.to.channels[channels.clone()].iter().enumerate() {
                    transform_taps::<S, TAPS>(
                        simd,
                        channel,
                        #[inline(always)]
                        |column| simd.get_halves([&weights[column * PANEL_ROWS..], &second[column * PANEL_ROWS..]]),
                        #[inline(always)]
                        |product, x| {
                            let out = &mut out[product * product_len + offset..][..2 * panel_len];
                            let (low, high) = out.split_at_mut(panel_len);
                            simd.put_halves([&mut low[c * PANEL_ROWS..], &mut high[c * PANEL_ROWS..]], x);
                        },
                    );
                }
                first += S::LANES;
                continue;
            }
            for (c, channel) in self.to.channels[channels.clone()].iter().enumerate() {
                for row in (0..rows).step_by(S::LANES) {
                    let lanes = S::LANES.min(rows - row);
                    transform_taps::<S, TAPS>(
                        simd,
                        channel,
                        #[inline(always)]
                        |column| simd.get_first(&weights[column * rows + row..][..lanes]),
                        #[inline(always)]
                        |product, x| {
                            simd.put_first(&mut out[product * product_len + offset + c * rows + row..][..lanes], x);
                        },
                    );
                }
            }
            first += rows;
        }
    }

    /// Adds the products of some filters and channels; the first channels begin the sums.
    fn multiply<S: Simd>(&self, simd: S, filters: usize, channels: Range<usize>, weights: &[f32], products: &mut [f32]) {
        let (width, panel_len) = (self.to.width(), PANEL_ROWS * channels.len() + GAP);
        let (padded, count) = (self.to.padded_tiles(), (self.rows.len() * self.to.grid[1]).div_ceil(width));
        for product in 0..PRODUCTS {
            let weights = &weights[product * filters.div_ceil(PANEL_ROWS) * panel_len..];
            let mut window = Window::whole(&mut products[product * (filters * padded + GAP)..][..filters * padded], padded);
            for block in 0..count {
                let plane = &self.transformed[(product * self.to.blocks() + block) * self.to.block_len()..];
                let lowered =
                    Packed::new::<S>(&plane[channels.start * width..channels.end * width], channels.len(), self.to.vectors);
                for first in (0..filters).step_by(PANEL_ROWS) {
                    let rows = PANEL_ROWS.min(filters - first);
                    let weights = &weights[first / PANEL_ROWS * panel_len..][..rows * channels.len()];
                    let place = Place { window: &mut window, plane: first, positions: block * width..(block + 1) * width };
                    let epilogue = Epilogue { add: channels.start > 0, finish: None };
                    tile::multiply(simd, Panel { weights, rows, to_next: 0 }, &lowered, place, epilogue);
                }
            }
        }
    }

    /// The outputs of one filter from the products of `filters`.
    #[inline(always)]
    fn outputs<S: Simd, const OUTPUTS: usize>(
        &mut self,
        simd: S,
        filter: usize,
        filters: Range<usize>,
        products: &[f32],
        lines: &mut [f32],
    ) {
        let Winograd { geometry, grid, .. } = self.to;
        let (padded, tiles) = (self.to.padded_tiles(), self.rows.len() * grid[1]);
        let line_len = OUTPUTS * padded;
        let bias = simd.splat(self.layer.bias[filter]);
        let activation = if self.layer.add { Activation::None } else { self.layer.activation };
        for at in (0..tiles).step_by(S::LANES) {
            let mut along = [[simd.splat(0.0); OUTPUTS]; POINTS];
            for (i, along) in along.iter_mut().enumerate() {
                let m = vectors::<S, POINTS>(
                    simd,
                    #[inline(always)]
                    |j| {
                        let product = (i * POINTS + j) * (filters.len() * padded + GAP);
                        let here = &products[product + (filter - filters.start) * padded + at..];
                        // So many streams are more than the hardware follows by itself.
                        simd.prefetch(here.as_ptr().wrapping_add(2 * S::LANES));
                        simd.get(here)
                    },
                );
                *along = transform_output::<S, OUTPUTS>(simd, m);
            }
            let mut rows = [[simd.splat(0.0); OUTPUTS]; OUTPUTS];
            for column in 0..OUTPUTS {
                let m = vectors::<S, POINTS>(
                    simd,
                    #[inline(always)]
                    |i| along[i][column],
                );
                let y = transform_output::<S, OUTPUTS>(simd, m);
                for (row, y) in y.into_iter().enumerate() {
                    rows[row][column] = activation.apply(simd, simd.add(y, bias));
                }
            }
            for (row, x) in rows.into_iter().enumerate() {
                simd.put_interleaved(&mut lines[row * line_len + at * OUTPUTS..], x);
            }
        }
        let [height, width] = geometry.output;
        let own = OUTPUTS * grid[1];
        let first = self.filters.start;
        let plane = &mut self.out[(filter - first) * height * width..][..height * width];
        for row in 0..OUTPUTS {
            let line = &lines[row * line_len..][..tiles * OUTPUTS];
            for (r, line) in self.rows.clone().zip(line.chunks_exact(own)) {
                let Some(out) = plane.get_mut((r * OUTPUTS + row) * width..).and_then(|rest| rest.get_mut(..width)) else {
                    continue;
                };
                let line = &line[..width];
                if self.layer.add {
                    let activation = self.layer.activation;
                    out.iter_mut().zip(line).for_each(|(o, x)| *o = activation.of(*o + x));
                } else {
                    out.copy_from_slice(line);
                }
            }
        }
    }
}
