//! Growth while no queue stands: gentle first, doubling, and slower the nearer C is.
//!
//! ```text
//! v from 2 %, doubled each 1.5 r, at most 50 %
//! gamma = v;  if C is trusted: gamma <= max((C/R - 1)/2, 3 %, v/10)
//! R *= 1 + gamma dt/T
//! ```
//! A wrong C slows growth down but never stops it: v/10 remains.

const START: f64 = 0.02;
const MAX: f64 = 0.5;
const DOUBLE_RTTS: f64 = 1.5;
const FLOOR: f64 = 0.03;

/// See the module.
#[derive(Debug)]
pub(super) struct Growth {
    speed: f64,
    doubled_at: f64,
}

impl Growth {
    pub(super) fn new(now: f64) -> Self {
        Self { speed: START, doubled_at: now }
    }

    /// A queue stands: the next growth begins gently.
    pub(super) fn rest(&mut self, now: f64) {
        self.speed = START;
        self.doubled_at = now;
    }

    /// gamma, the growth per loop delay; `room` is C/R - 1 if C is trusted.
    pub(super) fn next(&mut self, room: Option<f64>, r: f64, now: f64) -> f64 {
        if now - self.doubled_at > DOUBLE_RTTS * r {
            self.doubled_at = now;
            self.speed = (self.speed * 2.0).min(MAX);
        }
        match room {
            Some(room) => self.speed.min((room / 2.0).max(FLOOR).max(self.speed / 10.0)),
            None => self.speed,
        }
    }
}
