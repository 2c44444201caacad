//! Windows over volumes, `[N, C, D, H, W]`: their attributes, and pools, which go through a volume axis by axis.

use super::window;
use crate::import::node::OnnxNode;
use crate::weights::Op;
use anyhow::{Context, Result, anyhow};
use sslm_format::{Extent, Padding, Reshape, Transpose, ValueId, Window};

/// The windows over the depth, the height and the width of a volume `x`, each as a window over the rows of planes. `kernel` are the sizes
/// of the operator's weights, if it has such.
pub(super) fn windows(node: &OnnxNode<'_>, x: ValueId, kernel: Option<[u32; 3]>) -> Result<[Window; 3]> {
    let windows = window::along_axes(node, x, kernel.as_ref().map(<[u32; 3]>::as_slice))?;
    windows.try_into().map_err(|windows: Vec<_>| anyhow!("input: expected 3 axes behind the channels, found {}", windows.len()))
}

/// Three integers of at least `least`; `None` if there is no such attribute.
pub(super) fn three(node: &OnnxNode<'_>, x: ValueId, name: &str, least: u32) -> Result<Option<[u32; 3]>> {
    let three =
        |integers: Vec<u32>| integers.try_into().map_err(|integers| anyhow!("{name}: expected 3 integers, found {integers:?}"));
    window::integers(node, x, name, least)?.map(three).transpose()
}

/// The extents of a volume: depth, height and width.
pub(super) fn extents(node: &OnnxNode<'_>, x: ValueId) -> Result<[Extent; 3]> {
    let extents = node.extents_of(x).get(2..).and_then(|extents| <&[Extent; 3]>::try_from(extents).ok());
    extents.cloned().with_context(|| format!("input: expected 5 axes, found {}", node.rank(x)))
}

/// `[N, C, D, H, W]`, of whatever has as many elements in this order.
pub(super) fn view([depth, height, width]: &[Extent; 3]) -> Reshape {
    let copied = Extent::from(0usize);
    Reshape { dims: vec![copied.clone(), copied, depth.clone(), height.clone(), width.clone()] }
}

/// Adds a pool over windows of `x` that yields a value named `output`: what `of_window` states for a window over planes. It must be separable:
/// over all axes of a window at once it is the same as over one after the other, for so volumes go through it.
pub(super) fn pool(
    node: &mut OnnxNode<'_>,
    output: &str,
    x: ValueId,
    of_window: impl Fn(Window) -> Result<Op>,
) -> Result<ValueId> {
    if node.rank(x) == 5 {
        let windows = windows(node, x, None)?;
        return axis_by_axis(node, output, x, windows, of_window);
    }
    let window = window::of_attributes(node, x)?;
    window::over_planes_as(node, output, x, of_window(window)?)
}

/// A [`pool`] over the depth, the height and the width of a volume.
fn axis_by_axis(
    node: &mut OnnxNode<'_>,
    output: &str,
    x: ValueId,
    windows: [Window; 3],
    of_window: impl Fn(Window) -> Result<Op>,
) -> Result<ValueId> {
    let (copied, rest) = (Extent::from(0usize), Extent::from(-1i64));
    let (mut value, mut extents) = (x, extents(node, x)?);
    let pooled = |node: &mut OnnxNode<'_>, value: ValueId, [rows, columns]: [&Extent; 2], window: Window| {
        let planes = Reshape { dims: vec![copied.clone(), copied.clone(), rows.clone(), columns.clone()] };
        let planes = node.inner(planes, vec![value])?;
        let pooled = node.inner(of_window(window)?, vec![planes])?;
        let [rows, columns] = [2, 3].map(|axis| node.extents_of(pooled)[axis].clone());
        anyhow::Ok((pooled, rows, columns))
    };
    let [depth, height, width] = windows;
    if let Some(together) = tiling(&height, &width, &extents[1]) {
        // Windows that tile all rows of a plane tile those of all planes.
        extents[1] = extents[1].quotient(&Extent::from(together.kernel[0] as usize));
        (value, _, extents[2]) = pooled(node, value, [&rest, &extents[2]], together)?;
    } else {
        if width != Window::pointwise() {
            (value, _, extents[2]) = pooled(node, value, [&rest, &extents[2]], across(width))?;
        }
        if height != Window::pointwise() {
            let swapped = || Transpose { axes: vec![0, 1, 3, 2, 4] };
            value = node.inner(view(&extents), vec![value])?;
            value = node.inner(swapped(), vec![value])?;
            (value, extents[1], _) = pooled(node, value, [&extents[1], &rest], height)?;
            let [depth, height, width] = extents.clone();
            value = node.inner(view(&[height, depth, width]), vec![value])?;
            value = node.inner(swapped(), vec![value])?;
        }
    }
    if depth != Window::pointwise() {
        (value, extents[0], _) = pooled(node, value, [&extents[0], &rest], depth)?;
    }
    node.push_as(output, view(&extents), vec![value])
}

/// The window over height and width, if its positions lie side by side and cover planes of so many rows.
fn tiling(height: &Window, width: &Window, rows: &Extent) -> Option<Window> {
    let (kernel, width) = (height.kernel[0], across(width.clone()));
    let tiles = Window { kernel: [kernel, 1], strides: [kernel, 1], ..Window::pointwise() };
    let covered = rows.known()?.is_multiple_of(kernel as usize);
    let Padding::Explicit { left, right, .. } = width.padding else { return None };
    (covered && *height == tiles).then(|| Window {
        kernel: [kernel, width.kernel[1]],
        strides: [kernel, width.strides[1]],
        dilations: [1, width.dilations[1]],
        padding: Padding::Explicit { top: 0, left, bottom: 0, right },
    })
}

/// A window over columns of what was one over rows.
fn across(window: Window) -> Window {
    let swapped = |[a, b]: [u32; 2]| [b, a];
    Window {
        kernel: swapped(window.kernel),
        strides: swapped(window.strides),
        dilations: swapped(window.dilations),
        padding: match window.padding {
            Padding::Explicit { top, left, bottom, right } => {
                Padding::Explicit { top: left, left: top, bottom: right, right: bottom }
            }
            automatic => automatic,
        },
    }
}
