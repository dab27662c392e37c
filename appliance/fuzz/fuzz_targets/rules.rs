//! Feeds arbitrary bytes to `farhauld::fuzz::rules`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhauld::fuzz::rules(input));
