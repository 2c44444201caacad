//! Where planning meets a device: a [`Task`] says what a step computes, and the [`Kernel`] that it is prepared to starts what
//! computes it there.

use super::device::{Buffer, Device, Result, Stream, View, upload};
use crate::Precision;
use std::fmt::Debug;

/// What kernels are prepared with.
pub struct Preparing<'a> {
    /// The device.
    pub device: &'a dyn Device,
    /// Where weights and tables are uploaded.
    pub stream: &'a mut dyn Stream,
    /// How products of matrices are rounded.
    pub precision: Precision,
    /// The step's parameters: weights, biases, scales, in its task's order.
    pub parameters: &'a [&'a [f32]],
}

impl Preparing<'_> {
    /// The parameter of this index, on the device.
    ///
    /// # Errors
    /// If the device has no room or fails.
    pub(crate) fn upload_parameter(&mut self, index: usize) -> Result<Buffer> {
        upload(self.device, self.stream, self.parameters[index])
    }
}

/// A description of what a step computes, from which a kernel of a device is prepared.
pub trait Task {
    /// Decides all that can be decided before the first run, and brings parameters and tables to the device.
    ///
    /// # Errors
    /// If a size is too large for the kernels, or the device has no room or fails.
    fn prepare(&self, preparing: &mut Preparing<'_>) -> Result<Box<dyn Kernel>>;
}

/// Starts what computes a step.
pub trait Kernel: Debug + Send + Sync {
    /// Elements of scratch memory that [`Self::start`] needs.
    fn scratch_len(&self) -> usize {
        0
    }

    /// Starts all launches of the step.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If a view has another length than the task's shapes call for.
    fn start(&self, stream: &mut dyn Stream, call: Call<'_>) -> Result<()>;

    /// How it computes, for reports, where there is more than one way.
    fn describe(&self) -> Option<String> {
        None
    }
}

/// A task for which nothing has to be prepared is its own kernel.
impl<T: Kernel + Clone + 'static> Task for T {
    fn prepare(&self, _: &mut Preparing<'_>) -> Result<Box<dyn Kernel>> {
        Ok(Box::new(self.clone()))
    }
}

/// What a kernel is given for one run.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The tensors that the step reads, in its task's order.
    pub reads: &'a [View<'a>],
    /// What it writes.
    pub out: View<'a>,
    /// At least [`Kernel::scratch_len`] elements, of any values.
    pub scratch: View<'a>,
}
