//! Feeds arbitrary bytes to `body::journal`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_fuzz::body::journal(input));
