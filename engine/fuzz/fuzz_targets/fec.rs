//! Feeds arbitrary bytes to `checks::fec`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_fuzz::checks::fec(input));
