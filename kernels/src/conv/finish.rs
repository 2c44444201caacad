//! What becomes of sums whose lanes are filters: they are transposed into planes, where the output's former elements, bias and
//! activation are applied.

use crate::Activation;
use crate::activation::{self, Bounds};
use crate::filter_tile::Sums;
use crate::parallel::Window;
use crate::simd::{Simd, Vectorized};
use crate::tile::each_column;

/// What becomes of the sums of some filters.
#[derive(Clone, Copy)]
pub(super) struct Finishing<'a> {
    pub(super) bias: &'a [f32],
    pub(super) activation: Activation,
    /// Whether the output holds elements that sums are added to.
    pub(super) add: bool,
}

/// Makes outputs of sums.
pub(super) struct Finish<'a, 'w> {
    pub(super) finishing: Finishing<'a>,
    pub(super) sums: Sums<'a>,
    pub(super) window: &'a mut Window<'w>,
}

impl Vectorized for Finish<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Finish { finishing, sums: Sums { rows, positions, elements, width }, window } = self;
        simd.vectorize(
            #[inline(always)]
            || {
                let bounds = Bounds::new(simd, finishing.activation);
                for (first, elements) in positions.clone().step_by(S::LANES).zip(elements.chunks(S::LANES * width)) {
                    let here = first..positions.end.min(first + S::LANES);
                    for (vector, first_row) in rows.clone().step_by(S::LANES).enumerate() {
                        let rows = first_row..rows.end.min(first_row + S::LANES);
                        let mut planes = window.planes(rows.clone(), here.clone());
                        each_column(
                            simd,
                            &elements[vector * S::LANES..],
                            width,
                            #[inline(always)]
                            |lane, x| {
                                if let Some(out) = planes.get(lane) {
                                    let x = if finishing.add { simd.add(x, simd.get_first(out)) } else { x };
                                    let x = simd.add(x, simd.splat(finishing.bias[rows.start + lane]));
                                    simd.put_first(out, bounds.keep(simd, x));
                                }
                            },
                        );
                    }
                }
                if let Some(function) = activation::besides_bounds(finishing.activation) {
                    activation::of_planes(simd, function, window, rows, positions);
                }
            },
        );
    }
}
