//! Sliding windows over height and width, of convolutions and pools, from the attributes of ONNX and back.

use crate::export::writer::{ints, text};
use crate::import::binding::Binding;
use crate::import::checks::positive;
use crate::import::node::OnnxNode;
use crate::onnx::proto::AttributeProto;
use crate::weights::Op;
use anyhow::{Context, Result, anyhow, bail, ensure};
use sslm_format::{Padding, Reshape, ValueId, Window};

/// Two integers of at least `least`, vertical and horizontal; of a window over lines, which are planes of one row, only the horizontal
/// one is listed.
pub(super) fn pair(node: &OnnxNode<'_>, x: ValueId, name: &str, default: Option<[u32; 2]>, least: u32) -> Result<[u32; 2]> {
    let integer = |n: i64| {
        u32::try_from(n).ok().filter(|&n| n >= least).with_context(|| format!("{name}: expected at least {least}, found {n}"))
    };
    match (node.ints(name)?, default, node.rank(x)) {
        ([], Some(default), _) => Ok(default),
        (&[a, b], _, 4) => Ok([integer(a)?, integer(b)?]),
        (&[a], _, 3) => Ok([least, integer(a)?]),
        (other, _, rank) => bail!("{name}: expected {} integers, found {other:?}", rank.saturating_sub(2)),
    }
}

/// Refuses inputs that are neither lines nor planes.
fn expect_planes(node: &OnnxNode<'_>, x: ValueId) -> Result<()> {
    let rank = node.rank(x);
    ensure!((3..=4).contains(&rank), "input: expected 3 or 4 axes (windows over one or two of them), found {rank}");
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
    let expected = [positive(kernel[0] as i64, "kernel")?, positive(kernel[1] as i64, "kernel")?];
    let found = pair(node, x, "kernel_shape", Some(expected), 1)?;
    ensure!(found == expected, "kernel_shape: expected {expected:?} (of the weights), found {found:?}");
    of_kernel(node, x, found)
}

/// The window over `x` of an operator without weights.
pub(super) fn of_attributes(node: &OnnxNode<'_>, x: ValueId) -> Result<Window> {
    expect_planes(node, x)?;
    of_kernel(node, x, pair(node, x, "kernel_shape", None, 1)?)
}

fn of_kernel(node: &OnnxNode<'_>, x: ValueId, kernel: [u32; 2]) -> Result<Window> {
    let padding = match node.text("auto_pad", "NOTSET")? {
        "NOTSET" => match (node.ints("pads")?, node.rank(x)) {
            ([], _) => Padding::Explicit { top: 0, left: 0, bottom: 0, right: 0 },
            (&[top, left, bottom, right], 4) => {
                Padding::Explicit { top: pad(top)?, left: pad(left)?, bottom: pad(bottom)?, right: pad(right)? }
            }
            (&[left, right], 3) => Padding::Explicit { top: 0, left: pad(left)?, bottom: 0, right: pad(right)? },
            (other, rank) => bail!("pads: expected {} integers, found {other:?}", 2 * rank.saturating_sub(2)),
        },
        "VALID" => Padding::Explicit { top: 0, left: 0, bottom: 0, right: 0 },
        "SAME_UPPER" => Padding::SameUpper,
        "SAME_LOWER" => Padding::SameLower,
        other => bail!("auto_pad: expected NOTSET, VALID, SAME_UPPER or SAME_LOWER, found {other}"),
    };
    Ok(Window {
        kernel,
        strides: pair(node, x, "strides", Some([1, 1]), 1)?,
        dilations: pair(node, x, "dilations", Some([1, 1]), 1)?,
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
