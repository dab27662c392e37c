//! A disk: one queue, a latency, a rate, and the operations that fail.
//!
//! It answers at once when an operation will end and how; it holds no data. Which operations
//! fail is written in the profile, so that a failing run can be read from its scenario.

use crate::rng::Rng;
use core::time::Duration;
use farhaul_proto::ids::ObjectId;
use farhaul_proto::objects::Placed;
use farhaul_proto::units::{BitRate, Timestamp};
use std::collections::BTreeSet;

/// What a disk is like.
#[derive(Clone, Debug, Default)]
pub struct DiskProfile {
    /// Mean time before an operation ends, beyond the transfer itself.
    pub latency: Duration,
    /// What passes in a second; `None` is unlimited.
    pub rate: Option<BitRate>,
    /// Blocks (object, position) whose read fails.
    pub failing_reads: BTreeSet<(ObjectId, u32)>,
    /// Blocks (object, position) whose write fails.
    pub failing_writes: BTreeSet<(ObjectId, u32)>,
}

/// What the disk is asked to do with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// How an operation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Done,
    Failed,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Disk {
    profile: DiskProfile,
    rng: Rng,
    free_at: Timestamp,
}

impl Disk {
    pub(crate) fn new(profile: DiskProfile, rng: Rng) -> Self {
        Self { profile, rng, free_at: Timestamp::ZERO }
    }

    /// Begins an operation on a block; says when it ends and how. Operations share the rate in
    /// the order of their beginning, and may end out of order by their latency.
    pub(crate) fn begin(
        &mut self,
        access: Access,
        placed: &Placed,
        now: Timestamp,
    ) -> (Timestamp, Ending) {
        let busy = self.profile.rate.map_or(Duration::ZERO, |rate| placed.len.time_at(rate));
        self.free_at = self.free_at.max(now) + busy;
        let latency = self.profile.latency.mul_f64(0.5 + self.rng.f64());
        let failing = match access {
            Access::Read => &self.profile.failing_reads,
            Access::Write => &self.profile.failing_writes,
        };
        let fails = failing.contains(&(placed.object, placed.position));
        let ending = if fails { Ending::Failed } else { Ending::Done };
        (self.free_at + latency, ending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_proto::units::Bytes;

    fn block(position: u32) -> Placed {
        let len = Bytes::new(1_250_000);
        Placed { object: ObjectId::new(0), position, offset: Bytes::ZERO, len }
    }

    #[test]
    fn operations_share_the_rate() {
        let profile = DiskProfile { rate: Some(BitRate::mbps(100)), ..DiskProfile::default() };
        let mut disk = Disk::new(profile, Rng::new(1));
        let (first, _) = disk.begin(Access::Write, &block(0), Timestamp::ZERO);
        let (second, _) = disk.begin(Access::Write, &block(1), Timestamp::ZERO);
        assert_eq!(first, Timestamp::from_millis(100));
        assert_eq!(second, Timestamp::from_millis(200));
    }

    #[test]
    fn only_the_named_operation_fails() {
        let failing_reads = BTreeSet::from([(ObjectId::new(0), 1)]);
        let mut disk =
            Disk::new(DiskProfile { failing_reads, ..DiskProfile::default() }, Rng::new(1));
        let mut end = |access, position| disk.begin(access, &block(position), Timestamp::ZERO).1;
        assert_eq!(end(Access::Read, 0), Ending::Done);
        assert_eq!(end(Access::Read, 1), Ending::Failed);
        assert_eq!(end(Access::Write, 1), Ending::Done);
    }
}
