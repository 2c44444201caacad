//! Tables and tar files that are scored.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| sslm_tests::fuzz::dataset(data));
