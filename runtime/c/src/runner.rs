//! Running models: a runner has plans and sessions, which threads share; a run yields outputs that live until they are freed.

use super::handles::{free, hand_out, place, reference, slice};
use super::model::{SslmModel, element_type_of, type_of};
use super::status::{Failure, SslmStatus, guarded};
use sslm::{ElementType, Interrupt, Options, PlanCache, PooledSession, Threads, TypedView};
use std::ffi::c_void;
use std::time::Duration;

/// Choices for a runner. All zero is what most programs want.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SslmOptions {
    /// Threads that compute a run; 0 chooses: all, or one for small models.
    pub threads: usize,
    /// How many shapes of inputs stay prepared; 0 is 8.
    pub shapes: usize,
    /// The most bytes that a prepared shape and one run may take together; 0 is any.
    pub max_memory: usize,
    /// The most multiply-accumulates of a run; 0 is any.
    pub max_macs: u64,
    /// The most milliseconds that preparing may take, and again each run; 0 is any.
    pub max_milliseconds: u64,
}

impl SslmOptions {
    fn options(self) -> Options {
        let mut options = Options::new();
        if self.threads > 0 {
            options = options.threads(Threads::Count(self.threads));
        }
        if self.max_memory > 0 {
            options = options.max_memory(self.max_memory);
        }
        if self.max_macs > 0 {
            options = options.max_macs(self.max_macs);
        }
        if self.max_milliseconds > 0 {
            options = options.max_time(Duration::from_millis(self.max_milliseconds));
        }
        options
    }
}

/// Runs a model on inputs of any shape that it takes. Each shape is prepared when it is met first. Threads may share a runner: runs go on
/// side by side.
pub struct SslmRunner {
    cache: PlanCache,
}

/// Ends runs from another thread.
pub struct SslmInterrupt {
    interrupt: Interrupt,
}

/// A tensor: elements in row-major order, last axis fastest.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SslmTensor {
    /// The type of the elements, an SslmType.
    pub element_type: i32,
    /// How many axes there are.
    pub rank: usize,
    /// The extent of each axis.
    pub dims: *const usize,
    /// The elements, aligned as their type is.
    pub data: *const c_void,
}

/// What a run has yielded, until it is freed. Its memory serves later runs then.
pub struct SslmOutputs {
    /// Holds `f32` outputs and all shapes, which stay where they are: it does not run again before it is freed.
    session: PooledSession,
    /// The bytes of each output of another type; eight at a time, so that they are aligned for every type.
    others: Vec<Option<Vec<u64>>>,
}

impl SslmOutputs {
    fn new(session: PooledSession) -> Result<Self, Failure> {
        let types = session.plan().output_types();
        let outputs = session.outputs().ok_or_else(|| Failure::argument("outputs", "those of a run", "none"))?;
        let convert = |(i, element_type): (usize, &ElementType)| {
            if *element_type == ElementType::F32 {
                return Ok(None);
            }
            let word = |bytes: &[u8]| {
                let mut word = [0; 8];
                word[..bytes.len()].copy_from_slice(bytes);
                u64::from_ne_bytes(word)
            };
            Ok(Some(outputs.typed_bytes(i)?.chunks(8).map(word).collect()))
        };
        let others = types.iter().enumerate().map(convert).collect::<Result<_, Failure>>()?;
        Ok(SslmOutputs { session, others })
    }
}

/// A runner of a model. `options` may be NULL.
///
/// # Safety
/// `model` is valid, `options` is NULL or valid, `runner` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sslm_runner_new(
    model: *const SslmModel,
    options: *const SslmOptions,
    runner: *mut *mut SslmRunner,
) -> SslmStatus {
    guarded(|| {
        // SAFETY: the caller's promises.
        let (model, options, runner) = unsafe { (reference(model, "model")?, options.as_ref(), place(runner, "runner")?) };
        let options = options.copied().unwrap_or_default();
        let shapes = if options.shapes == 0 { 8 } else { options.shapes };
        hand_out(runner, SslmRunner { cache: PlanCache::new(&model.model, options.options(), shapes) });
        Ok(())
    })
}

/// Frees a runner. NULL is nothing. Outputs of its runs live on.
///
/// # Safety
/// `runner` is NULL or was not freed before, and nobody uses it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sslm_runner_free(runner: *mut SslmRunner) {
    // SAFETY: the caller's promise.
    unsafe { free(runner) }
}

/// Runs the model on all its inputs, in its order. `interrupt` may be NULL; else the run ends early, with SSLM_STATUS_CANCELLED, once it is
/// cancelled.
///
/// # Safety
/// `runner` is valid; there are `count` tensors at `inputs`, each with as many dims and elements as it says; `outputs` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sslm_run(
    runner: *const SslmRunner,
    inputs: *const SslmTensor,
    count: usize,
    interrupt: *const SslmInterrupt,
    outputs: *mut *mut SslmOutputs,
) -> SslmStatus {
    guarded(|| {
        // SAFETY: the caller's promises.
        let (runner, interrupt) = unsafe { (reference(runner, "runner")?, interrupt.as_ref()) };
        // SAFETY: the caller's promises.
        let (inputs, place) = unsafe { (slice(inputs, count, "inputs")?, place(outputs, "outputs")?) };
        // SAFETY: the caller's promise of each tensor.
        let views = inputs.iter().map(|input| unsafe { view(input) }).collect::<Result<Vec<TypedView<'_>>, Failure>>()?;
        let shapes: Vec<&[usize]> = views.iter().map(TypedView::shape).collect();
        let mut session = runner.cache.session(&shapes)?;
        if let Some(SslmInterrupt { interrupt }) = interrupt {
            session.set_interrupt(interrupt);
        }
        session.run_typed(&views)?;
        hand_out(place, SslmOutputs::new(session)?);
        Ok(())
    })
}

/// # Safety
/// The tensor has as many dims and elements as it says.
unsafe fn view<'a>(tensor: &SslmTensor) -> Result<TypedView<'a>, Failure> {
    let element_type = element_type_of(tensor.element_type)?;
    // SAFETY: the caller's promise.
    let shape = unsafe { slice(tensor.dims, tensor.rank, "dims of an input")? };
    let bytes = shape.iter().try_fold(element_type.size(), |all, &extent| all.checked_mul(extent));
    let bytes = bytes.ok_or_else(|| Failure::argument("dims of an input", "extents of what is in memory", "more"))?;
    // SAFETY: the caller's promise; bytes need no alignment.
    let data = unsafe { slice(tensor.data.cast::<u8>(), bytes, "data of an input")? };
    Ok(TypedView::from_bytes(shape, element_type, data)?)
}

/// The output of this index. What `tensor` points to lives until the outputs are freed.
///
/// # Safety
/// `outputs` is valid; `tensor` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sslm_outputs_get(outputs: *const SslmOutputs, index: usize, tensor: *mut SslmTensor) -> SslmStatus {
    guarded(|| {
        // SAFETY: the caller's promises.
        let (outputs, tensor) = unsafe { (reference(outputs, "outputs")?, place(tensor, "tensor")?) };
        let all = outputs.session.outputs();
        let view = all.and_then(|all| all.get(index));
        let view = view.ok_or_else(|| {
            Failure::argument("index of an output", &format!("less than {}", outputs.others.len()), &index.to_string())
        })?;
        let element_type = outputs.session.plan().output_types()[index];
        let data = outputs.others[index].as_ref().map_or(view.data().as_ptr().cast(), |words| words.as_ptr().cast());
        let shape = view.shape();
        let element_type = type_of(element_type)? as i32;
        *tensor = SslmTensor { element_type, rank: shape.len(), dims: shape.as_ptr(), data };
        Ok(())
    })
}

/// Frees outputs. NULL is nothing.
///
/// # Safety
/// `outputs` is NULL or was not freed before, and nobody uses it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sslm_outputs_free(outputs: *mut SslmOutputs) {
    // SAFETY: the caller's promise.
    unsafe { free(outputs) }
}

/// An interrupt, which ends nothing yet. Any number of runs may have it.
#[unsafe(no_mangle)]
pub extern "C" fn sslm_interrupt_new() -> *mut SslmInterrupt {
    let mut handle = std::ptr::null_mut();
    hand_out(&mut handle, SslmInterrupt { interrupt: Interrupt::new() });
    handle
}

/// Ends runs that have this interrupt, those that go on (when the layer that they compute is done) and those that begin later. From any
/// thread. NULL is nothing.
///
/// # Safety
/// `interrupt` is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sslm_interrupt_cancel(interrupt: *const SslmInterrupt) {
    // SAFETY: the caller's promise.
    if let Ok(SslmInterrupt { interrupt }) = unsafe { reference(interrupt, "interrupt") } {
        interrupt.cancel();
    }
}

/// Lets runs that begin from now on go to their end again. NULL is nothing.
///
/// # Safety
/// `interrupt` is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sslm_interrupt_reset(interrupt: *const SslmInterrupt) {
    // SAFETY: the caller's promise.
    if let Ok(SslmInterrupt { interrupt }) = unsafe { reference(interrupt, "interrupt") } {
        interrupt.reset();
    }
}

/// Frees an interrupt. NULL is nothing.
///
/// # Safety
/// `interrupt` is NULL or was not freed before, and no call has it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sslm_interrupt_free(interrupt: *mut SslmInterrupt) {
    // SAFETY: the caller's promise.
    unsafe { free(interrupt) }
}
