//! Starting kernels: the structures of arguments that they take, declared once for Rust and for C, so that the two cannot drift apart,
//! and how a piece of the kernels' source stands beside what starts it.

use super::device::{Launch, Result, Stream, View};
use std::ffi::c_void;

/// An address that a kernel reads. Null says that there is nothing to read.
pub(crate) type Floats = u64;
/// As [`Floats`], of integers.
pub(crate) type Ints = u64;
/// An address that a kernel writes.
pub(crate) type Output = u64;
/// One value for each of up to [`AXES`] axes.
pub(crate) type Axes = [i32; AXES];

/// Most axes that a kernel walks along: as many as the file format allows.
pub(crate) const AXES: usize = 8;

/// Threads of a block.
pub(crate) const THREADS: u32 = 256;

/// A piece of the kernels' source, in the part of CUDA C that is C as well: tests compile this very text for the CPU.
///
/// A kernel takes one structure `a`. Tensors are row-major and of less than 2^31 elements. Unless a kernel says otherwise, a thread
/// computes the element of the output whose index is its own, and threads beyond the last one do nothing.
pub(crate) struct Source {
    /// The structure of arguments, unless an earlier piece declares it.
    pub(crate) declaration: &'static str,
    /// The kernels.
    pub(crate) kernels: &'static [&'static str],
    /// What they compute.
    pub(crate) text: &'static str,
}

/// The arguments of one or several kernels.
///
/// # Safety
/// The structure is `#[repr(C)]` and declared to the kernels' source in just the same way.
pub(crate) unsafe trait Arguments: Copy {
    /// The structure in C.
    const DECLARATION: &'static str;
}

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
pub(crate) use in_c;

macro_rules! arguments {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        #[repr(C)]
        pub(crate) struct $name { $(pub(crate) $field: $kind,)+ }
        // SAFETY: it is `#[repr(C)]`, and the declaration is made of the same fields.
        unsafe impl $crate::cuda::launch::Arguments for $name {
            const DECLARATION: &'static str =
                concat!("struct ", stringify!($name), " { ", $($crate::cuda::launch::in_c!($kind $field),)+ "};\n");
        }
    };
}
pub(crate) use arguments;

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
    let grid = grid.map(|n| u32::try_from(n).expect("a tensor has less than 2^31 elements"));
    let arguments = (&raw const *arguments).cast::<c_void>();
    // SAFETY: the caller's promise; the structure is the one that the kernel was compiled with.
    unsafe { stream.launch(&Launch { kernel, grid, block, arguments, bytes: size_of::<A>() }) }
}

/// Starts a kernel in which each thread computes one of `count` elements.
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

/// How many pieces of `len` elements a view consists of.
#[track_caller]
pub(crate) fn count_pieces(what: &str, view: View<'_>, len: usize) -> usize {
    let count = view.len() / len.max(1);
    view.expect_len(what, count * len);
    count
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

/// The values of at most eight axes.
pub(crate) fn each_axis(values: impl ExactSizeIterator<Item = usize>) -> Axes {
    assert!(values.len() <= AXES, "{} axes", values.len());
    let mut all = [0; AXES];
    all.iter_mut().zip(values).for_each(|(a, n)| *a = int(n));
    all
}
