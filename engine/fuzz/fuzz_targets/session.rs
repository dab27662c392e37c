//! Feeds arbitrary bytes to `checks::session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_fuzz::checks::session(input));
