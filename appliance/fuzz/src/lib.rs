//! Fuzz targets of a site: every decoder that meets a member's bytes, those of the index, of the
//! configuration and of the management API.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run TARGET` from `appliance/` with the targets of `fuzz_targets/`.
//! What a run finds is kept in `corpus/TARGET/`, which ordinary tests replay (`corpus_replay` of
//! `farhaul-sync`, `fuzz` of `farhauld`). `cargo run --bin seed` writes the corpora's first files anew.
//! The records of the kernel's changes are a target of the engine (`fanotify`), for they are read there.

pub mod checks;
