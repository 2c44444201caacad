//! Windows that slide over height and width, as kernels take them and as reports name them.

use crate::planning::Lowering;
use sslm_format::window::resolve_padding;
use sslm_format::{Padding, Window};
use sslm_kernels::conv::Geometry;

/// How much padding there is above, before, below and behind.
pub(super) fn padding(at: &Lowering<'_, '_>, window: &Window) -> [usize; 4] {
    let shape = at.shape(at.x());
    resolve_padding(window, shape[2], shape[3])
}

pub(super) fn geometry(at: &Lowering<'_, '_>, window: &Window) -> Geometry {
    let [top, left, ..] = padding(at, window);
    let (input, output) = (at.shape(at.x()), at.shape(at.output));
    Geometry {
        channels: at.builder.physical_channels(at.x()),
        input: [input[2], input[3]],
        output: [output[2], output[3]],
        kernel: window.kernel.map(|n| n as usize),
        strides: window.strides.map(|n| n as usize),
        dilations: window.dilations.map(|n| n as usize),
        pad_before: [top, left],
        transposed: false,
    }
}

/// `5x5 stride 2 pad 1,1,2,2`, leaving out what is as usual.
pub(super) fn describe(w: &Window, group: u32) -> String {
    let mut text = format!("{}x{}", w.kernel[0], w.kernel[1]);
    let mut pair = |name: &str, [a, b]: [u32; 2]| match (a, b) {
        (1, 1) => {}
        (a, b) if a == b => text += &format!(" {name} {a}"),
        (a, b) => text += &format!(" {name} {a},{b}"),
    };
    pair("stride", w.strides);
    pair("dilation", w.dilations);
    match w.padding {
        Padding::Explicit { top: 0, left: 0, bottom: 0, right: 0 } => {}
        Padding::Explicit { top, left, bottom, right } if [left, bottom, right] == [top; 3] => text += &format!(" pad {top}"),
        Padding::Explicit { top, left, bottom, right } => text += &format!(" pad {top},{left},{bottom},{right}"),
        Padding::SameUpper => text += " pad same",
        Padding::SameLower => text += " pad same-lower",
    }
    if group > 1 {
        text += &format!(" group {group}");
    }
    text
}
