//! A resampled axis, and planes at the positions of a grid, on a device: as [`crate::resample`] and [`crate::sample`] on the CPU.

use super::device::{Buffer, Result, Stream, upload};
use super::launch::{Arguments, Floats, Ints, Output, Source, arguments, count_pieces, int, launch_each};
use super::task::{Call, Kernel, Preparing, Task};
use super::{fits, upload_ints};
use crate::resample::ResampleTask;
use crate::sample::{Between, GridSampleTask, Outside};

/// The kernels of this family.
pub(super) const SOURCES: &[Source] = &[RESAMPLE, GRID_SAMPLE];

arguments! {
    /// An axis made of weighted sums over the old one.
    ResampleArguments {
        x: Floats, weights: Floats, starts: Floats, windows: Ints, out: Output, count: i32, extent: i32, inner: i32, positions: i32,
    }
}

const RESAMPLE: Source = Source {
    declaration: ResampleArguments::DECLARATION,
    kernels: &["resample"],
    text: r#"
// [outer][extent][inner] to [outer][positions][inner]. Position p is starts[p] and a weighted sum from windows[3 p] on: of as many
// old positions as windows[3 p + 2] says, whose weights begin at windows[3 p + 1].
KERNEL(resample, ResampleArguments) {
    EACH(i, a.count)
    unsigned inner = i % a.inner, position = i / a.inner % a.positions;
    const float *x = a.x + i / a.inner / a.positions * ((unsigned)a.extent * a.inner) + inner;
    const int *window = a.windows + 3 * position;
    float sum = a.starts[position];
    for (int tap = 0; tap < window[2]; tap++)
        sum += a.weights[window[1] + tap] * x[(unsigned)(window[0] + tap) * a.inner];
    a.out[i] = sum;
}
"#,
};

/// A resampled axis with its tables on the device.
#[derive(Debug)]
struct PreparedResample {
    extent: usize,
    inner: usize,
    positions: usize,
    weights: Buffer,
    starts: Buffer,
    windows: Buffer,
}

impl Task for ResampleTask {
    fn prepare(&self, preparing: &mut Preparing<'_>) -> Result<Box<dyn Kernel>> {
        let Self { extent, inner, windows, .. } = self;
        fits("axis", extent.saturating_mul(*inner))?;
        fits("weights", windows.weights().len())?;
        fits("positions", windows.len().saturating_mul(3))?;
        windows.expect_inside(*extent);
        let places: Vec<i32> = windows.list().iter().flat_map(|w| [w.first, w.begin, w.len].map(int)).collect();
        let starts: Vec<f32> = windows.list().iter().map(|w| w.start).collect();
        let Preparing { device, stream, .. } = preparing;
        Ok(Box::new(PreparedResample {
            extent: *extent,
            inner: *inner,
            positions: windows.len(),
            weights: upload(*device, *stream, windows.weights())?,
            starts: upload(*device, *stream, &starts)?,
            windows: upload_ints(*device, *stream, &places)?,
        }))
    }
}

impl Kernel for PreparedResample {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let outer = count_pieces("output", out, self.positions * self.inner);
        if out.is_empty() {
            return Ok(());
        }
        reads[0].expect_len("input", outer * self.extent * self.inner);
        let arguments = ResampleArguments {
            x: reads[0].address(),
            weights: self.weights.view().address(),
            starts: self.starts.view().address(),
            windows: self.windows.view().address(),
            out: out.address(),
            count: int(out.len()),
            extent: int(self.extent),
            inner: int(self.inner),
            positions: int(self.positions),
        };
        // SAFETY: both have equally many tensors of these extents, and `prepare` let no window reach outside.
        unsafe { launch_each(stream, "resample", out.len(), &arguments) }
    }
}

arguments! {
    /// Planes at the positions of a grid.
    GridSampleArguments {
        x: Floats, grid: Floats, out: Output,
        count: i32, channels: i32, height: i32, width: i32, positions: i32, between: i32, outside: i32, align_corners: i32,
    }
}

const GRID_SAMPLE: Source = Source {
    declaration: GridSampleArguments::DECLARATION,
    kernels: &["grid_sample"],
    text: r#"
// Where a position of the grid lies on an axis of `extent` elements; far outside, as far as is countable.
DEVICE float grid_place(float position, int extent, int align_corners) {
    float at = align_corners ? (position + 1.0f) / 2.0f * (extent - 1.0f) : ((position + 1.0f) * extent - 1.0f) / 2.0f;
    return fminf(fmaxf(at, -1e9f), 1e9f);
}

// The weight of a neighbour at distance `d`.
DEVICE float grid_cubic(float d) {
    const float a = -0.75f;
    return d <= 1.0f ? ((a + 2.0f) * d - (a + 3.0f)) * d * d + 1.0f : ((a * d - 5.0f * a) * d + 8.0f * a) * d - 4.0f * a;
}

// The weight of tap `i`, where `between` is 0 for linear, 1 for nearest, 2 for cubic.
DEVICE float grid_weight(float share, int i, int between) {
    if (between == 1) return 1.0f;
    if (between == 0) return i == 0 ? 1.0f - share : share;
    return grid_cubic(fabsf(share + 1.0f - i));
}

// The index that a tap reads, -1 for none, where `outside` is 0 for zeros, 1 for the border, 2 for reflection.
DEVICE int grid_index(int index, int extent, int outside, int align_corners) {
    if (index >= 0 && index < extent) return index;
    if (outside == 0) return -1;
    if (outside == 1) return index < 0 ? 0 : extent - 1;
    float low = align_corners ? 0.0f : -0.5f, high = align_corners ? extent - 1.0f : extent - 0.5f, at = (float)index;
    float range = high - low, beyond = at < low ? low - at : at - high;
    float times = range > 0.0f ? truncf(beyond / range) : 0.0f;
    float rest = range > 0.0f ? beyond - times * range : 0.0f;
    int from_low = (at < low) == (fmodf(times, 2.0f) == 0.0f);
    int mirrored = (int)fmaxf(from_low ? low + rest : high - rest, 0.0f);
    return mirrored < extent ? mirrored : extent - 1;
}

KERNEL(grid_sample, GridSampleArguments) {
    EACH(i, a.count)
    unsigned plane = i / a.positions;
    const float *place = a.grid + 2 * (plane / a.channels * (unsigned)a.positions + i % a.positions);
    const float *x = a.x + plane * ((unsigned)a.height * a.width);
    float at_x = grid_place(place[0], a.width, a.align_corners), at_y = grid_place(place[1], a.height, a.align_corners);
    float left = a.between == 1 ? rintf(at_x) : floorf(at_x), top = a.between == 1 ? rintf(at_y) : floorf(at_y);
    int taps = a.between == 0 ? 2 : a.between == 1 ? 1 : 4, before = a.between == 2;
    float sum = 0.0f;
    for (int r = 0; r < taps; r++) {
        int row = grid_index((int)top - before + r, a.height, a.outside, a.align_corners);
        float of_row = 0.0f, weight = grid_weight(at_y - top, r, a.between);
        if (row < 0 || weight == 0.0f) continue;
        for (int c = 0; c < taps; c++) {
            int column = grid_index((int)left - before + c, a.width, a.outside, a.align_corners);
            float w = grid_weight(at_x - left, c, a.between);
            if (column >= 0 && w != 0.0f) of_row += w * x[row * a.width + column];
        }
        sum += weight * of_row;
    }
    a.out[i] = sum;
}
"#,
};

impl Kernel for GridSampleTask {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let planes = count_pieces("output", out, self.positions);
        if out.is_empty() {
            return Ok(());
        }
        reads[0].expect_len("input", planes * self.input[0] * self.input[1]);
        reads[1].expect_len("grid", planes / self.channels * self.positions * 2);
        let arguments = GridSampleArguments {
            x: reads[0].address(),
            grid: reads[1].address(),
            out: out.address(),
            count: int(out.len()),
            channels: int(self.channels),
            height: int(self.input[0]),
            width: int(self.input[1]),
            positions: int(self.positions),
            between: match self.between {
                Between::Linear => 0,
                Between::Nearest => 1,
                Between::Cubic => 2,
            },
            outside: match self.outside {
                Outside::Zeros => 0,
                Outside::Border => 1,
                Outside::Reflection => 2,
            },
            align_corners: self.align_corners.into(),
        };
        // SAFETY: input and output have equally many planes, the grid as many images, and every index that is read lies in a plane.
        unsafe { launch_each(stream, "grid_sample", out.len(), &arguments) }
    }
}
