//! One direction of one link: what becomes of each packet that is offered, and when.
//!
//! ```text
//! offer -> down? -> mtu -> policer -> early drop -> drop-tail queue -> serialise
//!       -> random loss -> propagation + jitter -> Fate
//! ```
//! The fate is known at once, so the link holds no packets, allocates nothing per packet and does
//! O(1) work. It does not know what is in a packet and does not deliver: the caller keeps the
//! packet until the time it was told. Equal profile, seed and offers give equal fates.

mod jitter;
mod loss;
mod shaper;
mod stats;

pub use stats::{DelayHistogram, LinkStats};

use crate::profile::{LinkProfile, Policer, QueueLimit, Red};
use crate::rng::Rng;
use core::time::Duration;
use farhaul_proto::units::{BitRate, Bytes, Timestamp};
use jitter::JitterProcess;
use loss::LossProcess;
use shaper::Shaper;

/// How long after the original a duplicate arrives.
const DUPLICATE_AFTER: Duration = Duration::from_micros(50);

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropCause {
    /// The link is down.
    Down,
    /// Larger than the MTU.
    Mtu,
    /// Above the policed rate.
    Policer,
    /// Early drop.
    Red,
    /// The queue is full.
    Queue,
    /// Random loss.
    Loss,
}

impl DropCause {
    /// Every cause.
    pub const ALL: [Self; 6] =
        [Self::Down, Self::Mtu, Self::Policer, Self::Red, Self::Queue, Self::Loss];

    const fn index(self) -> usize {
        self as usize
    }
}

/// What becomes of an offered packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It never arrives.
    Dropped(DropCause),
    /// It arrives.
    Deliver {
        /// When its last bit arrives.
        at: Timestamp,
        /// When a second copy arrives, if one does.
        duplicate_at: Option<Timestamp>,
        /// True if it arrives damaged; a second copy never does.
        corrupt: bool,
    },
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Link {
    profile: LinkProfile,
    bottleneck: Shaper,
    policer: Shaper,
    loss: LossProcess,
    jitter: JitterProcess,
    rng: Rng,
    /// Arrival of the latest packet that keeps order; none may arrive before it.
    latest: Timestamp,
    stats: LinkStats,
}

impl Link {
    /// A link at rest. All its randomness follows from `seed`.
    pub fn new(profile: LinkProfile, seed: u64) -> Self {
        let rng = Rng::new(seed);
        Self {
            bottleneck: Shaper::new(profile.rate.unwrap_or(BitRate::MAX)),
            policer: Shaper::new(profile.policer.map_or(BitRate::MAX, |p| p.rate)),
            profile,
            loss: LossProcess::new(rng.fork("loss")),
            jitter: JitterProcess::new(rng.fork("jitter")),
            rng: rng.fork("rest"),
            latest: Timestamp::ZERO,
            stats: LinkStats::default(),
        }
    }

    /// What the link is like now.
    pub fn profile(&self) -> &LinkProfile {
        &self.profile
    }

    /// Changes the link while it runs. What was accepted keeps the time it was told; a shorter
    /// delay does not make later packets overtake earlier ones.
    pub fn set_profile(&mut self, profile: LinkProfile, now: Timestamp) {
        if profile.rate.is_none() {
            self.bottleneck = Shaper::new(BitRate::MAX);
        }
        self.bottleneck.set_rate(profile.rate.unwrap_or(BitRate::MAX));
        if self.profile.policer != profile.policer {
            self.policer = Shaper::new(profile.policer.map_or(BitRate::MAX, |p| p.rate));
        }
        self.latest = self.latest.max(now);
        self.profile = profile;
    }

    /// Offers a packet of `bytes` (IP level) at `now`. Calls must not go back in time.
    pub fn offer(&mut self, bytes: Bytes, now: Timestamp) -> Fate {
        self.carry(bytes, true, now)
    }

    /// The same for a packet of TCP, which the policer may spare.
    pub fn offer_tcp(&mut self, bytes: Bytes, now: Timestamp) -> Fate {
        self.carry(bytes, !self.profile.policer_spares_tcp, now)
    }

    fn carry(&mut self, bytes: Bytes, policed: bool, now: Timestamp) -> Fate {
        self.stats.offered += 1;
        if let Some(cause) = self.refusal(bytes, policed, now) {
            return self.drop_for(cause);
        }
        let departed = self.serialise(bytes, now);
        if self.loss.draw(self.profile.loss) {
            return self.drop_for(DropCause::Loss);
        }
        self.stats.delivered += 1;
        self.stats.bytes += bytes;
        let at = self.arrival(departed);
        let duplicate = self.rng.chance(self.profile.duplicate.get());
        let corrupt = self.rng.chance(self.profile.corrupt.get());
        self.stats.duplicated += u64::from(duplicate);
        self.stats.corrupted += u64::from(corrupt);
        Fate::Deliver { at, duplicate_at: duplicate.then(|| at + DUPLICATE_AFTER), corrupt }
    }

    /// The queue delay that a packet offered now would meet.
    pub fn queue_delay(&self, now: Timestamp) -> Duration {
        if self.profile.rate.is_none() { Duration::ZERO } else { self.bottleneck.backlog(now) }
    }

    /// What the link did so far.
    pub fn stats(&self) -> LinkStats {
        self.stats.clone()
    }

    /// What the link did since the last call, and starts counting afresh.
    pub fn take_stats(&mut self) -> LinkStats {
        core::mem::take(&mut self.stats)
    }

    /// Why the packet does not even enter the queue.
    fn refusal(&mut self, bytes: Bytes, policed: bool, now: Timestamp) -> Option<DropCause> {
        if self.profile.down {
            return Some(DropCause::Down);
        }
        if self.profile.mtu.is_some_and(|mtu| bytes.get() > u64::from(mtu)) {
            return Some(DropCause::Mtu);
        }
        if let Some(policer) = self.profile.policer.filter(|_| policed)
            && !self.conforms(policer, bytes, now)
        {
            return Some(DropCause::Policer);
        }
        let queue = self.queue_delay(now);
        if let Some(red) = self.profile.red
            && self.rng.chance(early_drop(red, queue))
        {
            return Some(DropCause::Red);
        }
        self.overflows(queue, bytes).then_some(DropCause::Queue)
    }

    fn conforms(&mut self, policer: Policer, bytes: Bytes, now: Timestamp) -> bool {
        let waiting = self.policer.backlog(now);
        let fits = waiting.is_zero() || waiting + self.policer.time_of(bytes) <= policer.bucket;
        if fits {
            self.policer.accept(bytes, now);
        }
        fits
    }

    /// Drop tail; a packet that finds the link idle always passes, however small the queue.
    fn overflows(&self, queue: Duration, bytes: Bytes) -> bool {
        let Some(rate) = self.profile.rate else { return false };
        if queue.is_zero() {
            return false;
        }
        match self.profile.queue {
            QueueLimit::Bytes(limit) => rate.bytes_in(queue) + bytes > limit,
            QueueLimit::Time(limit) => queue + self.bottleneck.time_of(bytes) > limit,
        }
    }

    fn serialise(&mut self, bytes: Bytes, now: Timestamp) -> Timestamp {
        if self.profile.rate.is_none() {
            return now;
        }
        self.stats.queue.record(self.bottleneck.backlog(now));
        self.stats.busy += self.bottleneck.time_of(bytes);
        self.bottleneck.accept(bytes, now)
    }

    fn arrival(&mut self, departed: Timestamp) -> Timestamp {
        let mut at = departed + self.profile.delay;
        let jitter = self.profile.jitter;
        if let Some(jitter) = jitter {
            at += self.jitter.draw(jitter, departed);
        }
        if self.rng.chance(self.profile.reorder.get()) {
            return at.max(self.latest) + self.profile.reorder_by.mul_f64(self.rng.f64());
        }
        if jitter.is_none_or(|j| !j.reorder) {
            at = at.max(self.latest);
            self.latest = at;
        }
        at
    }

    fn drop_for(&mut self, cause: DropCause) -> Fate {
        self.stats.dropped[cause.index()] += 1;
        Fate::Dropped(cause)
    }
}

fn early_drop(red: Red, queue: Duration) -> f64 {
    let (min, max) = (red.min.as_secs_f64(), red.max.as_secs_f64());
    let (queue, ceiling) = (queue.as_secs_f64(), red.ceiling.get());
    if queue <= min {
        0.0
    } else if queue <= max {
        ceiling * (queue - min) / (max - min)
    } else {
        (ceiling + (1.0 - ceiling) * (queue - max) / max).min(1.0)
    }
}

#[cfg(test)]
mod tests;
