//! The kernels by name, with the one structure of arguments that each takes. One declaration here yields that structure in Rust and
//! its text in C, so the two cannot drift apart. What the kernels compute stands in `kernels.cu`.

use super::device::{Launch, Result, Stream, View};
use sslm_basics::functions;
use std::ffi::c_void;

/// An address that a kernel reads. Null says that there is nothing to read.
pub(crate) type Floats = u64;
/// As [`Floats`], of whole numbers.
pub(crate) type Ints = u64;
/// An address that a kernel writes.
pub(crate) type Output = u64;
/// Numbers of up to [`AXES`] axes.
pub(crate) type Axes = [i32; AXES];

/// Most axes that a kernel walks along: as many as the file format allows.
pub(crate) const AXES: usize = 8;

/// Threads of a block.
pub(crate) const THREADS: u32 = 256;

/// The arguments of one or several kernels.
///
/// # Safety
/// The structure is `#[repr(C)]` and declared to the kernels' source in just the same way.
pub(crate) unsafe trait Arguments: Copy {}

macro_rules! in_c {
    (Floats $field:ident) => {
        concat!("const float *", stringify!($field), "; ")
    };
    (Ints $field:ident) => {
        concat!("const int *", stringify!($field), "; ")
    };
    (Output $field:ident) => {
        concat!("float *", stringify!($field), "; ")
    };
    (i32 $field:ident) => {
        concat!("int ", stringify!($field), "; ")
    };
    (f32 $field:ident) => {
        concat!("float ", stringify!($field), "; ")
    };
    (Axes $field:ident) => {
        concat!("int ", stringify!($field), "[8]; ")
    };
}

macro_rules! arguments {
    ($($(#[$doc:meta])* $name:ident [$($kernel:literal),+] { $($field:ident: $kind:ident),+ $(,)? })+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default)]
            #[repr(C)]
            pub(crate) struct $name { $(pub(crate) $field: $kind,)+ }
            // SAFETY: it is `#[repr(C)]`, and `DECLARATIONS` are made of the same fields.
            unsafe impl Arguments for $name {}
        )+

        /// The structures in C.
        const DECLARATIONS: &str = concat!($("struct ", stringify!($name), " { ", $(in_c!($kind $field),)+ "};\n",)+);

        /// Every kernel.
        pub const NAMES: &[&str] = &[$($($kernel),+),+];
    };
}

arguments! {
    /// A function of one element, by its code.
    Map ["map"] { x: Floats, out: Output, count: i32, function: i32, p: f32, q: f32 }

    /// A convolution: all of it, or the part of one group.
    Conv [
        "conv_direct", "conv_warp_8", "conv_warp_16", "conv_warp_32", "conv_tile_64", "conv_tile_128", "lower", "lower_half", "finish"
    ] {
        x: Floats, weights: Floats, bias: Floats, border: Floats, residual: Floats,
        taps: Ints, classes: Ints, parts: Ints,
        sums: Floats, out: Output, lowered: Output,
        images: i32, image_len: i32, height: i32, width: i32,
        out_height: i32, out_width: i32, positions: i32,
        stride_h: i32, stride_w: i32, transposed: i32,
        filters: i32, first_filter: i32, all_filters: i32, columns: i32, leading: i32, turns: i32,
        sums_of_image: i32, sums_of_filter: i32,
        column_classes: i32, all_classes: i32,
        activation: i32, p: f32, q: f32,
    }

    /// Weights of one group.
    Unpack ["unpack", "unpack_half"] {
        panels: Floats, out: Output, filters: i32, columns: i32, all_columns: i32, leading: i32,
    }

    /// `reduce` is 0 for the largest, 1 for a mean of what lies inside, 2 for one of what lies before `padded`.
    Pool ["pool"] {
        x: Floats, out: Output,
        planes: i32, height: i32, width: i32, out_height: i32, out_width: i32,
        kernel_h: i32, kernel_w: i32, stride_h: i32, stride_w: i32, dilation_h: i32, dilation_w: i32,
        pad_h: i32, pad_w: i32, padded_h: i32, padded_w: i32,
        reduce: i32, activation: i32, p: f32, q: f32,
    }

    /// `scale` is alpha over the window's size.
    Lrn ["lrn"] {
        x: Floats, out: Output, count: i32, channels: i32, plane: i32, size: i32, scale: f32, beta: f32, bias: f32,
    }

    /// One scale and shift for each channel.
    ScaleShift ["scale_shift"] { x: Floats, scale: Floats, shift: Floats, out: Output, count: i32, channels: i32, plane: i32 }

    /// A function of two elements, by its code.
    Binary ["binary"] {
        x: Floats, y: Floats, out: Output,
        count: i32, function: i32, relu: i32, rank: i32, extent: Axes, stride_x: Axes, stride_y: Axes,
    }

    /// An axis rebuilt from positions of the old one.
    Remap ["remap"] { x: Floats, share: Floats, from: Ints, out: Output, count: i32, extent: i32, inner: i32, positions: i32 }

    /// One part of a concatenation.
    Insert ["insert"] { x: Floats, out: Output, count: i32, len: i32, total: i32, offset: i32 }

    /// A tensor in another order of its axes.
    StridedCopy ["strided_copy"] { x: Floats, out: Output, count: i32, rank: i32, extent: Axes, stride: Axes }

    /// Along an axis; each kernel uses some of these.
    Line ["mean", "largest", "arg_max", "softmax", "instance_norm"] {
        x: Floats, scale: Floats, shift: Floats, out: Output, extent: i32, inner: i32, channels: i32, last: i32, epsilon: f32,
    }
}

/// The source without what makes it CUDA: declarations of the arguments, the elementwise functions, then the kernels.
pub fn body() -> String {
    [DECLARATIONS, &functions::in_c(), include_str!("kernels.cu")].concat()
}

/// The whole source, for NVRTC or nvcc.
pub fn source() -> String {
    [include_str!("prelude.cu"), &body()].concat()
}

/// The source compiled, by `examples/ptx.rs`. Its first line holds a checksum of the source.
pub const PTX: &str = include_str!("kernels.ptx");

/// Starts a kernel.
///
/// # Safety
/// The kernel is one of those that take `A`, every address it reads or writes under these arguments lies in device memory that
/// stays until the stream has come past it, and what it reads has been written.
pub(crate) unsafe fn launch<A: Arguments>(
    stream: &mut dyn Stream,
    kernel: &'static str,
    grid: [usize; 2],
    block: [u32; 2],
    arguments: &A,
) -> Result<()> {
    if grid.contains(&0) {
        return Ok(());
    }
    let grid = grid.map(|n| u32::try_from(n).expect("a tensor has less than 2^31 numbers"));
    let arguments = (&raw const *arguments).cast::<c_void>();
    // SAFETY: the caller's promise; the structure is the one that the kernel was compiled with.
    unsafe { stream.launch(&Launch { kernel, grid, block, arguments, bytes: size_of::<A>() }) }
}

/// Starts a kernel in which each thread computes one of `count` numbers.
///
/// # Safety
/// As [`launch`].
pub(crate) unsafe fn launch_each<A: Arguments>(
    stream: &mut dyn Stream,
    kernel: &'static str,
    count: usize,
    arguments: &A,
) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { launch(stream, kernel, [count.div_ceil(THREADS as usize), 1], [THREADS, 1], arguments) }
}

/// A size as kernels take it.
///
/// # Panics
/// If it is 2^31 or more: who plans for a device asks [`super::fits`] first.
#[track_caller]
pub(crate) fn int(n: usize) -> i32 {
    i32::try_from(n).expect("less than 2^31")
}

/// The address of a piece of memory, or null.
pub(crate) fn address_or_null(view: Option<View<'_>>) -> u64 {
    view.map_or(0, View::address)
}
