//! What the CUDA backend needs of a device: memory, and streams on which kernels, matrix products and copies run one after the
//! other. [`super::Gpu`] is one; tests put one in its place that runs the same kernels on the CPU.

use crate::Precision;
use std::any::Any;
use std::ffi::c_void;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::ops::Range;
use std::time::Duration;

/// Result of what a device does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a device did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no device that can be used; it says what is missing.
    #[error("CUDA is not available: {0}")]
    Unavailable(String),
    /// The device has no memory left.
    #[error("no device memory for {} MiB", .bytes.div_ceil(1 << 20))]
    OutOfMemory {
        /// What was asked for.
        bytes: usize,
    },
    /// A size that kernels cannot count.
    #[error("{what}: expected less than 2^31 on a device, found {found}")]
    TooLarge {
        /// What has this size.
        what: &'static str,
        /// The size.
        found: usize,
    },
    /// Something failed on the device.
    #[error("CUDA: {0}")]
    Failed(String),
}

/// A device.
pub trait Device: Debug + Send + Sync {
    /// What it calls itself.
    fn name(&self) -> String;

    /// How many multiprocessors it has.
    fn processors(&self) -> usize;

    /// Memory for `len` elements, which are anything at first.
    ///
    /// # Errors
    /// If the device has not so much left.
    fn allocate(&self, len: usize) -> Result<Buffer>;

    /// A new stream.
    ///
    /// # Errors
    /// If the device has no room for it.
    fn stream(&self) -> Result<Box<dyn Stream>>;
}

/// What a device does in order. Nothing here waits for it, except where that is said. Dropping a stream waits.
pub trait Stream: Send {
    /// Copies elements of the host to the device. The slice may be changed as soon as this returns.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If the lengths differ.
    fn upload(&mut self, from: &[f32], to: View<'_>) -> Result<()>;

    /// Copies elements to the host, and waits until they are there.
    ///
    /// # Errors
    /// If the device fails, now or in what it did before.
    ///
    /// # Panics
    /// If the lengths differ.
    fn download(&mut self, from: View<'_>, to: &mut [f32]) -> Result<()>;

    /// Waits for all that was started.
    ///
    /// # Errors
    /// If the device fails, now or in what it did before.
    fn wait(&mut self) -> Result<()>;

    /// Starts a kernel.
    ///
    /// # Safety
    /// It is one of [`super::names`], the arguments are of the type that it was compiled with, every address it reads or writes lies in
    /// memory of this device that stays until the stream has come past it, and what it reads has been written.
    ///
    /// # Errors
    /// If it cannot be started.
    unsafe fn launch(&mut self, launch: &Launch) -> Result<()>;

    /// Starts products of matrices.
    ///
    /// # Errors
    /// If they cannot be started.
    ///
    /// # Panics
    /// If [`Gemm::check`] does.
    fn gemm(&mut self, gemm: &Gemm<'_>) -> Result<()>;

    /// From now on launches and products are recorded instead of run.
    ///
    /// # Errors
    /// If they cannot be.
    fn begin_recording(&mut self) -> Result<()>;

    /// Ends the recording, which takes the place of an earlier one.
    ///
    /// # Errors
    /// If something that was asked for cannot be recorded.
    fn end_recording(&mut self) -> Result<()>;

    /// Runs what was recorded.
    ///
    /// # Safety
    /// What was promised for the launches of the recording holds now, and the memory of its products is still there.
    ///
    /// # Errors
    /// If it cannot be started.
    ///
    /// # Panics
    /// If nothing was recorded.
    unsafe fn replay(&mut self) -> Result<()>;

    /// Takes the time when the stream comes here.
    ///
    /// # Errors
    /// If the device fails.
    fn mark(&mut self) -> Result<()>;

    /// Waits for all marks since this was asked last, and says how long it took from each to the next.
    ///
    /// # Errors
    /// If the device fails, now or in what it did before.
    fn laps(&mut self) -> Result<Vec<Duration>>;
}

/// A kernel and what it is started with.
#[derive(Clone, Copy, Debug)]
pub struct Launch {
    /// Its name.
    pub kernel: &'static str,
    /// Blocks along x and y.
    pub grid: [u32; 2],
    /// Threads of a block along x and y.
    pub block: [u32; 2],
    /// Its structure of arguments, which is copied.
    pub arguments: *const c_void,
    /// Bytes of it.
    pub bytes: usize,
}

/// Factors that lie in the memory of one `f32`.
pub(crate) fn factors_per_element(precision: Precision) -> usize {
    match precision {
        Precision::Fp32 | Precision::Tf32 => 1,
        Precision::Fp16 => 2,
    }
}

/// Products C = A B of `batch` pairs of matrices, in cuBLAS's terms: column by column, `C` is m x n, and a leading dimension is the
/// distance of two columns. Where a stride from one matrix to the next is 0, all products share that matrix.
#[derive(Clone, Copy, Debug)]
pub struct Gemm<'a> {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B; at least 1.
    pub k: usize,
    /// A and B, of halves with [`Precision::Fp16`].
    pub factors: [Matrix<'a>; 2],
    /// C, which is not transposed.
    pub out: Matrix<'a>,
    /// Whether the products are added to what C holds.
    pub add: bool,
    /// How many products.
    pub batch: usize,
    /// How they are rounded.
    pub precision: Precision,
}

/// Where the matrices of a batch lie.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// From the first element of the first matrix on, at least up to the last one of the last. Of halves, two lie in one element.
    pub view: View<'a>,
    /// Whether it is stored row by row instead.
    pub transposed: bool,
    /// Distance of two columns (or rows, if it is transposed).
    pub leading: usize,
    /// Distance of two matrices.
    pub stride: usize,
}

impl Gemm<'_> {
    /// Checks that all elements lie within the views.
    ///
    /// # Panics
    /// If a matrix does not fit its view or its leading dimension, or a size is 0.
    #[track_caller]
    pub fn check(&self) {
        let Gemm { m, n, k, factors: [a, b], out, batch, precision, .. } = self;
        assert!(m.min(n).min(k).min(batch) > &0 && !out.transposed, "{self:?}");
        let packed = factors_per_element(*precision);
        for (matrix, rows, columns, packed) in [(a, m, k, packed), (b, k, n, packed), (out, m, n, 1)] {
            let (rows, columns) = if matrix.transposed { (columns, rows) } else { (rows, columns) };
            let end = (batch - 1) * matrix.stride + (columns - 1) * matrix.leading + rows;
            assert!(matrix.leading >= *rows && end <= packed * matrix.view.len(), "{matrix:?} in {self:?}");
        }
    }
}

/// Memory of a device. It is freed when this is dropped, once the device is done with it.
pub struct Buffer {
    address: u64,
    len: usize,
    _memory: Box<dyn Any + Send + Sync>,
}

impl Buffer {
    /// # Safety
    /// From `address` on there are `len` elements of device memory for as long as `memory` is not dropped, and nobody else has them.
    /// Dropping it waits for all that was started on them.
    pub unsafe fn new(address: u64, len: usize, memory: Box<dyn Any + Send + Sync>) -> Self {
        Buffer { address, len, _memory: memory }
    }

    /// All of it.
    pub fn view(&self) -> View<'_> {
        View { address: self.address, len: self.len, buffer: PhantomData }
    }

    /// A part of it.
    ///
    /// # Panics
    /// If it has no such part.
    pub fn part(&self, range: Range<usize>) -> View<'_> {
        self.view().part(range)
    }
}

impl Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} elements at {:#x}", self.len, self.address)
    }
}

/// A piece of a buffer.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    address: u64,
    len: usize,
    buffer: PhantomData<&'a Buffer>,
}

impl View<'_> {
    /// Where it begins on the device.
    pub fn address(self) -> u64 {
        self.address
    }

    /// How many elements it holds.
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// A part of it.
    ///
    /// # Panics
    /// If it has no such part.
    #[must_use]
    pub fn part(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} elements", self.len);
        View { address: self.address + (range.start * size_of::<f32>()) as u64, len: range.len(), ..self }
    }

    /// Checks that it has the length that a kernel's shapes call for: a bug in the caller, never a matter of user input.
    #[track_caller]
    pub(crate) fn expect_len(self, what: &str, expected: usize) {
        assert_eq!(self.len, expected, "{what}: expected {expected} elements, found {}", self.len);
    }
}

/// New memory with these elements in it.
///
/// # Errors
/// If the device has no room or fails.
pub(crate) fn upload(device: &dyn Device, stream: &mut dyn Stream, elements: &[f32]) -> Result<Buffer> {
    let buffer = device.allocate(elements.len())?;
    stream.upload(elements, buffer.view())?;
    Ok(buffer)
}
