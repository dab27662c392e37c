//! What our own sending did to the queue, up to a constant rise.
//!
//! ```text
//! u(t) = integral of (R/A - 1)        R: what left; A: the advance rate
//! ```
//! Behind a busy link a packet sent at t2 waits u(t2) - u(t1) longer than one sent at t1, as far as
//! it is our doing. What the delay does beyond that, others do, or the path.

use std::collections::VecDeque;

/// Points remembered: eight round trips.
const KEPT: usize = 512;
/// Pulses of a quarter of the round trip need a finer grain than feedback has.
const POINTS_PER_RTT: f64 = 64.0;
const SPACING_MIN: f64 = 0.001;

/// See the module. Bytes and seconds.
#[derive(Debug)]
pub(super) struct Sending {
    sent: f64,
    noted_at: f64,
    past: VecDeque<(f64, f64)>,
}

impl Sending {
    pub(super) fn new() -> Self {
        Self { sent: 0.0, noted_at: 0.0, past: VecDeque::with_capacity(KEPT) }
    }

    /// A packet leaves; `r` is the round trip, `arrives` the advance rate.
    pub(super) fn on_sent(&mut self, bytes: f64, r: f64, arrives: f64, now: f64) {
        let span = now - self.noted_at;
        if span > (r / POINTS_PER_RTT).max(SPACING_MIN) {
            let before = self.past.back().map_or(0.0, |p| p.1);
            let rise = if arrives > 0.0 { self.sent / arrives - span } else { 0.0 };
            if self.past.len() == KEPT {
                self.past.pop_front();
            }
            self.past.push_back((now, before + rise));
            (self.sent, self.noted_at) = (0.0, now);
        }
        self.sent += bytes;
    }

    /// u(t).
    pub(super) fn at(&self, time: f64) -> f64 {
        let index = self.past.partition_point(|p| p.0 < time);
        match (index.checked_sub(1).and_then(|i| self.past.get(i)), self.past.get(index)) {
            (Some(a), Some(b)) if b.0 > a.0 => a.1 + (b.1 - a.1) * (time - a.0) / (b.0 - a.0),
            (Some(only), _) | (None, Some(only)) => only.1,
            (None, None) => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sending_a_tenth_too_fast_for_a_second_queues_a_tenth_of_a_second() {
        let mut sending = Sending::new();
        for step in 0..2_950u32 {
            let bytes = if (1_000..2_000).contains(&step) { 1_100.0 } else { 1_000.0 };
            sending.on_sent(bytes, 0.1, 1e6, f64::from(step) * 0.001);
        }
        let quiet = sending.at(2.9) - sending.at(2.5);
        assert!(quiet.abs() < 0.005, "{quiet}");
        let grew = sending.at(1.99) - sending.at(1.95);
        assert!((0.002..0.006).contains(&grew), "{grew}");
    }
}
