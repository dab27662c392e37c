//! A disk: one queue, a latency, a rate, and the operations that fail.
//!
//! It answers at once when an operation will end and how; it holds no data. Which operations
//! fail is written in the profile, so that a failing run can be read from its scenario.

use crate::rng::Rng;
use core::time::Duration;
use farhaul_proto::ids::ObjectId;
use farhaul_proto::objects::Placed;
use farhaul_proto::units::{BitRate, Bytes, Timestamp};
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
    /// Writes that take only a part of what they are given: every so many-th; zero for none.
    pub short_writes: u32,
    /// What it holds; a write beyond fails, and so does every later one that does not fit. `None`
    /// is unlimited.
    pub capacity: Option<Bytes>,
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
    /// Only so many bytes were written: the rest has to be written again.
    Short(Bytes),
    Failed,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Disk {
    profile: DiskProfile,
    rng: Rng,
    free_at: Timestamp,
    writes: u64,
    used: Bytes,
}

impl Disk {
    pub(crate) fn new(profile: DiskProfile, rng: Rng) -> Self {
        Self { profile, rng, free_at: Timestamp::ZERO, writes: 0, used: Bytes::ZERO }
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
        let block = (placed.object, placed.position);
        let ending = match access {
            Access::Read if self.profile.failing_reads.contains(&block) => Ending::Failed,
            Access::Read => Ending::Done,
            Access::Write if self.profile.failing_writes.contains(&block) => Ending::Failed,
            Access::Write => self.write(placed.len),
        };
        (self.free_at + latency, ending)
    }

    fn write(&mut self, len: Bytes) -> Ending {
        self.writes += 1;
        let every = u64::from(self.profile.short_writes);
        let short = every > 0 && self.writes.is_multiple_of(every) && len > Bytes::new(1);
        let len = if short { Bytes::new(1 + self.rng.below(len.get() - 1)) } else { len };
        if self.profile.capacity.is_some_and(|capacity| self.used + len > capacity) {
            return Ending::Failed;
        }
        self.used += len;
        if short { Ending::Short(len) } else { Ending::Done }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_full_disk_takes_what_fits() {
        let capacity = Some(Bytes::new(2_600_000));
        let mut disk = Disk::new(DiskProfile { capacity, ..DiskProfile::default() }, Rng::new(1));
        let mut end = |position| disk.begin(Access::Write, &block(position), Timestamp::ZERO).1;
        assert_eq!([end(0), end(1), end(2)], [Ending::Done, Ending::Done, Ending::Failed]);
    }

    #[test]
    fn a_short_write_takes_a_part() {
        let profile = DiskProfile { short_writes: 2, ..DiskProfile::default() };
        let mut disk = Disk::new(profile, Rng::new(1));
        let mut end = |position| disk.begin(Access::Write, &block(position), Timestamp::ZERO).1;
        assert_eq!(end(0), Ending::Done);
        let Ending::Short(len) = end(1) else { panic!("it is not short") };
        assert!(len > Bytes::ZERO && len < block(1).len);
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
