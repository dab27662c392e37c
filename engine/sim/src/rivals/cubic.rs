//! CUBIC (RFC 9438) with `HyStart` (delay increase) and pacing as in Linux.
//!
//! ```text
//! loss:      W_max = W (0.85 W if below the last W_max), W *= 0.7, once per round trip
//! afterwards W(t) = 0.4 (t - K)^3 + W_max,  K = cbrt(W_max 0.3/0.4), at least what Reno would have
//! start:     one packet per packet acknowledged, until the least delay of a round is
//!            clamp(min/8, 4, 16 ms) above the least of all
//! pacing:    2 W/srtt in slow start, 1.2 W/srtt afterwards
//! ```

use super::{Ack, Law};

const C: f64 = 0.4;
const BETA: f64 = 0.7;
const FAST_CONVERGENCE: f64 = f64::midpoint(1.0, BETA);
/// Reno's growth that gives the same mean window with this beta.
const RENO_ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
const START_WINDOW: f64 = 10.0;
const WINDOW_MIN: f64 = 2.0;
const HYSTART_WINDOW: f64 = 16.0;
const HYSTART_SAMPLES: u32 = 8;

/// See the module. Packets and seconds.
#[derive(Debug)]
pub(super) struct Cubic {
    window: f64,
    threshold: f64,
    w_max: f64,
    /// When the present growth began, and from what window.
    epoch: Option<(f64, f64)>,
    k: f64,
    reno: f64,
    srtt: f64,
    rtt_min: f64,
    round_min: f64,
    round_samples: u32,
}

impl Cubic {
    pub(super) const fn new() -> Self {
        Self {
            window: START_WINDOW,
            threshold: f64::INFINITY,
            w_max: 0.0,
            epoch: None,
            k: 0.0,
            reno: 0.0,
            srtt: 0.1,
            rtt_min: f64::INFINITY,
            round_min: f64::INFINITY,
            round_samples: 0,
        }
    }

    fn reduce(&mut self) {
        let before = self.window;
        self.w_max = if before < self.w_max { before * FAST_CONVERGENCE } else { before };
        self.window = (before * BETA).max(WINDOW_MIN);
        self.threshold = self.window;
        self.epoch = None;
    }

    fn hystart(&mut self, ack: &Ack) {
        if ack.round {
            (self.round_min, self.round_samples) = (f64::INFINITY, 0);
        }
        self.round_min = self.round_min.min(ack.rtt);
        self.round_samples += 1;
        let rise = (self.rtt_min / 8.0).clamp(0.004, 0.016);
        let delayed = self.round_min >= self.rtt_min + rise;
        if self.window >= HYSTART_WINDOW && self.round_samples >= HYSTART_SAMPLES && delayed {
            self.threshold = self.window;
        }
    }

    fn avoid_congestion(&mut self, ack: &Ack) {
        let (since, from) = *self.epoch.get_or_insert_with(|| {
            self.k = ((self.w_max - self.window).max(0.0) / C).cbrt();
            self.w_max = self.w_max.max(self.window);
            self.reno = self.window;
            (ack.now, self.window)
        });
        let t = ack.now - since + self.rtt_min;
        let cubic = C * (t - self.k).powi(3) + self.w_max;
        let target = cubic.clamp(self.window, 1.5 * self.window);
        self.window += (target - self.window) / self.window * ack.acked;
        let alpha = if self.reno < from / BETA { RENO_ALPHA } else { 1.0 };
        self.reno += alpha * ack.acked / self.window;
        self.window = self.window.max(self.reno);
    }
}

impl Law for Cubic {
    fn on_ack(&mut self, ack: &Ack) {
        self.srtt = ack.srtt;
        self.rtt_min = self.rtt_min.min(ack.rtt);
        if ack.congested {
            return self.reduce();
        }
        // Growth only where the window is what limits.
        if ack.acked == 0.0 || ack.in_flight + ack.acked < 0.8 * self.window {
            return;
        }
        if self.window < self.threshold {
            self.hystart(ack);
            self.window += ack.acked;
        } else {
            self.avoid_congestion(ack);
        }
    }

    fn on_timeout(&mut self, _: f64) {
        self.reduce();
        self.window = 1.0;
    }

    fn window(&self) -> f64 {
        self.window
    }

    fn pacing(&self) -> f64 {
        let gain = if self.window < self.threshold { 2.0 } else { 1.2 };
        gain * self.window / self.srtt
    }
}
