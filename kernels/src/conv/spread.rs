//! Writes the phases of a transposed convolution to their places in its output, in which they take turns.

use crate::simd::{Simd, Vectorized};
use crate::{Activation, activation};

/// Some rows of one plane of the output, or of one block of channels.
pub(super) struct Spread<'a, F> {
    pub(super) strides: [usize; 2],
    /// Elements of a position: one, or those of a vector.
    pub(super) lanes: usize,
    /// Positions of a row of the output, and of a row of a phase.
    pub(super) widths: [usize; 2],
    /// A phase by its row and column among phases, from its first row here on.
    pub(super) phase: F,
    /// The activation of sums with what the output holds. Without it, outputs are written as they are.
    pub(super) add: Option<Activation>,
    /// From a row of the first phases on.
    pub(super) out: &'a mut [f32],
}

impl<'x, F: Fn([usize; 2]) -> &'x [f32]> Vectorized for Spread<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        simd.vectorize(
            #[inline(always)]
            || match (self.lanes, self.add) {
                (1, None) => self.elements(|out, x| *out = x),
                (1, Some(_)) => self.elements(|out, x| *out += x),
                _ => self.vectors(simd),
            },
        );
        if let Some(function) = self.add.and_then(Activation::function) {
            activation::of_elements(simd, function, self.out);
        }
    }
}

impl<'x, F: Fn([usize; 2]) -> &'x [f32]> Spread<'_, F> {
    /// Rows in which elements take turns: calls `put` for each element of the output and the one that is to go there.
    #[inline(always)]
    fn elements(&mut self, put: impl Fn(&mut f32, f32)) {
        let Spread { strides: [row_stride, stride], widths: [width, phase_width], ref phase, ref mut out, .. } = *self;
        for row in 0..row_stride.min(out.len() / width) {
            let phase = |column: usize| phase([row, column]).chunks_exact(phase_width);
            let rows = out.chunks_exact_mut(width).skip(row).step_by(row_stride);
            match stride.min(width) {
                // Known counts become shuffles of whole vectors.
                1 => rows.zip(phase(0)).for_each(|(out, x)| interleave([x], out, &put)),
                2 => rows.zip(phase(0)).zip(phase(1)).for_each(|((out, a), b)| interleave([a, b], out, &put)),
                4 => {
                    let phases = phase(0).zip(phase(1)).zip(phase(2).zip(phase(3)));
                    rows.zip(phases).for_each(|(out, ((a, b), (c, d)))| interleave([a, b, c, d], out, &put));
                }
                phases => {
                    for column in 0..phases {
                        let rows = out.chunks_exact_mut(width).skip(row).step_by(row_stride);
                        for (out, x) in rows.zip(phase(column)) {
                            out.iter_mut().skip(column).step_by(phases).zip(x).for_each(|(out, x)| put(out, *x));
                        }
                    }
                }
            }
        }
    }

    /// Rows in which vectors take turns.
    #[inline(always)]
    fn vectors<S: Simd>(&mut self, simd: S) {
        let Spread { strides: [row_stride, stride], lanes, widths: [width, phase_width], ref phase, add, ref mut out } = *self;
        let phases = stride.min(width);
        for (row, column) in (0..row_stride.min(out.len() / (width * lanes))).flat_map(|row| (0..phases).map(move |c| (row, c))) {
            let rows = out.chunks_exact_mut(width * lanes).skip(row).step_by(row_stride);
            for (out, x) in rows.zip(phase([row, column]).chunks_exact(phase_width * lanes)) {
                let places = out.chunks_exact_mut(S::LANES).skip(column).step_by(phases);
                for (out, x) in places.zip(x.chunks_exact(S::LANES)) {
                    let x = simd.get(x);
                    simd.put(out, if add.is_some() { simd.add(x, simd.get(out)) } else { x });
                }
            }
        }
    }
}

/// One row.
#[inline(always)]
fn interleave<const PHASES: usize>(phases: [&[f32]; PHASES], out: &mut [f32], put: impl Fn(&mut f32, f32)) {
    let (turns, rest) = out.as_chunks_mut::<PHASES>();
    let count = turns.len();
    let whole = phases.map(|x| &x[..count]);
    for (i, turn) in turns.iter_mut().enumerate() {
        for (out, x) in turn.iter_mut().zip(whole) {
            put(out, x[i]);
        }
    }
    rest.iter_mut().zip(phases).for_each(|(out, x)| put(out, x[count]));
}
