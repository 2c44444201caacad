//! Windows that slide over height and width: their geometry, their padding, and what they make of a shape.

use crate::codec::{choice, record};
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::rules::{at_least_one, below};
use crate::shape::{Shape, expect_rank};

/// Kernel sizes, strides, dilations and paddings are below this, so that their products cannot overflow.
pub(crate) const MAX_WINDOW: u32 = 1 << 16;

record! {
    /// Geometry of a sliding window over (height, width).
    pub struct Window {
        /// KH, KW.
        pub kernel: [u32; 2],
        /// Vertical, horizontal.
        pub strides: [u32; 2],
        /// Vertical, horizontal; 1 is dense.
        pub dilations: [u32; 2],
        /// What surrounds the input.
        pub padding: Padding,
    }
}

choice! {
    /// Zeros around the input.
    pub enum Padding: "kind of padding" {
        /// Fixed amounts.
        0 => Explicit {
            /// Rows above.
            top: u32,
            /// Columns before.
            left: u32,
            /// Rows below.
            bottom: u32,
            /// Columns after.
            right: u32,
        },
        /// So much that output = ceil(input / stride); the odd one goes after.
        1 => SameUpper,
        /// So much that output = ceil(input / stride); the odd one goes before.
        2 => SameLower,
    }
}

impl Window {
    /// One tap, at every position.
    pub fn pointwise() -> Self {
        let padding = Padding::Explicit { top: 0, left: 0, bottom: 0, right: 0 };
        Window { kernel: [1; 2], strides: [1; 2], dilations: [1; 2], padding }
    }

    /// Kernel positions, `KH * KW`.
    pub fn taps(&self) -> usize {
        self.kernel[0] as usize * self.kernel[1] as usize
    }
}

/// The four amounts of padding (top, left, bottom, right) that `window` puts around an input of `height` x `width`.
pub fn resolve_padding(window: &Window, height: usize, width: usize) -> [usize; 4] {
    let same = |axis: usize, size: usize, odd_first: bool| {
        let (stride, reach) = (window.strides[axis] as usize, reach(window, axis));
        let out = size.div_ceil(stride);
        let total = (out.saturating_sub(1) * stride + reach).saturating_sub(size);
        let (small, large) = (total / 2, total - total / 2);
        if odd_first { [large, small] } else { [small, large] }
    };
    match window.padding {
        Padding::Explicit { top, left, bottom, right } => [top as usize, left as usize, bottom as usize, right as usize],
        Padding::SameUpper | Padding::SameLower => {
            let lower = window.padding == Padding::SameLower;
            let ([top, bottom], [left, right]) = (same(0, height, lower), same(1, width, lower));
            [top, left, bottom, right]
        }
    }
}

/// Input positions that one window spans on `axis` (0 vertical, 1 horizontal).
pub fn reach(window: &Window, axis: usize) -> usize {
    (window.kernel[axis] as usize - 1) * window.dilations[axis] as usize + 1
}

/// `[N, C, H, W]` after sliding `window` over it; the channel extent is the input's.
pub(crate) fn windowed(x: &Shape, window: &Window, ceil_mode: bool) -> Result<Shape> {
    expect_rank(x, 4)?;
    let mut out = x.clone();
    for axis in 0..2 {
        out[2 + axis] = Sliding::over(window, axis).count(&x[2 + axis], ceil_mode)?;
    }
    Ok(out)
}

/// How a window slides along one axis.
pub(crate) struct Sliding {
    /// The axis's name.
    pub(crate) axis: &'static str,
    /// Positions from one window to the next.
    pub(crate) stride: u32,
    /// Positions that one window spans.
    pub(crate) reach: usize,
    /// Zeros before and behind; `None` where they follow from the size.
    pub(crate) padding: Option<[u32; 2]>,
}

impl Sliding {
    /// Of `window` along `axis` (0 vertical, 1 horizontal).
    pub(crate) fn over(window: &Window, axis: usize) -> Self {
        let padding = match window.padding {
            Padding::Explicit { top, left, bottom, right } => Some([[top, bottom], [left, right]][axis]),
            Padding::SameUpper | Padding::SameLower => None,
        };
        Sliding { axis: ["height", "width"][axis], stride: window.strides[axis], reach: reach(window, axis), padding }
    }

    /// How often the window fits on an axis of `size` positions.
    pub(crate) fn count(&self, size: &Extent, ceil_mode: bool) -> Result<Extent> {
        let (stride, reach) = (Extent::from(self.stride as usize), self.reach);
        let Some([before, after]) = self.padding else {
            return self.at_least_one_position(size.quotient_up(&stride), size);
        };
        let padded = size + (i64::from(before) + i64::from(after));
        if padded.known().is_some_and(|padded| padded < reach) {
            return Err(self.does_not_fit(format!("{padded} ({size} + {before} + {after})")));
        }
        let left = &padded - &Extent::from(reach);
        let count = if ceil_mode {
            // A window may hang over the end only if it starts inside the input or the padding before it.
            (&left.quotient_up(&stride) + 1).least(&(size + i64::from(before)).quotient_up(&stride))
        } else {
            &left.quotient(&stride) + 1
        };
        self.at_least_one_position(count, size)
    }

    fn at_least_one_position(&self, count: Extent, size: &Extent) -> Result<Extent> {
        if size.known() == Some(0) { Err(self.does_not_fit("0".to_owned())) } else { Ok(count) }
    }

    fn does_not_fit(&self, found: String) -> Error {
        let expected = format!("at least the {} positions that the window spans", self.reach);
        Error::shape(format!("{} with padding", self.axis), expected, found)
    }
}

/// Rules about a window that hold whatever it slides over.
pub(crate) fn check_window(w: &Window) -> Result<()> {
    for axis in 0..2 {
        for (what, n) in [("kernel", w.kernel[axis]), ("strides", w.strides[axis]), ("dilations", w.dilations[axis])] {
            at_least_one(what, n)?;
            below(what, n, MAX_WINDOW)?;
        }
    }
    if let Padding::Explicit { top, left, bottom, right } = w.padding {
        for pad in [top, left, bottom, right] {
            below("padding", pad, MAX_WINDOW)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape;

    fn window(kernel: u32, stride: u32, dilation: u32, padding: Padding) -> Window {
        Window { kernel: [kernel; 2], strides: [stride; 2], dilations: [dilation; 2], padding }
    }

    fn pads(all: u32) -> Padding {
        Padding::Explicit { top: all, left: all, bottom: all, right: all }
    }

    #[test]
    fn windows_follow_onnx() {
        struct Case(usize, Window, bool, usize);
        let cases = [
            Case(28, window(5, 1, 1, pads(0)), false, 24),
            Case(227, window(11, 4, 1, pads(0)), false, 55),
            Case(55, window(3, 2, 1, pads(0)), false, 27),
            Case(7, window(3, 1, 2, pads(2)), false, 7),
            Case(6, window(3, 2, 1, pads(0)), false, 2),
            Case(6, window(3, 2, 1, pads(0)), true, 3),
            // The extra window would start in the padding behind the input: it does not count.
            Case(2, window(1, 2, 1, pads(1)), true, 2),
            Case(7, window(3, 2, 1, Padding::SameUpper), false, 4),
            Case(6, window(2, 3, 1, Padding::SameLower), false, 2),
        ];
        for Case(size, w, ceil, expected) in cases {
            let out = windowed(&shape::of(&[1, 3, size, size]), &w, ceil).unwrap();
            assert_eq!(out[..3], shape::of(&[1, 3, expected]), "{size} {w:?} ceil {ceil}");
            // Height is found as an expression, too.
            let open = vec![Extent::from(1usize), Extent::from(3usize), Extent::symbol("h"), Extent::from(size)];
            let bound = windowed(&open, &w, ceil).unwrap()[2].bind(&|_| Some(size));
            assert_eq!(bound.known(), Some(expected), "{size} {w:?} ceil {ceil}");
        }
    }

    #[test]
    fn same_padding_puts_the_odd_one_on_its_side() {
        assert_eq!(resolve_padding(&window(2, 1, 1, Padding::SameUpper), 5, 5), [0, 0, 1, 1]);
        assert_eq!(resolve_padding(&window(2, 1, 1, Padding::SameLower), 5, 5), [1, 1, 0, 0]);
        assert_eq!(resolve_padding(&window(1, 3, 1, Padding::SameLower), 5, 5), [0, 0, 0, 0]);
    }
}
