//! The C interface, called in any order with what callers may give: handles that live, arrays of the lengths that they say, or null.

use super::reached::Stage;
use interface::{
    SslmInterrupt, SslmModel, SslmOptions, SslmOutputs, SslmPort, SslmRunner, SslmStatus, SslmTensor, sslm_interrupt_cancel,
    sslm_interrupt_free, sslm_interrupt_new, sslm_interrupt_reset, sslm_last_error, sslm_model_free, sslm_model_from_bytes,
    sslm_model_input, sslm_model_label, sslm_model_output, sslm_outputs_free, sslm_outputs_get, sslm_run, sslm_runner_free,
    sslm_runner_new,
};
use std::ffi::{CStr, c_char};
use std::ptr::{null, null_mut};

// The library is one that C links, not Rust.
#[path = "../../../runtime/c/src/lib.rs"]
#[allow(unreachable_pub, reason = "there, it is public")]
mod interface;

/// The model that examples have.
const MODEL: &[u8] = include_bytes!("../../../runtime/examples/tiny.sslm");

/// Bytes of an input, at most.
const MOST_BYTES: usize = 1 << 16;

/// Handles that live, and the bytes that say what is done with them.
struct Calls<'a> {
    data: &'a [u8],
    models: Vec<*mut SslmModel>,
    runners: Vec<*mut SslmRunner>,
    outputs: Vec<*mut SslmOutputs>,
    interrupts: Vec<*mut SslmInterrupt>,
    /// What inputs point to.
    elements: Vec<u64>,
}

/// A handle that lives, or null.
fn one_of<T>(handles: &[*mut T], choice: u8) -> *mut T {
    handles.get(usize::from(choice) % (handles.len() + 1)).copied().unwrap_or(null_mut())
}

/// Takes a handle, or null, in order to free it.
fn taken<T>(handles: &mut Vec<*mut T>, choice: u8) -> *mut T {
    let index = usize::from(choice) % (handles.len() + 1);
    if index < handles.len() { handles.swap_remove(index) } else { null_mut() }
}

/// Notes what a call has made.
///
/// # Panics
/// If it says another thing than it did, or that the fault is its own.
fn made<T>(status: SslmStatus, handle: *mut T, handles: &mut Vec<*mut T>) {
    assert_eq!(status == SslmStatus::Ok, !handle.is_null(), "{status:?}: a handle, or an error");
    said(status);
    handles.extend(Some(handle).filter(|handle| !handle.is_null()));
}

/// # Panics
/// If an error has no message, or is the library's own.
fn said(status: SslmStatus) {
    // SAFETY: it ends with a zero byte, and no other call was made.
    let message = unsafe { CStr::from_ptr(sslm_last_error()) }.to_str().expect("messages are UTF-8");
    assert!(status == SslmStatus::Ok || !message.is_empty(), "{status:?}: a message");
    assert!(status != SslmStatus::Other, "{message}");
}

/// How long a text of C is; null is none.
fn text_len(text: *const c_char) -> usize {
    // SAFETY: the library promises a text that lives as long as its model, which was not freed meanwhile.
    if text.is_null() { 0 } else { unsafe { CStr::from_ptr(text) }.to_str().expect("texts are UTF-8").len() }
}

impl Calls<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.data.split_first() else { return 0 };
        self.data = rest;
        first
    }

    /// A model of the example's bytes, of which some may be others, or of fewer of them.
    fn open(&mut self) {
        let mut bytes = MODEL.to_vec();
        for _ in 0..self.byte() % 4 {
            let at = usize::from(u16::from_le_bytes([self.byte(), self.byte()]));
            let len = bytes.len();
            bytes[at % len] = self.byte();
        }
        let len = if self.byte() < 8 { bytes.len() * usize::from(self.byte()) / 256 } else { bytes.len() };
        let start = if self.byte() == 1 { null() } else { bytes.as_ptr() };
        let mut model = null_mut();
        // SAFETY: as many bytes as that are there, or null.
        let status = unsafe { sslm_model_from_bytes(start, len, &mut model) };
        made(status, model, &mut self.models);
    }

    fn describe(&mut self) {
        let [model, index] = [self.byte(), self.byte()];
        let (model, index) = (one_of(&self.models, model), usize::from(index));
        let mut port = SslmPort { name: null(), element_type: interface::SslmType::F32, rank: 0, dims: null() };
        // SAFETY: the model lives, or is null.
        for is_there in unsafe { [sslm_model_input(model, index, &mut port), sslm_model_output(model, index, &mut port)] } {
            if is_there {
                // SAFETY: the library promises as many as it says, while the model lives.
                let dims = unsafe { std::slice::from_raw_parts(port.dims, port.rank) };
                assert!(dims.iter().all(|&extent| extent >= -1) && text_len(port.name) > 0, "dims and a name");
            }
        }
        // SAFETY: the model lives, or is null.
        text_len(unsafe { sslm_model_label(model, index) });
    }

    fn new_runner(&mut self) {
        let model = self.byte();
        let model = one_of(&self.models, model);
        let [threads, shapes] = [self.byte() % 4, self.byte() % 3].map(usize::from);
        let max_memory = MOST_BYTES << (self.byte() % 12);
        let options = SslmOptions { threads, shapes, max_memory, max_macs: 1 << (self.byte() % 32), max_milliseconds: 10_000 };
        let mut runner = null_mut();
        // SAFETY: the model lives, or is null.
        let status = unsafe { sslm_runner_new(model, if self.byte() == 1 { null() } else { &options }, &mut runner) };
        made(status, runner, &mut self.runners);
    }

    fn run(&mut self) {
        static RUN: Stage = Stage::new("run");
        let runner = self.byte();
        let runner = one_of(&self.runners, runner);
        let dims: Vec<Vec<usize>> = (0..self.byte() % 3)
            .map(|_| {
                (0..self.byte() % 6).map(|_| if self.byte() == 255 { usize::MAX } else { usize::from(self.byte()) }).collect()
            })
            .collect();
        let elements = self.elements.as_ptr();
        let mut tensor = |dims: &Vec<usize>| {
            let element_type = i32::from(self.byte() % 14);
            let bytes = dims.iter().try_fold(8usize, |all, &extent| all.checked_mul(extent));
            // What would have more elements than there are says so, and has none.
            let is_there = bytes.is_none_or(|bytes| bytes <= MOST_BYTES) && self.byte() != 255;
            let data = if is_there { elements.cast() } else { null() };
            SslmTensor { element_type, rank: dims.len(), dims: dims.as_ptr(), data }
        };
        let inputs: Vec<SslmTensor> = dims.iter().map(&mut tensor).collect();
        let interrupt = self.byte();
        let interrupt = one_of(&self.interrupts, interrupt);
        let mut outputs = null_mut();
        // SAFETY: handles live or are null; elements are as many as the dims say, whatever their type, or the pointer is null, or the
        // dims say more than there can be.
        let status = unsafe { sslm_run(runner, inputs.as_ptr(), inputs.len(), interrupt, &mut outputs) };
        made(status, outputs, &mut self.outputs);
        if status == SslmStatus::Ok {
            RUN.reach();
        }
    }

    fn get(&mut self) {
        let [outputs, index] = [self.byte(), self.byte() % 4];
        let (outputs, index) = (one_of(&self.outputs, outputs), usize::from(index));
        let mut tensor = SslmTensor { element_type: 0, rank: 0, dims: null(), data: null() };
        // SAFETY: the outputs live, or are null.
        let status = unsafe { sslm_outputs_get(outputs, index, &mut tensor) };
        said(status);
        if status == SslmStatus::Ok {
            // SAFETY: the library promises as many as it says, until the outputs are freed.
            let dims = unsafe { std::slice::from_raw_parts(tensor.dims, tensor.rank) };
            // SAFETY: every element has a byte at least.
            let bytes = unsafe { std::slice::from_raw_parts(tensor.data.cast::<u8>(), dims.iter().product()) };
            std::hint::black_box(bytes.iter().fold(0, |all, byte| all ^ byte));
        }
    }

    fn free(&mut self, what: u8) {
        let choice = self.byte();
        // SAFETY: each handle is taken out of the list of those that live.
        unsafe {
            match what {
                0 => sslm_model_free(taken(&mut self.models, choice)),
                1 => sslm_runner_free(taken(&mut self.runners, choice)),
                2 => sslm_outputs_free(taken(&mut self.outputs, choice)),
                _ => sslm_interrupt_free(taken(&mut self.interrupts, choice)),
            }
        }
    }

    fn interrupt(&mut self) {
        if self.interrupts.is_empty() {
            self.interrupts.push(sslm_interrupt_new());
        }
        let [interrupt, is_over] = [self.byte(), self.byte() % 2];
        let (interrupt, is_over) = (one_of(&self.interrupts, interrupt), is_over == 0);
        // SAFETY: it lives, or is null.
        unsafe { if is_over { sslm_interrupt_reset(interrupt) } else { sslm_interrupt_cancel(interrupt) } }
    }
}

/// Calls of the C interface, one after the other.
///
/// # Panics
/// If one does, or does not keep what the header promises.
pub fn c(data: &[u8]) {
    let elements = vec![0; MOST_BYTES / 8];
    let mut calls =
        Calls { data, models: Vec::new(), runners: Vec::new(), outputs: Vec::new(), interrupts: Vec::new(), elements };
    // Longer ones show nothing more.
    for _ in 0..64 {
        if calls.data.is_empty() {
            break;
        }
        match calls.byte() % 12 {
            0 => calls.open(),
            1 => calls.describe(),
            2 => calls.new_runner(),
            3..6 => calls.run(),
            6 => calls.get(),
            7 => calls.interrupt(),
            what => calls.free(what - 8),
        }
    }
    calls.data = &[];
    let alive = [calls.models.len(), calls.runners.len(), calls.outputs.len(), calls.interrupts.len()];
    for (what, count) in (0..).zip(alive) {
        (0..count).for_each(|_| calls.free(what));
    }
}
