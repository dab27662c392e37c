//! A job that is over before the path's rate is known: it is its own measure of it.
//!
//! Padding that looks for the rate costs as much as such a job. So it goes out at once, its first
//! packets as the train that is due anyway, the others at a rate that has little to lose:
//!
//! ```text
//! job of at most 66 KiB, start-up, fewer than 64 packets sent:  R = max(R, 256 packets / round trip)
//! ```
//! Sixty packets at four times what a round trip may later carry overrun a thin link no more than the
//! second train of a long start-up does. spec: W-120

use super::Session;
use crate::limits::SYMBOL_SIZE;
use crate::path::mtu::packet_bytes;
use crate::units::{BitRate, Bytes, Timestamp};

/// Data of a small job: 48 symbols.
const SMALL: Bytes = Bytes::new(48 * SYMBOL_SIZE as u64);
/// Packets that a small job may send at the higher rate, reports and questions included.
const PACKETS: u64 = 64;
/// The rate, in packets of a round trip.
const PACKETS_PER_RTT: u64 = 256;
/// A train of fewer symbols would measure nothing.
const TRAIN_MIN: Bytes = Bytes::new(8 * SYMBOL_SIZE as u64);

/// How much there is to send in all, as far as is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Job {
    /// Announced before anything could be declared; the maximum if nobody knows.
    announced: Bytes,
    declared: Bytes,
}

impl Job {
    /// Before anything is declared somebody says how much it will be, or that nobody knows.
    pub(super) fn announce(&mut self, expected: Option<Bytes>) {
        self.announced = self.announced.max(expected.unwrap_or(Bytes::MAX));
    }

    /// An object was declared.
    pub(super) fn on_declared(&mut self, len: Bytes) {
        self.declared += len;
    }

    fn is_small(&self) -> bool {
        self.announced.max(self.declared) <= SMALL
    }
}

impl Session {
    /// A small job, and the rate of the path is not known.
    pub(super) fn is_small_start(&self) -> bool {
        self.job.is_small() && self.controller.view().starting
    }

    /// What the controller allows now, and at the start of a small job a little more.
    pub(super) fn pacing_rate(&self, now: Timestamp) -> BitRate {
        let rate = self.controller.pacing_rate(now);
        if self.counters.packets_sent >= PACKETS || !self.is_small_start() {
            return rate;
        }
        let packets = packet_bytes(SYMBOL_SIZE).saturating_mul(PACKETS_PER_RTT);
        let start = packets.rate_over(self.rtt.smoothed());
        rate.max(start.min(self.config.bounds.cap().unwrap_or(BitRate::MAX)))
    }

    /// A train may be filled up with padding: something is still to be sent for the first time, or
    /// soon will be, and it is more than the padding.
    pub(super) fn pads_trains(&self) -> bool {
        let more = self.idle_trains_left > 0 || self.sender.unsent() > Bytes::ZERO;
        more && !self.is_small_start()
    }

    /// A train could measure something and would not be padding alone.
    pub(super) fn wants_train(&self) -> bool {
        let carries = || self.sender.has_symbol() && self.sender.unsent() >= TRAIN_MIN;
        self.is_steering() && (self.pads_trains() || (self.is_small_start() && carries()))
    }
}
