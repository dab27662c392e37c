//! Feeds arbitrary bytes to `checks::list`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_appliance_fuzz::checks::list(input));
