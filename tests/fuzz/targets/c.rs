//! The C interface, called in any order.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| sslm_tests::fuzz::c(data));
