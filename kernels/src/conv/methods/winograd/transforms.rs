//! The transforms of Winograd's method, for vectors of anything: in one dimension, outputs are `A^T ((G g) * (B^T d))`; in two
//! dimensions the transforms are applied along both axes.
//!
//! Polynomials are evaluated at 0, at infinity, and at points of either sign: +-a and +-b with a^2 = 1/2 and b^2 = 2 for six
//! points, which keeps all factors of the transforms near 1; +-1/2, +-1 and +-2 for eight, which left the smallest errors of 455
//! triples.
//!
//! Closures are handed on by value: references to them are called by functions of the standard library, which are not inlined where a
//! program is compiled without optimisation across units of code. Layers would take more than twice as long.

#![expect(clippy::redundant_closure, reason = "closures that are inlined, in place of references")]

use crate::simd::Simd;
use crate::tile::{unrolled, vectors};
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

/// Outputs of a tile along an axis.
pub(super) const OUTPUTS: usize = 4;

/// Two points of evaluation, `p` and `-p`.
struct Pair {
    p: f32,
    /// The sum of the squares of the other points besides 0.
    sum: f32,
    /// The product of the squares of the other points besides 0, where there are two.
    product: f32,
    /// 1 / product of the differences of `p` to all others.
    factor: f32,
}

/// The pairs of points of tiles of six elements.
const SIX: [Pair; 2] = [
    Pair { p: FRAC_1_SQRT_2, sum: 2.0, product: 0.0, factor: -1.0 / 1.5 },
    Pair { p: SQRT_2, sum: 0.5, product: 0.0, factor: 1.0 / 6.0 },
];

/// The pairs of points of tiles of eight elements.
const EIGHT: [Pair; 3] = [
    Pair { p: 0.5, sum: 5.0, product: 4.0, factor: 1.0 / 1.40625 },
    Pair { p: 1.0, sum: 4.25, product: 1.0, factor: -1.0 / 4.5 },
    Pair { p: 2.0, sum: 1.25, product: 0.25, factor: 1.0 / 90.0 },
];

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

/// Every other vector from `first` on, times the coefficients of the product over the other pairs.
#[inline(always)]
fn powers<S: Simd, const POINTS: usize>(simd: S, d: impl Fn(usize) -> S::Vector, first: usize, pair: &Pair) -> S::Vector {
    match POINTS {
        6 => times(simd, -pair.sum, d(first), d(first + 2)),
        _ => times(simd, -pair.sum, d(first + 2), times(simd, pair.product, d(first), d(first + 4))),
    }
}

/// The first element of `B^T d`, of the point 0, or the last one, of the point at infinity.
#[inline(always)]
fn transform_input_end<S: Simd, const POINTS: usize>(simd: S, is_last: bool, d: impl Fn(usize) -> S::Vector) -> S::Vector {
    match (POINTS, is_last) {
        (6, false) => times(simd, -2.5, d(2), simd.add(d(0), d(4))),
        (6, true) => times(simd, -2.5, d(3), simd.add(d(1), d(5))),
        (_, false) => times(simd, 5.25, simd.sub(d(4), d(2)), simd.sub(d(0), d(6))),
        (_, true) => times(simd, 5.25, simd.sub(d(3), d(5)), simd.sub(d(7), d(1))),
    }
}

/// The elements of `B^T d` of a pair of points.
#[inline(always)]
fn transform_input_pair<S: Simd, const POINTS: usize>(
    simd: S,
    pair: &Pair,
    d: impl Fn(usize) -> S::Vector + Copy,
) -> [S::Vector; 2] {
    let even = powers::<S, POINTS>(simd, d, 2, pair);
    let odd = simd.mul(simd.splat(pair.p), powers::<S, POINTS>(simd, d, 1, pair));
    [simd.add(even, odd), simd.sub(even, odd)]
}

/// `B^T d` for six or eight vectors.
#[inline(always)]
pub(super) fn transform_input<S: Simd, const POINTS: usize>(simd: S, d: [S::Vector; POINTS]) -> [S::Vector; POINTS] {
    let mut x = [simd.splat(0.0); POINTS];
    for (at, is_last) in [(0, false), (POINTS - 1, true)] {
        x[at] = transform_input_end::<S, POINTS>(
            simd,
            is_last,
            #[inline(always)]
            |i| d[i],
        );
    }
    each_pair::<POINTS>(
        #[inline(always)]
        |[plus, minus], pair| {
            [x[plus], x[minus]] = transform_input_pair::<S, POINTS>(
                simd,
                pair,
                #[inline(always)]
                |i| d[i],
            );
        },
    );
    x
}

/// `B^T d B` of a tile, of which `load` loads the vector in a row and a column; `store` takes the one of each row and column of points.
/// Rows of the result are made one or two at a time, so that they stay in registers: vectors are loaded as often as these need them.
#[inline(always)]
pub(super) fn transform_tile<S: Simd, const POINTS: usize>(
    simd: S,
    load: impl Fn(usize, usize) -> S::Vector,
    mut store: impl FnMut(usize, usize, S::Vector),
) {
    for (row, is_last) in [(0, false), (POINTS - 1, true)] {
        let down = vectors::<S, POINTS>(
            simd,
            #[inline(always)]
            |j| {
                transform_input_end::<S, POINTS>(
                    simd,
                    is_last,
                    #[inline(always)]
                    |i| load(i, j),
                )
            },
        );
        store_points(
            simd,
            row,
            down,
            #[inline(always)]
            |row, column, x| store(row, column, x),
        );
    }
    each_pair::<POINTS>(
        #[inline(always)]
        |[plus, minus], pair| {
            let mut down = [[simd.splat(0.0); POINTS]; 2];
            unrolled::<POINTS, 1>(
                #[inline(always)]
                |j, _| {
                    [down[0][j], down[1][j]] = transform_input_pair::<S, POINTS>(
                        simd,
                        pair,
                        #[inline(always)]
                        |i| load(i, j),
                    );
                },
            );
            unrolled::<2, 1>(
                #[inline(always)]
                |i, _| {
                    store_points(
                        simd,
                        [plus, minus][i],
                        down[i],
                        #[inline(always)]
                        |row, column, x| store(row, column, x),
                    );
                },
            );
        },
    );
}

/// Transforms a row of points along the other axis.
#[inline(always)]
fn store_points<S: Simd, const POINTS: usize>(
    simd: S,
    row: usize,
    down: [S::Vector; POINTS],
    mut store: impl FnMut(usize, usize, S::Vector),
) {
    let points = transform_input(simd, down);
    unrolled::<POINTS, 1>(
        #[inline(always)]
        |column, _| store(row, column, points[column]),
    );
}

/// `G g` for the vectors of three or five taps: their polynomial at the points, divided by the differences of a point to all
/// others.
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
pub(super) fn transform_taps<S: Simd, const TAPS: usize, const POINTS: usize>(
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

/// `A^T m A` for the products of a tile, of which `load` loads that of each row's and column's point; `store` takes each row's and column's output.
#[inline(always)]
pub(super) fn transform_sums<S: Simd, const POINTS: usize>(
    simd: S,
    load: impl Fn(usize, usize) -> S::Vector,
    mut store: impl FnMut(usize, usize, S::Vector),
) {
    let mut columns = [[simd.splat(0.0); POINTS]; OUTPUTS];
    for i in 0..POINTS {
        let m = vectors::<S, POINTS>(
            simd,
            #[inline(always)]
            |j| load(i, j),
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
