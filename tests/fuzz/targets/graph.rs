//! Random masked graphs.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| sslm_tests::fuzz::graph(data));
