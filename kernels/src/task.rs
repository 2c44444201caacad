//! What planning says of a step: a description that every backend can prepare a kernel from.

use crate::cpu;
#[cfg(feature = "cuda")]
use crate::cuda::Task as DeviceTask;
#[cfg(not(feature = "cuda"))]
use without_devices::DeviceTask;

/// The computation of one step: plain data. Each backend prepares it in its own way.
pub trait Task: cpu::Task + DeviceTask {
    /// What kind of kernel computes it, for reports.
    fn kind(&self) -> &'static str;

    /// What its innermost loops do to write so many elements, where that may be many times what it reads and writes, and planning counts
    /// no multiply-accumulates: taps of pooling windows, comparisons of a sort, samples. For limits, so rather more than less.
    fn operations(&self, _written: usize) -> usize {
        0
    }
}

/// In a build without devices, tasks have to know none.
#[cfg(not(feature = "cuda"))]
mod without_devices {
    pub trait DeviceTask {}
    impl<T> DeviceTask for T {}
}
