//! The worker pool of a host: jobs that take time on a few threads.
//!
//! Jobs of different lengths end out of order, as they do in a real pool.

use crate::rng::Rng;
use core::time::Duration;
use farhaul_proto::units::Timestamp;

/// See the module.
#[derive(Debug)]
pub(super) struct Workers {
    free_at: Vec<Timestamp>,
    job: Duration,
    rng: Rng,
}

impl Workers {
    pub(super) fn new(threads: u32, job: Duration, rng: Rng) -> Self {
        Self { free_at: vec![Timestamp::ZERO; threads.max(1) as usize], job, rng }
    }

    /// When a job that is handed in now will be done.
    pub(super) fn begin(&mut self, now: Timestamp) -> Timestamp {
        let span = self.job.mul_f64(0.5 + self.rng.f64());
        let Some(thread) = self.free_at.iter_mut().min() else { return now };
        *thread = (*thread).max(now) + span;
        *thread
    }
}
