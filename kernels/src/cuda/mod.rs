//! The kernels of a CUDA device, which do what those of the CPU do, on views of its memory. Tensors have less than 2^31 numbers.
//!
//! `kernels.cu` is what runs on the device; `kernels` declares its arguments; [`operators`] and [`PreparedConv`] check lengths and start
//! it.
//! [`Device`] and [`Stream`] are all that they need of a device. `gpu` is the one file that knows the libraries of CUDA.

mod choice;
mod conv;
mod device;
mod gpu;
mod kernels;
pub mod operators;

pub use choice::Method;
pub use conv::{Choice, PreparedConv, Tensors};
pub use device::{Buffer, Device, Error, Gemm, Launch, Matrix, Precision, Result, Stream, View};
pub use gpu::Gpu;
pub use kernels::{NAMES, PTX, body, source};

use crate::Activation;
use crate::conv::Geometry;

/// Refuses a size that kernels cannot count.
///
/// # Errors
/// If it is 2^31 or more.
pub fn fits(what: &'static str, size: usize) -> Result<()> {
    if i32::try_from(size).is_ok() { Ok(()) } else { Err(Error::TooLarge { what, found: size }) }
}

/// Refuses windows at positions that kernels cannot count.
fn check_windows(g: &Geometry) -> Result<()> {
    for axis in 0..2 {
        let scale = if g.transposed { 1 } else { g.strides[axis] };
        let last = (g.output[axis].max(1) - 1).saturating_mul(scale);
        let taps = (g.kernel[axis].max(1) - 1).saturating_mul(g.dilations[axis]);
        fits("position of a window", last.saturating_add(taps).saturating_add(g.pad_before[axis]))?;
        fits("stride", g.strides[axis])?;
        fits("dilation", g.dilations[axis])?;
        fits("extent", g.input[axis])?;
    }
    Ok(())
}

/// An activation as the kernels number it, and its parameters.
fn activation(function: Activation) -> (i32, f32, f32) {
    match function {
        Activation::None => (0, 0.0, 0.0),
        Activation::Relu => (1, 0.0, 0.0),
        Activation::Clip { low, high } => (2, low, high),
        Activation::LeakyRelu { alpha } => (3, alpha, 0.0),
    }
}

/// New memory with these whole numbers in it.
fn upload_ints(device: &dyn Device, stream: &mut dyn Stream, numbers: &[i32]) -> Result<Buffer> {
    device::upload(device, stream, bytemuck::cast_slice(numbers))
}
