//! What tests run on: the CPU's instruction sets, [`Emulated`] devices, which run the very kernels of the CUDA backend on the CPU, and
//! a real one where there is one. A [`StandIn`] for the driver and cuBLAS lets a test program take an emulated device for a real one.
//!
//! What a machine lacks is said when a test program ends, and is a failure where `SSLM_REQUIRE` names it (`require.rs`).

mod compile;
mod emulated;
mod pages;
mod require;
mod stand_in;

/// NVRTC, for what compiles the CUDA source. It is had from here, and no dev-dependency of the kernels, so that these are compiled
/// with the same features whether tests want them or programs.
pub use cudarc::nvrtc;
pub use emulated::{Emulated, Order};
pub use pages::{Edge, Pages};
pub use stand_in::{Said, StandIn};

use require::or_say;
use sslm_kernels::Isa;
use sslm_kernels::cuda::{Device, Gpu};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

/// Every instruction set that this CPU has, the best one first: what tests of kernels go through. Nothing is said of sets of other
/// architectures, unless they are required.
///
/// # Panics
/// If a set is missing that must not be.
pub fn isas() -> impl Iterator<Item = Isa> {
    Isa::NAMES.into_iter().filter(|name| Isa::all().all(|(own, _)| own != *name)).for_each(require::of_another_machine);
    Isa::all().filter_map(|(name, isa)| or_say(name, isa.ok_or_else(|| "this CPU does not have it".to_owned())))
}

/// Two emulated devices, which differ in the order of threads and in where memory ends, and the GPU, as far as they are there. On a
/// stand-in, just the device that it makes believe.
///
/// # Panics
/// If something is missing that must not be.
pub fn devices() -> Vec<Arc<dyn Device>> {
    if StandIn::is_here() {
        return gpu().into_iter().collect();
    }
    emulated().into_iter().map(|device| Arc::new(device) as Arc<dyn Device>).chain(gpu()).collect()
}

/// The two emulated devices, or none without a C compiler.
///
/// # Panics
/// If there is no compiler and one is required.
pub fn emulated() -> Vec<Emulated> {
    let both = [(Order::Ascending, Edge::Behind), (Order::Descending, Edge::Before)];
    both.into_iter().filter_map(|(order, edge)| or_say("cc", Emulated::new(order, edge))).collect()
}

/// What stands in for the driver and cuBLAS, or nothing without a C compiler.
///
/// # Panics
/// If there is no compiler and one is required.
pub fn stand_in() -> Option<StandIn> {
    or_say("cc", StandIn::new())
}

/// The machine's first GPU, if it can be used.
///
/// # Panics
/// If it cannot, and it is required.
pub fn gpu() -> Option<Arc<dyn Device>> {
    static GPU: OnceLock<Result<Gpu, String>> = OnceLock::new();
    let gpu = GPU.get_or_init(|| Gpu::open(0).map_err(|e| e.to_string()));
    or_say("cuda", gpu.clone()).map(|gpu| Arc::new(gpu) as Arc<dyn Device>)
}

/// Whether NVRTC is here, of any version.
///
/// # Panics
/// If it is not, and it is required.
pub fn has_nvrtc() -> bool {
    // SAFETY: loading NVRTC runs its initialisers, which is what they are for.
    let found = unsafe { nvrtc::sys::is_culib_present() };
    or_say("nvrtc", found.then_some(()).ok_or_else(|| "NVRTC was not found".to_owned())).is_some()
}

/// Whether there is a compiler of this name for programs that use the library: `cc` or `c++`.
///
/// # Panics
/// If there is none, and it is required.
pub fn has_compiler(name: &str) -> bool {
    let answer = Command::new(name).arg("--version").stdout(Stdio::null()).status();
    or_say("cc", answer.map_err(|e| format!("{name}: {e}"))).is_some()
}

/// Whether `python3` has onnxruntime, of any version.
///
/// # Panics
/// If it has not, and it is required.
pub fn has_onnxruntime() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let import = || Command::new("python3").args(["-c", "import numpy, onnxruntime"]).stderr(Stdio::null()).status();
    let found = FOUND.get_or_init(|| import().is_ok_and(|status| status.success()));
    or_say("onnxruntime", found.then_some(()).ok_or_else(|| "python3 does not have it".to_owned())).is_some()
}
