//! Feeds arbitrary bytes to `checks::replay`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_fuzz::checks::replay(input));
