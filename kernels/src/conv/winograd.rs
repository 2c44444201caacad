//! Winograd's minimal filtering for dense 3x3 and 5x5 convolutions of stride 1: six by six, or eight by eight, numbers of an image yield
//! 4x4 outputs by 36, or 64, products where the definition takes 144, or 400. In one dimension, outputs are `A^T ((G g) * (B^T d))`,
//! in two the transforms are applied along both axes (Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks").
//!
//! Polynomials are evaluated at 0, at infinity, and at points of either sign: +-a and +-b with a^2 = 1/2 and b^2 = 2 for six numbers,
//! which keeps all factors of the transforms near 1; +-1/2, +-1 and +-2 for eight, which left the smallest errors of 455 triples.
//!
//! Lanes are channels of the transformed image and filters of the transformed weights, so that tiles need not fill vectors: rows
//! become vectors of channels, and vectors of filters become rows, by transposing squares of numbers.
//!
//! Weights are transformed anew in every run, some filters and channels at a time: a stored copy would be four times as large as
//! they are, and reading that from memory takes about as long. So they stay in the file, and only there. Columns that are not kept
//! count as zeros.

use super::geometry::{Column, Geometry};
use super::{GroupKernel, Method, Weighted};
use crate::filter_tile;
use crate::parallel::{Part, Partition, Window};
use crate::simd::{Isa, MAX_LANES, Simd, Vectorized};
use crate::tile::{each_column, unrolled, vectors};
use crate::{PANEL_ROWS, Threading, activation, balanced};
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};
use std::ops::Range;

/// Outputs of a tile along an axis.
const OUTPUTS: usize = 4;

/// Two points of evaluation, `p` and `-p`.
struct Pair {
    p: f32,
    /// Of the squares of the other points besides 0.
    sum: f32,
    /// Of the squares of the other points besides 0, where there are two.
    product: f32,
    /// 1 / product of the differences of `p` to all others.
    factor: f32,
}

/// Those of tiles of six numbers.
const SIX: [Pair; 2] = [
    Pair { p: FRAC_1_SQRT_2, sum: 2.0, product: 0.0, factor: -1.0 / 1.5 },
    Pair { p: SQRT_2, sum: 0.5, product: 0.0, factor: 1.0 / 6.0 },
];

/// Those of tiles of eight numbers.
const EIGHT: [Pair; 3] = [
    Pair { p: 0.5, sum: 5.0, product: 4.0, factor: 1.0 / 1.40625 },
    Pair { p: 1.0, sum: 4.25, product: 1.0, factor: -1.0 / 4.5 },
    Pair { p: 2.0, sum: 1.25, product: 0.25, factor: 1.0 / 90.0 },
];

/// Products of some channels for which weights are transformed together: with a few vectors of filters, 36 x 96 x 48 numbers or 64 x 54
/// x 48 fit the second-level cache.
const WEIGHTS: usize = 36 * 96;
/// Products of the tiles of an image that are worked on together: enough for the transform of weights to pay, few enough for the cache.
const SUMS: usize = 36 * 112;

/// Columns ahead of which weights are fetched.
const AHEAD: usize = 40;

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
    /// Numbers of a tile along an axis, and so points of evaluation.
    points: usize,
    /// Tiles of an image, vertically and horizontally.
    grid: [usize; 2],
    /// Rows of tiles that are worked on together.
    rows: usize,
    /// Where the numbers of each channel, and of each tile, lie in a transformed image.
    places: [Vec<usize>; 2],
    isa: Isa,
    /// What each thread computes, by itself from the image on.
    items: Vec<Item>,
    partition: Partition,
}

/// Some filters at some rows of tiles.
#[derive(Clone, Debug)]
struct Item {
    filters: Range<usize>,
    rows: Range<usize>,
}

#[derive(Debug)]
struct Channel {
    plane: usize,
    taps: Taps,
}

/// Which columns a channel's taps (`kh * KW + kw`) are.
#[derive(Debug)]
enum Taps {
    /// One after the other from this one on.
    All(usize),
    /// The column of each and 1, or any column and 0 if the tap is not kept.
    Some(Vec<(u32, f32)>),
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
        let points = OUTPUTS + width - 1;
        let mut channels: Vec<(usize, Vec<Option<u32>>)> = Vec::new();
        for (number, column) in columns.iter().enumerate() {
            let known = channels.iter().rposition(|c| c.0 == column.channel);
            let at = known.unwrap_or(channels.len());
            if known.is_none() {
                channels.push((column.channel, vec![None; width * width]));
            }
            // Columns that are listed twice are for the other methods.
            if channels[at].1[column.kh * width + column.kw].replace(u32::try_from(number).ok()?).is_some() {
                return None;
            }
        }
        let channel = |(plane, columns): (usize, Vec<Option<u32>>)| {
            let any = columns.iter().flatten().next().copied().unwrap_or(0);
            let all = (any..).zip(&columns).all(|(number, column)| *column == Some(number));
            let some = || columns.iter().map(|column| column.map_or((any, 0.0), |column| (column, 1.0))).collect();
            Channel { plane, taps: if all { Taps::All(any as usize) } else { Taps::Some(some()) } }
        };
        let channels: Vec<Channel> = channels.into_iter().map(channel).collect();
        let grid = geometry.output.map(|size| size.div_ceil(OUTPUTS));
        let rows = balanced(grid[0], (SUMS / (points * points * grid[1])).max(1)).map(|rows| rows.len()).max().unwrap_or(1);
        let mut winograd = Winograd {
            geometry: geometry.clone(),
            filters,
            channels,
            columns: columns.len(),
            points,
            grid,
            rows,
            places: [Vec::new(), Vec::new()],
            isa,
            items: Vec::new(),
            partition: Partition::new(0, 0, Vec::new()),
        };
        let (lanes, group_len) = (isa.lanes(), winograd.group_len());
        let of_channel = |channel: usize| channel / lanes * group_len + channel % lanes;
        winograd.places =
            [(0..winograd.channels.len()).map(of_channel).collect(), (0..rows * grid[1]).map(|tile| tile * lanes).collect()];
        winograd.items = winograd.shares(threads);
        winograd.partition = winograd.partition(&winograd.items);
        Some(winograd)
    }

    /// Decides who computes what: threads share the filters, rows of tiles or both, whichever is expected to cost least. Each transforms
    /// what it needs of image and weights, as some other does, too: that takes less than reading what others have just written.
    fn shares(&self, threads: usize) -> Vec<Item> {
        // Whole vectors of filters, and whole panels.
        let unit = self.isa.lanes().max(PANEL_ROWS);
        let parts = |of_rows: usize| {
            let rows = balanced(self.grid[0], self.grid[0].div_ceil(of_rows));
            let filters = self.filters.div_ceil(unit).div_ceil(threads / of_rows) * unit;
            let filters = (0..self.filters).step_by(filters).map(move |first| first..self.filters.min(first + filters));
            rows.flat_map(move |rows| filters.clone().map(move |filters| Item { filters, rows: rows.clone() }))
        };
        let slowest = |of_rows: usize| {
            let costs = parts(of_rows).map(|item| self.cost_of(item.rows.len(), item.filters.len()));
            costs.fold(0.0, f64::max)
        };
        let best = (1..=threads.min(self.grid[0])).map(|of_rows| (slowest(of_rows), of_rows)).min_by(|a, b| a.0.total_cmp(&b.0));
        best.map_or_else(Vec::new, |(_, of_rows)| parts(of_rows).collect())
    }

    /// The outputs of each of them.
    fn partition(&self, items: &[Item]) -> Partition {
        let [height, width] = self.geometry.output;
        let position = |row: usize| (row * OUTPUTS).min(height) * width;
        let lane = |Item { filters, rows }: &Item| {
            vec![Part { planes: filters.clone(), positions: position(rows.start)..position(rows.end) }]
        };
        Partition::new(self.filters, height * width, items.iter().map(lane).collect())
    }

    /// What one image is expected to cost, in multiply-adds of vectors (see `choice.rs`).
    pub(super) fn cost(&self) -> f64 {
        self.cost_of(self.grid[0], self.filters)
    }

    /// What some filters at some rows of tiles are expected to cost.
    fn cost_of(&self, rows: usize, filters: usize) -> f64 {
        let (channels, lanes) = (self.channels.len(), self.isa.lanes());
        let vectors_of = |count: usize| count.div_ceil(lanes) as f64;
        let of_filters = vectors_of(filters);
        let (tiles, passes) = ((rows * self.grid[1]) as f64, rows.div_ceil(self.rows) as f64);
        let products = self.products() as f64 * channels as f64 * of_filters;
        // Besides what each tile takes, squares of numbers are transposed.
        let squares = rows as f64 * vectors_of(self.geometry.input[1]);
        let [tile, square, taps, outputs] =
            if self.points == 6 { [330.0, 12.0, 330.0, 420.0] } else { [350.0, 16.0, 600.0, 950.0] };
        let image = vectors_of(channels) * (tiles * tile + squares * square * (lanes * lanes) as f64);
        tiles * (1.2 * products + outputs * of_filters) + image + taps * passes * of_filters * channels as f64
    }

    /// Products of a tile.
    fn products(&self) -> usize {
        self.points * self.points
    }

    /// Channels whose weights are transformed together.
    fn channels_at_once(&self) -> usize {
        WEIGHTS / self.products()
    }

    /// Numbers of one product's tiles of a vector of channels.
    fn product_len(&self) -> usize {
        self.rows * self.grid[1] * self.isa.lanes() + GAP
    }

    /// Numbers of a transformed image, `[vector of channels][product][tile][channel]`, with room for whole vectors behind it.
    fn image_len(&self) -> usize {
        (self.channels.len().div_ceil(self.isa.lanes()) * self.group_len()).next_multiple_of(MAX_LANES)
    }

    /// Numbers of a vector of channels.
    fn group_len(&self) -> usize {
        self.products() * self.product_len()
    }

    /// Numbers of the transformed weights of one product: `[channel][filter]` of some channels and some vectors of filters.
    fn weights_len(&self, vectors: usize) -> usize {
        self.channels_at_once().min(self.channels.len()) * vectors * self.isa.lanes() + GAP
    }

    /// Numbers of one product's sums: `[tile][filter]` of some vectors of filters.
    fn sums_len(&self, vectors: usize) -> usize {
        self.rows * self.grid[1] * vectors * self.isa.lanes() + GAP
    }

    /// Rows of tiles in parts that are worked on together.
    fn passes(&self, rows: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let start = rows.start;
        balanced(rows.len(), self.rows).map(move |part| start + part.start..start + part.end)
    }

    /// Transforms the tiles of some rows.
    fn transform(&self, image: &[f32], rows: &Range<usize>, to: &mut [f32], scratch: &mut [f32]) {
        let firsts = (0..self.channels.len()).step_by(self.isa.lanes());
        for (first, to) in firsts.zip(to.chunks_exact_mut(self.group_len())) {
            let channels = first..self.channels.len().min(first + self.isa.lanes());
            self.isa.dispatch(TransformImage { of: self, image, rows: rows.clone(), channels, to, scratch });
        }
    }

    /// Scratch memory of one thread: a transformed image, and what transforms and products need in turns.
    fn thread_len(&self) -> usize {
        let (lanes, vectors) = (self.isa.lanes(), self.isa.filter_tile()[1]);
        let image = self.points * (RING + lanes) * lanes;
        let filters = OUTPUTS * lanes * lanes + self.products() * (self.weights_len(vectors) + self.sums_len(vectors));
        self.image_len().saturating_add(image.max(filters).next_multiple_of(MAX_LANES))
    }
}

impl GroupKernel for Winograd {
    fn method(&self) -> Method {
        Method::Winograd
    }

    fn describe(&self) -> String {
        format!("{OUTPUTS}x{OUTPUTS}")
    }

    fn scratch_len(&self) -> usize {
        self.items.len().saturating_mul(self.thread_len())
    }

    fn run(&self, layer: Weighted<'_>, image: &[f32], out: &mut [f32], scratch: &mut [f32], threading: Threading) {
        self.partition.for_each(out, scratch, self.thread_len(), threading, |i, mut window, scratch| {
            let (transformed, scratch) = scratch.split_at_mut(self.image_len());
            for rows in self.passes(&self.items[i].rows) {
                self.transform(image, &rows, transformed, scratch);
                let filters = self.items[i].filters.clone();
                self.isa.dispatch(Filters { of: self, layer, transformed, rows, filters, out: &mut window, scratch });
            }
        });
    }
}

/// `factor * x + plus`.
#[inline(always)]
fn times<S: Simd>(simd: S, factor: f32, x: S::Vector, plus: S::Vector) -> S::Vector {
    simd.mul_add(simd.splat(factor), x, plus)
}

/// Calls `f` with the place of each pair of points, those of `p` and `-p` one after the other, and the pair.
#[inline(always)]
fn each_pair<const POINTS: usize>(mut f: impl FnMut([usize; 2], &'static Pair)) {
    let pairs: &[Pair] = if POINTS == 6 { &SIX } else { &EIGHT };
    unrolled::<3, 1>(
        #[inline(always)]
        |i, _| {
            if 2 * i + 3 < POINTS {
                f([2 * i + 1, 2 * i + 2], &pairs[i]);
            }
        },
    );
}

/// Every other number from `first` on, times the coefficients of the product over the other pairs.
#[inline(always)]
fn powers<S: Simd, const POINTS: usize>(simd: S, d: &[S::Vector; POINTS], first: usize, pair: &Pair) -> S::Vector {
    match POINTS {
        6 => times(simd, -pair.sum, d[first], d[first + 2]),
        _ => times(simd, -pair.sum, d[first + 2], times(simd, pair.product, d[first], d[first + 4])),
    }
}

/// `B^T d` for six or eight vectors.
#[inline(always)]
fn transform_input<S: Simd, const POINTS: usize>(simd: S, d: [S::Vector; POINTS]) -> [S::Vector; POINTS] {
    let mut x = [simd.splat(0.0); POINTS];
    if POINTS == 6 {
        x[0] = times(simd, -2.5, d[2], simd.add(d[0], d[4]));
        x[5] = times(simd, -2.5, d[3], simd.add(d[1], d[5]));
    } else {
        x[0] = times(simd, 5.25, simd.sub(d[4], d[2]), simd.sub(d[0], d[6]));
        x[7] = times(simd, 5.25, simd.sub(d[3], d[5]), simd.sub(d[7], d[1]));
    }
    each_pair::<POINTS>(
        #[inline(always)]
        |[plus, minus], pair| {
            let even = powers::<S, POINTS>(simd, &d, 2, pair);
            let odd = simd.mul(simd.splat(pair.p), powers::<S, POINTS>(simd, &d, 1, pair));
            [x[plus], x[minus]] = [simd.add(even, odd), simd.sub(even, odd)];
        },
    );
    x
}

/// `G g` for the vectors of three or five taps: their polynomial at the points, divided by the differences of a point to all others.
#[inline(always)]
fn transform_weights<S: Simd, const TAPS: usize, const POINTS: usize>(simd: S, g: [S::Vector; TAPS]) -> [S::Vector; POINTS] {
    let mut x = [simd.splat(0.0); POINTS];
    x[0] = g[0];
    x[POINTS - 1] = g[TAPS - 1];
    each_pair::<POINTS>(
        #[inline(always)]
        |[plus, minus], &Pair { p, factor, .. }| {
            let pp = p * p;
            let (even, odd) = match TAPS {
                5 => (times(simd, pp, times(simd, pp, g[4], g[2]), g[0]), times(simd, pp, g[3], g[1])),
                _ => (times(simd, pp, g[2], g[0]), g[1]),
            };
            let even = simd.mul(simd.splat(factor), even);
            [x[plus], x[minus]] = [times(simd, p * factor, odd, even), times(simd, -p * factor, odd, even)];
        },
    );
    x
}

/// `G g G^T` for the taps of a channel, which `load` loads; `store` takes the products one by one.
#[inline(always)]
fn transform_taps<S: Simd, const TAPS: usize, const POINTS: usize>(
    simd: S,
    mut load: impl FnMut(usize) -> S::Vector,
    mut store: impl FnMut(usize, S::Vector),
) {
    let mut down = [[simd.splat(0.0); TAPS]; POINTS];
    unrolled::<TAPS, 1>(
        #[inline(always)]
        |j, _| {
            let taps = vectors::<S, TAPS>(
                simd,
                #[inline(always)]
                |i| load(i * TAPS + j),
            );
            let transformed = transform_weights::<S, TAPS, POINTS>(simd, taps);
            unrolled::<POINTS, 1>(
                #[inline(always)]
                |i, _| down[i][j] = transformed[i],
            );
        },
    );
    unrolled::<POINTS, 1>(
        #[inline(always)]
        |i, _| {
            let products = transform_weights::<S, TAPS, POINTS>(simd, down[i]);
            unrolled::<POINTS, 1>(
                #[inline(always)]
                |j, _| store(i * POINTS + j, products[j]),
            );
        },
    );
}

/// `A^T m` for six or eight vectors.
#[inline(always)]
fn transform_output<S: Simd, const POINTS: usize>(simd: S, m: [S::Vector; POINTS]) -> [S::Vector; OUTPUTS] {
    let mut sums = [m[0], simd.splat(0.0), simd.splat(0.0), m[POINTS - 1]];
    each_pair::<POINTS>(
        #[inline(always)]
        |[plus, minus], &Pair { p, .. }| {
            let (sum, difference) = (simd.add(m[plus], m[minus]), simd.sub(m[plus], m[minus]));
            sums = [
                simd.add(sums[0], sum),
                times(simd, p, difference, sums[1]),
                times(simd, p * p, sum, sums[2]),
                times(simd, p * p * p, difference, sums[3]),
            ];
        },
    );
    sums
}

/// Columns of transformed rows that are remembered: those of a tile may begin in one vector's columns and end in the next one's.
const RING: usize = 2 * MAX_LANES;

/// Transforms the tiles of some rows in a vector of channels, side by side: along a row lanes are columns, and where columns are
/// told apart they are channels.
struct TransformImage<'a> {
    of: &'a Winograd,
    image: &'a [f32],
    rows: Range<usize>,
    /// As many as a vector has lanes, or fewer.
    channels: Range<usize>,
    /// `[product][tile][channel]`.
    to: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl Vectorized for TransformImage<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.of.points {
            6 => simd.vectorize(
                #[inline(always)]
                || self.transform::<S, 6>(simd),
            ),
            _ => simd.vectorize(
                #[inline(always)]
                || self.transform::<S, 8>(simd),
            ),
        }
    }
}

impl TransformImage<'_> {
    #[inline(always)]
    fn transform<S: Simd, const POINTS: usize>(mut self, simd: S) {
        let (across, pad, product_len) = (self.of.grid[1], self.of.geometry.pad_before[1], self.of.product_len());
        let (scratch, to) = (std::mem::take(&mut self.scratch), std::mem::take(&mut self.to));
        // `[point][column][channel]` and `[point][channel][column]`.
        let (ring, down) = scratch.split_at_mut(POINTS * RING * S::LANES);
        let down = &mut down[..POINTS * S::LANES * S::LANES];
        let in_ring = |point: usize, column: usize| (point * RING + column % RING) * S::LANES;
        let mut done = 0;
        for row in self.rows.clone() {
            for point in 0..POINTS {
                ring[in_ring(point, 0)..][..pad * S::LANES].fill(0.0);
            }
            let (mut tile, mut ready) = (0, pad);
            while tile < across {
                self.transform_columns::<S, POINTS>(
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
                            simd.put(&mut to[(i * POINTS + j) * product_len + done * S::LANES..], x);
                        }
                    }
                    (tile, done) = (tile + 1, done + 1);
                }
            }
        }
    }

    /// Transforms a vector of columns, from `first` on, of a row of tiles: `put(point, column, x)` takes a vector of channels.
    /// `down` is `[point][channel][column]`.
    #[inline(always)]
    fn transform_columns<S: Simd, const POINTS: usize>(
        &self,
        simd: S,
        [row, first]: [usize; 2],
        down: &mut [f32],
        mut put: impl FnMut(usize, usize, S::Vector),
    ) {
        let point_len = S::LANES * S::LANES;
        if first >= self.of.geometry.input[1] {
            // Behind the image.
            return (0..POINTS).for_each(|point| (0..S::LANES).for_each(|column| put(point, column, simd.splat(0.0))));
        }
        for (lane, channel) in self.channels.clone().enumerate() {
            let source = self.source::<S>(channel, row);
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
            each_column(
                simd,
                down,
                S::LANES,
                #[inline(always)]
                |column, x| put(point, column, x),
            );
        }
    }

    /// What a channel has for a row of tiles.
    #[inline(always)]
    fn source<S: Simd>(&self, channel: usize, row: usize) -> Source<'_> {
        let [height, width] = self.of.geometry.input;
        let plane = self.of.channels[channel].plane;
        // Later the same numbers are needed of the rows below, and then of other channels.
        let next = match self.of.channels.get(channel + S::LANES) {
            Some(later) if row + 1 == self.rows.end => {
                (later.plane as isize - plane as isize) * (height * width) as isize
                    - ((row - self.rows.start) * OUTPUTS * width) as isize
            }
            _ => (OUTPUTS * width) as isize,
        };
        Source {
            plane: &self.image[plane * height * width..][..height * width],
            width,
            first_row: (row * OUTPUTS) as isize - self.of.geometry.pad_before[0] as isize,
            next,
        }
    }
}

/// A plane, of which a tile's rows are read.
struct Source<'a> {
    plane: &'a [f32],
    width: usize,
    /// Rows may lie in the padding.
    first_row: isize,
    /// How far away the numbers lie that are read later in the place of these.
    next: isize,
}

impl Source<'_> {
    /// The numbers of the row that is number `i` of the tile's from `column` on, if there are any. Where there are none, still a
    /// place in the plane: masked loads from places that are not mapped take long.
    #[inline(always)]
    fn row(&self, i: usize, column: usize) -> &[f32] {
        let row = usize::try_from(self.first_row + i as isize).ok().filter(|_| column < self.width);
        let row = row.and_then(|row| self.plane.get(row * self.width + column..(row + 1) * self.width));
        row.unwrap_or(&self.plane[..0])
    }
}

/// The products of some filters with the transformed tiles of some rows, and their outputs.
struct Filters<'a, 'w> {
    of: &'a Winograd,
    layer: Weighted<'a>,
    transformed: &'a [f32],
    rows: Range<usize>,
    filters: Range<usize>,
    out: &'a mut Window<'w>,
    scratch: &'a mut [f32],
}

impl Vectorized for Filters<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.of.points {
            6 => self.filters::<S, 3, 6>(simd),
            _ => self.filters::<S, 5, 8>(simd),
        }
    }
}

impl Filters<'_, '_> {
    fn filters<S: Simd, const TAPS: usize, const POINTS: usize>(mut self, simd: S) {
        let scratch = std::mem::take(&mut self.scratch);
        for vectors in balanced(self.filters.len().div_ceil(S::LANES), S::FILTER_TILE[1]) {
            let [first, end] = [vectors.start, vectors.end].map(|v| (self.filters.start + v * S::LANES).min(self.filters.end));
            let (rows, rest) = scratch.split_at_mut(OUTPUTS * S::LANES * S::LANES);
            let (weights, sums) = rest.split_at_mut(POINTS * POINTS * self.of.weights_len(vectors.len()));
            for channels in balanced(self.of.channels.len(), self.of.channels_at_once()) {
                for (vector, first) in (first..end).step_by(S::LANES).enumerate() {
                    simd.vectorize(
                        #[inline(always)]
                        || {
                            self.transform_weights::<S, TAPS, POINTS>(
                                simd,
                                first,
                                channels.clone(),
                                [vector, vectors.len()],
                                weights,
                            )
                        },
                    );
                }
                self.multiply(simd, channels, vectors.len(), weights, sums);
            }
            for (vector, first) in (first..end).step_by(S::LANES).enumerate() {
                simd.vectorize(
                    #[inline(always)]
                    || self.outputs::<S, POINTS>(simd, first..end.min(first + S::LANES), [vector, vectors.len()], sums, rows),
                );
            }
        }
    }

    /// Transforms the weights of a vector of filters, from `first` on, and some channels. They become number `vector` of `vectors`.
    #[inline(always)]
    fn transform_weights<S: Simd, const TAPS: usize, const POINTS: usize>(
        &self,
        simd: S,
        first: usize,
        channels: Range<usize>,
        [vector, vectors]: [usize; 2],
        out: &mut [f32],
    ) {
        let (product_len, width) = (self.of.weights_len(vectors), vectors * S::LANES);
        let low = self.panel(first);
        // One without rows is somewhere in memory, too: masked loads from elsewhere take long.
        let none = Panel { rows: 0, ..low };
        let second = self.panel(first + PANEL_ROWS);
        let high = if S::LANES > PANEL_ROWS && second.rows > 0 { second } else { none };
        let rows = Rows { panels: [low, high], first: first % PANEL_ROWS };
        for (c, channel) in self.of.channels[channels].iter().enumerate() {
            let out = &mut out[c * width + vector * S::LANES..];
            match channel.taps {
                Taps::All(start) => transform_taps::<S, TAPS, POINTS>(
                    simd,
                    #[inline(always)]
                    |tap| {
                        rows.fetch(simd, start + tap + AHEAD);
                        rows.vector(simd, start + tap)
                    },
                    #[inline(always)]
                    |product, x| simd.put(&mut out[product * product_len..], x),
                ),
                Taps::Some(ref columns) => transform_taps::<S, TAPS, POINTS>(
                    simd,
                    #[inline(always)]
                    |tap| {
                        // No branch: nobody can predict which taps are kept.
                        let (column, kept) = columns[tap];
                        rows.fetch(simd, column as usize + AHEAD);
                        simd.mul(simd.splat(kept), rows.vector(simd, column as usize))
                    },
                    #[inline(always)]
                    |product, x| simd.put(&mut out[product * product_len..], x),
                ),
            }
        }
    }

    /// The panel of the matrix that a row is in, if there is such a row.
    fn panel(&self, row: usize) -> Panel<'_> {
        let first = row - row % PANEL_ROWS;
        let rows = PANEL_ROWS.min(self.of.filters.saturating_sub(first));
        let start = first.min(self.of.filters) * self.of.columns;
        Panel { rows, weights: &self.layer.weights[start..start + rows * self.of.columns] }
    }

    /// Adds the products of some channels; the first ones begin the sums.
    fn multiply<S: Simd>(&self, simd: S, channels: Range<usize>, vectors: usize, weights: &[f32], sums: &mut [f32]) {
        let tiles = self.rows.len() * self.of.grid[1];
        let [of_channels, of_tiles] = &self.of.places;
        let stretches = weights.chunks_exact(self.of.weights_len(vectors)).zip(sums.chunks_exact_mut(self.of.sums_len(vectors)));
        for (product, (weights, sums)) in stretches.take(self.of.products()).enumerate() {
            let places = [&of_channels[channels.clone()], &of_tiles[..tiles]];
            let x = &self.transformed[product * self.of.product_len()..];
            filter_tile::multiply_lines(simd, weights, x, places, vectors, sums, channels.start > 0);
        }
    }

    /// The outputs of a vector of `filters`, number `vector` of `vectors`, from the sums of products. `rows` is
    /// `[row][column][filter]` of a few tiles.
    #[inline(always)]
    fn outputs<S: Simd, const POINTS: usize>(
        &mut self,
        simd: S,
        filters: Range<usize>,
        [vector, vectors]: [usize; 2],
        sums: &[f32],
        rows: &mut [f32],
    ) {
        let ([height, width], across) = (self.of.geometry.output, self.of.grid[1]);
        let (sums_len, pitch) = (self.of.sums_len(vectors), vectors * S::LANES);
        let bias = simd.get_first(&self.layer.bias[filters.clone()]);
        for (r, row) in self.rows.clone().enumerate() {
            // As many tiles as have a vector's columns.
            for first in (0..across).step_by(S::LANES / OUTPUTS) {
                for tile in first..across.min(first + S::LANES / OUTPUTS) {
                    let at = (r * across + tile) * pitch + vector * S::LANES;
                    transform_sums::<S, POINTS>(
                        simd,
                        #[inline(always)]
                        |product| simd.get(&sums[product * sums_len + at..]),
                        #[inline(always)]
                        |row, column, y| {
                            let column = (tile - first) * OUTPUTS + column;
                            simd.put(&mut rows[(row * S::LANES + column) * S::LANES..], simd.add(y, bias));
                        },
                    );
                }
                let columns = first * OUTPUTS..width.min(first * OUTPUTS + S::LANES);
                for (y, rows) in (row * OUTPUTS..height).zip(rows.chunks_exact(S::LANES * S::LANES)) {
                    let here = y * width + columns.start..y * width + columns.end;
                    let mut planes = self.out.planes(filters.clone(), here);
                    each_column(
                        simd,
                        rows,
                        S::LANES,
                        #[inline(always)]
                        |filter, x| {
                            if let Some(out) = planes.get(filter) {
                                // More rows than the hardware follows by itself.
                                simd.prefetch(out.as_ptr().wrapping_add(S::LANES));
                                let x = if self.layer.add { simd.add(x, simd.get_first(out)) } else { x };
                                simd.put_first(out, activation::of_vector(simd, self.layer.activation, x));
                            }
                        },
                    );
                }
            }
        }
    }
}

/// `A^T m A` for the products of a tile, which `load` loads; `store` takes each row's and column's output.
#[inline(always)]
fn transform_sums<S: Simd, const POINTS: usize>(
    simd: S,
    mut load: impl FnMut(usize) -> S::Vector,
    mut store: impl FnMut(usize, usize, S::Vector),
) {
    let mut columns = [[simd.splat(0.0); POINTS]; OUTPUTS];
    for i in 0..POINTS {
        let m = vectors::<S, POINTS>(
            simd,
            #[inline(always)]
            |j| load(i * POINTS + j),
        );
        for (column, y) in columns.iter_mut().zip(transform_output::<S, POINTS>(simd, m)) {
            column[i] = y;
        }
    }
    for (column, m) in columns.into_iter().enumerate() {
        for (row, y) in transform_output::<S, POINTS>(simd, m).into_iter().enumerate() {
            store(row, column, y);
        }
    }
}

/// Some rows of a matrix: `[columns][rows]`.
#[derive(Clone, Copy)]
struct Panel<'a> {
    weights: &'a [f32],
    rows: usize,
}

impl<'a> Panel<'a> {
    #[inline(always)]
    fn column(&self, column: usize) -> &'a [f32] {
        &self.weights[column * self.rows..(column + 1) * self.rows]
    }
}

/// A vector of rows: of two panels, or where vectors are shorter than panels, the rows from `first` on of one.
struct Rows<'a> {
    panels: [Panel<'a>; 2],
    first: usize,
}

impl Rows<'_> {
    #[inline(always)]
    fn vector<S: Simd>(&self, simd: S, column: usize) -> S::Vector {
        let [low, high] = &self.panels;
        if S::LANES <= PANEL_ROWS {
            return simd.get_first(&low.column(column)[self.first..]);
        }
        if high.rows == PANEL_ROWS {
            return simd.get_halves([low.column(column), high.column(column)]);
        }
        simd.get_rows([low.column(column), high.column(column)])
    }

    /// Asks for a column.
    #[inline(always)]
    fn fetch<S: Simd>(&self, simd: S, column: usize) {
        for panel in &self.panels {
            simd.prefetch(panel.weights.as_ptr().wrapping_add(column * PANEL_ROWS));
        }
    }
}
