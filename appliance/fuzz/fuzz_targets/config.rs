//! Feeds arbitrary bytes to `farhauld::fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhauld::fuzz::config(input));
