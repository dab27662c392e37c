//! Feeds arbitrary bytes to `checks::job`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_appliance_fuzz::checks::job(input));
