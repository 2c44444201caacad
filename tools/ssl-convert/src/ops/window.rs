//! Sliding windows over height and width, of convolutions and pools, from the attributes of ONNX and back.

use crate::export::writer::{ints, text};
use crate::import::checks::positive;
use crate::import::node::OnnxNode;
use crate::onnx::proto::AttributeProto;
use anyhow::{Context, Result, anyhow, bail, ensure};
use sslm_format::{Padding, Window};

/// Two integers of at least `least`, vertical and horizontal.
pub(super) fn pair(node: &OnnxNode<'_>, name: &str, default: Option<[u32; 2]>, least: u32) -> Result<[u32; 2]> {
    let integer = |n: i64| {
        u32::try_from(n).ok().filter(|&n| n >= least).with_context(|| format!("{name}: expected at least {least}, found {n}"))
    };
    match (node.ints(name)?, default) {
        ([], Some(default)) => Ok(default),
        (&[a, b], _) => Ok([integer(a)?, integer(b)?]),
        (other, _) => bail!("{name}: expected 2 integers (2-D), found {other:?}"),
    }
}

/// The window of an operator whose weights have a kernel of these sizes.
pub(super) fn of_weights(node: &OnnxNode<'_>, kernel: [usize; 2]) -> Result<Window> {
    let expected = [positive(kernel[0] as i64, "kernel")?, positive(kernel[1] as i64, "kernel")?];
    let found = pair(node, "kernel_shape", Some(expected), 1)?;
    ensure!(found == expected, "kernel_shape: expected {expected:?} (of the weights), found {found:?}");
    of_kernel(node, found)
}

/// The window of an operator without weights.
pub(super) fn of_attributes(node: &OnnxNode<'_>) -> Result<Window> {
    of_kernel(node, pair(node, "kernel_shape", None, 1)?)
}

fn of_kernel(node: &OnnxNode<'_>, kernel: [u32; 2]) -> Result<Window> {
    let padding = match node.text("auto_pad", "NOTSET")? {
        "NOTSET" => match node.ints("pads")? {
            [] => Padding::Explicit { top: 0, left: 0, bottom: 0, right: 0 },
            &[top, left, bottom, right] => {
                Padding::Explicit { top: pad(top)?, left: pad(left)?, bottom: pad(bottom)?, right: pad(right)? }
            }
            other => bail!("pads: expected 4 integers (2-D), found {other:?}"),
        },
        "VALID" => Padding::Explicit { top: 0, left: 0, bottom: 0, right: 0 },
        "SAME_UPPER" => Padding::SameUpper,
        "SAME_LOWER" => Padding::SameLower,
        other => bail!("auto_pad: expected NOTSET, VALID, SAME_UPPER or SAME_LOWER, found {other}"),
    };
    Ok(Window {
        kernel,
        strides: pair(node, "strides", Some([1, 1]), 1)?,
        dilations: pair(node, "dilations", Some([1, 1]), 1)?,
        padding,
    })
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
