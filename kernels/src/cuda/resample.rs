//! A resampled axis, and planes at the positions of a grid or all over regions, on a device: as [`crate::resample`] and [`crate::sample`] on the CPU.

use super::device::{Buffer, Result, Stream, upload};
use super::launch::{Arguments, Floats, Ints, Output, Source, arguments, count_pieces, int, launch_each};
use super::task::{Call, Kernel, Preparing, Task};
use super::{fits, upload_ints};
use crate::resample::ResampleTask;
use crate::sample::{Between, GridSampleTask, Outside, RoiAlignTask};

/// The kernels of this family.
pub(super) const SOURCES: &[Source] = &[RESAMPLE, GRID_SAMPLE, ROI_ALIGN];

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

arguments! {
    /// Regions of planes.
    RoiAlignArguments {
        x: Floats, regions: Floats, images_of: Floats, out: Output,
        count: i32, images: i32, channels: i32, height: i32, width: i32, out_height: i32, out_width: i32,
        samples: i32, half_pixel: i32, largest: i32, scale: f32,
    }
}

const ROI_ALIGN: Source = Source {
    declaration: RoiAlignArguments::DECLARATION,
    kernels: &["roi_align"],
    text: r#"
// How the elements of a region lie on an axis: where the first one begins, how many positions and how many samples each has.
struct RoiPart { float start, len, samples; };

DEVICE struct RoiPart roi_part(float from, float to, const struct RoiAlignArguments *a, int count) {
    struct RoiPart part;
    float offset = a->half_pixel ? 0.5f : 0.0f;
    float end = fminf(fmaxf(to * a->scale - offset, -1e9f), 1e9f);
    part.start = fminf(fmaxf(from * a->scale - offset, -1e9f), 1e9f);
    part.len = (a->half_pixel ? end - part.start : fmaxf(end - part.start, 1.0f)) / count;
    part.samples = a->samples > 0 ? (float)a->samples : fmaxf(ceilf(part.len), 0.0f);
    return part;
}

// The samples that may lie on an axis of `extent`: all of them, unless they are many more than it has positions.
DEVICE int roi_first(struct RoiPart part, int element, int extent) {
    if (part.samples <= 2048.0f + 2.0f * extent) return 0;
    double first = part.start + element * (double)part.len;
    int before = (int)fmin(fmax(-first, 0.0), (double)part.samples);
    return before > 2048 ? before - 2048 : 0;
}

DEVICE int roi_count(struct RoiPart part, int extent) {
    return part.samples <= 2048.0f + 2.0f * extent ? (int)part.samples : 2 * 2048 + 2 * extent;
}

// The position that sample `sample` lies behind, -1 if it is outside, and how far.
DEVICE int roi_place(struct RoiPart part, int element, int sample, int extent, float *share) {
    float at = part.start + element * part.len + (sample + 0.5f) * part.len / part.samples;
    *share = 0.0f;
    if (!(at >= -1.0f && at <= (float)extent) || sample >= part.samples) return -1;
    at = fmaxf(at, 0.0f);
    int first = (int)at;
    if (first + 1 >= extent) return extent - 1;
    *share = at - first;
    return first;
}

KERNEL(roi_align, RoiAlignArguments) {
    EACH(i, a.count)
    int column = i % a.out_width, row = i / a.out_width % a.out_height, plane = i / (a.out_width * a.out_height);
    int region = plane / a.channels, channel = plane % a.channels;
    float image = a.images_of[region];
    if (!(image >= 0.0f && image < (float)a.images)) {
        a.out[i] = 0.0f;
        return;
    }
    const float *x = a.x + ((int)image * a.channels + channel) * (a.height * a.width), *bounds = a.regions + 4 * region;
    struct RoiPart rows = roi_part(bounds[1], bounds[3], &a, a.out_height);
    struct RoiPart columns = roi_part(bounds[0], bounds[2], &a, a.out_width);
    float all = rows.samples * columns.samples, inside = 0.0f, result = a.largest ? NONE_LESS : 0.0f;
    int first_row = roi_first(rows, row, a.height), first_column = roi_first(columns, column, a.width);
    int row_count = roi_count(rows, a.height), column_count = roi_count(columns, a.width);
    for (int r = 0; r < row_count; r++) {
        float down, right;
        int top = roi_place(rows, row, first_row + r, a.height, &down);
        if (top < 0) continue;
        int bottom = top + 1 < a.height ? top + 1 : top;
        for (int c = 0; c < column_count; c++) {
            int left = roi_place(columns, column, first_column + c, a.width, &right);
            if (left < 0) continue;
            int next = left + 1 < a.width ? left + 1 : left;
            inside += 1.0f;
            float p = (1.0f - down) * (1.0f - right) * x[top * a.width + left], q = (1.0f - down) * right * x[top * a.width + next];
            float s = down * (1.0f - right) * x[bottom * a.width + left], t = down * right * x[bottom * a.width + next];
            if (a.largest) {
                result = maximum(maximum(maximum(maximum(result, p), q), s), t);
            } else {
                result += p + q + s + t;
            }
        }
    }
    // Samples outside are zero.
    if (!a.largest) result /= fmaxf(all, 1.0f);
    else if (inside < all || all == 0.0f) result = maximum(result, 0.0f);
    a.out[i] = result;
}
"#,
};

impl Kernel for RoiAlignTask {
    fn start(&self, stream: &mut dyn Stream, Call { reads, out, .. }: Call<'_>) -> Result<()> {
        let ([height, width], [out_height, out_width]) = (self.input, self.output);
        let count = count_pieces("output", out, self.channels * out_height * out_width);
        reads[0].expect_len("input", self.images * self.channels * height * width);
        reads[1].expect_len("regions", count * 4);
        reads[2].expect_len("images of regions", count);
        let arguments = RoiAlignArguments {
            x: reads[0].address(),
            regions: reads[1].address(),
            images_of: reads[2].address(),
            out: out.address(),
            count: int(out.len()),
            images: int(self.images),
            channels: int(self.channels),
            height: int(height),
            width: int(width),
            out_height: int(out_height),
            out_width: int(out_width),
            samples: int(self.samples),
            half_pixel: self.half_pixel.into(),
            largest: self.largest.into(),
            scale: self.scale,
        };
        // SAFETY: all lengths were checked, images that there are not are not read, and every sample lies in a plane.
        unsafe { launch_each(stream, "roi_align", out.len(), &arguments) }
    }
}
