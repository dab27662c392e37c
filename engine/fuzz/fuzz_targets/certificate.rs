//! Feeds arbitrary bytes to `body::certificate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_fuzz::body::certificate(input));
