//! A host that does not run for a while: the process wanted the processor and did not get it.
//!
//! Stalls begin at exponentially distributed distances and last a uniform time. Whatever should
//! happen meanwhile happens at their end.

use crate::cells::spec::Stalls;
use crate::rng::Rng;
use core::time::Duration;
use farhaul_proto::units::Timestamp;

/// One host's scheduler.
#[derive(Debug)]
pub(super) struct Host {
    stalls: Option<Stalls>,
    rng: Rng,
    begin: Timestamp,
    end: Timestamp,
}

impl Host {
    pub(super) fn new(stalls: Option<Stalls>, rng: Rng) -> Self {
        let mut host = Self { stalls, rng, begin: Timestamp::ZERO, end: Timestamp::ZERO };
        host.plan();
        host
    }

    /// When something due at `at` runs. Calls must not go back in time by more than a stall.
    pub(super) fn runs_at(&mut self, at: Timestamp) -> Timestamp {
        while self.stalls.is_some() && at >= self.end {
            self.plan();
        }
        if self.stalls.is_some() && at >= self.begin { self.end } else { at }
    }

    fn plan(&mut self) {
        let Some(stalls) = self.stalls else { return };
        let distance = -(1.0 - self.rng.f64()).ln();
        self.begin = self.end + stalls.every.mul_f64(distance) + Duration::from_nanos(1);
        let length = stalls.min + (stalls.max - stalls.min).mul_f64(self.rng.f64());
        self.end = self.begin + length;
    }
}
