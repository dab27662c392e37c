//! A server of constant rate as one number: the time at which everything accepted so far is done.
//!
//! It holds no packets; drop tail, serialisation and token buckets (virtual scheduling, ITU-T
//! I.371 annex A) are all comparisons with that time. Fractions of a nanosecond are kept, so that
//! the long-run rate is exact at any packet size.

use core::time::Duration;
use farhaul_proto::units::{BitRate, Bytes, Timestamp};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Shaper {
    /// 2^-32 ns that one byte takes.
    per_byte: u64,
    done: Timestamp,
    /// 2^-32 ns beyond `done`.
    done_fraction: u32,
}

impl Shaper {
    pub(super) fn new(rate: BitRate) -> Self {
        Self { per_byte: per_byte(rate), done: Timestamp::ZERO, done_fraction: 0 }
    }

    /// Changes the rate; what was accepted keeps its time.
    pub(super) fn set_rate(&mut self, rate: BitRate) {
        self.per_byte = per_byte(rate);
    }

    /// How long what was accepted still takes.
    pub(super) fn backlog(&self, now: Timestamp) -> Duration {
        self.done.since(now)
    }

    /// How long `bytes` take by themselves, rounded down.
    pub(super) fn time_of(&self, bytes: Bytes) -> Duration {
        let fractions = u128::from(self.per_byte) * u128::from(bytes.get());
        Duration::from_nanos(u64::try_from(fractions >> 32).unwrap_or(u64::MAX))
    }

    /// Accepts `bytes` now; answers when their last bit is done.
    pub(super) fn accept(&mut self, bytes: Bytes, now: Timestamp) -> Timestamp {
        if self.done < now {
            (self.done, self.done_fraction) = (now, 0);
        }
        let fractions =
            u128::from(self.per_byte) * u128::from(bytes.get()) + u128::from(self.done_fraction);
        let nanos = u64::try_from(fractions >> 32).unwrap_or(u64::MAX);
        self.done += Duration::from_nanos(nanos);
        self.done_fraction = u32::try_from(fractions & 0xffff_ffff).unwrap_or(u32::MAX);
        self.done
    }
}

fn per_byte(rate: BitRate) -> u64 {
    let fractions = (8_000_000_000u128 << 32) / u128::from(rate.get().max(1));
    u64::try_from(fractions).unwrap_or(u64::MAX)
}
