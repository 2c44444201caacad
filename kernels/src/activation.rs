//! Activations of sums: some are applied to vectors in registers, any other function in memory, by code that is compiled once for each
//! instruction set and not once for each tile.

use crate::parallel::Window;
use crate::simd::{Isa, Simd, Vectorized};
use crate::{Activation, Unary, expect_len};
use sslm_basics::functions::{InRegisters, UnaryVisitor};
use std::ops::Range;

/// The bounds of an activation, in every lane of two vectors. Kernels that write rows of outputs apply them to what they write, whatever
/// the activation is, so that there is no branch; then [what is left](besides_bounds) to what they have written.
#[derive(Clone, Copy)]
pub(crate) struct Bounds<S: Simd> {
    low: S::Vector,
    high: S::Vector,
}

impl<S: Simd> Bounds<S> {
    /// Infinite ones where the activation has none.
    #[inline(always)]
    pub(crate) fn new(simd: S, activation: Activation) -> Self {
        match activation.in_registers() {
            Some(InRegisters::Bounds(bounds)) => Bounds::of(simd, bounds),
            _ => Bounds::of(simd, [f32::NEG_INFINITY, f32::INFINITY]),
        }
    }

    #[inline(always)]
    pub(crate) fn of(simd: S, [low, high]: [f32; 2]) -> Self {
        Bounds { low: simd.splat(low), high: simd.splat(high) }
    }

    /// Each lane within them. NaN stays.
    #[inline(always)]
    pub(crate) fn keep(self, simd: S, x: S::Vector) -> S::Vector {
        simd.min(self.high, simd.max(self.low, x))
    }
}

/// What is left of an activation when its [`Bounds`] have been applied.
pub(crate) fn besides_bounds(activation: Activation) -> Option<Unary> {
    match activation.in_registers() {
        Some(InRegisters::Bounds(_)) => None,
        _ => activation.function(),
    }
}

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

/// `function` of each element. It is compiled once for each instruction set, not once for each tile.
#[inline(never)]
pub(crate) fn of_elements<S: Simd>(simd: S, function: Unary, elements: &mut [f32]) {
    function.dispatch(OfElements { simd, elements });
}

/// `function` of each element of `x`. That the loops in [`of_elements`] would do, after a copy, takes up to a third longer.
///
/// # Panics
/// If the slices differ in length.
#[inline(never)]
fn map<S: Simd>(simd: S, function: Unary, x: &[f32], out: &mut [f32]) {
    expect_len("input", x, out.len());
    function.dispatch(Map { simd, x, out });
}

/// What [`of_elements`] reads and writes.
struct OfElements<'a, S> {
    simd: S,
    elements: &'a mut [f32],
}

impl<S: Simd> UnaryVisitor for OfElements<'_, S> {
    fn visit(self, f: impl Fn(f32) -> f32 + Copy + Sync) {
        let OfElements { simd, elements } = self;
        // What `f` holds is moved to where no write can change it.
        simd.vectorize(
            #[inline(always)]
            move || elements.iter_mut().for_each(|x| *x = f(*x)),
        );
    }
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
        simd.vectorize(
            #[inline(always)]
            move || out.iter_mut().zip(x).for_each(|(o, x)| *o = f(*x)),
        );
    }
}
