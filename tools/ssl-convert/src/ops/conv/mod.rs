//! Convolutions and transposed convolutions in two dimensions. Here is their import; what compaction asks them, and
//! their export, have files of their own.

mod compact;
mod export;
mod fused;

use super::window;
use crate::import::binding::Binding;
use crate::import::checks::positive;
use crate::import::node::OnnxNode;
use crate::import::registry::Import;
use crate::onnx::tensor::{Floats, Tensor};
use crate::weights::{Matrix, Unpacked};
use anyhow::{Context, Result, anyhow, bail, ensure};
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
    let record = record(node)?;
    node.push(record, vec![x])
}

/// The record of a Conv that keeps everything.
fn record(node: &OnnxNode<'_>) -> Result<Conv<Unpacked>> {
    let weights = node.needed_tensor(1, "weights")?;
    let [filters, group_channels, kernel_height, kernel_width] = extents(weights)?;
    let group = group(node, filters, "filters")?;
    let channels = group.checked_mul(group_channels).context("group: too large")?;
    let window = window::of_weights(node, [kernel_height, kernel_width])?;
    let bias = bias(node, filters)?;
    let matrix = matrix(filters, group_channels * kernel_height * kernel_width, weights.floats()?.clone());
    dense([group, channels, filters], window, matrix, bias)
}

fn conv_transpose(node: &mut OnnxNode<'_>) -> Result<Binding> {
    let x = node.value(0)?;
    let weights = node.needed_tensor(1, "weights")?;
    let [channels, group_filters, kernel_height, kernel_width] = extents(weights)?;
    let group = group(node, channels, "channels")?;
    let filters = group.checked_mul(group_filters).context("group: too large")?;
    let (group_channels, taps) = (channels / group, kernel_height * kernel_width);
    let output_padding = window::pair(node, "output_padding", Some([0, 0]), 0)?;
    let window = scattering_window(node, [kernel_height, kernel_width], output_padding, x)?;
    // ONNX stores these weights by input channel; rows are filters here.
    let floats = weights.floats()?;
    let at = |row: usize, column: usize| {
        let channel = row / group_filters * group_channels + column / taps;
        floats.at((channel * group_filters + row % group_filters) * taps + column % taps)
    };
    let columns = group_channels * taps;
    let data: Vec<f32> = (0..filters * columns).map(|i| at(i / columns, i % columns)).collect();
    let bias = bias(node, filters)?;
    let conv = dense([group, channels, filters], window, matrix(filters, columns, data.into()), bias)?;
    node.push(ConvTranspose { conv, output_padding }, vec![x])
}

/// The extents of a weight tensor: OIHW, or IOHW of a transposed convolution.
fn extents(weights: &Tensor) -> Result<[usize; 4]> {
    let Ok(extents) = <[usize; 4]>::try_from(&weights.dims[..]) else {
        bail!("weights: expected 4 axes (2-D convolution), found dims {:?}", weights.dims);
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

/// Geometry of a transposed convolution. A wanted output size (`output_shape`, or `auto_pad`) becomes explicit padding.
fn scattering_window(node: &OnnxNode<'_>, kernel: [usize; 2], extra: [u32; 2], x: ValueId) -> Result<Window> {
    let auto_pad = node.text("auto_pad", "NOTSET")?;
    let mut window = window::of_weights(node, kernel)?;
    let wanted: Vec<i64> = match (node.ints("output_shape")?, auto_pad) {
        ([], "SAME_UPPER" | "SAME_LOWER") => {
            let size = |axis: usize| node.extent(x, 2 + axis).map(|e| e as i64 * i64::from(window.strides[axis]));
            let sizes: Option<Vec<i64>> = (0..2).map(size).collect();
            sizes.with_context(|| format!("auto_pad {auto_pad}: expected a fixed height and width, found symbolic ones"))?
        }
        ([], _) => return Ok(window),
        (shape, _) => shape[shape.len().saturating_sub(2)..].to_vec(),
    };
    ensure!(wanted.len() == 2, "output_shape: expected 2 integers (2-D), found {wanted:?}");
    let mut pads = [[0u32; 2]; 2];
    for axis in 0..2 {
        let size = node.extent(x, 2 + axis);
        let size = size.context("output_shape: expected a fixed height and width, found symbolic ones")? as i64;
        let spread = (size - 1) * i64::from(window.strides[axis]) + reach(&window, axis) as i64 + i64::from(extra[axis]);
        let total = u32::try_from(spread - wanted[axis])
            .map_err(|_| anyhow!("output_shape: expected at most {spread} positions, found {}", wanted[axis]))?;
        let small = total / 2;
        pads[axis] = if auto_pad == "SAME_UPPER" { [small, total - small] } else { [total - small, small] };
    }
    window.padding = Padding::Explicit { top: pads[0][0], left: pads[1][0], bottom: pads[0][1], right: pads[1][1] };
    Ok(window)
}
