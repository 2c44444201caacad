//! Compiles the CUDA kernels with NVRTC and prints their PTX, behind a line with a checksum of the source that the tests compare:
//! `cargo run -p sslm-kernels --features cuda --example ptx >ptx && mv ptx kernels/src/cuda/kernels.ptx`
//!
//! The PTX in the repository was made by NVRTC 12.0 (`libnvrtc.so.12` in `LD_LIBRARY_PATH`): an old one, because each version
//! writes PTX that only drivers of its own age and younger ones read.

use sslm_devices::nvrtc::{CompileOptions, compile_ptx_with_opts};
use sslm_kernels::cuda::source;

fn main() {
    let options = CompileOptions { arch: Some("compute_70"), ..Default::default() };
    let ptx = compile_ptx_with_opts(source(), options).unwrap_or_else(|e| panic!("{e:?}"));
    print!("// of the source with CRC-32 {:08x}\n{}", crc32fast::hash(source().as_bytes()), ptx.to_src());
}
