//! Feeds arbitrary bytes to `checks::memory`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_fuzz::checks::memory(input));
