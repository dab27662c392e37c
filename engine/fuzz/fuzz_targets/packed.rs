//! Feeds arbitrary bytes to `checks::packed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_fuzz::checks::packed(input));
