//! Fuzz targets of the engine: every parser that meets a peer's bytes or what a disk
//! kept, and the replay window.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run TARGET` from `engine/` with the targets of `fuzz_targets/`.
//! What a run finds is kept in `corpus/TARGET/`, which ordinary tests (`corpus_replay` of
//! `farhaul-proto` and `farhaul-engine`) replay. `cargo run --bin seed` writes the corpora's first files anew.

pub mod body;
pub mod checks;
