//! Feeds arbitrary bytes to `checks::feedback`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_fuzz::checks::feedback(input));
