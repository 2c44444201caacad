//! Operations that work number by number.

use crate::{Threading, expect_len};

/// Numbers handled by one piece of work.
const GRAIN: usize = 1 << 14;

/// `f` of each number.
///
/// # Panics
/// If the slices differ in length.
pub fn map(x: &[f32], out: &mut [f32], f: impl Fn(f32) -> f32 + Send + Sync, threading: Threading) {
    expect_len("input", x, out.len());
    threading.for_each_chunk(out, GRAIN, |i, out| {
        out.iter_mut().zip(&x[i * GRAIN..]).for_each(|(o, &x)| *o = f(x));
    });
}

/// Two tensors side by side with numpy's broadcasting, as runs over the innermost axis.
#[derive(Debug, PartialEq)]
pub struct Broadcast {
    /// Outer axes, merged as far as possible: extent, stride in a, stride in b.
    outer: Vec<(usize, usize, usize)>,
    /// Length of a run, and whether a and b move along it (or repeat one number).
    run: (usize, bool, bool),
    /// Elements of a, of b and of the sum.
    lens: [usize; 3],
}

impl Broadcast {
    /// For operands of shapes `a` and `b`, which must be broadcastable.
    ///
    /// # Panics
    /// If they are not.
    pub fn new(a: &[usize], b: &[usize]) -> Self {
        let rank = a.len().max(b.len());
        let padded = |s: &[usize]| [vec![1; rank - s.len()], s.to_vec()].concat();
        let (a, b) = (padded(a), padded(b));
        let (mut stride_a, mut stride_b, mut total) = (1, 1, 1);
        // Innermost first; an axis joins the one inside it if both operands step through the two as through one.
        let mut axes: Vec<(usize, usize, usize)> = Vec::new();
        for (&x, &y) in a.iter().zip(&b).rev() {
            assert!(x == y || x == 1 || y == 1, "{a:?} and {b:?} cannot be broadcast");
            let (extent, sa, sb) =
                (if x == 1 { y } else { x }, if x == 1 { 0 } else { stride_a }, if y == 1 { 0 } else { stride_b });
            (stride_a, stride_b, total) = (stride_a * x, stride_b * y, total * extent);
            match axes.last_mut() {
                _ if extent == 1 => {}
                Some((inner, ia, ib)) if sa == *inner * *ia && sb == *inner * *ib => *inner *= extent,
                _ => axes.push((extent, sa, sb)),
            }
        }
        let mut axes = axes.into_iter();
        let (len, sa, sb) = axes.next().unwrap_or((1, 1, 1));
        Broadcast { outer: axes.collect(), run: (len, sa == 1, sb == 1), lens: [stride_a, stride_b, total] }
    }

    /// `out = f(a, b)`, number by number.
    ///
    /// # Panics
    /// If a slice has another length than the shapes call for.
    pub fn run(&self, a: &[f32], b: &[f32], out: &mut [f32], f: impl Fn(f32, f32) -> f32 + Send + Sync, threading: Threading) {
        for (what, slice, len) in [("a", a, self.lens[0]), ("b", b, self.lens[1]), ("output", &*out, self.lens[2])] {
            expect_len(what, slice, len);
        }
        let (run, a_moves, b_moves) = self.run;
        let apply = |a: &[f32], b: &[f32], out: &mut [f32]| match (a_moves, b_moves) {
            (true, true) => out.iter_mut().zip(a.iter().zip(b)).for_each(|(o, (&x, &y))| *o = f(x, y)),
            (true, false) => out.iter_mut().zip(a).for_each(|(o, &x)| *o = f(x, b[0])),
            (false, true) => out.iter_mut().zip(b).for_each(|(o, &y)| *o = f(a[0], y)),
            (false, false) => out.fill(f(a[0], b[0])),
        };
        if self.outer.is_empty() {
            let at = |moves: bool, i: usize| if moves { i * GRAIN } else { 0 };
            threading.for_each_chunk(out, GRAIN, |i, out| apply(&a[at(a_moves, i)..], &b[at(b_moves, i)..], out));
            return;
        }
        threading.for_each_chunk(out, run, |i, out| {
            let (mut rest, mut at_a, mut at_b) = (i, 0, 0);
            for &(extent, sa, sb) in &self.outer {
                let position = rest % extent;
                rest /= extent;
                at_a += position * sa;
                at_b += position * sb;
            }
            apply(&a[at_a..], &b[at_b..], out);
        });
    }
}
