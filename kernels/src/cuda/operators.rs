//! Everything but convolutions on a device. Each function starts one kernel on views whose lengths it has checked.

use super::device::{Buffer, Device, Result, Stream, View, upload};
use super::kernels::{self, AXES, THREADS, int, launch, launch_each};
use super::{activation, check_windows, coded, fits, upload_ints};
use crate::axis::{self, From};
use crate::conv::Geometry;
use crate::elementwise::Broadcast;
use crate::normalize::Lrn;
use crate::pool::Reduce;
use crate::{Activation, Binary, Unary};

/// As [`crate::elementwise::map`].
///
/// # Errors
/// If the device fails.
///
/// # Panics
/// If the views differ in length.
pub fn map(stream: &mut dyn Stream, x: View<'_>, out: View<'_>, function: Unary) -> Result<()> {
    x.expect_len("input", out.len());
    let (function, p, q) = coded(function);
    let arguments = kernels::Map { x: x.address(), out: out.address(), count: int(out.len()), function, p, q };
    // SAFETY: both have so many numbers.
    unsafe { launch_each(stream, "map", out.len(), &arguments) }
}

/// A pooling layer whose sizes the kernel can count.
#[derive(Clone, Debug)]
pub struct Pool {
    arguments: kernels::Pool,
    input_len: usize,
    output_len: usize,
}

impl Pool {
    /// As [`crate::pool::Pool::new`].
    ///
    /// # Errors
    /// If a size is too large.
    pub fn new(g: &Geometry, reduce: Reduce, function: Activation) -> Result<Self> {
        check_windows(g)?;
        let (reduce, pad_after) = match reduce {
            Reduce::Max => (0, [0, 0]),
            Reduce::Mean => (1, [0, 0]),
            Reduce::MeanWithPadding { pad_after } => (2, pad_after),
        };
        let padded = [0, 1].map(|axis| g.input[axis].saturating_add(pad_after[axis]));
        padded.into_iter().try_for_each(|n| fits("padded input", n))?;
        let (activation, p, q) = activation(function);
        let arguments = kernels::Pool {
            x: 0,
            out: 0,
            planes: 0,
            height: int(g.input[0]),
            width: int(g.input[1]),
            out_height: int(g.output[0]),
            out_width: int(g.output[1]),
            kernel_h: int(g.kernel[0]),
            kernel_w: int(g.kernel[1]),
            stride_h: int(g.strides[0]),
            stride_w: int(g.strides[1]),
            dilation_h: int(g.dilations[0]),
            dilation_w: int(g.dilations[1]),
            pad_h: int(g.pad_before[0]),
            pad_w: int(g.pad_before[1]),
            padded_h: int(padded[0]),
            padded_w: int(padded[1]),
            reduce,
            activation,
            p,
            q,
        };
        Ok(Pool { arguments, input_len: g.input_len(), output_len: g.output_len() })
    }

    /// As [`crate::pool::Pool::run`].
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If a view has another length than the shapes call for.
    pub fn run(&self, stream: &mut dyn Stream, x: View<'_>, out: View<'_>) -> Result<()> {
        let planes = count_pieces("output", out, self.output_len);
        x.expect_len("input", planes * self.input_len);
        let arguments = kernels::Pool { x: x.address(), out: out.address(), planes: int(planes), ..self.arguments };
        // SAFETY: both have so many planes, and taps outside of the input are not read.
        unsafe { launch_each(stream, "pool", out.len(), &arguments) }
    }
}

/// As [`Lrn::run`].
///
/// # Errors
/// If the device fails.
///
/// # Panics
/// If a view has another length than the shapes call for.
pub fn lrn(stream: &mut dyn Stream, lrn: &Lrn, x: View<'_>, out: View<'_>) -> Result<()> {
    x.expect_len("input", out.len());
    count_pieces("output", out, lrn.channels * lrn.plane);
    let arguments = kernels::Lrn {
        x: x.address(),
        out: out.address(),
        count: int(out.len()),
        channels: int(lrn.channels),
        plane: int(lrn.plane),
        // A window of more than twice the channels sees no more of them.
        size: int(lrn.size.min(2 * lrn.channels + 2 - lrn.size % 2)),
        scale: lrn.alpha / lrn.size as f32,
        beta: lrn.beta,
        bias: lrn.bias,
    };
    // SAFETY: both have whole images of so many channels, and windows end at the first and the last one.
    unsafe { launch_each(stream, "lrn", out.len(), &arguments) }
}

/// As [`crate::normalize::scale_shift`].
///
/// # Errors
/// If the device fails.
///
/// # Panics
/// If a view has another length than the shapes call for.
pub fn scale_shift(
    stream: &mut dyn Stream,
    x: View<'_>,
    plane: usize,
    [scale, shift]: [View<'_>; 2],
    out: View<'_>,
) -> Result<()> {
    x.expect_len("input", out.len());
    shift.expect_len("shift", scale.len());
    count_pieces("output", out, scale.len() * plane);
    let arguments = kernels::ScaleShift {
        x: x.address(),
        scale: scale.address(),
        shift: shift.address(),
        out: out.address(),
        count: int(out.len()),
        channels: int(scale.len()),
        plane: int(plane),
    };
    // SAFETY: there are whole images, and as many scales and shifts as channels.
    unsafe { launch_each(stream, "scale_shift", out.len(), &arguments) }
}

/// As [`Broadcast::run`].
///
/// # Errors
/// If the device fails.
///
/// # Panics
/// If a view has another length than the shapes call for, or there are more than eight axes.
pub fn binary(
    stream: &mut dyn Stream,
    broadcast: &Broadcast,
    [x, y]: [View<'_>; 2],
    out: View<'_>,
    function: Binary,
    relu: bool,
) -> Result<()> {
    for (what, view, len) in [("a", x, 0), ("b", y, 1), ("output", out, 2)] {
        view.expect_len(what, broadcast.lens()[len]);
    }
    let axes: Vec<(usize, usize, usize)> = broadcast.axes().collect();
    let arguments = kernels::Binary {
        x: x.address(),
        y: y.address(),
        out: out.address(),
        count: int(out.len()),
        function: i32::from(function.code()),
        relu: i32::from(relu),
        rank: int(axes.len()),
        extent: each_axis(axes.iter().map(|axis| axis.0)),
        stride_x: each_axis(axes.iter().map(|axis| axis.1)),
        stride_y: each_axis(axes.iter().map(|axis| axis.2)),
    };
    // SAFETY: the lengths are those of the shapes, within which the strides stay.
    unsafe { launch_each(stream, "binary", out.len(), &arguments) }
}

/// One number for each of at most eight axes.
fn each_axis(numbers: impl ExactSizeIterator<Item = usize>) -> kernels::Axes {
    assert!(numbers.len() <= AXES, "{} axes", numbers.len());
    let mut all = [0; AXES];
    all.iter_mut().zip(numbers).for_each(|(a, n)| *a = int(n));
    all
}

/// An axis that is rebuilt from what it was, with its tables on the device.
#[derive(Debug)]
pub struct Remap {
    extent: usize,
    inner: usize,
    positions: usize,
    from: Buffer,
    share: Buffer,
}

impl Remap {
    /// As [`crate::axis::Remap::new`].
    ///
    /// # Errors
    /// If the device has no room or fails, or an axis is too long.
    ///
    /// # Panics
    /// If a position lies outside `extent`.
    pub fn new(extent: usize, inner: usize, sources: &[From], device: &dyn Device, stream: &mut dyn Stream) -> Result<Self> {
        fits("axis", extent.saturating_mul(inner))?;
        let (mut from, mut share) = (Vec::with_capacity(2 * sources.len()), Vec::with_capacity(sources.len()));
        for source in sources {
            let (a, b, s) = match *source {
                From::Position(a) => (Some(a), None, 0.0),
                From::Constant(value) => (None, None, value),
                From::Between(a, b, s) => (Some(a), Some(b), s),
            };
            assert!([a, b].into_iter().flatten().all(|p| p < extent), "{source:?} of {extent} positions");
            from.extend([a, b].map(|p| p.map_or(-1, int)));
            share.push(s);
        }
        let (from, share) = (upload_ints(device, stream, &from)?, upload(device, stream, &share)?);
        Ok(Remap { extent, inner, positions: sources.len(), from, share })
    }

    /// As [`crate::axis::Remap::run`].
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If a view has another length than the shapes call for.
    pub fn run(&self, stream: &mut dyn Stream, x: View<'_>, out: View<'_>) -> Result<()> {
        let outer = count_pieces("output", out, self.positions * self.inner);
        if out.is_empty() {
            return Ok(());
        }
        x.expect_len("input", outer * self.extent * self.inner);
        let arguments = kernels::Remap {
            x: x.address(),
            share: self.share.view().address(),
            from: self.from.view().address(),
            out: out.address(),
            count: int(out.len()),
            extent: int(self.extent),
            inner: int(self.inner),
            positions: int(self.positions),
        };
        // SAFETY: both have equally many tensors of these extents, and `new` let no position lie outside.
        unsafe { launch_each(stream, "remap", out.len(), &arguments) }
    }
}

/// As [`crate::channels::insert`].
///
/// # Errors
/// If the device fails.
///
/// # Panics
/// If a view has another length than the shapes call for.
pub fn insert(stream: &mut dyn Stream, part: View<'_>, len: usize, out: View<'_>, offset: usize, total: usize) -> Result<()> {
    let outer = count_pieces("output", out, total);
    part.expect_len("part", outer * len);
    assert!(offset + len <= total, "{len} numbers from {offset} on are out of range of {total}");
    let [count, len, total, offset] = [part.len(), len, total, offset].map(int);
    let arguments = kernels::Insert { x: part.address(), out: out.address(), count, len, total, offset };
    // SAFETY: there are `outer` of both, and the part ends within the whole.
    unsafe { launch_each(stream, "insert", part.len(), &arguments) }
}

/// As [`axis::StridedCopy::run`].
///
/// # Errors
/// If the device fails.
///
/// # Panics
/// If the views do not fit shape and strides, or there are more than eight axes.
pub fn strided_copy(stream: &mut dyn Stream, copy: &axis::StridedCopy, x: View<'_>, out: View<'_>) -> Result<()> {
    let axes = copy.axes();
    out.expect_len("output", copy.output_len());
    let last: usize = axes.iter().map(|(extent, stride)| (extent.max(&1) - 1) * stride).sum();
    assert!(out.is_empty() || last < x.len(), "number {last} of {}", x.len());
    let arguments = kernels::StridedCopy {
        x: x.address(),
        out: out.address(),
        count: int(out.len()),
        rank: int(axes.len()),
        extent: each_axis(axes.iter().rev().map(|axis| axis.0)),
        stride: each_axis(axes.iter().rev().map(|axis| axis.1)),
    };
    // SAFETY: the last number that it reads exists, and so all do.
    unsafe { launch_each(stream, "strided_copy", out.len(), &arguments) }
}

/// What is done along the middle axis of `[outer][extent][inner]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Along {
    /// As [`axis::mean`].
    Mean,
    /// The largest; NaN loses against every number.
    Largest,
    /// As [`axis::arg_max`].
    ArgMax {
        /// Of equal ones the last instead of the first.
        last: bool,
    },
    /// As [`crate::normalize::softmax`].
    Softmax,
}

/// Calls a kernel that reduces an axis, or for softmax keeps it.
///
/// # Errors
/// If the device fails.
///
/// # Panics
/// If a view has another length than the shapes call for.
pub fn along(stream: &mut dyn Stream, what: Along, x: View<'_>, [extent, inner]: [usize; 2], out: View<'_>) -> Result<()> {
    let (kernel, last, out_inner) = match what {
        Along::Mean => ("mean", false, inner),
        Along::Largest => ("largest", false, inner),
        Along::ArgMax { last } => ("arg_max", last, inner),
        Along::Softmax => ("softmax", false, extent * inner),
    };
    let outer = count_pieces("output", out, out_inner);
    x.expect_len("input", outer * extent * inner);
    let arguments = kernels::Line {
        x: x.address(),
        out: out.address(),
        extent: int(extent),
        inner: int(inner),
        last: i32::from(last),
        ..Default::default()
    };
    // SAFETY: both have `outer` tensors of these extents.
    unsafe { lines(stream, kernel, outer, inner, &arguments) }
}

/// As [`crate::normalize::instance_norm`].
///
/// # Errors
/// If the device fails.
///
/// # Panics
/// If a view has another length than the shapes call for.
pub fn instance_norm(
    stream: &mut dyn Stream,
    x: View<'_>,
    plane: usize,
    [scale, shift]: [View<'_>; 2],
    epsilon: f32,
    out: View<'_>,
) -> Result<()> {
    x.expect_len("input", out.len());
    shift.expect_len("shift", scale.len());
    count_pieces("input", x, scale.len() * plane);
    let arguments = kernels::Line {
        x: x.address(),
        scale: scale.address(),
        shift: shift.address(),
        out: out.address(),
        extent: int(plane),
        inner: 1,
        channels: int(scale.len()),
        epsilon,
        ..Default::default()
    };
    // SAFETY: there are whole images, and as many scales and shifts as channels.
    unsafe { lines(stream, "instance_norm", count_pieces("input", x, plane), 1, &arguments) }
}

/// Starts a kernel whose blocks see as many neighbouring lines as lie in a cache line, or as there are.
///
/// # Safety
/// As [`launch`].
unsafe fn lines(
    stream: &mut dyn Stream,
    kernel: &'static str,
    outer: usize,
    inner: usize,
    arguments: &kernels::Line,
) -> Result<()> {
    let side_by_side = inner.next_power_of_two().min(32) as u32;
    let grid = [outer * inner.div_ceil(side_by_side as usize), 1];
    // SAFETY: the caller's promise.
    unsafe { launch(stream, kernel, grid, [side_by_side, THREADS / side_by_side], arguments) }
}

/// How many pieces of `len` elements a view consists of.
#[track_caller]
fn count_pieces(what: &str, view: View<'_>, len: usize) -> usize {
    let count = view.len() / len.max(1);
    view.expect_len(what, count * len);
    count
}
