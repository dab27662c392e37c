//! What the emulator tells about itself: serialised as JSON over the control socket.
//!
//! Every loss has a name: what the modelled link dropped on purpose is kept apart from what the
//! emulator itself could not carry (`own_drops`), because the second kind spoils a measurement.

use farhaul_proto::units::{BitRate, Bytes, Ratio, Timestamp};
use farhaul_sim::link::{DelayHistogram, DropCause, Link};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Packets that were lost although the link model would have passed them; frames where the packets
/// in them are unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnDrops {
    /// Frames for which no memory was left.
    pub memory_full: u64,
    /// Frames that could not be understood.
    pub malformed: u64,
    /// Failed reads.
    pub read_failed: u64,
    /// Packets that the output device refused.
    pub write_failed: u64,
    /// Frames that the input device dropped because the emulator was too slow.
    pub device: u64,
}

impl OwnDrops {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.memory_full + self.malformed + self.read_failed + self.write_failed + self.device
    }
}

/// Packets the link dropped, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkDrops {
    /// The link was down.
    pub down: u64,
    /// Larger than the MTU.
    pub mtu: u64,
    /// Above the policed rate.
    pub policer: u64,
    /// Early drop.
    pub red: u64,
    /// The queue was full.
    pub queue: u64,
    /// Random loss.
    pub loss: u64,
    /// No mapping in the translator of the site they went to; these passed the link.
    #[serde(default)]
    pub nat: u64,
}

/// One direction's state; spans are in microseconds, rates in bits per second at IP level.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DirectionStatus {
    /// Packets offered to the link.
    pub offered: u64,
    /// Bytes of those, at IP level.
    pub offered_bytes: u64,
    /// Packets that passed it, duplicates not counted.
    pub delivered: u64,
    /// Bytes of those.
    pub delivered_bytes: u64,
    /// Packets that passed twice.
    pub duplicated: u64,
    /// Packets that were damaged.
    pub corrupted: u64,
    /// Packets that left after one that was offered later; second copies do not count.
    pub reordered: u64,
    /// Packets dropped on purpose.
    pub dropped: LinkDrops,
    /// Packets lost by the emulator's own fault.
    pub own_drops: OwnDrops,
    /// Packets under way now.
    pub in_flight: u64,
    /// Offered rate over the last second.
    pub rate_in_bps: u64,
    /// Delivered rate over the last second.
    pub rate_out_bps: u64,
    /// Delay that a packet would meet in the queue now.
    pub queue_us: u64,
    /// Mean of the queue delay that packets met.
    pub queue_mean_us: u64,
    /// 95th percentile of it.
    pub queue_p95_us: u64,
    /// Median of how late packets left.
    pub late_p50_us: u64,
    /// 99th percentile of how late packets left.
    pub late_p99_us: u64,
    /// The latest that a packet left.
    pub late_max_us: u64,
    /// Times that the machine kept the emulator from running for more than 1 ms while frames waited;
    /// those are then offered to the link as if they had come evenly.
    pub standstills: u64,
    /// The longest of them.
    pub standstill_max_us: u64,
    /// CPU time of the direction's thread, with the kernel's receive work it triggers.
    pub cpu_seconds: f64,
    /// True when the thread runs in the real-time class.
    pub real_time: bool,
    /// What the link is like, as TOML.
    pub profile: String,
}

impl DirectionStatus {
    /// What the link itself knows.
    pub(crate) fn new(link: &Link, now: Timestamp) -> Self {
        let stats = link.stats();
        Self {
            offered: stats.offered,
            delivered: stats.delivered,
            delivered_bytes: stats.bytes.get(),
            duplicated: stats.duplicated,
            corrupted: stats.corrupted,
            dropped: LinkDrops {
                down: stats.dropped(DropCause::Down),
                mtu: stats.dropped(DropCause::Mtu),
                policer: stats.dropped(DropCause::Policer),
                red: stats.dropped(DropCause::Red),
                queue: stats.dropped(DropCause::Queue),
                loss: stats.dropped(DropCause::Loss),
                nat: 0,
            },
            queue_us: micros(link.queue_delay(now)),
            queue_mean_us: micros(stats.queue.mean()),
            queue_p95_us: micros(stats.queue.p95()),
            profile: link.profile().to_toml().unwrap_or_default(),
            ..Self::default()
        }
    }

    pub(crate) fn with_flight(
        mut self,
        in_flight: usize,
        reordered: u64,
        lateness: &DelayHistogram,
    ) -> Self {
        self.in_flight = in_flight as u64;
        self.reordered = reordered;
        self.late_p50_us = micros(lateness.quantile(Ratio::new(0.5)));
        self.late_p99_us = micros(lateness.quantile(Ratio::new(0.99)));
        self.late_max_us = micros(lateness.max());
        self
    }

    pub(crate) fn with_rates(
        mut self,
        rate_in: &RateMeter,
        rate_out: &RateMeter,
        now: Timestamp,
    ) -> Self {
        self.offered_bytes = rate_in.total().get();
        self.rate_in_bps = rate_in.rate(now).get();
        self.rate_out_bps = rate_out.rate(now).get();
        self
    }

    pub(crate) fn with_own_drops(mut self, own_drops: OwnDrops) -> Self {
        self.own_drops = own_drops;
        self
    }

    pub(crate) fn with_standstills(mut self, (count, longest): (u64, Duration)) -> Self {
        self.standstills = count;
        self.standstill_max_us = micros(longest);
        self
    }

    pub(crate) fn with_thread(mut self, cpu: Duration, real_time: bool) -> Self {
        self.cpu_seconds = cpu.as_secs_f64();
        self.real_time = real_time;
        self
    }
}

pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

const WINDOW: Duration = Duration::from_secs(1);

/// The rate over the last whole window of a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RateMeter {
    since: Timestamp,
    bytes: Bytes,
    total: Bytes,
    last: BitRate,
}

impl RateMeter {
    pub(crate) fn add(&mut self, bytes: Bytes, now: Timestamp) {
        let span = now.since(self.since);
        if span >= WINDOW {
            self.last = self.bytes.rate_over(span);
            self.bytes = Bytes::ZERO;
            self.since = now;
        }
        self.bytes += bytes;
        self.total += bytes;
    }

    /// All bytes ever added.
    pub(crate) fn total(&self) -> Bytes {
        self.total
    }

    pub(crate) fn rate(&self, now: Timestamp) -> BitRate {
        let span = now.since(self.since);
        if span >= WINDOW { self.bytes.rate_over(span) } else { self.last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_shows_the_last_whole_second_and_then_fades() {
        let mut meter = RateMeter::default();
        for step in 1..=2000 {
            meter.add(Bytes::new(125), Timestamp::from_millis(step));
        }
        let rate = meter.rate(Timestamp::from_millis(2100)).get();
        assert!((990_000..=1_010_000).contains(&rate), "{rate}");
        assert!(meter.rate(Timestamp::from_millis(60_000)).get() < 20_000);
    }
}
