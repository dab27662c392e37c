//! Growth while no queue stands: back to the known share at once, beyond it gently and doubling.
//!
//! ```text
//! R < 0.97 S:  gamma = (S/R - 1)/2 within 2 % .. 25 %
//! else:        gamma = v, from 2 %, doubled each 1.5 r, at most 50 %
//!              if C is trusted: gamma <= max((C/R - 1)/2, 3 %, v/10)
//! R *= 1 + gamma dt/T
//! ```
//! S is what arrived while a queue last stood: our part of a full link. Without it all flows of a
//! link that had run empty would grow towards C together, and meet in its queue; the cycle of two
//! flows at 100 ms cost 10 % of the link and 30 ms of queue. A wrong C slows growth down but never
//! stops it: v/10 remains.

const START: f64 = 0.02;
const MAX: f64 = 0.5;
const DOUBLE_RTTS: f64 = 1.5;
const FLOOR: f64 = 0.03;
const RECOVER_MAX: f64 = 0.25;
const RECOVERED: f64 = 0.97;
/// The share is a mean over so many loop delays: one swing of a cycle is not our part.
const SHARE_LOOPS: f64 = 10.0;
/// Below this part of it the link itself has changed.
const LINK_CHANGED: f64 = 0.5;
/// The share is forgotten after this: the others may be gone.
const SHARE_AGE: f64 = 10.0;

/// See the module.
#[derive(Debug)]
pub(super) struct Growth {
    speed: f64,
    doubled_at: f64,
    share: f64,
    share_at: f64,
}

impl Growth {
    pub(super) fn new(now: f64) -> Self {
        Self { speed: START, doubled_at: now, share: 0.0, share_at: now }
    }

    /// The next growth begins gently.
    pub(super) fn rest(&mut self, now: f64) {
        self.speed = START;
        self.doubled_at = now;
    }

    /// A queue stands, and so much arrives; `weight` is the time since the last, in units of the
    /// loop delay.
    pub(super) fn note_share(&mut self, arrives: f64, weight: f64, now: f64) {
        let fresh = self.share > 0.0 && now - self.share_at < SHARE_AGE;
        let known = fresh && arrives > LINK_CHANGED * self.share;
        let gain = if known { (weight / SHARE_LOOPS).min(1.0) } else { 1.0 };
        self.share += (arrives - self.share) * gain;
        self.share_at = now;
    }

    /// gamma, the growth per loop delay; `room` is C/R - 1 if C is trusted.
    pub(super) fn next(&mut self, rate: f64, room: Option<f64>, r: f64, now: f64) -> f64 {
        if rate < RECOVERED * self.share && now - self.share_at < SHARE_AGE.max(20.0 * r) {
            self.rest(now);
            return ((self.share / rate - 1.0) / 2.0).clamp(START, RECOVER_MAX);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_quick_below_the_known_share_and_gentle_above() {
        let mut growth = Growth::new(0.0);
        growth.note_share(50.0, 1.0, 0.0);
        assert!(growth.next(30.0, None, 0.1, 0.1) >= 0.24);
        assert!(growth.next(50.0, None, 0.1, 0.2) <= START);
    }

    #[test]
    fn growth_doubles_until_half_and_slows_near_capacity() {
        let mut growth = Growth::new(0.0);
        let last = (1..100).map(|i| growth.next(1.0, None, 0.1, f64::from(i) * 0.1)).last();
        assert_eq!(last, Some(MAX));
        assert!(growth.next(1.0, Some(0.04), 0.1, 10.0) <= 0.05 + 1e-9);
    }
}
