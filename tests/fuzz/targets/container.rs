//! The outside of a `.sslm` file.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| sslm_tests::fuzz::container(data));
