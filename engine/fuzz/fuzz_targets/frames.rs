//! Feeds arbitrary bytes to `checks::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_fuzz::checks::frames(input));
