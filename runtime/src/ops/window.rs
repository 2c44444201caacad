//! Windows that slide over height and width, as kernels take them and as reports name them.

use crate::planning::Lowering;
use sslm_format::window::resolve_padding;
use sslm_format::{Padding, ValueId, Window};
use sslm_kernels::conv::Geometry;

/// How much padding there is above, before, below and behind.
pub(super) fn padding(at: &Lowering<'_, '_>, window: &Window) -> [usize; 4] {
    let [height, width] = plane(at, at.x());
    resolve_padding(window, height, width)
}

/// Of a window over height and width, the last two axes.
pub(super) fn geometry(at: &Lowering<'_, '_>, window: &Window) -> Geometry {
    let [top, left, ..] = padding(at, window);
    Geometry {
        channels: at.builder.physical_channels(at.x()),
        input: plane(at, at.x()),
        output: plane(at, at.output),
        kernel: window.kernel.map(|n| n as usize),
        strides: window.strides.map(|n| n as usize),
        dilations: window.dilations.map(|n| n as usize),
        pad_before: [top, left],
        transposed: false,
    }
}

/// Height and width of a value.
fn plane(at: &Lowering<'_, '_>, value: ValueId) -> [usize; 2] {
    let &[.., height, width] = at.shape(value) else { unreachable!("validation lets no value without planes pass") };
    [height, width]
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
