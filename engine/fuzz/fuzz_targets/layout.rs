//! Feeds arbitrary bytes to `checks::layout`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_fuzz::checks::layout(input));
