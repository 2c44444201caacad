//! The instruction set that is measured: the best one that the CPU has, or a lower one, as most CPUs have it.

use sslm::Options;
use sslm_kernels::Isa;

/// The set that the environment names as `SSLM_ISA`.
///
/// # Panics
/// If the CPU has no such set.
pub fn forced() -> Option<Isa> {
    let name = std::env::var_os("SSLM_ISA")?;
    Some(name.to_string_lossy().parse().unwrap_or_else(|e| panic!("SSLM_ISA: {e}")))
}

/// The set that is measured.
///
/// # Panics
/// Like [`forced`].
pub fn measured() -> Isa {
    forced().unwrap_or(Isa::best())
}

/// Options of plans that compute with it.
///
/// # Panics
/// Like [`forced`].
pub fn options() -> Options {
    Options::new().isa(measured())
}
