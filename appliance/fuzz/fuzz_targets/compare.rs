//! Feeds arbitrary bytes to `checks::compare::compare`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_appliance_fuzz::checks::compare::compare(input));
