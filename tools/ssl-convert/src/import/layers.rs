//! Operators with weights or windows: convolutions, fully connected layers, normalisations, pools.

use super::{Importer, small};
use crate::onnx::attributes::Attributes;
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::Tensor;
use crate::weights::{Matrix, Op, Unpacked};
use anyhow::{Context, Result, anyhow, bail, ensure};
use sslm_format::{
    AveragePool, BatchNorm, Conv, ConvTranspose, Gemm, InstanceNorm, Kept, MaxPool, Padding, ValueId, Window, window,
};

impl Importer<'_> {
    pub(super) fn conv(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<ValueId> {
        let attributes = Attributes(node);
        let x = self.value(node, 0)?;
        let weights = self.tensor(node, 1, "weights")?.context("weights (input 1): expected a constant, found none")?;
        let [filters, group_channels, kernel_height, kernel_width] = weights.dims[..] else {
            bail!("weights: expected 4 axes (2-D convolution), found dims {:?}", weights.dims);
        };
        ensure!(!weights.dims.contains(&0), "weights: expected extents of at least 1, found dims {:?}", weights.dims);
        let group = attributes.int("group", 1)?;
        ensure!(group >= 1 && filters as i64 % group == 0, "group: expected a divisor of the {filters} filters, found {group}");
        let channels = (group as usize).checked_mul(group_channels).context("group: too large")?;
        let window = window(attributes, Some([kernel_height, kernel_width]))?;
        let bias = self.bias(node, 2, filters)?;
        let columns = group_channels * kernel_height * kernel_width;
        let matrix = Matrix { rows: filters, columns, data: weights.floats()?.clone(), transposed: false, row_scale: Vec::new() };
        let conv = dense_conv(group, [channels, filters], window, matrix, bias)?;
        self.push(name, output, Op::Conv(conv), vec![x])
    }

    fn bias(&self, node: &NodeProto, i: usize, count: usize) -> Result<Vec<f32>> {
        let Some(tensor) = self.tensor(node, i, "bias")? else { return Ok(vec![0.0; count]) };
        let floats = tensor.floats()?;
        ensure!(floats.len() == count, "bias: expected {count} numbers, found {}", floats.len());
        Ok(floats.iter().collect())
    }

    pub(super) fn gemm(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<ValueId> {
        let attributes = Attributes(node);
        ensure!(attributes.int("transA", 0)? == 0, "transA: expected 0, found 1");
        let transposed = attributes.int("transB", 0)? == 0;
        let (alpha, beta) = (attributes.float("alpha", 1.0)?, attributes.float("beta", 1.0)?);
        let x = self.value(node, 0)?;
        let rank = self.graph.shape(x).len();
        ensure!(rank == 2, "input: expected 2 axes, found {rank}");
        let weights = self.tensor(node, 1, "weights")?.context("weights (input 1): expected a constant, found none")?;
        let mut matrix = matrix_of(&weights, transposed)?;
        let rows = matrix.rows;
        if alpha != 1.0 {
            matrix.scale_rows(&vec![alpha; rows]);
        }
        let bias = match self.tensor(node, 2, "bias")? {
            None => vec![0.0; rows],
            Some(tensor) => {
                let floats = tensor.floats()?;
                let fits = tensor.dims.iter().rev().skip(1).all(|&d| d == 1) && (floats.len() == rows || floats.len() == 1);
                ensure!(fits, "bias: expected {rows} numbers for every row of the batch, found dims {:?}", tensor.dims);
                (0..rows).map(|i| beta * floats.at(if floats.len() == 1 { 0 } else { i })).collect()
            }
        };
        self.push(name, output, fully_connected(matrix, bias)?, vec![x])
    }

    pub(super) fn matmul(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<ValueId> {
        let x = self.value(node, 0)?;
        let weights = self.tensor(node, 1, "weights")?.context("weights (input 1): expected a constant, found none")?;
        let matrix = matrix_of(&weights, true)?;
        let bias = vec![0.0; matrix.rows];
        self.push(name, output, fully_connected(matrix, bias)?, vec![x])
    }

    pub(super) fn batch_norm(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<ValueId> {
        let attributes = Attributes(node);
        ensure!(attributes.int("training_mode", 0)? == 0, "expected inference, found training_mode");
        ensure!(attributes.int("spatial", 1)? == 1, "spatial: expected 1, found 0");
        let x = self.value(node, 0)?;
        let epsilon = f64::from(attributes.float("epsilon", 1e-5)?);
        let parameter = |i: usize, what: &str| -> Result<Vec<f64>> {
            let tensor =
                self.tensor(node, i, what)?.with_context(|| format!("{what} (input {i}): expected a constant, found none"))?;
            Ok(tensor.floats()?.iter().map(f64::from).collect())
        };
        let (gamma, beta, mean, variance) =
            (parameter(1, "scale")?, parameter(2, "B")?, parameter(3, "mean")?, parameter(4, "var")?);
        let channels = self.graph.shape(x).get(1).copied().context("input: expected at least 2 axes, found fewer")?;
        for (what, found) in [("scale", &gamma), ("B", &beta), ("mean", &mean), ("var", &variance)] {
            let expected = channels.unwrap_or(gamma.len());
            ensure!(found.len() == expected, "{what}: expected {expected} numbers, found {}", found.len());
        }
        // In f64, so that folding loses no more than the one rounding at its end.
        let factor: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
        let shift = factor.iter().zip(beta.iter().zip(&mean)).map(|(f, (b, m))| (b - m * f) as f32).collect();
        let scale: Vec<f32> = factor.iter().map(|&f| f as f32).collect();
        let op = BatchNorm { scale, shift }.into();
        self.push(name, output, op, vec![x])
    }

    pub(super) fn conv_transpose(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<ValueId> {
        let attributes = Attributes(node);
        let x = self.value(node, 0)?;
        let weights = self.tensor(node, 1, "weights")?.context("weights (input 1): expected a constant, found none")?;
        let [channels, group_filters, kernel_height, kernel_width] = weights.dims[..] else {
            bail!("weights: expected 4 axes (2-D convolution), found dims {:?}", weights.dims);
        };
        ensure!(!weights.dims.contains(&0), "weights: expected extents of at least 1, found dims {:?}", weights.dims);
        let group = attributes.int("group", 1)?;
        ensure!(
            group >= 1 && channels as i64 % group == 0,
            "group: expected a divisor of the {channels} channels, found {group}"
        );
        let filters = (group as usize).checked_mul(group_filters).context("group: too large")?;
        let (group_channels, taps) = (channels / group as usize, kernel_height * kernel_width);
        let output_padding = pair(attributes, "output_padding", Some([0, 0]), 0)?;
        let window = self.scattering_window(attributes, [kernel_height, kernel_width], output_padding, x)?;
        // ONNX stores these weights by input channel; rows are filters here.
        let floats = weights.floats()?;
        let at = |row: usize, column: usize| {
            let channel = row / group_filters * group_channels + column / taps;
            floats.at((channel * group_filters + row % group_filters) * taps + column % taps)
        };
        let columns = group_channels * taps;
        let data: Vec<f32> = (0..filters * columns).map(|i| at(i / columns, i % columns)).collect();
        let matrix = Matrix { rows: filters, columns, data: data.into(), transposed: false, row_scale: Vec::new() };
        let bias = self.bias(node, 2, filters)?;
        let conv = dense_conv(group, [channels, filters], window, matrix, bias)?;
        let op = Op::ConvTranspose(ConvTranspose { conv, output_padding });
        self.push(name, output, op, vec![x])
    }

    /// Geometry of a transposed convolution. A wanted output size (`output_shape`, or `auto_pad`) becomes explicit padding.
    fn scattering_window(&self, attributes: Attributes, kernel: [usize; 2], extra: [u32; 2], x: ValueId) -> Result<Window> {
        let auto_pad = attributes.text("auto_pad", "NOTSET")?;
        let mut window = window(attributes, Some(kernel))?;
        let wanted: Vec<i64> = match (attributes.ints("output_shape")?, auto_pad) {
            ([], "SAME_UPPER" | "SAME_LOWER") => {
                let size = |axis: usize| {
                    self.graph.shape(x).get(2 + axis).copied().flatten().map(|e| e as i64 * i64::from(window.strides[axis]))
                };
                let sizes: Option<Vec<i64>> = (0..2).map(size).collect();
                sizes.with_context(|| format!("auto_pad {auto_pad}: expected a fixed height and width, found symbolic ones"))?
            }
            ([], _) => return Ok(window),
            (shape, _) => shape[shape.len().saturating_sub(2)..].to_vec(),
        };
        ensure!(wanted.len() == 2, "output_shape: expected 2 numbers (2-D), found {wanted:?}");
        let mut pads = [[0u32; 2]; 2];
        for axis in 0..2 {
            let size = self.graph.shape(x).get(2 + axis).copied().flatten();
            let size = size.context("output_shape: expected a fixed height and width, found symbolic ones")? as i64;
            let spread =
                (size - 1) * i64::from(window.strides[axis]) + window::reach(&window, axis) as i64 + i64::from(extra[axis]);
            let total = u32::try_from(spread - wanted[axis])
                .map_err(|_| anyhow!("output_shape: expected at most {spread} positions, found {}", wanted[axis]))?;
            let small = total / 2;
            pads[axis] = if auto_pad == "SAME_UPPER" { [small, total - small] } else { [total - small, small] };
        }
        window.padding = Padding::Explicit { top: pads[0][0], left: pads[1][0], bottom: pads[0][1], right: pads[1][1] };
        Ok(window)
    }

    pub(super) fn instance_norm(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<ValueId> {
        let x = self.value(node, 0)?;
        let channels = self.graph.shape(x).get(1).copied().flatten();
        let parameter = |i: usize, what: &str| -> Result<Vec<f32>> {
            let tensor =
                self.tensor(node, i, what)?.with_context(|| format!("{what} (input {i}): expected a constant, found none"))?;
            let floats = tensor.floats()?;
            let expected = channels.unwrap_or(floats.len());
            ensure!(floats.len() == expected, "{what}: expected {expected} numbers, found {}", floats.len());
            Ok(floats.iter().collect())
        };
        let (scale, shift) = (parameter(1, "scale")?, parameter(2, "B")?);
        let epsilon = Attributes(node).float("epsilon", 1e-5)?;
        let op = InstanceNorm { scale, shift, epsilon }.into();
        self.push(name, output, op, vec![x])
    }
}

/// The matrix of stored weights: `K x M` if `transposed`, else `M x K`.
fn matrix_of(weights: &Tensor, transposed: bool) -> Result<Matrix> {
    let [a, b] = weights.dims[..] else { bail!("weights: expected 2 axes, found dims {:?}", weights.dims) };
    ensure!(a > 0 && b > 0, "weights: expected extents of at least 1, found dims {:?}", weights.dims);
    let (rows, columns) = if transposed { (b, a) } else { (a, b) };
    Ok(Matrix { rows, columns, data: weights.floats()?.clone(), transposed, row_scale: Vec::new() })
}

/// The record of a fully connected layer that keeps everything.
fn fully_connected(weights: Matrix, bias: Vec<f32>) -> Result<Op> {
    let (features, rows) = (small(weights.columns as i64, "features")?, small(weights.rows as i64, "rows")?);
    Ok(Gemm { features, rows, columns: Kept::All, weights, bias }.into())
}

/// The record of a convolution that keeps everything.
fn dense_conv(
    group: i64,
    [channels, filters]: [usize; 2],
    window: Window,
    weights: Matrix,
    bias: Vec<f32>,
) -> Result<Conv<Unpacked>> {
    Ok(Conv {
        group: small(group, "group")?,
        channels: small(channels as i64, "channels")?,
        filters: small(filters as i64, "filters")?,
        columns: vec![Kept::All; group as usize],
        window,
        weights,
        bias,
        taps: None,
    })
}

/// A MaxPool from its attributes.
pub(super) fn max_pool(node: &NodeProto) -> Result<Op> {
    ensure!(node.output.len() < 2 || node.output[1].is_empty(), "expected one output, found Indices");
    let (window, ceil_mode) = pool_window(Attributes(node))?;
    Ok(Op::MaxPool(MaxPool { window, ceil_mode }))
}

/// An AveragePool from its attributes.
pub(super) fn average_pool(node: &NodeProto) -> Result<Op> {
    let (window, ceil_mode) = pool_window(Attributes(node))?;
    let count_include_pad = Attributes(node).int("count_include_pad", 0)? != 0;
    Ok(Op::AveragePool(AveragePool { window, ceil_mode, count_include_pad }))
}

fn pool_window(attributes: Attributes) -> Result<(Window, bool)> {
    ensure!(attributes.int("storage_order", 0)? == 0, "storage_order: expected 0, found 1");
    Ok((window(attributes, None)?, attributes.int("ceil_mode", 0)? != 0))
}

/// Two numbers of at least `least`, vertical and horizontal.
fn pair(attributes: Attributes, name: &str, default: Option<[u32; 2]>, least: u32) -> Result<[u32; 2]> {
    let number = |n: i64| {
        u32::try_from(n).ok().filter(|&n| n >= least).with_context(|| format!("{name}: expected at least {least}, found {n}"))
    };
    match (attributes.ints(name)?, default) {
        ([], Some(default)) => Ok(default),
        (&[a, b], _) => Ok([number(a)?, number(b)?]),
        (other, _) => bail!("{name}: expected 2 numbers (2-D), found {other:?}"),
    }
}

/// Geometry from attributes. `weights` are the kernel's sizes where a weight tensor gives them.
fn window(attributes: Attributes, weights: Option<[usize; 2]>) -> Result<Window> {
    let from_weights = match weights {
        Some([h, w]) => Some([small(h as i64, "kernel")?, small(w as i64, "kernel")?]),
        None => None,
    };
    let kernel = pair(attributes, "kernel_shape", from_weights, 1)?;
    if let Some(expected) = from_weights {
        ensure!(kernel == expected, "kernel_shape: expected {expected:?} (of the weights), found {kernel:?}");
    }
    let padding = match attributes.text("auto_pad", "NOTSET")? {
        "NOTSET" => match attributes.ints("pads")? {
            [] => Padding::Explicit { top: 0, left: 0, bottom: 0, right: 0 },
            &[top, left, bottom, right] => {
                Padding::Explicit { top: pad(top)?, left: pad(left)?, bottom: pad(bottom)?, right: pad(right)? }
            }
            other => bail!("pads: expected 4 numbers (2-D), found {other:?}"),
        },
        "VALID" => Padding::Explicit { top: 0, left: 0, bottom: 0, right: 0 },
        "SAME_UPPER" => Padding::SameUpper,
        "SAME_LOWER" => Padding::SameLower,
        other => bail!("auto_pad: expected NOTSET, VALID, SAME_UPPER or SAME_LOWER, found {other}"),
    };
    Ok(Window {
        kernel,
        strides: pair(attributes, "strides", Some([1, 1]), 1)?,
        dilations: pair(attributes, "dilations", Some([1, 1]), 1)?,
        padding,
    })
}

fn pad(amount: i64) -> Result<u32> {
    u32::try_from(amount).map_err(|_| anyhow!("pads: expected no negative amount, found {amount}"))
}
