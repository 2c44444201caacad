//! A resampled axis on a device: as [`crate::resample`] on the CPU.

use super::device::{Buffer, Result, Stream, upload};
use super::launch::{Arguments, Floats, Ints, Output, Source, arguments, count_pieces, int, launch_each};
use super::task::{Call, Kernel, Preparing, Task};
use super::{fits, upload_ints};
use crate::resample::ResampleTask;

/// The kernels of this family.
pub(super) const SOURCES: &[Source] = &[RESAMPLE];

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
