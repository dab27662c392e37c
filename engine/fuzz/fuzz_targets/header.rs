//! Feeds arbitrary bytes to `checks::header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_fuzz::checks::header(input));
