//! Feeds arbitrary bytes to `checks::name`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_appliance_fuzz::checks::name(input));
