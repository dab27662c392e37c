//! Feeds arbitrary bytes to `checks::learn`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_appliance_fuzz::checks::learn(input));
