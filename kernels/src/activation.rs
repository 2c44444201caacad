//! Activations of vectors: the formulas stand in the table of functions, and this is how they reach the vectors of an instruction set.

use crate::simd::{Isa, MAX_LANES, Simd, Vectorized};
use crate::{Activation, Unary};
use sslm_basics::functions::{Registers, UnaryVisitor};

/// The vectors of an instruction set, as the table's formulas want them.
#[derive(Clone, Copy)]
struct Vectors<S>(S);

impl<S: Simd> Registers for Vectors<S> {
    type Vector = S::Vector;

    #[inline(always)]
    fn splat(self, x: f32) -> S::Vector {
        self.0.splat(x)
    }

    #[inline(always)]
    fn mul(self, a: S::Vector, b: S::Vector) -> S::Vector {
        self.0.mul(a, b)
    }

    #[inline(always)]
    fn max(self, a: S::Vector, b: S::Vector) -> S::Vector {
        self.0.max(a, b)
    }

    #[inline(always)]
    fn min(self, a: S::Vector, b: S::Vector) -> S::Vector {
        self.0.min(a, b)
    }

    #[inline(always)]
    fn where_negative(self, x: S::Vector, negative: S::Vector) -> S::Vector {
        self.0.where_negative(x, negative)
    }

    #[inline(always)]
    fn in_memory(self, function: Unary, x: S::Vector) -> S::Vector {
        let mut elements = [0.0; MAX_LANES];
        self.0.put(&mut elements, x);
        of_elements(self.0, function, &mut elements[..S::LANES]);
        self.0.get(&elements)
    }
}

/// `activation` of each lane.
#[inline(always)]
pub(crate) fn of_vector<S: Simd>(simd: S, activation: Activation, x: S::Vector) -> S::Vector {
    activation.apply(Vectors(simd), x)
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

/// `function` of each element. It is compiled once for each instruction set, not once for each tile.
#[inline(never)]
pub(crate) fn of_elements<S: Simd>(simd: S, function: Unary, elements: &mut [f32]) {
    function.dispatch(OfElements { simd, elements });
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
