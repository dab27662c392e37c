//! Feeds arbitrary bytes to `farhauld::fuzz::query`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhauld::fuzz::query(input));
