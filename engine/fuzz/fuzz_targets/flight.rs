//! Feeds arbitrary bytes to `checks::flight`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_fuzz::checks::flight(input));
