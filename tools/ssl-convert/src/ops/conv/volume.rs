//! Convolutions over volumes. Their lowered matrix is that of a convolution whose kernel has the rows of all slices, so what is asked of
//! their weights is answered as there.

use super::compact::{absorb, keep_columns, leaves, leaving, stored_conv};
use super::export::{Form, export, settle};
use super::{bias, dense, group, matrix};
use crate::blobs::Blobs;
use crate::export::existing::Existing;
use crate::export::exporter::{Export, Exporter};
use crate::export::writer::ints;
use crate::import::binding::Binding;
use crate::import::checks::positive;
use crate::import::node::OnnxNode;
use crate::onnx::proto::AttributeProto;
use crate::operator::Convert;
use crate::ops::volume;
use crate::slices::{Reads, Slices};
use crate::weights::{Layer, Matrix, Node, Unpacked};
use anyhow::{Context, Result, bail, ensure};
use sslm_format::shape::Shape;
use sslm_format::window::resolve_padding;
use sslm_format::{Depth, Extent, Padding, Value, ValueId, VolumeConv, Window};

/// The first two extents of an operator's weights over volumes, and those of the kernel behind them, as they are and as a window has them.
pub(super) fn weights_over_volumes(node: &OnnxNode<'_>) -> Result<([usize; 2], [usize; 3], [u32; 3])> {
    let dims = &node.needed_tensor(1, "weights")?.dims;
    let &[first, second, slices, rows, columns] = &dims[..] else {
        bail!("weights: expected 5 axes, as the input has, found dims {dims:?}")
    };
    ensure!(!dims.contains(&0), "weights: expected extents of at least 1, found dims {dims:?}");
    let [kd, kh, kw] = [slices, rows, columns].map(|n| positive(n as i64, "kernel"));
    Ok(([first, second], [slices, rows, columns], [kd?, kh?, kw?]))
}

/// A Conv of the volume `x`.
pub(super) fn conv(node: &mut OnnxNode<'_>, x: ValueId) -> Result<Binding> {
    let ([filters, group_channels], [slices, rows, columns], kernel) = weights_over_volumes(node)?;
    let group = group(node, filters, "filters")?;
    let channels = group.checked_mul(group_channels).context("group: too large")?;
    let windows = volume::windows(node, x, Some(kernel))?;
    let (depth, window) = explicit(&windows, &volume::extents(node, x)?)?;
    let (bias, floats) = (bias(node, filters)?, node.needed_tensor(1, "weights")?.floats()?.clone());
    let matrix = matrix(filters, group_channels * slices * rows * columns, floats);
    node.push(VolumeConv { depth, conv: dense([group, channels, filters], window, matrix, bias)? }, vec![x])
}

/// Windows over depth, height and width as a record has them: padding that follows from the size becomes amounts.
pub(super) fn explicit(windows: &[Window; 3], size: &[Extent; 3]) -> Result<(Depth, Window)> {
    let amounts = |axis: usize| -> Result<[u32; 2]> {
        let window = &windows[axis];
        let size = match (&window.padding, window.strides[0], size[axis].known()) {
            (&Padding::Explicit { top, bottom, .. }, ..) => return Ok([top, bottom]),
            (_, _, Some(size)) => size,
            // As much for every size.
            (_, 1, None) => 1,
            (..) => bail!("auto_pad: expected strides of 1 or known sizes of the volume, found '{}'", size[axis]),
        };
        let [before, _, after, _] = resolve_padding(window, size, 1);
        Ok([u32::try_from(before)?, u32::try_from(after)?])
    };
    let [[before, after], [top, bottom], [left, right]] = [amounts(0)?, amounts(1)?, amounts(2)?];
    let [depth, height, width] = windows;
    let kernel_rows = depth.kernel[0].checked_mul(height.kernel[0]).context("kernel: too large")?;
    let window = Window {
        kernel: [kernel_rows, width.kernel[0]],
        strides: [height.strides[0], width.strides[0]],
        dilations: [height.dilations[0], width.dilations[0]],
        padding: Padding::Explicit { top, left, bottom, right },
    };
    let [kernel, stride, dilation] = [depth.kernel, depth.strides, depth.dilations].map(|pair| pair[0]);
    Ok((Depth { kernel, stride, dilation, before, after }, window))
}

/// Whether each tap may fall outside the input, whatever the input's size.
fn leaving_volume(op: &VolumeConv<Unpacked>) -> Vec<bool> {
    let Depth { kernel, dilation, before, after, .. } = op.depth;
    let in_plane = leaving(&op.plane());
    let slices = (0..kernel as usize).map(|tap| leaves(tap, kernel as usize, dilation as usize, [before, after]));
    slices.flat_map(|leaves| in_plane.iter().map(move |in_plane| leaves || *in_plane)).collect()
}

impl Convert for VolumeConv<Unpacked> {
    fn is_finite(&self) -> bool {
        self.conv.is_finite()
    }

    fn layer(&self) -> Option<Layer<'_>> {
        self.conv.layer()
    }

    fn matrix_mut(&mut self) -> Option<&mut Matrix> {
        self.conv.matrix_mut()
    }

    fn macs(&self, output: &Value, shape: &Shape) -> Option<(u64, u64)> {
        self.conv.macs(output, shape)
    }

    fn rows_mut(&mut self, shape: &Shape) -> Option<(&mut Matrix, &mut Vec<f32>)> {
        self.conv.rows_mut(shape)
    }

    fn forward(&mut self, inputs: &[Slices<'_>], _: &Slices<'_>) -> Vec<Option<f32>> {
        let leaving = leaving_volume(self);
        absorb(&mut self.conv, inputs[0].constants(), leaving)
    }

    fn backward(&mut self, inputs: &[Slices<'_>], _: &Slices<'_>, wanted: Option<&[bool]>) -> Vec<Reads> {
        vec![keep_columns(&mut self.conv, &inputs[0], wanted)]
    }

    fn forget(&mut self) {
        self.conv.forget();
    }

    fn takes_constants(&self) -> bool {
        true
    }

    fn stored<'g>(&'g self, output: &Value, blobs: &mut Blobs<'g>) -> sslm_format::Op {
        VolumeConv { depth: self.depth.clone(), conv: stored_conv(&self.conv, output, blobs) }.into()
    }
}

impl Export for VolumeConv<Unpacked> {
    fn settle(&self, existing: &mut Existing<'_>, node: &Node) {
        settle(&self.conv, &leaving_volume(self), existing, node);
    }

    fn export(&self, e: &mut Exporter<'_>, node: &Node) -> Result<()> {
        let [rows, columns] = self.plane().kernel;
        let kernel = [self.depth.kernel, rows, columns].map(|n| n as usize);
        let form = Form { op: "Conv", kernel: &kernel, attributes: attributes(&self.depth, &self.conv.window) };
        export(&self.conv, &leaving_volume(self), form, e, node)
    }
}

/// The attributes of a window over a volume, those that have their defaults left out.
fn attributes(depth: &Depth, window: &Window) -> Vec<AttributeProto> {
    let three = |name: &str, depth: u32, [a, b]: [u32; 2]| ([depth, a, b] != [1; 3]).then(|| ints(name, &[depth, a, b]));
    let padding = match window.padding {
        Padding::Explicit { top, left, bottom, right } => [depth.before, top, left, depth.after, bottom, right],
        Padding::SameUpper | Padding::SameLower => [0; 6],
    };
    let padding = (padding != [0; 6]).then(|| ints("pads", &padding));
    let all = [three("strides", depth.stride, window.strides), three("dilations", depth.dilation, window.dilations), padding];
    all.into_iter().flatten().collect()
}
