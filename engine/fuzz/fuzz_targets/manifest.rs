//! Feeds arbitrary bytes to `checks::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_fuzz::checks::manifest(input));
