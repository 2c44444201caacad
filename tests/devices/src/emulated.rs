//! A device that is none: the CUDA kernels' own source, compiled by the C compiler and run on the CPU. cuBLAS is a loop in double
//! precision. Memory begins or ends right beside pages that may not be touched, and holds NaN until it is written.

use crate::compile::library;
use crate::pages::{Edge, Pages};
use libloading::Library;
use sslm_kernels::cuda::{Buffer, Device, Error, Gemm, Launch, Matrix, Precision, Result, Stream, View, body, names};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{c_int, c_uint, c_void};
use std::fmt::{self, Debug};
use std::path::PathBuf;
use std::slice::{from_raw_parts, from_raw_parts_mut};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The order in which the threads of a block take turns. What depends on it lacks a barrier.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// The first one first.
    Ascending,
    /// The last one first.
    Descending,
}

type Kernel = unsafe extern "C" fn(*const c_void);
type Emulate = unsafe extern "C" fn(*mut c_void, Kernel, *const c_void, *const c_uint, c_int) -> c_int;
type Multiply = unsafe extern "C" fn(
    *const usize,
    *const c_void,
    *const usize,
    *const c_void,
    *const usize,
    *mut f32,
    *const usize,
    c_int,
    c_int,
);

/// The library of the kernels and `emulate.c`.
pub(crate) fn kernels() -> Result<PathBuf, String> {
    library("emulated", &[include_str!("emulate.c"), &body()].concat())
}

/// The compiled kernels.
struct Compiled {
    kernels: HashMap<&'static str, Kernel>,
    emulate: Emulate,
    multiply: Multiply,
    /// What `emulate` works in.
    launch_bytes: usize,
    _library: Library,
}

impl Compiled {
    fn new() -> Result<Self, String> {
        let path = kernels()?;
        // SAFETY: the library was made of our source, and has no initialisers.
        let library = unsafe { Library::new(&path) }.map_err(|e| e.to_string())?;
        let missing = |e: libloading::Error| e.to_string();
        // SAFETY: emulate.c declares these functions so, and each kernel of `names` by its macro; they are not used beyond `_library`.
        unsafe {
            let kernel = |name: &'static str| Ok((name, *library.get::<Kernel>(name.as_bytes()).map_err(missing)?));
            Ok(Compiled {
                kernels: names().map(kernel).collect::<Result<_, String>>()?,
                emulate: *library.get::<Emulate>(b"emulate").map_err(missing)?,
                multiply: *library.get::<Multiply>(b"multiply").map_err(missing)?,
                launch_bytes: library.get::<unsafe extern "C" fn() -> usize>(b"launch_bytes").map_err(missing)?(),
                _library: library,
            })
        }
    }
}

/// An emulated device.
#[derive(Clone)]
pub struct Emulated {
    compiled: &'static Compiled,
    order: Order,
    edge: Edge,
    /// Bytes that can still be allocated.
    free: Arc<AtomicUsize>,
}

impl Emulated {
    /// # Errors
    /// If there is no C compiler.
    ///
    /// # Panics
    /// If the kernels do not compile.
    pub fn new(order: Order, edge: Edge) -> Result<Self, String> {
        static COMPILED: OnceLock<Result<Compiled, String>> = OnceLock::new();
        let compiled = COMPILED.get_or_init(Compiled::new).as_ref().map_err(Clone::clone)?;
        Ok(Emulated { compiled, order, edge, free: Arc::new(AtomicUsize::new(usize::MAX)) })
    }

    /// This device with just so many bytes of memory.
    #[must_use]
    pub fn with_memory(self, bytes: usize) -> Self {
        Emulated { free: Arc::new(AtomicUsize::new(bytes)), ..self }
    }

    /// Bytes that can still be allocated.
    pub fn free_bytes(&self) -> usize {
        self.free.load(Relaxed)
    }
}

impl Debug for Emulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "emulated device ({:?}, {:?})", self.order, self.edge)
    }
}

impl Device for Emulated {
    fn name(&self) -> String {
        "emulated".to_owned()
    }

    fn processors(&self) -> usize {
        4
    }

    fn allocate(&self, len: usize) -> Result<Buffer> {
        let bytes = len.saturating_mul(size_of::<f32>());
        self.free.fetch_update(Relaxed, Relaxed, |free| free.checked_sub(bytes)).map_err(|_| Error::OutOfMemory { bytes })?;
        let mut pages = Pages::poisoned(len).map_err(|e| Error::Failed(e.to_string()))?;
        let place = pages.place(len, self.edge);
        let address = pages.elements_mut()[place].as_mut_ptr().expose_provenance() as u64;
        let memory = Memory { _pages: pages, bytes, free: Arc::clone(&self.free) };
        // SAFETY: the elements lie in pages that `memory` owns.
        Ok(unsafe { Buffer::new(address, len, Box::new(memory)) })
    }

    fn stream(&self) -> Result<Box<dyn Stream>> {
        let (device, recorded) = (self.clone(), Vec::new());
        Ok(Box::new(EmulatedStream { device, recorded, recording: false, marks: Vec::new() }))
    }
}

struct Memory {
    _pages: Pages,
    bytes: usize,
    free: Arc<AtomicUsize>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.free.fetch_add(self.bytes, Relaxed);
    }
}

/// Does at once what it is told.
struct EmulatedStream {
    device: Emulated,
    recording: bool,
    recorded: Vec<Work>,
    marks: Vec<Instant>,
}

/// What can be recorded.
#[derive(Clone)]
enum Work {
    /// With a copy of the arguments, aligned for addresses.
    Launch(Launch, Vec<u64>),
    Product(Product),
}

/// A [`Gemm`] as `multiply` takes it.
#[derive(Clone)]
struct Product {
    sizes: [usize; 4],
    /// Address; whether it is transposed, leading dimension, stride.
    matrices: [(u64, [usize; 3]); 3],
    add: bool,
    precision: Precision,
}

impl EmulatedStream {
    /// # Safety
    /// As [`Stream::launch`]; what products read and write is memory of this device.
    unsafe fn run(&mut self, work: Work) -> Result<()> {
        if self.recording {
            self.recorded.push(work);
            return Ok(());
        }
        let compiled = self.device.compiled;
        match &work {
            Work::Launch(launch, arguments) => {
                let Launch { kernel, grid, block, .. } = launch;
                let sizes = [grid[0], grid[1], block[0], block[1]];
                let descending = matches!(self.device.order, Order::Descending).into();
                let (kernel_fn, arguments) = (compiled.kernels[kernel], arguments.as_ptr().cast());
                thread_local!(static SPACE: RefCell<Vec<u128>> = const { RefCell::new(Vec::new()) });
                // SAFETY: the caller's promise; the arguments are a copy of the kernel's structure, and the space is as large and aligned as
                // it has to be, and was zero before the first launch.
                let error = SPACE.with_borrow_mut(|space| unsafe {
                    if space.is_empty() {
                        *space = vec![0; compiled.launch_bytes.div_ceil(size_of::<u128>())];
                    }
                    (compiled.emulate)(space.as_mut_ptr().cast(), kernel_fn, arguments, sizes.as_ptr(), descending)
                });
                match error {
                    0 => Ok(()),
                    1 => Err(Error::Failed(format!("{kernel}: not all threads of a block come to a barrier"))),
                    2 => Err(Error::Failed(format!("{kernel}: too much shared memory"))),
                    _ => Err(Error::Failed(format!("{kernel}: blocks of {block:?} threads"))),
                }
            }
            Work::Product(Product { sizes, matrices: [(a, of_a), (b, of_b), (c, of_c)], add, precision }) => {
                let [a, b] = [a, b].map(|address| std::ptr::with_exposed_provenance(*address as usize));
                let c = std::ptr::with_exposed_provenance_mut(*c as usize);
                let [of_a, of_b, of_c] = [of_a, of_b, of_c].map(|m| m.as_ptr());
                let kind = match precision {
                    Precision::Fp32 => 0,
                    Precision::Tf32 => 1,
                    Precision::Fp16 => 2,
                };
                // SAFETY: the caller's promise.
                unsafe { (compiled.multiply)(sizes.as_ptr(), a, of_a, b, of_b, c, of_c, c_int::from(*add), kind) };
                Ok(())
            }
        }
    }

    fn not_while_recording(&self, what: &str) -> Result<()> {
        if self.recording { Err(Error::Failed(format!("{what} while recording"))) } else { Ok(()) }
    }
}

/// The address on the CPU.
fn pointer(view: View<'_>) -> *mut f32 {
    std::ptr::with_exposed_provenance_mut(view.address() as usize)
}

impl Stream for EmulatedStream {
    fn upload(&mut self, from: &[f32], to: View<'_>) -> Result<()> {
        self.not_while_recording("an upload")?;
        assert_eq!(from.len(), to.len(), "lengths of an upload");
        // SAFETY: the view's buffer is there, and only streams touch it, one launch at a time.
        unsafe { from_raw_parts_mut(pointer(to), to.len()) }.copy_from_slice(from);
        Ok(())
    }

    fn download(&mut self, from: View<'_>, to: &mut [f32]) -> Result<()> {
        self.not_while_recording("a download")?;
        assert_eq!(from.len(), to.len(), "lengths of a download");
        // SAFETY: as above.
        to.copy_from_slice(unsafe { from_raw_parts(pointer(from), from.len()) });
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        self.not_while_recording("waiting")
    }

    unsafe fn launch(&mut self, launch: &Launch) -> Result<()> {
        let mut arguments = vec![0u64; launch.bytes.div_ceil(size_of::<u64>())];
        // SAFETY: the launch's arguments are so many bytes, and the copy has room for them.
        unsafe { launch.arguments.cast::<u8>().copy_to_nonoverlapping(arguments.as_mut_ptr().cast(), launch.bytes) };
        // SAFETY: the caller's promise.
        unsafe { self.run(Work::Launch(*launch, arguments)) }
    }

    fn gemm(&mut self, gemm: &Gemm<'_>) -> Result<()> {
        gemm.check();
        let Gemm { m, n, k, factors: [a, b], out, batch, add, precision } = gemm;
        let matrix = |m: &Matrix<'_>| (m.view.address(), [usize::from(m.transposed), m.leading, m.stride]);
        let product = Product {
            sizes: [*m, *n, *k, *batch],
            matrices: [matrix(a), matrix(b), matrix(out)],
            add: *add,
            precision: *precision,
        };
        // SAFETY: all elements lie within views, as was checked.
        unsafe { self.run(Work::Product(product)) }
    }

    fn begin_recording(&mut self) -> Result<()> {
        self.not_while_recording("a recording")?;
        self.recorded.clear();
        self.recording = true;
        Ok(())
    }

    fn end_recording(&mut self) -> Result<()> {
        assert!(self.recording, "a recording has begun");
        self.recording = false;
        Ok(())
    }

    unsafe fn replay(&mut self) -> Result<()> {
        assert!(!self.recorded.is_empty(), "a recording");
        for work in self.recorded.clone() {
            // SAFETY: the caller's promise.
            unsafe { self.run(work) }?;
        }
        Ok(())
    }

    fn mark(&mut self) -> Result<()> {
        self.marks.push(Instant::now());
        Ok(())
    }

    fn laps(&mut self) -> Result<Vec<Duration>> {
        let laps = self.marks.windows(2).map(|pair| pair[1] - pair[0]).collect();
        self.marks.clear();
        Ok(laps)
    }
}

// SAFETY: what keeps it from being `Send` are the pointers of launches, which are not followed again after `launch` copied from them.
unsafe impl Send for EmulatedStream {}
