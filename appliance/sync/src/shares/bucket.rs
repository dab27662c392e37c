//! A cap on what is sent: a bucket of little depth, and a watch over every 200 ms.
//!
//! The bucket alone holds the cap over time: it fills at the rate of the cap and is 4 ms deep, so
//! that no 200 ms carry more than 2 % above. A packet that is more than 4 ms of the cap (at 1408
//! bytes, a cap below 3 Mbit/s) goes once the bucket is full and leaves a debt; a packet more in
//! 200 ms would be more than 2 % there, so what was sent within them is counted as well
//! (spec: S-189).

use core::time::Duration;
use farhaul_proto::units::{BitRate, Bytes, Timestamp};
use std::collections::VecDeque;

/// The time within which a cap holds.
pub const WINDOW: Duration = Duration::from_millis(200);
/// By what a cap is exceeded within [`WINDOW`] at most: the depth of the bucket, 2 % of that.
pub const BURST: Duration = Duration::from_millis(4);

const NANOS_PER_SEC: i128 = 1_000_000_000;
const WINDOW_NANOS: u64 = 200_000_000;
const BURST_NANOS: u64 = 4_000_000;
/// What was sent is counted by the millisecond.
const SLOT_NANOS: u64 = 1_000_000;

/// What was sent within one millisecond.
#[derive(Clone, Copy, Debug)]
struct Slot {
    index: u64,
    bits: u128,
    /// The time that takes at the highest cap that was in force since.
    nanos: u64,
}

/// Says when something may be sent under a cap. A later cap takes effect at once.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: BitRate,
    at: Timestamp,
    /// What may be sent, in bits per [`NANOS_PER_SEC`]; below zero after a packet that was more
    /// than the bucket holds.
    level: i128,
    /// Ascending; at most as many as a window has milliseconds, and two more.
    sent: VecDeque<Slot>,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: BitRate, now: Timestamp) -> Self {
        Self { rate, at: now, level: depth(rate), sent: VecDeque::new() }
    }

    /// The cap in force.
    pub const fn rate(&self) -> BitRate {
        self.rate
    }

    /// Another cap from now on. No window after this carries more than the new one allows; one that
    /// began before, no more than the highest that was in force within it.
    pub fn set_rate(&mut self, rate: BitRate, now: Timestamp) {
        self.advance(now);
        self.rate = rate;
        self.level = self.level.min(depth(rate));
        for slot in &mut self.sent {
            slot.nanos = slot.nanos.min(nanos_at(slot.bits, rate));
        }
    }

    /// Takes `bytes` (as they stand on the wire), or says for how long to wait before it is worth
    /// asking again: if nothing else is taken until then, they will be given. `Duration::MAX` under
    /// a cap of zero.
    #[must_use = "nothing may be sent while there is a time to wait"]
    pub fn take(&mut self, bytes: Bytes, now: Timestamp) -> Option<Duration> {
        self.advance(now);
        let bits = u128::from(bytes.get()) * 8;
        if bits == 0 {
            return None;
        }
        if self.rate == BitRate::ZERO {
            return Some(Duration::MAX);
        }
        let nanos = nanos_at(bits, self.rate);
        let wait = self.until_full_enough(bits).max(self.until_window_has_room(nanos));
        if wait > 0 {
            return Some(Duration::from_nanos(wait));
        }
        self.level -= signed(bits).saturating_mul(NANOS_PER_SEC);
        self.count(bits, nanos);
        None
    }

    /// Fills the bucket for the time that went by, and forgets what is no longer in any window. A
    /// time before the last one is that one.
    fn advance(&mut self, now: Timestamp) {
        let span = now.since(self.at).as_nanos();
        self.at = self.at.max(now);
        let filled = signed(u128::from(self.rate.get()).saturating_mul(span));
        self.level = self.level.saturating_add(filled).min(depth(self.rate));
        let first = self.at.as_nanos().saturating_sub(WINDOW_NANOS) / SLOT_NANOS;
        while self.sent.front().is_some_and(|slot| slot.index < first) {
            self.sent.pop_front();
        }
    }

    /// Nanoseconds until the bucket has that, or is full.
    fn until_full_enough(&self, bits: u128) -> u64 {
        let wanted = signed(bits).saturating_mul(NANOS_PER_SEC).min(depth(self.rate));
        let lacking = wanted.saturating_sub(self.level).max(0);
        super::clamp(lacking.unsigned_abs().div_ceil(u128::from(self.rate.get())))
    }

    /// Nanoseconds until what was sent in a window leaves room for so much more. What is more than
    /// a window in itself goes when nothing else is in it.
    fn until_window_has_room(&self, nanos: u64) -> u64 {
        let room = WINDOW_NANOS + BURST_NANOS;
        let mut sum = self.sent.iter().fold(nanos, |sum, slot| sum.saturating_add(slot.nanos));
        let mut until = 0;
        for slot in &self.sent {
            if sum <= room {
                break;
            }
            sum = sum.saturating_sub(slot.nanos);
            let gone = slot.index.saturating_add(1).saturating_mul(SLOT_NANOS);
            until = gone.saturating_add(WINDOW_NANOS).saturating_sub(self.at.as_nanos());
        }
        until
    }

    fn count(&mut self, bits: u128, nanos: u64) {
        let index = self.at.as_nanos() / SLOT_NANOS;
        match self.sent.back_mut().filter(|slot| slot.index == index) {
            Some(slot) => {
                slot.bits = slot.bits.saturating_add(bits);
                slot.nanos = slot.nanos.saturating_add(nanos);
            }
            None => self.sent.push_back(Slot { index, bits, nanos }),
        }
    }
}

/// What a bucket of that cap holds.
fn depth(rate: BitRate) -> i128 {
    i128::from(rate.get()) * i128::from(BURST_NANOS)
}

/// The time that bits take; rounds up, and for ever at zero.
fn nanos_at(bits: u128, rate: BitRate) -> u64 {
    if rate == BitRate::ZERO {
        return u64::MAX;
    }
    let nanos = bits.saturating_mul(NANOS_PER_SEC.unsigned_abs());
    super::clamp(nanos.div_ceil(u128::from(rate.get())))
}

fn signed(n: u128) -> i128 {
    i128::try_from(n).unwrap_or(i128::MAX)
}
