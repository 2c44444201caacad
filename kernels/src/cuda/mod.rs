//! The kernels of a CUDA device, which do what those of the CPU do, on views of its memory. Tensors have less than 2^31 elements.
//!
//! There is a file for each family of operators, in which a kernel's arguments, its text in CUDA C and what checks lengths and starts
//! it stand together; `source` puts the texts together. [`Device`] and [`Stream`] are all that kernels need of a device. `gpu` is the
//! one file that knows the libraries of CUDA.

mod axis;
mod channels;
mod choice;
mod conv;
mod device;
mod elementwise;
mod gpu;
mod index;
mod launch;
mod lines;
mod matmul;
mod normalize;
mod pool;
mod recurrent;
mod resample;
mod source;
mod task;
mod volume;

pub use crate::Precision;
pub use choice::Method;
pub use conv::{Choice, PreparedConv, Tensors};
pub use device::{Buffer, Device, Error, Gemm, Launch, Matrix, Result, Stream, View};
pub use gpu::Gpu;
pub use source::{PTX, body, names, source};
pub use task::{Call, Kernel, Preparing, Task};

use crate::conv::Geometry;
use crate::{Activation, Unary};

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

/// An activation as the kernels know it: 0 for none or the function's code plus 1, then the parameters.
fn activation(function: Activation) -> (i32, f32, f32) {
    let Some(function) = function.function() else { return (0, 0.0, 0.0) };
    let (code, p, q) = coded(function);
    (code + 1, p, q)
}

/// A function as the kernels know it: its code and its parameters.
fn coded(function: Unary) -> (i32, f32, f32) {
    let mut parameters = function.parameters();
    let mut next = || parameters.next().unwrap_or(0.0);
    (i32::from(function.code()), next(), next())
}

/// New memory with these integers in it.
fn upload_ints(device: &dyn Device, stream: &mut dyn Stream, integers: &[i32]) -> Result<Buffer> {
    device::upload(device, stream, bytemuck::cast_slice(integers))
}
