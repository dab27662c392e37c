//! Feeds arbitrary bytes to `farhauld::fuzz::marker`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhauld::fuzz::marker(input));
