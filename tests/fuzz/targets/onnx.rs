//! An ONNX file, from its bytes over compaction to a run.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use sslm_fuzz::onnx::mutate;

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| { mutate(data, size, max_size, seed) });

fuzz_target!(|data: &[u8]| sslm_tests::fuzz::onnx(data));
