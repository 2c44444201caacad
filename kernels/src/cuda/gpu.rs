//! A real device, by the driver and cuBLAS, which are loaded when it is opened: building and running without CUDA needs neither. The
//! one file that knows cudarc, whose functions panic where a library is missing, so nothing of it is called before a look for it.

use super::device::{Buffer, Device, Error, Gemm, Launch, Matrix, Result, Stream, View};
use super::source::{PTX, names};
use crate::Precision;
use cudarc::cublas::{self, result::CublasError, sys as blas};
use cudarc::driver::sys::{self, CUdevice_attribute, CUevent_flags, CUgraphInstantiate_flags, CUresult, CUstreamCaptureMode};
use cudarc::driver::{CudaContext, CudaEvent, CudaGraph, CudaStream, DriverError, result};
use std::collections::HashMap;
use std::ffi::{CString, c_int, c_longlong, c_void};
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

/// The first version of the driver's interface that has all that is used here; cudarc panics where a function is missing.
const DRIVER: i32 = 12_080;

/// The oldest devices that `kernels.ptx` runs on.
const CAPABILITY: (i32, i32) = (7, 0);

/// Memory for cuBLAS to work in, in elements: 32 MiB, as NVIDIA advises for its largest devices. With memory of its own it allocates
/// none in a recording.
const WORKSPACE: usize = 8 << 20;

/// Uploads of so many elements, 4 MiB, pass through page-locked memory of our own. The driver has some, too, but one thread copies to
/// it: AlexNet's 128 images took 11.5 ms instead of the 1.5 ms that the copy to an H200 takes and the 1.3 ms of eight threads.
const STAGED: usize = 1 << 20;

/// Elements of each half of that memory, 16 MiB: one is filled while the device reads the other one.
const HALF: usize = 4 << 20;

/// Most threads that fill it.
const MOST_COPYING: usize = 8;

/// A CUDA device with our kernels loaded. Cloning is cheap.
#[derive(Clone)]
pub struct Gpu {
    context: Arc<CudaContext>,
    kernels: Arc<Kernels>,
    name: String,
    processors: usize,
    /// Threads that fill page-locked memory.
    copying: usize,
}

impl Gpu {
    /// Opens the device of this index, as CUDA counts them.
    ///
    /// # Errors
    /// [`Error::Unavailable`], which says what is missing: the driver, cuBLAS, the device, or a newer one of them.
    pub fn open(ordinal: usize) -> Result<Self> {
        let missing = |what: String| Error::Unavailable(what);
        // SAFETY: loading the system's CUDA libraries runs their initialisers, which is what they are for.
        if !unsafe { sys::is_culib_present() } {
            return Err(missing("no NVIDIA driver (libcuda) was found".to_owned()));
        }
        // SAFETY: as above.
        if !unsafe { blas::is_culib_present() } {
            return Err(missing("the library cuBLAS (libcublas) was not found".to_owned()));
        }
        let mut version = 0;
        // SAFETY: the driver writes one integer.
        unsafe { sys::cuDriverGetVersion(&raw mut version) }
            .result()
            .map_err(|e| missing(format!("the driver says {}", say(e))))?;
        if version < DRIVER {
            let [found, needed] = [version, DRIVER].map(|v| format!("{}.{}", v / 1000, v % 1000 / 10));
            return Err(missing(format!("the NVIDIA driver is for CUDA {found}, and {needed} or newer is needed")));
        }
        let unusable = |e| missing(format!("device {ordinal}: {}", say(e)));
        let context = CudaContext::new(ordinal).map_err(unusable)?;
        let capability = context.compute_capability().map_err(unusable)?;
        if capability < CAPABILITY {
            let [found, needed] = [capability, CAPABILITY].map(|(major, minor)| format!("{major}.{minor}"));
            return Err(missing(format!("device {ordinal} has compute capability {found}, and {needed} or newer is needed")));
        }
        // SAFETY: what cudarc would track is which stream wrote which of its slices, and none of them is used here.
        unsafe { context.disable_event_tracking() };
        let not_loaded = |e| missing(format!("the driver cannot load our kernels: {}", say(e)));
        let kernels = Kernels::load(&context).map_err(not_loaded)?;
        let name = context.name().map_err(unusable)?;
        let processors = context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT).map_err(unusable)?;
        let copying = std::thread::available_parallelism().map_or(1, |n| n.get().min(MOST_COPYING));
        let (kernels, processors) = (Arc::new(kernels), usize::try_from(processors).unwrap_or(1));
        Ok(Gpu { context, kernels, name, processors, copying })
    }
}

impl Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (device {})", self.name, self.context.ordinal())
    }
}

impl Device for Gpu {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn processors(&self) -> usize {
        self.processors
    }

    fn allocate(&self, len: usize) -> Result<Buffer> {
        self.context.bind_to_thread().map_err(failed)?;
        let bytes = len.max(1).saturating_mul(size_of::<f32>());
        // SAFETY: the memory holds floats of any bits, and `Memory` frees it.
        let address = unsafe { result::malloc_sync(bytes) }.map_err(|e| match e.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::OutOfMemory { bytes },
            _ => failed(e),
        })?;
        let memory = Memory { address, context: Arc::clone(&self.context) };
        // SAFETY: it was allocated just now, for so many bytes, until `memory` is dropped.
        Ok(unsafe { Buffer::new(address, len, Box::new(memory)) })
    }

    fn stream(&self) -> Result<Box<dyn Stream>> {
        let stream = self.context.new_stream().map_err(failed)?;
        Ok(Box::new(GpuStream { blas: None, graph: None, marks: Vec::new(), staging: None, stream, gpu: self.clone() }))
    }
}

/// Our kernels, loaded.
struct Kernels {
    module: sys::CUmodule,
    functions: HashMap<&'static str, sys::CUfunction>,
    context: Arc<CudaContext>,
}

// SAFETY: the handles may be used from any thread in which the context is current, and nothing changes what they stand for.
unsafe impl Send for Kernels {}
// SAFETY: as above.
unsafe impl Sync for Kernels {}

impl Kernels {
    fn load(context: &Arc<CudaContext>) -> std::result::Result<Self, DriverError> {
        context.bind_to_thread()?;
        let in_c = |text: &str| CString::new(text).expect("our source and our names hold no zeros");
        // SAFETY: the text ends with a zero and is read before the call returns.
        let module = unsafe { result::module::load_data(in_c(PTX).as_ptr().cast()) }?;
        let mut kernels = Kernels { module, functions: HashMap::new(), context: Arc::clone(context) };
        for name in names() {
            // SAFETY: the module was loaded just now.
            kernels.functions.insert(name, unsafe { result::module::get_function(module, in_c(name)) }?);
        }
        Ok(kernels)
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        // A device that failed has nothing left to unload.
        let _ = self.context.bind_to_thread();
        // SAFETY: the module came from `load_data`, and nobody has its functions any more.
        let _ = unsafe { result::module::unload(self.module) };
    }
}

/// Frees an allocation.
struct Memory {
    address: sys::CUdeviceptr,
    context: Arc<CudaContext>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        // A device that failed has no memory left to free.
        let _ = self.context.bind_to_thread();
        // SAFETY: the address came from `malloc_sync`, and nobody has it any more. The driver waits for what the device is doing with it.
        let _ = unsafe { result::free_sync(self.address) };
    }
}

/// What works on the stream comes first: it is dropped before it.
struct GpuStream {
    /// Made when it is first needed: it takes a while.
    blas: Option<Blas>,
    graph: Option<CudaGraph>,
    marks: Vec<CudaEvent>,
    /// Taken when it is first needed. The half that is filled next comes first.
    staging: Option<[Half; 2]>,
    stream: Arc<CudaStream>,
    gpu: Gpu,
}

// SAFETY: what keeps it from being `Send` are the handles of cuBLAS and of the graph, and the address of page-locked memory. All may be
// used from any thread, one at a time, and all their uses go through `&mut GpuStream`. Each call makes the context current in its thread.
unsafe impl Send for GpuStream {}

impl GpuStream {
    fn bind(&self) -> Result<()> {
        self.gpu.context.bind_to_thread().map_err(failed)
    }

    /// Uploads by way of page-locked memory.
    fn upload_staged(&mut self, from: &[f32], to: View<'_>) -> Result<()> {
        let halves = match &mut self.staging {
            Some(halves) => halves,
            none => none.insert([Half::new(&self.gpu.context)?, Half::new(&self.gpu.context)?]),
        };
        for (i, part) in from.chunks(HALF).enumerate() {
            // Of a half that was never filled, nothing is waited for.
            halves[0].read.synchronize().map_err(failed)?;
            let filled = &mut halves[0].elements()[..part.len()];
            copy(part, filled, self.gpu.copying);
            let to = to.part(i * HALF..i * HALF + part.len());
            // SAFETY: the view has as many elements. The half is not touched again before the event behind this is complete, nor freed
            // before the stream is.
            unsafe { result::memcpy_htod_async(to.address(), filled, self.stream.cu_stream()) }.map_err(failed)?;
            halves[0].read.record(&self.stream).map_err(failed)?;
            halves.swap(0, 1);
        }
        Ok(())
    }
}

/// By several threads, each a part.
fn copy(from: &[f32], to: &mut [f32], threads: usize) {
    let each = from.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let mut parts = from.chunks(each).zip(to.chunks_mut(each));
        let own = parts.next();
        for (from, to) in parts {
            scope.spawn(|| to.copy_from_slice(from));
        }
        if let Some((from, to)) = own {
            to.copy_from_slice(from);
        }
    });
}

/// Half of the page-locked memory that uploads pass through.
struct Half {
    start: *mut f32,
    /// When the device has read what is here.
    read: CudaEvent,
    context: Arc<CudaContext>,
}

impl Half {
    fn new(context: &Arc<CudaContext>) -> Result<Self> {
        let read = context.new_event(None).map_err(failed)?;
        // SAFETY: the memory is written below before anything reads it, and freed when this is dropped.
        let start = unsafe { result::malloc_host(HALF * size_of::<f32>(), 0) }.map_err(failed)?.cast::<f32>();
        // SAFETY: there is room for so many elements, of which all bits may be 0.
        unsafe { start.write_bytes(0, HALF) };
        Ok(Half { start, read, context: Arc::clone(context) })
    }

    fn elements(&mut self) -> &mut [f32] {
        // SAFETY: `new` allocated and cleared so many elements; nobody else has them while this is borrowed, as the device has read them
        // before `upload_staged` touches them.
        unsafe { std::slice::from_raw_parts_mut(self.start, HALF) }
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        // A device that failed reads nothing any more.
        let _ = self.context.bind_to_thread();
        // SAFETY: the address came from `malloc_host`, and nobody has it any more: the stream was waited for when it was dropped.
        let _ = unsafe { result::free_host(self.start.cast()) };
    }
}

impl Drop for GpuStream {
    fn drop(&mut self) {
        // What it runs may use memory that is freed next.
        let _ = self.stream.synchronize();
    }
}

impl Stream for GpuStream {
    fn upload(&mut self, from: &[f32], to: View<'_>) -> Result<()> {
        to.expect_len("upload", from.len());
        self.bind()?;
        if from.is_empty() {
            return Ok(());
        }
        if from.len() >= STAGED && self.gpu.copying > 1 {
            return self.upload_staged(from, to);
        }
        // SAFETY: the view has as many elements. Memory of the host that is not page-locked is copied before the call returns.
        unsafe { result::memcpy_htod_async(to.address(), from, self.stream.cu_stream()) }.map_err(failed)
    }

    fn download(&mut self, from: View<'_>, to: &mut [f32]) -> Result<()> {
        from.expect_len("download", to.len());
        self.bind()?;
        if !to.is_empty() {
            // SAFETY: the view has as many elements, and the slice is borrowed until they are there.
            unsafe { result::memcpy_dtoh_async(to, from.address(), self.stream.cu_stream()) }.map_err(failed)?;
        }
        self.wait()
    }

    fn wait(&mut self) -> Result<()> {
        self.stream.synchronize().map_err(failed)
    }

    unsafe fn launch(&mut self, launch: &Launch) -> Result<()> {
        self.bind()?;
        let function = self.gpu.kernels.functions[launch.kernel];
        let [[x, y], [threads_x, threads_y]] = [launch.grid, launch.block];
        let mut arguments = [launch.arguments.cast_mut()];
        // SAFETY: the caller's promise. The driver copies the arguments before it returns.
        unsafe {
            result::launch_kernel(function, (x, y, 1), (threads_x, threads_y, 1), 0, self.stream.cu_stream(), &mut arguments)
        }
        .map_err(failed)
    }

    fn gemm(&mut self, gemm: &Gemm<'_>) -> Result<()> {
        gemm.check();
        self.bind()?;
        let handle = match &self.blas {
            Some(blas) => blas.handle,
            None => self.blas.insert(Blas::new(&self.gpu, &self.stream)?).handle,
        };
        let [a, b] = &gemm.factors;
        let int = |n: usize| c_int::try_from(n).map_err(|_| Error::TooLarge { what: "matrix", found: n });
        let stride = |m: &Matrix<'_>| m.stride as c_longlong;
        let operation = |m: &Matrix<'_>| match m.transposed {
            true => blas::cublasOperation_t::CUBLAS_OP_T,
            false => blas::cublasOperation_t::CUBLAS_OP_N,
        };
        let (full, half) = (blas::cudaDataType_t::CUDA_R_32F, blas::cudaDataType_t::CUDA_R_16F);
        let (factor, compute) = match gemm.precision {
            Precision::Fp32 => (full, blas::cublasComputeType_t::CUBLAS_COMPUTE_32F),
            Precision::Tf32 => (full, blas::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32),
            Precision::Fp16 => (half, blas::cublasComputeType_t::CUBLAS_COMPUTE_32F),
        };
        let (one, beta) = (1.0f32, if gemm.add { 1.0f32 } else { 0.0 });
        // SAFETY: all elements lie within views of this device's memory, as was checked; the factors of sums are read before the call
        // returns.
        unsafe {
            cublas::result::gemm_strided_batched_ex(
                handle,
                operation(a),
                operation(b),
                int(gemm.m)?,
                int(gemm.n)?,
                int(gemm.k)?,
                (&raw const one).cast(),
                a.view.address() as *const c_void,
                factor,
                int(a.leading)?,
                stride(a),
                b.view.address() as *const c_void,
                factor,
                int(b.leading)?,
                stride(b),
                (&raw const beta).cast(),
                gemm.out.view.address() as *mut c_void,
                full,
                int(gemm.out.leading)?,
                stride(&gemm.out),
                int(gemm.batch)?,
                compute,
                blas::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .map_err(blas_failed)
    }

    fn begin_recording(&mut self) -> Result<()> {
        // Other threads may allocate meanwhile.
        self.stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(failed)
    }

    fn end_recording(&mut self) -> Result<()> {
        self.graph = self.stream.end_capture(CUgraphInstantiate_flags(0)).map_err(failed)?;
        if self.graph.is_some() { Ok(()) } else { Err(Error::Failed("the recording was lost".to_owned())) }
    }

    unsafe fn replay(&mut self) -> Result<()> {
        self.graph.as_ref().expect("a recording").launch().map_err(failed)
    }

    fn mark(&mut self) -> Result<()> {
        let mark = self.gpu.context.new_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).map_err(failed)?;
        mark.record(&self.stream).map_err(failed)?;
        self.marks.push(mark);
        Ok(())
    }

    fn laps(&mut self) -> Result<Vec<Duration>> {
        self.wait()?;
        let lap = |pair: &[CudaEvent]| {
            let ms = pair[0].elapsed_ms(&pair[1]).map_err(failed)?;
            Ok(Duration::from_secs_f32(ms / 1e3))
        };
        let laps = self.marks.windows(2).map(lap).collect();
        self.marks.clear();
        laps
    }
}

/// cuBLAS on one stream.
struct Blas {
    handle: blas::cublasHandle_t,
    _workspace: Buffer,
}

impl Blas {
    fn new(gpu: &Gpu, stream: &CudaStream) -> Result<Self> {
        let workspace = gpu.allocate(WORKSPACE)?;
        let handle = cublas::result::create_handle().map_err(blas_failed)?;
        let blas = Blas { handle, _workspace: workspace };
        // SAFETY: the handle was made just now; stream and workspace live as long as it does.
        unsafe {
            cublas::result::set_stream(handle, stream.cu_stream().cast()).map_err(blas_failed)?;
            let workspace = blas._workspace.view().address() as *mut c_void;
            blas::cublasSetWorkspace_v2(handle, workspace, WORKSPACE * size_of::<f32>()).result().map_err(blas_failed)?;
        }
        Ok(blas)
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        // SAFETY: the handle came from `create_handle`, and nobody has it any more.
        let _ = unsafe { cublas::result::destroy_handle(self.handle) };
    }
}

fn failed(e: DriverError) -> Error {
    Error::Failed(say(e))
}

fn blas_failed(e: CublasError) -> Error {
    Error::Failed(format!("cuBLAS: status {}", e.0 as u32))
}

/// What the driver calls an error.
fn say(e: DriverError) -> String {
    let text = |text: std::result::Result<&std::ffi::CStr, DriverError>| text.ok().map(|t| t.to_string_lossy().into_owned());
    let name = text(e.error_name()).unwrap_or_else(|| format!("error {}", e.0 as u32));
    text(e.error_string()).map_or_else(|| name.clone(), |what| format!("{what} ({name})"))
}
