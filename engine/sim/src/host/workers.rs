//! The worker pool of a host: jobs that take time on a few threads.
//!
//! Jobs of different lengths end out of order, as they do in a real pool.

use crate::rng::Rng;
use core::time::Duration;
use farhaul_proto::units::Timestamp;

/// Symbols of a full block: one job of the profile.
const SYMBOLS_FULL: u32 = 998;
/// A block of fewer symbols takes the time of so many.
const SYMBOLS_MIN: u32 = 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Workers {
    free_at: Vec<Timestamp>,
    job: Duration,
    solve: Duration,
    rng: Rng,
}

impl Workers {
    pub(super) fn new(threads: u32, job: Duration, solve: Duration, rng: Rng) -> Self {
        Self { free_at: vec![Timestamp::ZERO; threads.max(1) as usize], job, solve, rng }
    }

    /// When a job on a block of so many `symbols` that is handed in now will be done; it takes longer
    /// if it `solves` for some of them. Coding takes time in proportion to the symbols
    /// (`benches/fec.rs`).
    pub(super) fn begin(&mut self, symbols: u32, solves: bool, now: Timestamp) -> Timestamp {
        let share = f64::from(symbols.max(SYMBOLS_MIN)) / f64::from(SYMBOLS_FULL);
        let mean = if solves { self.job + self.solve } else { self.job };
        let span = mean.mul_f64(share * (0.5 + self.rng.f64()));
        let Some(thread) = self.free_at.iter_mut().min() else { return now };
        *thread = (*thread).max(now) + span;
        *thread
    }
}
