//! Activations of sums, in two parts. Bounds are applied to vectors in registers, by every kernel and whatever the activation is: where
//! it has none, they are infinite. Any other function is applied to what a kernel has written, a row or more at a time, by code that is
//! compiled once for each instruction set and not once for each tile.

use crate::parallel::Window;
use crate::simd::{Isa, Simd, Vectorized};
use crate::{Activation, Unary, expect_len};
use sslm_basics::functions::UnaryVisitor;
use std::ops::Range;

/// The bounds of an activation, in every lane of two vectors.
#[derive(Clone, Copy)]
pub(crate) struct Bounds<S: Simd> {
    low: S::Vector,
    high: S::Vector,
}

impl<S: Simd> Bounds<S> {
    #[inline(always)]
    pub(crate) fn new(simd: S, activation: Activation) -> Self {
        let [low, high] = activation.bounds().unwrap_or([f32::NEG_INFINITY, f32::INFINITY]);
        Bounds { low: simd.splat(low), high: simd.splat(high) }
    }

    /// Each lane within them. NaN stays.
    #[inline(always)]
    pub(crate) fn keep(self, simd: S, x: S::Vector) -> S::Vector {
        simd.min(self.high, simd.max(self.low, x))
    }
}

/// Applies to elements within the [`Bounds`] of an activation what is left of it.
#[inline(always)]
pub(crate) fn finish<S: Simd>(simd: S, activation: Activation, elements: &mut [f32]) {
    if let Some(function) = rest_of(activation) {
        of_elements(simd, function, elements);
    }
}

/// What is left of an activation when its bounds have been applied.
#[inline(always)]
pub(crate) fn rest_of(activation: Activation) -> Option<Unary> {
    if activation.bounds().is_some() { None } else { activation.function() }
}

/// Elements that are copied at a time where a function is applied in place.
const PART: usize = 128;

/// `function` of each element.
pub(crate) fn in_place(isa: Isa, function: Unary, elements: &mut [f32]) {
    struct InPlace<'a>(Unary, &'a mut [f32]);
    impl Vectorized for InPlace<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            of_elements(simd, self.0, self.1);
        }
    }
    isa.dispatch(InPlace(function, elements));
}

/// `function` of each element of `x`.
///
/// # Panics
/// If the slices differ in length.
pub(crate) fn of_each(isa: Isa, function: Unary, x: &[f32], out: &mut [f32]) {
    struct OfEach<'a>(Unary, &'a [f32], &'a mut [f32]);
    impl Vectorized for OfEach<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            map(simd, self.0, self.1, self.2);
        }
    }
    isa.dispatch(OfEach(function, x, out));
}

/// `function` of each element of some planes.
#[inline(never)]
pub(crate) fn of_planes<S: Simd>(
    simd: S,
    function: Unary,
    window: &mut Window<'_>,
    planes: Range<usize>,
    positions: Range<usize>,
) {
    for plane in planes {
        of_elements(simd, function, window.part(plane, positions.clone()));
    }
}

/// `function` of each element. Loops over its formula read one slice and write another: parts are copied.
#[inline(never)]
pub(crate) fn of_elements<S: Simd>(simd: S, function: Unary, elements: &mut [f32]) {
    let (parts, rest) = elements.as_chunks_mut::<PART>();
    for part in parts {
        let x = *part;
        map(simd, function, &x, part);
    }
    if !rest.is_empty() {
        let mut x = [0.0; PART];
        x[..rest.len()].copy_from_slice(rest);
        map(simd, function, &x[..rest.len()], rest);
    }
}

/// `function` of each element of `x`. Its formulas are compiled here, once for each instruction set.
#[inline(never)]
fn map<S: Simd>(simd: S, function: Unary, x: &[f32], out: &mut [f32]) {
    expect_len("input", x, out.len());
    function.dispatch(Map { simd, x, out });
}

/// What [`map`] reads and writes.
struct Map<'a, S> {
    simd: S,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl<S: Simd> UnaryVisitor for Map<'_, S> {
    fn visit(self, f: impl Fn(f32) -> f32 + Copy + Sync) {
        let Map { simd, x, out } = self;
        // What `f` holds is moved to where no write can change it.
        simd.vectorize(
            #[inline(always)]
            move || out.iter_mut().zip(x).for_each(|(o, x)| *o = f(*x)),
        );
    }
}
