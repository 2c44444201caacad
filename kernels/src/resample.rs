//! One axis that is resampled: each of its new positions is a weighted sum of neighbours of the old axis. Where two neighbours at most
//! are mixed, [`crate::remap::RemapTask`] is cheaper.

use crate::cpu::{self, Call, Kernel};
use crate::layout::{Extents, Forms};
use crate::{Exec, Task, count_pieces, expect_len};
use get_size2::GetSize;

/// The positions of a new axis, one behind the other.
#[derive(GetSize, Clone, Debug, Default)]
pub struct Windows {
    windows: Vec<Window>,
    /// The weights of all windows, one window behind the other.
    weights: Vec<f32>,
}

/// What one position of the new axis is made of.
#[derive(GetSize, Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The first position of the old axis that has a weight.
    pub(crate) first: usize,
    /// Where its weights begin.
    pub(crate) begin: usize,
    /// How many weights it has.
    pub(crate) len: usize,
    /// What the weighted sum is added to.
    pub(crate) start: f32,
}

impl Windows {
    /// Adds a position: `start`, and for each weight so much of a position of the old axis, from `first` on.
    pub fn push(&mut self, start: f32, first: usize, weights: impl IntoIterator<Item = f32>) {
        let begin = self.weights.len();
        self.weights.extend(weights);
        self.windows.push(Window { first, begin, len: self.weights.len() - begin, start });
    }

    /// The most bytes that so many positions with so many weights in all take: lists may have room for twice as much as they hold, and
    /// for once as much again while they grow.
    pub fn most_bytes(positions: usize, weights: usize) -> usize {
        let both = positions.saturating_mul(size_of::<Window>()).saturating_add(weights.saturating_mul(size_of::<f32>()));
        both.saturating_mul(3)
    }

    /// How many positions there are.
    #[allow(clippy::len_without_is_empty, reason = "a count, not a container")]
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Where each position comes from.
    #[cfg(feature = "cuda")]
    pub(crate) fn list(&self) -> &[Window] {
        &self.windows
    }

    /// The weights of all windows.
    #[cfg(feature = "cuda")]
    pub(crate) fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Refuses windows that reach beyond an axis of `extent`: a bug in the caller.
    pub(crate) fn expect_inside(&self, extent: usize) {
        for window in &self.windows {
            let end = window.first + window.len;
            assert!(window.len == 0 || end <= extent, "a window up to {end} of {extent} positions");
        }
    }
}

/// The middle axis of `[outer][extent][inner]` is resampled.
#[derive(Clone, Debug)]
pub struct ResampleTask {
    /// Positions of the old axis.
    pub extent: usize,
    /// Elements from one position to the next.
    pub inner: usize,
    /// The positions of the new axis.
    pub windows: Windows,
    /// Sizes of input and output, if the axis lies inside of channels' planes.
    pub in_planes: Option<[Extents; 2]>,
}

impl Task for ResampleTask {
    fn kind(&self) -> &'static str {
        "resample"
    }

    fn operations(&self, written: usize) -> usize {
        (written / self.windows.len().max(1)).saturating_mul(self.windows.weights.len())
    }
}

impl cpu::Task for ResampleTask {
    fn forms(&self, target: &cpu::Target) -> Forms {
        let taps = self.windows.weights.len().div_ceil(self.windows.len().max(1));
        Forms::of_axis(self.in_planes, self.inner, 1 + taps, 4.0, target.isa)
    }

    fn most_table_bytes(&self, _: &cpu::Target) -> usize {
        cpu::KERNEL
    }

    fn prepare(self: Box<Self>, target: &cpu::Target) -> Box<dyn Kernel> {
        self.windows.expect_inside(self.extent);
        let inner = self.inner * target.layouts.reads.lanes(target.isa);
        Box::new(Resample { extent: self.extent, inner, windows: self.windows })
    }
}

/// A resampled axis whose windows are known to lie inside.
#[derive(GetSize, Debug)]
struct Resample {
    extent: usize,
    inner: usize,
    windows: Windows,
}

impl Kernel for Resample {
    fn compute(&self, call: Call<'_>) {
        resample(call.reads.get(0), self.extent, self.inner, &self.windows, call.out, call.exec);
    }
}

/// Builds `[outer][windows][inner]` from `x`, which is `[outer][extent][inner]`.
///
/// # Panics
/// If a slice has another length than the shapes call for, or a window reaches beyond `extent`.
pub fn resample(x: &[f32], extent: usize, inner: usize, windows: &Windows, out: &mut [f32], exec: Exec) {
    let (from, to) = (extent * inner, windows.len() * inner);
    if to == 0 {
        return expect_len("output", out, 0);
    }
    expect_len("input", x, count_pieces("output", out, to) * from);
    exec.for_each_chunk(
        out,
        to,
        #[inline(always)]
        |i, out| {
            let x = &x[i * from..][..from];
            for (window, out) in windows.windows.iter().zip(out.chunks_exact_mut(inner)) {
                let weights = &windows.weights[window.begin..][..window.len];
                let x = &x[window.first.min(extent) * inner..];
                if let [out] = out {
                    *out = weights.iter().zip(&x[..window.len]).fold(window.start, |sum, (w, x)| sum + w * x);
                    continue;
                }
                out.fill(window.start);
                for (w, x) in weights.iter().zip(x[..window.len * inner].chunks_exact(inner)) {
                    out.iter_mut().zip(x).for_each(|(o, x)| *o += w * x);
                }
            }
        },
    );
}
