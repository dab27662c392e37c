//! Cells: a rate controller alone on a modelled link, packet by packet, in virtual time.
//!
//! ```text
//! sender (controller, pacer) -> access link -> bottleneck (shared) -> receiver
//!       ^---------------------- reverse link <- reports -----------------v
//! ```
//! There are no blocks, files or repair: goodput is what arrives once. Feedback is what the
//! product gives a controller: a report each clamp(rtt/8, 5, 25 ms), at most 16 delay samples in
//! it, loss declared by time, trains measured by the receiver's noisy clock. Cells are data, see
//! [`spec`]; a cell and a seed always give the same figures.

pub mod liar;
pub mod medium;
pub mod outcome;
mod receiver;
mod record;
pub mod rules;
mod sender;
pub mod spec;
mod stall;
mod world;

pub use outcome::{FlowOutcome, Outcome};
pub use record::flight;
pub use spec::{Cell, CellFile, CellFileError};

/// Runs a cell to its end.
pub fn run(cell: &Cell, seed: u64) -> Outcome {
    world::World::new(cell, seed).run()
}
