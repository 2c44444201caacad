//! Transposed convolutions over volumes, as what there is already. One over height and width, of volumes whose slices lie below one another,
//! yields for each filter what each tap along depth contributes; these are then put where their slices are, and added where several meet.

use super::volume::weights_over_volumes;
use super::{bias, dense, filters_first, fitted, group, matrix};
use crate::import::binding::Binding;
use crate::import::node::OnnxNode;
use crate::onnx::tensor::{Data, Tensor};
use crate::ops::volume;
use crate::weights::Unpacked;
use anyhow::{Context, Result, anyhow, ensure};
use sslm_format::window::reach;
use sslm_format::{Binary, Concat, ConvTranspose, Extent, Fill, Pad, Padding, Reshape, Slice, Transpose, ValueId, Window};

/// How one axis is scattered.
#[derive(Clone, Copy)]
struct Axis {
    kernel: u32,
    stride: u32,
    dilation: u32,
    /// Positions that a window spans.
    reach: u32,
    /// What is cut off before and behind.
    cut: [u32; 2],
    /// What is added behind.
    extra: u32,
}

impl Axis {
    /// The extent that becomes of `size`.
    fn scattered(&self, size: &Extent) -> Extent {
        let spread = &(size + -1) * i64::from(self.stride);
        &spread + (i64::from(self.reach) + i64::from(self.extra) - i64::from(self.cut[0]) - i64::from(self.cut[1]))
    }

    /// Positions behind those of the input that it takes for all that is scattered and added, each of them a stride long.
    fn further(&self) -> u32 {
        self.reach.saturating_add(self.extra).saturating_sub(self.stride).div_ceil(self.stride)
    }
}

/// A ConvTranspose of the volume `x`.
pub(super) fn conv_transpose(node: &mut OnnxNode<'_>, x: ValueId) -> Result<Binding> {
    let ([channels, group_filters], [slices, rows, columns], kernel) = weights_over_volumes(node)?;
    let group = group(node, channels, "channels")?;
    let filters = group.checked_mul(group_filters).context("group: too large")?;
    let axes = axes(node, x, kernel)?;
    // Each filter has a part for each tap along depth.
    let floats =
        filters_first(node.needed_tensor(1, "weights")?.floats()?, [channels, group, group_filters * slices, rows * columns]);
    let matrix = matrix(filters * slices, channels / group * rows * columns, floats.into());
    let bias = bias(node, filters)?;
    let [depth, height, width] = axes;
    let window = Window {
        kernel: [height.kernel, width.kernel],
        strides: [height.stride, width.stride],
        dilations: [height.dilation, width.dilation],
        // Each row of the input, with those put between slices, becomes as many as the stride.
        padding: Padding::Explicit {
            top: 0,
            left: width.cut[0],
            bottom: height.reach.saturating_sub(height.stride),
            right: width.cut[1],
        },
    };
    let output_padding = [height.stride.saturating_sub(height.reach), width.extra];
    // Where taps along depth do not meet, and no slice is without one, the parts have the bias.
    let alone = depth.kernel == depth.stride && depth.dilation == 1 && depth.extra == 0;
    let of_part = |part: usize| if alone { bias[part / slices] } else { 0.0 };
    let of_parts = (0..filters * slices).map(of_part).collect();
    let conv = dense([group, channels, filters * slices], window, matrix, of_parts)?;
    let size = volume::extents(node, x)?;
    let parts = parts(node, x, &axes, ConvTranspose { conv, output_padding })?;
    let slices = if alone { interleaved(node, parts)? } else { met(node, parts, &depth)? };
    let volumes = cut(node, slices, &depth, 2, &size[0])?;
    if alone || bias.iter().all(|&b| b == 0.0) {
        let view = volume::view(&volume::extents(node, volumes)?);
        return node.push(view, vec![volumes]);
    }
    let bias = Tensor::new(vec![filters, 1, 1, 1], Data::Floats(bias.into()))?;
    let bias = node.constant("bias", &bias, 5)?;
    node.push(Binary::Add, vec![volumes, bias])
}

/// How each axis of a volume is scattered.
fn axes(node: &OnnxNode<'_>, x: ValueId, kernel: [u32; 3]) -> Result<[Axis; 3]> {
    let (windows, size) = (volume::windows(node, x, Some(kernel))?, volume::extents(node, x)?);
    let extra = volume::three(node, x, "output_padding", 0)?.unwrap_or([0; 3]);
    let auto_pad = node.text("auto_pad", "NOTSET")?;
    let shape = node.ints("output_shape")?;
    let wanted = &shape[shape.len().saturating_sub(3)..];
    ensure!([0, 3].contains(&wanted.len()), "output_shape: expected 3 integers, found {wanted:?}");
    let axis = |i: usize| -> Result<Axis> {
        let (window, reach) = (&windows[i], reach(&windows[i], 0));
        let (cut, extra) = match window.padding {
            Padding::Explicit { top, bottom, .. } if wanted.is_empty() => ([top, bottom], extra[i]),
            _ => {
                let wanted = wanted.get(i).map(|&wanted| (size[i].known(), wanted));
                fitted([window.strides[0] as usize, reach], extra[i], wanted, auto_pad == "SAME_UPPER")?
            }
        };
        let [kernel, stride, dilation] = [window.kernel, window.strides, window.dilations].map(|pair| pair[0]);
        Ok(Axis { kernel, stride, dilation, reach: u32::try_from(reach)?, cut, extra })
    };
    Ok([axis(0)?, axis(1)?, axis(2)?])
}

/// `[N, filters, KD, D, H, W]`: what each tap along depth contributes to a filter.
fn parts(node: &mut OnnxNode<'_>, x: ValueId, axes: &[Axis; 3], op: ConvTranspose<Unpacked>) -> Result<ValueId> {
    let (Axis { kernel, .. }, height) = (axes[0], axes[1]);
    let ([depth, rows, columns], parts) = (volume::extents(node, x)?, op.conv.filters);
    let between = height.further();
    let mut volumes = x;
    if between > 0 {
        let amounts = vec![[0, 0], [0, 0], [0, 0], [0, between], [0, 0]];
        volumes = node.inner(Pad { amounts, fill: Fill::Constant { value: 0.0 } }, vec![x])?;
    }
    let [copied, rest] = [0i64, -1].map(Extent::from);
    let stack = node.inner(Reshape { dims: vec![copied.clone(), copied.clone(), rest, columns] }, vec![volumes])?;
    let scattered = node.inner(op, vec![stack])?;
    let width = node.extents_of(scattered)[3].clone();
    let of_filter = [parts / kernel, kernel].map(|count| Extent::from(count as usize));
    let of_slice = &(&rows + i64::from(between)) * i64::from(height.stride);
    let dims = [copied].into_iter().chain(of_filter).chain([depth, of_slice, width]).collect();
    let parts = node.inner(Reshape { dims }, vec![scattered])?;
    cut(node, parts, &height, 4, &rows)
}

/// What is left of `x` on its axis `index`, to which `size` positions were scattered.
fn cut(node: &mut OnnxNode<'_>, x: ValueId, axis: &Axis, index: u32, size: &Extent) -> Result<ValueId> {
    let (start, left) = (Extent::from(axis.cut[0] as usize), axis.scattered(size));
    if axis.cut[0] == 0 && node.extents_of(x)[index as usize] == left {
        return Ok(x);
    }
    node.inner(Slice { axis: index, end: &start + &left, start, step: 1 }, vec![x])
}

/// Volumes of parts of which no two are in the same slice.
fn interleaved(node: &mut OnnxNode<'_>, parts: ValueId) -> Result<ValueId> {
    let mut of_slices = parts;
    if node.extent(parts, 2) != Some(1) {
        of_slices = node.inner(Transpose { axes: vec![0, 1, 3, 2, 4, 5] }, vec![parts])?;
    }
    let [_, _, kernel, depth, height, width] = six(node, parts)?;
    node.inner(volume::view(&[&kernel * &depth, height, width]), vec![of_slices])
}

/// Volumes of parts of which some are in the same slice, as far as they reach.
fn met(node: &mut OnnxNode<'_>, parts: ValueId, axis: &Axis) -> Result<ValueId> {
    let [_, _, _, depth, height, width] = six(node, parts)?;
    let further = axis.further();
    let all = &depth + i64::from(further);
    let mut phases = Vec::new();
    for phase in 0..axis.stride {
        let mut sum = None;
        for tap in (0..axis.kernel).filter(|tap| tap * axis.dilation % axis.stride == phase) {
            let part = node.inner(Slice::of(2, tap.into(), i64::from(tap) + 1, 1), vec![parts])?;
            let part = node.inner(volume::view(&[depth.clone(), height.clone(), width.clone()]), vec![part])?;
            let before = tap * axis.dilation / axis.stride;
            let amounts = vec![[0, 0], [0, 0], [before, further - before], [0, 0], [0, 0]];
            let part = node.inner(Pad { amounts, fill: Fill::Constant { value: 0.0 } }, vec![part])?;
            sum = Some(match sum {
                Some(sum) => node.inner(Binary::Add, vec![sum, part])?,
                None => part,
            });
        }
        let sum =
            sum.context("kernel: expected a tap along depth for each slice of the output, found strides that leave some out")?;
        let copied = Extent::from(0usize);
        let dims = vec![copied.clone(), copied, all.clone(), Extent::from(1usize), height.clone(), width.clone()];
        phases.push(node.inner(Reshape { dims }, vec![sum])?);
    }
    let joined = if let [only] = phases[..] { only } else { node.inner(Concat { axis: 3 }, phases)? };
    node.inner(volume::view(&[&all * i64::from(axis.stride), height, width]), vec![joined])
}

/// The extents of parts.
fn six(node: &OnnxNode<'_>, parts: ValueId) -> Result<[Extent; 6]> {
    let extents: Result<[Extent; 6], _> = node.extents_of(parts).to_vec().try_into();
    extents.map_err(|found| anyhow!("parts: expected 6 axes, found {}", found.len()))
}
