//! Feeds arbitrary bytes to `checks::carrier`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_fuzz::checks::carrier(input));
