//! Feeds arbitrary bytes to `checks::message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_appliance_fuzz::checks::message(input));
