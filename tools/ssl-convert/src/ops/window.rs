//! Sliding windows over height and width, of convolutions and pools, from the attributes of ONNX and back.

use crate::export::writer::{ints, text};
use crate::import::binding::Binding;
use crate::import::checks::positive;
use crate::import::node::OnnxNode;
use crate::onnx::proto::AttributeProto;
use crate::weights::Op;
use anyhow::{Context, Result, anyhow, bail, ensure};
use sslm_format::{Padding, Reshape, ValueId, Window};

/// As many integers of at least `least` as `x` has axes behind its channels; `None` if there is no such attribute.
pub(super) fn integers(node: &OnnxNode<'_>, x: ValueId, name: &str, least: u32) -> Result<Option<Vec<u32>>> {
    let (integers, axes) = (node.ints(name)?, node.rank(x).saturating_sub(2));
    ensure!([0, axes].contains(&integers.len()), "{name}: expected {axes} integers, found {integers:?}");
    let integer = |&n: &i64| {
        u32::try_from(n).ok().filter(|&n| n >= least).with_context(|| format!("{name}: expected at least {least}, found {n}"))
    };
    let integers = integers.iter().map(integer).collect::<Result<Vec<u32>>>()?;
    Ok(Some(integers).filter(|integers| !integers.is_empty()))
}

/// Two integers of at least `least`, vertical and horizontal; of a window over lines, which are planes of one row, only the horizontal
/// one is listed.
pub(super) fn pair(node: &OnnxNode<'_>, x: ValueId, name: &str, default: Option<[u32; 2]>, least: u32) -> Result<[u32; 2]> {
    match integers(node, x, name, least)?.as_deref() {
        Some(&[a, b]) => Ok([a, b]),
        Some(&[b]) => Ok([least, b]),
        Some(integers) => bail!("{name}: expected one or two integers, found {integers:?}"),
        None => default.with_context(|| format!("{name}: expected {} integers, found none", node.rank(x).saturating_sub(2))),
    }
}

/// The window along each axis of `x` behind the channels, as one over the rows of planes. `kernel` are the sizes of the operator's
/// weights, if it has such.
pub(super) fn along_axes(node: &OnnxNode<'_>, x: ValueId, kernel: Option<&[u32]>) -> Result<Vec<Window>> {
    let axes = node.rank(x).saturating_sub(2);
    let stated = integers(node, x, "kernel_shape", 1)?;
    if let (Some(wanted), Some(integers)) = (kernel, &stated) {
        ensure!(integers == wanted, "kernel_shape: expected {wanted:?} (of the weights), found {integers:?}");
    }
    let kernel = kernel.or(stated.as_deref()).with_context(|| format!("kernel_shape: expected {axes} integers, found none"))?;
    ensure!(kernel.len() == axes, "kernel: expected {axes} sizes, found {}", kernel.len());
    let of_axes = |name: &str| anyhow::Ok(integers(node, x, name, 1)?.unwrap_or_else(|| vec![1; axes]));
    let (strides, dilations) = (of_axes("strides")?, of_axes("dilations")?);
    let (automatic, amounts) = (automatic(node)?, amounts(node, x)?);
    let window = |axis: usize| {
        let listed = Padding::Explicit { top: amounts[axis], left: 0, bottom: amounts[axis + axes], right: 0 };
        Window {
            kernel: [kernel[axis], 1],
            strides: [strides[axis], 1],
            dilations: [dilations[axis], 1],
            padding: automatic.clone().unwrap_or(listed),
        }
    };
    Ok((0..axes).map(window).collect())
}

/// Refuses inputs that are neither lines nor planes.
fn expect_planes(node: &OnnxNode<'_>, x: ValueId) -> Result<()> {
    let rank = node.rank(x);
    ensure!((3..=4).contains(&rank), "input: expected 3 to 5 axes (windows over one to three of them), found {rank}");
    Ok(())
}

/// Adds an operator over planes that yields the first output. Lines, `[N, C, L]`, are planes of one row while it works on them.
pub(super) fn over_planes(node: &mut OnnxNode<'_>, x: ValueId, op: impl Into<Op>) -> Result<Binding> {
    let y = over_planes_as(node, &node.part_name(0, 1), x, op)?;
    Ok(node.computed(y))
}

/// As [`over_planes`]; yields a value named `output`.
pub(super) fn over_planes_as(node: &mut OnnxNode<'_>, output: &str, x: ValueId, op: impl Into<Op>) -> Result<ValueId> {
    if node.rank(x) == 4 {
        return node.push_as(output, op, vec![x]);
    }
    let rows = node.push_as(&format!("{output}.row"), Reshape::to(&[0, 0, 1, -1]), vec![x])?;
    let rows = node.push_as(&format!("{output}.rows"), op, vec![rows])?;
    node.push_as(output, Reshape::to(&[0, 0, -1]), vec![rows])
}

/// The window over `x` of an operator whose weights have a kernel of these sizes.
pub(super) fn of_weights(node: &OnnxNode<'_>, x: ValueId, kernel: [usize; 2]) -> Result<Window> {
    expect_planes(node, x)?;
    let extents = [positive(kernel[0] as i64, "kernel")?, positive(kernel[1] as i64, "kernel")?];
    let shape = pair(node, x, "kernel_shape", Some(extents), 1)?;
    ensure!(shape == extents, "kernel_shape: expected {extents:?} (of the weights), found {shape:?}");
    of_kernel(node, x, shape)
}

/// The window over `x` of an operator without weights.
pub(super) fn of_attributes(node: &OnnxNode<'_>, x: ValueId) -> Result<Window> {
    expect_planes(node, x)?;
    of_kernel(node, x, pair(node, x, "kernel_shape", None, 1)?)
}

fn of_kernel(node: &OnnxNode<'_>, x: ValueId, kernel: [u32; 2]) -> Result<Window> {
    let padding = match automatic(node)? {
        Some(padding) => padding,
        None => match amounts(node, x)?[..] {
            [top, left, bottom, right] => Padding::Explicit { top, left, bottom, right },
            [left, right] => Padding::Explicit { top: 0, left, bottom: 0, right },
            ref integers => bail!("pads: expected 2 or 4 integers, found {integers:?}"),
        },
    };
    Ok(Window {
        kernel,
        strides: pair(node, x, "strides", Some([1, 1]), 1)?,
        dilations: pair(node, x, "dilations", Some([1, 1]), 1)?,
        padding,
    })
}

/// The padding that follows from the size; `None` where its amounts are listed.
pub(super) fn automatic(node: &OnnxNode<'_>) -> Result<Option<Padding>> {
    Ok(match node.text("auto_pad", "NOTSET")? {
        "NOTSET" => None,
        "VALID" => Some(Padding::Explicit { top: 0, left: 0, bottom: 0, right: 0 }),
        "SAME_UPPER" => Some(Padding::SameUpper),
        "SAME_LOWER" => Some(Padding::SameLower),
        other => bail!("auto_pad: expected NOTSET, VALID, SAME_UPPER or SAME_LOWER, found {other}"),
    })
}

/// The amounts of padding before each axis behind the channels, and then behind each.
pub(super) fn amounts(node: &OnnxNode<'_>, x: ValueId) -> Result<Vec<u32>> {
    let (integers, expected) = (node.ints("pads")?, 2 * node.rank(x).saturating_sub(2));
    ensure!([0, expected].contains(&integers.len()), "pads: expected {expected} integers, found {integers:?}");
    if integers.is_empty() { Ok(vec![0; expected]) } else { integers.iter().map(|&amount| pad(amount)).collect() }
}

fn pad(amount: i64) -> Result<u32> {
    u32::try_from(amount).map_err(|_| anyhow!("pads: expected no negative amount, found {amount}"))
}

/// The attributes of a window, those that have their defaults left out. The size of a kernel follows from weights where there are any.
pub(super) fn attributes(window: &Window, with_kernel: bool) -> Vec<AttributeProto> {
    let padding = match window.padding {
        Padding::Explicit { top: 0, left: 0, bottom: 0, right: 0 } => None,
        Padding::Explicit { top, left, bottom, right } => Some(ints("pads", &[top, left, bottom, right])),
        Padding::SameUpper => Some(text("auto_pad", "SAME_UPPER")),
        Padding::SameLower => Some(text("auto_pad", "SAME_LOWER")),
    };
    let pair = |name: &str, pair: [u32; 2]| (pair != [1, 1]).then(|| ints(name, &pair));
    let kernel = with_kernel.then(|| ints("kernel_shape", &window.kernel));
    let others = [pair("strides", window.strides), pair("dilations", window.dilations), padding];
    kernel.into_iter().chain(others.into_iter().flatten()).collect()
}
