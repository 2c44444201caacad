//! Along the middle axis of `[outer][extent][inner]`: what kernels of several families have in common that reduce a line to one
//! element, or need to know all of it before they write.

use super::device::{Result, Stream, View};
use super::launch::{Arguments, Floats, Output, Source, THREADS, arguments, count_pieces, int, launch};

arguments! {
    /// Along an axis; each kernel uses some of these.
    LineArguments {
        x: Floats, scale: Floats, shift: Floats, out: Output, extent: i32, inner: i32, channels: i32, group: i32,
        last: i32, epsilon: f32,
    }
}

/// What the kernels along an axis begin with.
pub(super) const LINES: Source = Source {
    declaration: LineArguments::DECLARATION,
    kernels: &[],
    text: r#"
// Along an axis: [outer][extent][inner]. A block of 256 threads sees some neighbouring lines, one for each threadIdx.x; the
// threads along y take the elements of a line in turns. Its launch says how many lines that are, always a power of two.

#define LINES \
    unsigned tiles = (a.inner + blockDim.x - 1) / blockDim.x; \
    unsigned outer = blockIdx.x / tiles, inner = blockIdx.x % tiles * blockDim.x + threadIdx.x; \
    int exists = inner < (unsigned)a.inner; \
    unsigned line = outer * (unsigned)a.extent * a.inner + inner; \
    unsigned slot = threadIdx.y * blockDim.x + threadIdx.x;

#define ALONG(i) for (int i = threadIdx.y; exists && i < a.extent; i += blockDim.y)

// Leaves in the first row of `shared` what `JOIN(mine, other)` makes of each line's values.
#define REDUCE(JOIN) \
    __syncthreads(); \
    for (unsigned half = blockDim.y / 2; half > 0; half /= 2) { \
        if (threadIdx.y < half) { \
            unsigned other = slot + half * blockDim.x; \
            JOIN \
        } \
        __syncthreads(); \
    }

// The sum of all threads of a line.
#define SUM(shared, mine, total) \
    shared[slot] = mine; \
    REDUCE(shared[slot] += shared[other];) \
    total = shared[threadIdx.x]; \
    __syncthreads();

#define LARGEST(shared, mine, total) \
    shared[slot] = mine; \
    REDUCE(shared[slot] = maximum(shared[slot], shared[other]);) \
    total = shared[threadIdx.x]; \
    __syncthreads();

// Declares mean and variance of each line, in double: a variance far below the square of the mean survives.
#define MOMENTS(shared, mean, variance) \
    double mean = 0.0, variance = 0.0; \
    ALONG(i) mean += a.x[line + (unsigned)i * a.inner]; \
    SUM(shared, mean, mean) \
    mean /= a.extent; \
    ALONG(i) { \
        double d = a.x[line + (unsigned)i * a.inner] - mean; \
        variance += d * d; \
    } \
    SUM(shared, variance, variance) \
    variance /= a.extent;
"#,
};

/// Starts a kernel that reduces each line to one element.
///
/// # Errors
/// If the device fails.
///
/// # Panics
/// If a view has another length than the shapes call for.
pub(super) fn reduce_lines(
    stream: &mut dyn Stream,
    kernel: &'static str,
    x: View<'_>,
    [extent, inner]: [usize; 2],
    out: View<'_>,
    last: bool,
) -> Result<()> {
    let outer = count_pieces("output", out, inner);
    x.expect_len("input", outer * extent * inner);
    let arguments = LineArguments {
        x: x.address(),
        out: out.address(),
        extent: int(extent),
        inner: int(inner),
        last: i32::from(last),
        ..Default::default()
    };
    // SAFETY: both have `outer` tensors of these extents.
    unsafe { launch_lines(stream, kernel, [outer, inner], &arguments) }
}

/// Starts a kernel whose blocks see as many neighbouring lines as lie in a cache line, or as there are.
///
/// # Safety
/// As [`launch`].
pub(super) unsafe fn launch_lines(
    stream: &mut dyn Stream,
    kernel: &'static str,
    [outer, inner]: [usize; 2],
    arguments: &LineArguments,
) -> Result<()> {
    let side_by_side = inner.next_power_of_two().min(32) as u32;
    let grid = [outer * inner.div_ceil(side_by_side as usize), 1];
    // SAFETY: the caller's promise.
    unsafe { launch(stream, kernel, grid, [side_by_side, THREADS / side_by_side], arguments) }
}
