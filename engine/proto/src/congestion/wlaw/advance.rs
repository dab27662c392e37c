//! The advance rate A: bytes of sequence space (received or lost) that resolve per time.
//!
//! ```text
//! A = (received + lost) / time      over max(r, 4 tau)
//! D = received / time               l = lost / (received + lost)
//! ```
//! Random loss does not disturb A at all, so a lossy link is filled without any loss estimate.
//! Anchoring the rate on A lets the queue integrate only once, which is what makes a window stable.
//!
//! Feedback arrives unevenly (reverse jitter, stalled hosts). The slope is therefore fitted by
//! least squares to all feedbacks of the window, not taken from its two ends.

use std::collections::VecDeque;

const POINTS_MAX: usize = 256;
const POINTS_MIN: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Point {
    at: f64,
    advanced: f64,
    received: f64,
    packets: f64,
}

/// See the module. Bytes per second.
#[derive(Debug)]
pub(super) struct Advance {
    points: VecDeque<Point>,
    total: Point,
    rate: f64,
    loss: f64,
    packets: f64,
}

impl Advance {
    pub(super) fn new() -> Self {
        Self {
            points: VecDeque::with_capacity(POINTS_MAX),
            total: Point { at: 0.0, advanced: 0.0, received: 0.0, packets: 0.0 },
            rate: 0.0,
            loss: 0.0,
            packets: 0.0,
        }
    }

    pub(super) fn on_received(&mut self, bytes: f64) {
        self.total.advanced += bytes;
        self.total.received += bytes;
        self.total.packets += 1.0;
    }

    pub(super) fn on_lost(&mut self, bytes: f64) {
        self.total.advanced += bytes;
        self.total.packets += 1.0;
    }

    /// A packet counted as lost arrived after all.
    pub(super) fn on_spurious(&mut self, bytes: f64) {
        self.total.received += bytes;
    }

    /// Closes one feedback and measures over `window` seconds.
    pub(super) fn on_feedback(&mut self, window: f64, at: f64) {
        let now = at.max(self.total.at);
        self.total.at = now;
        if self.points.len() == POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back(self.total);
        while self.points.len() > POINTS_MIN && now - self.points[1].at > window {
            self.points.pop_front();
        }
        self.measure();
    }

    /// A; zero until known.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Share lost over the window.
    pub(super) fn loss(&self) -> f64 {
        self.loss
    }

    /// Standard deviation of [`Self::loss`] for losses in runs of mean length `run`.
    pub(super) fn loss_sigma(&self, run: f64) -> f64 {
        let p = self.loss.clamp(0.0, 1.0);
        (p * (1.0 - p) * (2.0 * run - 1.0) / self.packets.max(1.0)).sqrt()
    }

    /// How many packets the window holds.
    pub(super) fn packets(&self) -> f64 {
        self.packets
    }

    /// The same as a whole number.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of packets in a window"
    )]
    pub(super) const fn counted(&self) -> u64 {
        self.packets as u64
    }

    /// D = A (1 - l).
    pub(super) fn delivered(&self) -> f64 {
        self.rate * (1.0 - self.loss)
    }

    /// Forgets the past: what resolves now says nothing about what was.
    pub(super) fn clear(&mut self) {
        self.points.clear();
        self.rate = 0.0;
    }

    fn measure(&mut self) {
        if self.points.len() < POINTS_MIN {
            return;
        }
        let (first, last) = (self.points[0], self.points[self.points.len() - 1]);
        let advanced = last.advanced - first.advanced;
        self.packets = last.packets - first.packets;
        if advanced > 0.0 {
            self.loss = (1.0 - (last.received - first.received) / advanced).clamp(0.0, 1.0);
        }
        self.rate = slope(&self.points);
    }
}

/// Least-squares slope of `advanced` over `at`.
fn slope(points: &VecDeque<Point>) -> f64 {
    let (origin, n) = (points[0], f64::from(u32::try_from(points.len()).unwrap_or(u32::MAX)));
    let x = |p: &Point| p.at - origin.at;
    let y = |p: &Point| p.advanced - origin.advanced;
    let mean_x = points.iter().map(x).sum::<f64>() / n;
    let mean_y = points.iter().map(y).sum::<f64>() / n;
    let (mut covariance, mut variance) = (0.0, 0.0);
    for point in points {
        covariance += (x(point) - mean_x) * (y(point) - mean_y);
        variance += (x(point) - mean_x) * (x(point) - mean_x);
    }
    if variance > 0.0 { (covariance / variance).max(0.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_does_not_disturb_the_advance_rate() {
        let mut advance = Advance::new();
        for step in 0..100u32 {
            for packet in 0..10 {
                match (step + packet) % 5 {
                    0 => advance.on_lost(1500.0),
                    _ => advance.on_received(1500.0),
                }
            }
            advance.on_feedback(0.1, f64::from(step) * 0.01);
        }
        assert!((advance.rate() / 1.5e6 - 1.0).abs() < 1e-9);
        assert!((advance.loss() - 0.2).abs() < 1e-9);
        assert!((advance.delivered() / 1.2e6 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn one_late_feedback_moves_the_rate_by_less_than_its_lateness() {
        let mut advance = Advance::new();
        for step in 0..40u32 {
            advance.on_received(15_000.0);
            let late = if step == 39 { 0.01 } else { 0.0 };
            advance.on_feedback(0.1, f64::from(step) * 0.01 + late);
        }
        // Ten milliseconds late at the end of a window of 100 ms.
        assert!(advance.rate() / 1.5e6 > 0.9 && advance.rate() / 1.5e6 < 1.0);
    }
}
