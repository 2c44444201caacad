//! Tensors side by side with numpy's broadcasting: which of their elements meet.

use crate::expect_len;
use get_size2::GetSize;

/// `N` tensors side by side with numpy's broadcasting, as runs over the innermost axis.
#[derive(GetSize, Clone, Debug, PartialEq)]
pub struct Broadcast<const N: usize> {
    /// Outer axes, merged as far as possible, innermost first: extent, and stride in each tensor.
    outer: Vec<(usize, [usize; N])>,
    /// Length of a run.
    run: usize,
    /// Which tensors move along a run; the others repeat one element.
    moves: [bool; N],
    /// Elements of each tensor.
    lens: [usize; N],
    /// Elements of the result.
    len: usize,
}

impl<const N: usize> Broadcast<N> {
    /// For operands of these shapes, which must be broadcastable.
    ///
    /// # Panics
    /// If they are not.
    pub fn new(shapes: [&[usize]; N]) -> Self {
        let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
        let extent_of = |shape: &[usize], from_last: usize| shape.iter().rev().nth(from_last).copied().unwrap_or(1);
        let (mut steps, mut len) = ([1; N], 1);
        // Innermost first; an axis joins the one inside it if all operands step through the two as through one.
        let mut axes: Vec<(usize, [usize; N])> = Vec::new();
        for axis in 0..rank {
            let own = shapes.map(|shape| extent_of(shape, axis));
            let extent = own.into_iter().find(|&e| e != 1).unwrap_or(1);
            assert!(own.iter().all(|&e| e == extent || e == 1), "{shapes:?} cannot be broadcast");
            let mut strides = steps;
            for i in 0..N {
                strides[i] = if own[i] == 1 { 0 } else { steps[i] };
                steps[i] *= own[i];
            }
            len *= extent;
            match axes.last_mut() {
                _ if extent == 1 => {}
                Some((inner, inside)) if (0..N).all(|i| strides[i] == *inner * inside[i]) => *inner *= extent,
                _ => axes.push((extent, strides)),
            }
        }
        let mut axes = axes.into_iter();
        let (run, strides) = axes.next().unwrap_or((1, [1; N]));
        Broadcast { outer: axes.collect(), run, moves: strides.map(|stride| stride == 1), lens: steps, len }
    }

    /// That slices fit the shapes; where elements at the same places meet, that they are equally long, whatever their length.
    pub(crate) fn expect_lens(&self, operands: [&[f32]; N], out: &[f32]) {
        let any = |len: usize| if self.is_elementwise() && len != 1 { out.len() } else { len };
        let names = ["first operand", "second operand", "third operand"];
        for ((operand, len), name) in operands.into_iter().zip(self.lens).zip(names) {
            expect_len(name, operand, any(len));
        }
        expect_len("output", out, any(self.len));
    }

    /// Length of a run over the innermost axis.
    pub(crate) fn run(&self) -> usize {
        self.run
    }

    /// Which operands move along a run; the others repeat one element.
    pub(crate) fn moves(&self) -> [bool; N] {
        self.moves
    }

    /// Whether the elements at a place of the result depend on those at the same place alone, or on the one that there is.
    pub(crate) fn is_elementwise(&self) -> bool {
        self.outer.is_empty()
    }

    /// Elements of each operand.
    #[cfg(feature = "cuda")]
    pub(crate) fn lens(&self) -> [usize; N] {
        self.lens
    }

    /// Elements of the result.
    #[cfg(feature = "cuda")]
    pub(crate) fn output_len(&self) -> usize {
        self.len
    }

    /// Extent, and stride in each operand, of each axis, innermost first.
    #[cfg(feature = "cuda")]
    pub(crate) fn axes(&self) -> impl Iterator<Item = (usize, [usize; N])> {
        [(self.run, self.moves.map(usize::from))].into_iter().chain(self.outer.iter().copied())
    }

    /// Where run `i` begins in each operand.
    #[inline(always)]
    pub(crate) fn start_of(&self, mut i: usize) -> [usize; N] {
        let mut starts = [0; N];
        for &(extent, strides) in &self.outer {
            let position = i % extent;
            i /= extent;
            for operand in 0..N {
                starts[operand] += position * strides[operand];
            }
        }
        starts
    }
}
