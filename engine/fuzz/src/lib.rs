//! Fuzz targets of the engine: every parser that meets a peer's bytes, and the replay window.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run TARGET` from `engine/` with the targets of `fuzz_targets/`.
//! What a run finds is kept in `corpus/TARGET/`, which an ordinary test of `farhaul-proto`
//! replays. `cargo run --bin seed` writes the corpora's first files anew.

pub mod checks;
