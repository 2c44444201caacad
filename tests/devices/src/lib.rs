//! Devices that the tests of the CUDA backend run on: [`Emulated`] ones, which run the very kernels on the CPU, and a real one where
//! there is one. A [`StandIn`] for the driver and cuBLAS lets a test program take an emulated device for a real one.
//!
//! What must not be missing is named in `SSLM_REQUIRE`, separated by commas: `cc` (the C compiler of the emulation) and `cuda`.

mod compile;
mod emulated;
mod stand_in;

/// NVRTC, for what compiles the CUDA source. It is had from here, and no dev-dependency of the kernels, so that these are compiled
/// with the same features whether tests want them or programs.
pub use cudarc::nvrtc;
pub use emulated::{Edge, Emulated, Order};
pub use stand_in::{Said, StandIn};

use sslm_kernels::cuda::{Device, Gpu};
use std::sync::{Arc, OnceLock};

/// Two emulated devices, which differ in the order of threads and in where memory ends, and the GPU, as far as they are there. What
/// is not is said on stderr. On a stand-in, just the device that it makes believe.
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
    let gpu = GPU.get_or_init(|| Gpu::open(0).map_err(|e| format!("nothing of this test ran on a GPU: {e}")));
    or_say("cuda", gpu.clone()).map(|gpu| Arc::new(gpu) as Arc<dyn Device>)
}

fn or_say<T>(what: &str, outcome: Result<T, String>) -> Option<T> {
    let required = std::env::var("SSLM_REQUIRE").is_ok_and(|all| all.split(',').any(|name| name.trim() == what));
    match outcome {
        Ok(found) => Some(found),
        Err(why) if required => panic!("SSLM_REQUIRE names {what}: {why}"),
        Err(why) => {
            eprintln!("NOT TESTED: {why}");
            None
        }
    }
}
