//! Pooling on a device: as [`crate::pool`] on the CPU.

use super::device::{Result, Stream};
use super::launch::{Arguments, Floats, Output, Source, arguments, count_pieces, int, launch_each};
use super::lines::reduce_lines;
use super::task::{Call, Kernel, Preparing, Task};
use super::{activation, check_windows, fits};
use crate::pool::{GlobalPoolTask, GlobalReduce, PoolTask, Reduce};

/// The kernels of this family.
pub(super) const SOURCES: &[Source] = &[POOL, LARGEST];

arguments! {
    /// `reduce` is 0 for the largest, 1 for a mean of what lies inside, 2 for one of what lies before `padded`.
    PoolArguments {
        x: Floats, out: Output,
        planes: i32, height: i32, width: i32, out_height: i32, out_width: i32,
        kernel_h: i32, kernel_w: i32, stride_h: i32, stride_w: i32, dilation_h: i32, dilation_w: i32,
        pad_h: i32, pad_w: i32, padded_h: i32, padded_w: i32,
        reduce: i32, activation: i32, p: f32, q: f32,
    }
}

const POOL: Source = Source {
    declaration: PoolArguments::DECLARATION,
    kernels: &["pool"],
    text: r#"
KERNEL(pool, PoolArguments) {
    EACH(i, a.planes * a.out_height * a.out_width)
    int column = i % a.out_width, row = i / a.out_width % a.out_height;
    const float *x = a.x + i / (a.out_width * a.out_height) * (a.height * a.width);
    int top = row * a.stride_h - a.pad_h, left = column * a.stride_w - a.pad_w;
    float all = a.reduce == 0 ? NONE_LESS : 0.0f;
    int rows = 0, columns = 0;
    for (int r = 0; r < a.kernel_h; r++) {
        int h = top + r * a.dilation_h;
        // Positions behind the padding's end belong to no mean.
        rows += a.reduce == 1 ? h >= 0 && h < a.height : h < a.padded_h;
        columns = 0;
        for (int c = 0; c < a.kernel_w; c++) {
            int w = left + c * a.dilation_w;
            columns += a.reduce == 1 ? w >= 0 && w < a.width : w < a.padded_w;
            if (h < 0 || h >= a.height || w < 0 || w >= a.width) continue;
            float v = x[h * a.width + w];
            all = a.reduce != 0 ? all + v : maximum(all, v);
        }
    }
    if (a.reduce != 0) all /= fmaxf((float)rows * (float)columns, 1.0f);
    a.out[i] = activate(a.activation, a.p, a.q, all);
}
"#,
};

/// A pooling layer whose sizes the kernel can count.
#[derive(Debug)]
struct PreparedPool {
    arguments: PoolArguments,
    input_len: usize,
    output_len: usize,
}

impl Task for PoolTask {
    fn prepare(&self, _: &mut Preparing<'_>) -> Result<Box<dyn Kernel>> {
        let g = &self.geometry;
        check_windows(g)?;
        let (reduce, pad_after) = match self.reduce {
            Reduce::Max => (0, [0, 0]),
            Reduce::Mean => (1, [0, 0]),
            Reduce::MeanWithPadding { pad_after } => (2, pad_after),
        };
        let padded = [0, 1].map(|axis| g.input[axis].saturating_add(pad_after[axis]));
        padded.into_iter().try_for_each(|n| fits("padded input", n))?;
        let (activation, p, q) = activation(self.activation);
        let arguments = PoolArguments {
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
        Ok(Box::new(PreparedPool { arguments, input_len: g.input_len(), output_len: g.output_len() }))
    }
}

impl Kernel for PreparedPool {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let planes = count_pieces("output", out, self.output_len);
        reads[0].expect_len("input", planes * self.input_len);
        let arguments = PoolArguments { x: reads[0].address(), out: out.address(), planes: int(planes), ..self.arguments };
        // SAFETY: both have so many planes, and taps outside of the input are not read.
        unsafe { launch_each(stream, "pool", out.len(), &arguments) }
    }
}

const LARGEST: Source = Source {
    declaration: "",
    kernels: &["largest"],
    text: r#"
KERNEL(largest, LineArguments) {
    SHARED(float, shared, 256)
    LINES
    float largest = NONE_LESS;
    ALONG(i) largest = maximum(largest, a.x[line + (unsigned)i * a.inner]);
    LARGEST(shared, largest, largest)
    if (exists && threadIdx.y == 0) a.out[outer * a.inner + inner] = largest;
}
"#,
};

impl Kernel for GlobalPoolTask {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let kernel = match self.reduce {
            GlobalReduce::Max => "largest",
            GlobalReduce::Mean => "mean",
        };
        reduce_lines(stream, kernel, reads[0], [self.plane, 1], out, false)
    }
}
