//! The token pacer: when bytes may leave, in bursts that are bounded in time.
//!
//! ```text
//! quantum = what the rate sends in 500 us (250 us above 5 Gbit/s), at least one packet
//! below 20 Mbit/s: single packets
//! ```
//! There is no constant cap: a bucket of so many packets times a timer of so many milliseconds is
//! a hidden speed limit. Trains may overdraw the bucket; the debt is paid before anything else
//! leaves. It does not know what is sent, and it keeps no timer.

use crate::units::{BitRate, Bytes, Timestamp};
use core::time::Duration;

const QUANTUM: Duration = Duration::from_micros(500);
const QUANTUM_FAST: Duration = Duration::from_micros(250);
const FAST: BitRate = BitRate::mbps(5_000);
/// Below this, bursts would be visible as queue: packets leave one by one.
const SINGLES_BELOW: BitRate = BitRate::mbps(20);
/// An IP packet of the usual size.
const PACKET: Bytes = Bytes::new(1_500);

/// See the module. The bucket is kept as the time at which it will have no debt: exact at any
/// rate, and free of drift.
#[derive(Clone, Debug)]
pub struct Pacer {
    /// What was sent has been paid for at this time.
    paid: Timestamp,
    /// Fraction of a nanosecond beyond `paid`, in bits at `rate`: keeps the long-run rate exact.
    rate: BitRate,
    remainder: u128,
}

impl Pacer {
    /// A full bucket.
    pub fn new() -> Self {
        Self { paid: Timestamp::ZERO, rate: BitRate::ZERO, remainder: 0 }
    }

    /// Bytes that may leave now at `rate`: none, or at least one packet's worth.
    pub fn budget(&mut self, now: Timestamp, rate: BitRate) -> Bytes {
        self.settle(now, rate);
        if now < self.paid {
            return Bytes::ZERO;
        }
        rate.bytes_in(now.since(self.paid)).max(PACKET)
    }

    /// `bytes` left, at the time and rate of the last [`Self::budget`] or
    /// [`Self::next_release`]. May exceed the budget (a train): the rest is a debt.
    pub fn on_sent(&mut self, bytes: Bytes) {
        if self.rate == BitRate::ZERO {
            return;
        }
        let rate = u128::from(self.rate.get());
        let bits = u128::from(bytes.get()) * 8 * 1_000_000_000 + self.remainder;
        let nanos = u64::try_from(bits / rate).unwrap_or(u64::MAX);
        self.remainder = bits % rate;
        self.paid += Duration::from_nanos(nanos);
    }

    /// When `bytes` may leave in one burst at `rate`; `now` if at once. A burst larger than the
    /// quantum is not waited for: the answer is when the quantum is full.
    pub fn next_release(&mut self, now: Timestamp, rate: BitRate, bytes: Bytes) -> Timestamp {
        self.settle(now, rate);
        let wanted = bytes.saturating_sub(PACKET).time_at(rate).min(span(rate));
        (self.paid + wanted).max(now)
    }

    /// The largest burst at `rate`.
    pub fn quantum(rate: BitRate) -> Bytes {
        rate.bytes_in(span(rate)) + PACKET
    }

    /// Takes the new rate, and forgets credit beyond the quantum.
    fn settle(&mut self, now: Timestamp, rate: BitRate) {
        if rate != self.rate {
            if now < self.paid && self.rate != BitRate::ZERO {
                // The debt is in bytes: at the new rate it takes another time.
                let debt = self.rate.bytes_in(self.paid.since(now));
                self.paid = now + debt.time_at(rate);
            }
            (self.rate, self.remainder) = (rate, 0);
        }
        self.paid = self.paid.max(now - span(rate));
    }
}

impl Default for Pacer {
    fn default() -> Self {
        Self::new()
    }
}

/// How much unused time the bucket keeps beyond one packet.
fn span(rate: BitRate) -> Duration {
    if rate < SINGLES_BELOW {
        Duration::ZERO
    } else if rate > FAST {
        QUANTUM_FAST
    } else {
        QUANTUM
    }
}
