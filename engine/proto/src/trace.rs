//! What a session tells about itself: counters, delays, and what limits it at each moment.
//!
//! This is the schema; formatting, logging and export belong to the body.

use crate::units::{Bytes, Ratio, Timestamp};
use core::time::Duration;
use hdrhistogram::Histogram;

/// What keeps a transfer from going faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// The rate that the controller found on the path.
    Link,
    /// The rate that the user asked for.
    Policy,
    /// Reading the source.
    SourceDisk,
    /// Writing at the destination.
    DestinationDisk,
    /// The receiver's buffers.
    Receiver,
    /// The sender's buffers.
    Sender,
    /// This host's processor.
    Cpu,
    /// The peer does not answer.
    Peer,
    /// The rate is still being looked for.
    StartUp,
    /// Everything is sent; the last round trips.
    Tail,
}

impl Limit {
    const ALL: [Self; 10] = [
        Self::Link,
        Self::Policy,
        Self::SourceDisk,
        Self::DestinationDisk,
        Self::Receiver,
        Self::Sender,
        Self::Cpu,
        Self::Peer,
        Self::StartUp,
        Self::Tail,
    ];

    /// Its number on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The limit of that number, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The name in output that users script against.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Policy => "policy",
            Self::SourceDisk => "source disk",
            Self::DestinationDisk => "destination disk",
            Self::Receiver => "receiver",
            Self::Sender => "sender buffers",
            Self::Cpu => "cpu",
            Self::Peer => "peer",
            Self::StartUp => "start-up",
            Self::Tail => "tail",
        }
    }
}

/// Adds up how long each limit applied.
#[derive(Clone, Debug, Default)]
pub struct LimitClock {
    spent: [Duration; Limit::ALL.len()],
    current: Option<Limit>,
    since: Timestamp,
}

impl LimitClock {
    /// From now on `limit` applies (`None`: nothing to do).
    pub fn set(&mut self, limit: Option<Limit>, now: Timestamp) {
        if let Some(current) = self.current {
            self.spent[current as usize] += now.since(self.since);
        }
        self.current = limit;
        self.since = now;
    }

    /// What applies now.
    pub const fn current(&self) -> Option<Limit> {
        self.current
    }

    /// What applied for the longest time.
    pub fn dominant(&self) -> Option<Limit> {
        let longest = Limit::ALL.into_iter().max_by_key(|&limit| self.spent[limit as usize])?;
        (self.spent[longest as usize] > Duration::ZERO).then_some(longest)
    }
}

/// Delay histogram in microseconds, up to a minute, two significant digits.
#[derive(Clone, Debug)]
pub struct DelayHistogram(Histogram<u64>);

const DELAY_MAX_US: u64 = 60_000_000;

impl Default for DelayHistogram {
    fn default() -> Self {
        Self::new()
    }
}

impl DelayHistogram {
    /// An empty histogram.
    #[expect(clippy::missing_panics_doc, reason = "the bounds are constants that the crate takes")]
    pub fn new() -> Self {
        Self(
            Histogram::new_with_bounds(1, DELAY_MAX_US, 2).expect("1 .. 60 s at 2 digits is valid"),
        )
    }

    /// Takes a value in.
    pub fn record(&mut self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros.clamp(1, DELAY_MAX_US));
    }

    /// The value that `quantile` (0 ..= 1) of all values do not exceed; zero when empty.
    pub fn quantile(&self, quantile: f64) -> Duration {
        if self.0.is_empty() {
            return Duration::ZERO;
        }
        Duration::from_micros(self.0.value_at_quantile(quantile))
    }
}

/// Counters of a session since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// Bytes sent on lanes, at IP level.
    pub wire_sent: Bytes,
    /// Lane packets sent, skipped numbers not counted.
    pub packets_sent: u64,
    /// Data and padding packets that arrived at the peer.
    pub packets_acked: u64,
    /// Data and padding packets declared lost and not seen since.
    pub packets_lost: u64,
    /// Lost packets that arrived after all.
    pub packets_spurious: u64,
    /// Feedback packets sent.
    pub reports_sent: u64,
    /// Feedback packets received.
    pub reports_received: u64,
    /// Packets that the peer's host dropped before Farhaul saw them.
    pub receiver_drops: u64,
}

impl Counters {
    /// Lost packets as a share of all packets whose fate is known.
    pub const fn loss(&self) -> Ratio {
        Ratio::of(self.packets_lost, self.packets_acked + self.packets_lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_survive_the_wire_and_unknown_ones_mean_nothing() {
        for limit in Limit::ALL {
            assert_eq!(Limit::from_code(limit.code()), Some(limit));
        }
        assert_eq!(Limit::from_code(200), None);
    }

    #[test]
    fn the_longest_limit_dominates() {
        let mut clock = LimitClock::default();
        clock.set(Some(Limit::StartUp), Timestamp::from_millis(0));
        clock.set(Some(Limit::Link), Timestamp::from_millis(300));
        clock.set(None, Timestamp::from_millis(900));
        clock.set(Some(Limit::Tail), Timestamp::from_millis(5000));
        clock.set(None, Timestamp::from_millis(5100));
        assert_eq!(clock.dominant(), Some(Limit::Link));
    }

    #[test]
    fn nothing_limits_a_session_that_did_nothing() {
        assert_eq!(LimitClock::default().dominant(), None);
    }

    #[test]
    fn delays_are_kept_within_two_digits() {
        let mut delays = DelayHistogram::new();
        for ms in 1..=100 {
            delays.record(Duration::from_millis(ms));
        }
        let p95 = delays.quantile(0.95);
        assert!((94..=96).contains(&p95.as_millis()), "{p95:?}");
    }
}
