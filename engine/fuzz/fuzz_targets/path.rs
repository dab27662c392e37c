//! Feeds arbitrary bytes to `checks::path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_fuzz::checks::path(input));
