//! Feeds arbitrary bytes to `farhauld::fuzz::rows`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhauld::fuzz::rows(input));
