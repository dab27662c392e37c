//! The queue delay q, its noise allowance, and its target Q.
//!
//! ```text
//! q  = min(rtt over w) - d          w = max(r/4, 3 tau), at least 32 samples, longer where the path swings
//! nu = max(4 (mean - min)/n over samples, the same over feedbacks) - 0.5 ms
//! Q0 = kappa clamp(0.04 d, 1.6 ms, 25 ms)
//! f(x) = x up to 4, 2 sqrt(x) above, within 0.5 .. 12         x = weight C / R
//! Q  = Q0 f(x) + nu + packet/R
//! ```
//! The minimum, not the mean: jitter, bursts and a stalled host only ever add delay. For uniform
//! jitter E\[min\] is about 2 (mean - min)/n; it is taken twice. Delay that belongs to the reverse
//! path is common to all samples of one feedback, so the allowance also looks at feedbacks.
//!
//! Where the path itself swings (radio links) even the minimum over r/4 is noise. Then the window
//! is longer (see `swing`), the loop slows with it, and what successive minima still differ by is
//! allowed for, up to 10 ms.

use super::swing::{Pace, Swing};
use std::collections::VecDeque;

/// Share of the base that may stand as queue.
const TARGET_SHARE: f64 = 0.04;
/// Below this, weighted sharing at 20 ms breaks (rate-law grid).
const TARGET_MIN: f64 = 0.0016;
const TARGET_MAX: f64 = 0.025;
/// `low` aims at half, and never above this, to stay below 10 ms at p95.
const TARGET_LOW_MAX: f64 = 0.003;
/// Above this surplus the target grows with the root only: queues of n flows grow with sqrt(n).
const KNEE: f64 = 4.0;
const SAMPLES_MIN: u32 = 32;
/// Half a millisecond of spread is the sender's own bursts, not jitter.
const ALLOWANCE_FREE: f64 = 0.0005;
/// Feedbacks remembered; 2 s at 5 ms would be 400, longer windows thin out.
const ENTRIES_MAX: usize = 512;
/// Under jitter the minima of successive windows still differ; so much of it is allowed for.
const SWINGS: f64 = 1.5;
const SWING_ALLOWED: f64 = 0.010;

/// The queue that the law aims at without surplus or noise, in seconds.
pub(super) fn target_base(kappa: f64, d: f64, low: bool) -> f64 {
    let target = (TARGET_SHARE * d).clamp(TARGET_MIN, TARGET_MAX);
    kappa * if low { (target / 2.0).min(TARGET_LOW_MAX) } else { target }
}

/// The multiple of the base target that a flow with this surplus aims at.
pub(super) fn surplus_factor(x: f64) -> f64 {
    (if x <= KNEE { x } else { 2.0 * x.sqrt() }).clamp(0.5, 12.0)
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: f64,
    min: f64,
    sum: f64,
    count: u32,
}

/// See the module. Times in seconds.
#[derive(Debug)]
pub(super) struct QueueDelay {
    entries: VecDeque<Entry>,
    /// Smallest RTT of the window.
    min: f64,
    allowance: f64,
    window: f64,
    swing: Swing,
}

impl QueueDelay {
    pub(super) fn new(initial: f64) -> Self {
        Self {
            entries: VecDeque::with_capacity(ENTRIES_MAX),
            min: initial,
            allowance: 0.0,
            window: initial / 4.0,
            swing: Swing::new(),
        }
    }

    /// Something was lost to a limit while others were on the path. If the delay stood above `standing` for all of the last `span`,
    /// that is a queue and no swing, and was overlooked in a window that is too long.
    pub(super) fn on_hit(&mut self, standing: f64, span: f64, now: f64) {
        let recent = self.entries.iter().rev().take_while(|e| now - e.at < span);
        let least = recent.map(|e| e.min).fold(f64::INFINITY, f64::min);
        if least.is_finite() && least > standing {
            self.swing = Swing::new();
        }
    }

    /// Takes the delays of one feedback; `r` is the current round trip, `tau` the spacing of
    /// feedback, `target` the current queue target.
    pub(super) fn on_feedback(
        &mut self,
        rtts: impl Iterator<Item = (f64, f64)>,
        timing: Timing,
        target: f64,
        now: f64,
    ) {
        let mut entry = Entry { at: now, min: f64::INFINITY, sum: 0.0, count: 0 };
        let mut caused = 0.0;
        for (rtt, ours) in rtts {
            if rtt < entry.min {
                (entry.min, caused) = (rtt, ours);
            }
            entry.sum += rtt;
            entry.count += 1;
        }
        if entry.count == 0 {
            return;
        }
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
        let normal = (timing.r / 4.0).max(3.0 * timing.tau);
        let loop_delay = timing.r + timing.tau + normal;
        let pace = Pace { target, tau: timing.tau, grain: timing.grain, loop_delay };
        self.swing.on_feedback((entry.min, caused), pace, now);
        self.window = normal.max(self.swing.window());
        self.evaluate(timing.r.max(self.window), now);
    }

    /// Queue delay above the base `d`.
    pub(super) fn delay(&self, d: f64) -> f64 {
        (self.min - d).max(0.0)
    }

    /// How much of it may be noise.
    pub(super) fn allowance(&self) -> f64 {
        self.allowance + (SWINGS * self.swing.rest()).min(SWING_ALLOWED)
    }

    /// The span over which anything else must be measured while the path swings; else zero.
    pub(super) fn window_under_jitter(&self) -> f64 {
        2.0 * self.swing.window()
    }

    /// Span over which the minimum is taken: part of the loop delay.
    pub(super) fn window(&self) -> f64 {
        self.window
    }

    /// Forgets the past: the path or its rate is not what it was.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    fn evaluate(&mut self, reach: f64, now: f64) {
        while self.entries.front().is_some_and(|e| now - e.at > 2.0 * reach) {
            self.entries.pop_front();
        }
        let (mut min, mut sum, mut count) = (f64::INFINITY, 0.0, 0u32);
        let (mut feedbacks, mut min_sum) = (0u32, 0.0);
        for entry in self.entries.iter().rev() {
            let age = now - entry.at;
            if age > reach || (age > self.window && count >= SAMPLES_MIN) {
                break;
            }
            min = min.min(entry.min);
            sum += entry.sum;
            count += entry.count;
            min_sum += entry.min;
            feedbacks += 1;
        }
        let over_samples = spread(sum, min, count);
        let over_feedbacks = if feedbacks > 1 { spread(min_sum, min, feedbacks) } else { 0.0 };
        self.allowance = (over_samples.max(over_feedbacks) - ALLOWANCE_FREE).max(0.0);
        self.min = min;
    }
}

/// What paces the loop: the round trip and the spacing of feedback, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) r: f64,
    pub(super) tau: f64,
    /// Two packets at the current rate.
    pub(super) grain: f64,
}

fn spread(sum: f64, min: f64, count: u32) -> f64 {
    let n = f64::from(count.max(1));
    4.0 * (sum / n - min) / n
}
