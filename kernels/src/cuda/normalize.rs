//! Normalisations on a device: as [`crate::normalize`] on the CPU.

use super::device::{Buffer, Result, Stream};
use super::launch::{Arguments, Floats, Output, Source, arguments, count_pieces, int, launch_each};
use super::lines::{LineArguments, launch_lines};
use super::task::{Call, Kernel, Preparing, Task};
use crate::normalize::{GroupNormTask, LayerNormTask, LrnTask, ScaleShiftTask, SoftmaxTask};

/// The kernels of this family.
pub(super) const SOURCES: &[Source] = &[LRN, SCALE_SHIFT, SOFTMAX, GROUP_NORM, LAYER_NORM];

arguments! {
    /// `scale` is alpha over the window's size.
    LrnArguments {
        x: Floats, out: Output, count: i32, channels: i32, plane: i32, size: i32, scale: f32, beta: f32, bias: f32,
    }
}

const LRN: Source = Source {
    declaration: LrnArguments::DECLARATION,
    kernels: &["lrn"],
    text: r#"
KERNEL(lrn, LrnArguments) {
    EACH(i, a.count)
    int channel = i / a.plane % a.channels;
    int before = (a.size - 1) / 2;
    int first = max(channel - before, 0), end = min(channel + a.size - before, a.channels);
    const float *x = a.x + (i - (unsigned)channel * a.plane);
    float squares = 0.0f;
    for (int c = first; c < end; c++) squares += x[c * a.plane] * x[c * a.plane];
    float base = a.bias + a.scale * squares;
    // A power that is a root, by roots: that is the usual one.
    float power = a.beta == 0.75f ? sqrtf(base) * sqrtf(sqrtf(base)) : powf(base, a.beta);
    a.out[i] = a.x[i] / power;
}
"#,
};

impl Kernel for LrnTask {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        reads[0].expect_len("input", out.len());
        count_pieces("output", out, self.channels * self.plane);
        let arguments = LrnArguments {
            x: reads[0].address(),
            out: out.address(),
            count: int(out.len()),
            channels: int(self.channels),
            plane: int(self.plane),
            // A window of more than twice the channels sees no more of them.
            size: int(self.size.min(2 * self.channels + 2 - self.size % 2)),
            scale: self.alpha / self.size as f32,
            beta: self.beta,
            bias: self.bias,
        };
        // SAFETY: both have whole images of so many channels, and windows end at the first and the last one.
        unsafe { launch_each(stream, "lrn", out.len(), &arguments) }
    }
}

arguments! {
    /// One scale and shift for each channel.
    ScaleShiftArguments { x: Floats, scale: Floats, shift: Floats, out: Output, count: i32, channels: i32, plane: i32 }
}

const SCALE_SHIFT: Source = Source {
    declaration: ScaleShiftArguments::DECLARATION,
    kernels: &["scale_shift"],
    text: r#"
KERNEL(scale_shift, ScaleShiftArguments) {
    EACH(i, a.count)
    int channel = i / a.plane % a.channels;
    a.out[i] = a.scale[channel] * a.x[i] + a.shift[channel];
}
"#,
};

/// A task with its scales and shifts on the device.
#[derive(Debug)]
struct WithScaleAndShift<T> {
    task: T,
    scale: Buffer,
    shift: Buffer,
}

impl<T: Copy> WithScaleAndShift<T> {
    /// Uploads the two parameters of the task.
    fn prepare(task: &T, preparing: &mut Preparing<'_>) -> Result<Self> {
        let (scale, shift) = (preparing.upload_parameter(0)?, preparing.upload_parameter(1)?);
        Ok(WithScaleAndShift { task: *task, scale, shift })
    }
}

impl Task for ScaleShiftTask {
    fn prepare(&self, preparing: &mut Preparing<'_>) -> Result<Box<dyn Kernel>> {
        Ok(Box::new(WithScaleAndShift::prepare(self, preparing)?))
    }
}

impl Kernel for WithScaleAndShift<ScaleShiftTask> {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let (x, plane, scale, shift) = (reads[0], self.task.plane, self.scale.view(), self.shift.view());
        x.expect_len("input", out.len());
        shift.expect_len("shift", scale.len());
        count_pieces("output", out, scale.len() * plane);
        let arguments = ScaleShiftArguments {
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
}

const SOFTMAX: Source = Source {
    declaration: "",
    kernels: &["softmax", "log_softmax"],
    text: r#"
KERNEL(softmax, LineArguments) {
    SHARED(float, shared, 256)
    LINES
    float largest = NONE_LESS;
    ALONG(i) largest = maximum(largest, a.x[line + (unsigned)i * a.inner]);
    LARGEST(shared, largest, largest)
    float sum = 0.0f;
    ALONG(i) {
        unsigned at = line + (unsigned)i * a.inner;
        a.out[at] = expf(a.x[at] - largest);
        sum += a.out[at];
    }
    SUM(shared, sum, sum)
    ALONG(i) a.out[line + (unsigned)i * a.inner] /= sum;
}

KERNEL(log_softmax, LineArguments) {
    SHARED(float, shared, 256)
    LINES
    float largest = NONE_LESS;
    ALONG(i) largest = maximum(largest, a.x[line + (unsigned)i * a.inner]);
    LARGEST(shared, largest, largest)
    float sum = 0.0f;
    ALONG(i) sum += expf(a.x[line + (unsigned)i * a.inner] - largest);
    SUM(shared, sum, sum)
    float log_of_sum = logf(sum);
    ALONG(i) {
        unsigned at = line + (unsigned)i * a.inner;
        a.out[at] = a.x[at] - largest - log_of_sum;
    }
}
"#,
};

impl Kernel for SoftmaxTask {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let outer = count_pieces("output", out, self.axis * self.inner);
        reads[0].expect_len("input", out.len());
        let (extent, inner) = (int(self.axis), int(self.inner));
        let arguments = LineArguments { x: reads[0].address(), out: out.address(), extent, inner, ..Default::default() };
        let kernel = if self.log { "log_softmax" } else { "softmax" };
        // SAFETY: both have `outer` tensors of these extents.
        unsafe { launch_lines(stream, kernel, [outer, self.inner], &arguments) }
    }
}

const GROUP_NORM: Source = Source {
    declaration: "",
    kernels: &["group_norm"],
    text: r#"
// Lines are the planes of a group here, `group` of `plane` elements.
KERNEL(group_norm, LineArguments) {
    SHARED(double, shared, 256)
    LINES
    MOMENTS(shared, mean, variance)
    double deviation = sqrt(variance + a.epsilon);
    unsigned first = outer * (unsigned)a.group % a.channels, plane = a.extent / a.group;
    ALONG(i) {
        unsigned at = line + (unsigned)i * a.inner, channel = first + i / plane;
        a.out[at] = (float)((a.x[at] - mean) * (a.scale[channel] / deviation) + a.shift[channel]);
    }
}
"#,
};

impl Task for GroupNormTask {
    fn prepare(&self, preparing: &mut Preparing<'_>) -> Result<Box<dyn Kernel>> {
        Ok(Box::new(WithScaleAndShift::prepare(self, preparing)?))
    }
}

impl Kernel for WithScaleAndShift<GroupNormTask> {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let GroupNormTask { group, plane, epsilon } = self.task;
        let (x, scale, shift) = (reads[0], self.scale.view(), self.shift.view());
        x.expect_len("input", out.len());
        shift.expect_len("shift", scale.len());
        count_pieces("scale", scale, group);
        count_pieces("input", x, scale.len() * plane);
        let arguments = LineArguments {
            x: x.address(),
            scale: scale.address(),
            shift: shift.address(),
            out: out.address(),
            extent: int(group * plane),
            inner: 1,
            channels: int(scale.len()),
            group: int(group),
            epsilon,
            ..Default::default()
        };
        // SAFETY: there are whole images of whole groups, and as many scales and shifts as channels.
        unsafe { launch_lines(stream, "group_norm", [count_pieces("input", x, group * plane), 1], &arguments) }
    }
}

const LAYER_NORM: Source = Source {
    declaration: "",
    kernels: &["layer_norm"],
    text: r#"
KERNEL(layer_norm, LineArguments) {
    SHARED(double, shared, 256)
    LINES
    MOMENTS(shared, mean, variance)
    double factor = 1.0 / sqrt(variance + a.epsilon);
    ALONG(i) {
        unsigned at = line + (unsigned)i * a.inner;
        a.out[at] = (float)((a.x[at] - mean) * factor * a.scale[i] + a.shift[i]);
    }
}
"#,
};

impl Task for LayerNormTask {
    fn prepare(&self, preparing: &mut Preparing<'_>) -> Result<Box<dyn Kernel>> {
        Ok(Box::new(WithScaleAndShift::prepare(self, preparing)?))
    }
}

impl Kernel for WithScaleAndShift<LayerNormTask> {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let LayerNormTask { line, inner, epsilon } = self.task;
        let (x, scale, shift) = (reads[0], self.scale.view(), self.shift.view());
        let outer = count_pieces("output", out, line * inner);
        x.expect_len("input", out.len());
        scale.expect_len("scale", line);
        shift.expect_len("shift", line);
        let arguments = LineArguments {
            x: x.address(),
            scale: scale.address(),
            shift: shift.address(),
            out: out.address(),
            extent: int(line),
            inner: int(inner),
            epsilon,
            ..Default::default()
        };
        // SAFETY: both have `outer` tensors of these extents, and there are as many scales and shifts as a line has elements.
        unsafe { launch_lines(stream, "layer_norm", [outer, inner], &arguments) }
    }
}
