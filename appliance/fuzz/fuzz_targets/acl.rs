//! Feeds arbitrary bytes to `farhauld::fuzz::acl`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhauld::fuzz::acl(input));
