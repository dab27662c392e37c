//! Feeds arbitrary bytes to `body::fanotify`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farhaul_fuzz::body::fanotify(input));
