//! Convolutions and transposed convolutions. Here is their import in two dimensions; what compaction asks them, and
//! their export, have files of their own.

mod compact;
mod export;
mod fused;
mod scatter;
mod volume;

use super::window;
use crate::import::binding::Binding;
use crate::import::checks::positive;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::onnx::tensor::{Floats, Tensor};
use crate::weights::{Matrix, Unpacked};
use anyhow::{Context, Result, bail, ensure};
use fused::fused_conv;
use sslm_format::window::reach;
use sslm_format::{Conv, ConvTranspose, Kept, Padding, ValueId, Window};

pub(in crate::ops) const IMPORTS: &[Import] = &[
    Import::computing("Conv", conv),
    Import::computing("ConvTranspose", conv_transpose),
    Import::computing("com.microsoft.FusedConv", |node| fused_conv(node, false)),
    Import::computing("com.microsoft.NhwcConv", |node| fused_conv(node, true)),
    Import::computing("com.microsoft.NhwcFusedConv", |node| fused_conv(node, true)),
];

fn conv(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    if node.rank(x) == 5 {
        return volume::conv(node, x);
    }
    let record = record(node, x)?;
    window::over_planes(node, x, record)
}

/// The record of a Conv of `x` that keeps everything.
fn record(node: &OnnxNode<'_>, x: ValueId) -> Result<Conv<Unpacked>> {
    let weights = node.needed_tensor(1, "weights")?;
    let [filters, group_channels, kernel_height, kernel_width] = extents(weights, node.rank(x))?;
    let group = group(node, filters, "filters")?;
    let channels = group.checked_mul(group_channels).context("group: too large")?;
    let window = window::of_weights(node, x, [kernel_height, kernel_width])?;
    let bias = bias(node, filters)?;
    let matrix = matrix(filters, group_channels * kernel_height * kernel_width, weights.floats()?.clone());
    dense([group, channels, filters], window, matrix, bias)
}

fn conv_transpose(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    if node.rank(x) == 5 {
        return scatter::conv_transpose(node, x);
    }
    let weights = node.needed_tensor(1, "weights")?;
    let [channels, group_filters, kernel_height, kernel_width] = extents(weights, node.rank(x))?;
    let group = group(node, channels, "channels")?;
    let filters = group.checked_mul(group_filters).context("group: too large")?;
    let (group_channels, taps) = (channels / group, kernel_height * kernel_width);
    let (window, output_padding) = scattering_window(node, [kernel_height, kernel_width], x)?;
    let data = filters_first(weights.floats()?, [channels, group, group_filters, taps]);
    let columns = group_channels * taps;
    let bias = bias(node, filters)?;
    let conv = dense([group, channels, filters], window, matrix(filters, columns, data.into()), bias)?;
    window::over_planes(node, x, ConvTranspose { conv, output_padding })
}

/// A row of weights for each filter. ONNX stores those of a transposed convolution by input channel: `[channels][group_filters][taps]`.
fn filters_first(floats: &Floats, [channels, group, group_filters, taps]: [usize; 4]) -> Vec<f32> {
    let (group_channels, columns) = (channels / group, channels / group * taps);
    let at = |row: usize, column: usize| {
        let channel = row / group_filters * group_channels + column / taps;
        floats.at((channel * group_filters + row % group_filters) * taps + column % taps)
    };
    (0..group * group_filters * columns).map(|i| at(i / columns, i % columns)).collect()
}

/// A convolution that sums the elements of each window of each of `channels`.
pub(in crate::ops) fn sum_of_windows(channels: usize, window: Window) -> Result<Conv<Unpacked>> {
    let ones = Floats::Repeated { value: 1.0, len: channels * window.taps() };
    let matrix = matrix(channels, window.taps(), ones);
    dense([channels; 3], window, matrix, vec![0.0; channels])
}

/// The extents of a weight tensor: OIHW, or IOHW of a transposed convolution. Those over lines have one row. The input has `rank` axes.
fn extents(weights: &Tensor, rank: usize) -> Result<[usize; 4]> {
    ensure!((3..=4).contains(&rank), "input: expected 3 to 5 axes (windows over one to three of them), found {rank}");
    let extents = match (&weights.dims[..], rank) {
        (&[outer, inner, length], 3) => [outer, inner, 1, length],
        (&[outer, inner, height, width], 4) => [outer, inner, height, width],
        (dims, _) => bail!("weights: expected {rank} axes, as the input has, found dims {dims:?}"),
    };
    ensure!(!extents.contains(&0), "weights: expected extents of at least 1, found dims {extents:?}");
    Ok(extents)
}

/// How many groups there are, of `count` filters or channels.
fn group(node: &OnnxNode<'_>, count: usize, what: &str) -> Result<usize> {
    let group = node.int("group", 1)?;
    ensure!(group >= 1 && count as i64 % group == 0, "group: expected a divisor of the {count} {what}, found {group}");
    Ok(group as usize)
}

fn bias(node: &OnnxNode<'_>, filters: usize) -> Result<Vec<f32>> {
    let Some(tensor) = node.tensor(2, "bias")? else { return Ok(vec![0.0; filters]) };
    let floats = tensor.floats()?;
    ensure!(floats.len() == filters, "bias: expected {filters} elements, found {}", floats.len());
    Ok(floats.iter().collect())
}

/// A matrix with one row a filter.
fn matrix(filters: usize, columns: usize, data: Floats) -> Matrix {
    Matrix { rows: filters, columns, data, transposed: false, row_scale: Vec::new() }
}

/// The record of a convolution that keeps everything.
fn dense([group, channels, filters]: [usize; 3], window: Window, weights: Matrix, bias: Vec<f32>) -> Result<Conv<Unpacked>> {
    Ok(Conv {
        group: positive(group as i64, "group")?,
        channels: positive(channels as i64, "channels")?,
        filters: positive(filters as i64, "filters")?,
        columns: vec![Kept::All; group],
        window,
        weights,
        bias,
        taps: None,
    })
}

/// Geometry of a transposed convolution, and what is added behind its output. A wanted output size (`output_shape`, or `auto_pad`)
/// becomes explicit padding, or more behind the output.
fn scattering_window(node: &OnnxNode<'_>, kernel: [usize; 2], x: ValueId) -> Result<(Window, [u32; 2])> {
    let mut extra = window::pair(node, x, "output_padding", Some([0, 0]), 0)?;
    let mut window = window::of_weights(node, x, kernel)?;
    let auto_pad = node.text("auto_pad", "NOTSET")?;
    let shape = node.ints("output_shape")?;
    if shape.is_empty() && !auto_pad.starts_with("SAME") {
        return Ok((window, extra));
    }
    let rank = node.rank(x);
    let axes = rank.saturating_sub(2).min(2);
    let wanted = &shape[shape.len().saturating_sub(axes)..];
    ensure!([0, axes].contains(&wanted.len()), "output_shape: expected {axes} integers, found {wanted:?}");
    let mut pads = [[0u32; 2]; 2];
    for axis in 0..2 {
        let wanted = (axis + wanted.len()).checked_sub(2).map(|i| (node.extent(x, rank - 2 + axis), wanted[i]));
        let sizes = [window.strides[axis] as usize, reach(&window, axis)];
        (pads[axis], extra[axis]) = fitted(sizes, extra[axis], wanted, auto_pad == "SAME_UPPER")?;
    }
    window.padding = Padding::Explicit { top: pads[0][0], left: pads[1][0], bottom: pads[0][1], right: pads[1][1] };
    Ok((window, extra))
}

/// What is cut off before and behind an axis of a transposed convolution, and what is added behind it, for an output of a `wanted` size, of
/// an input of a known one, or else for one of a stride for each position of the input.
fn fitted(
    [stride, reach]: [usize; 2],
    extra: u32,
    wanted: Option<(Option<usize>, i64)>,
    odd_last: bool,
) -> Result<([u32; 2], u32)> {
    let (stride, reach) = (stride as i64, reach as i64);
    // How many positions there are more than are wanted.
    let over = match wanted {
        Some((size, wanted)) => {
            let size = size.context("output_shape: expected known sizes of the input, found symbolic ones")? as i64;
            ((size - 1) * stride + reach + i64::from(extra)).saturating_sub(wanted)
        }
        // Where windows have gaps between them, those stay.
        None => (reach + i64::from(extra) - stride).max(0),
    };
    let count = |over: u64| {
        u32::try_from(over)
            .ok()
            .with_context(|| format!("output_shape: expected a size near the input's, found one that is off by {over}"))
    };
    let extra = extra.saturating_add(count(over.min(0).unsigned_abs())?);
    let total = count(over.max(0).unsigned_abs())?;
    let small = total / 2;
    Ok((if odd_last { [small, total - small] } else { [total - small, small] }, extra))
}
