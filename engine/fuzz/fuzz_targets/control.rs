//! Feeds arbitrary bytes to `checks::control`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_fuzz::checks::control(input));
