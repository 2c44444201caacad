//! Requests to a server over gRPC.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| sslm_tests::fuzz::grpc(data));
