//! The base round trip d: the smallest RTT of the recent past.
//!
//! `d = min(rtt) over max(30 s, 30 d)` (60 s for `low`). The window is longer than three drain
//! periods (see `drain`), so a late joiner's own drains keep it honest; it does not advance while
//! a long queue stands (for up to 60 s), because then every sample contains that queue and
//! forgetting the base would turn the queue into the new base.
//!
//! Kept as minima of 16 slices of the window; a sample costs O(1).

/// Length of the memory; longer than three drain periods of 10 s.
const WINDOW_SECS: f64 = 30.0;
/// The same for `low`, which must not take another's standing queue for its base.
const WINDOW_LOW_SECS: f64 = 60.0;
/// The memory in round trips, for very long paths.
const WINDOW_RTTS: f64 = 30.0;
/// How long the window may stand still.
const FREEZE_MAX_SECS: f64 = 60.0;
const SLICES: usize = 16;

/// See the module. Times in seconds.
#[derive(Debug)]
pub(super) struct BaseRtt {
    slices: [f64; SLICES],
    slice: usize,
    slice_end: f64,
    base: f64,
    known: bool,
    seen_at: f64,
    frozen: f64,
    low: bool,
}

impl BaseRtt {
    pub(super) fn new(initial: f64, low: bool, now: f64) -> Self {
        Self {
            slices: [f64::INFINITY; SLICES],
            slice: 0,
            slice_end: now,
            base: initial,
            known: false,
            seen_at: now,
            frozen: 0.0,
            low,
        }
    }

    /// The base; the configured guess until the first sample.
    pub(super) fn get(&self) -> f64 {
        self.base
    }

    /// True once a sample was seen.
    pub(super) fn known(&self) -> bool {
        self.known
    }

    /// When a sample last came within `near` of the base.
    pub(super) fn seen_at(&self) -> f64 {
        self.seen_at
    }

    pub(super) fn set_low(&mut self, low: bool) {
        self.low = low;
    }

    /// Takes a sample; `near` is how close to the base counts as seeing it.
    pub(super) fn on_sample(&mut self, rtt: f64, near: f64, now: f64) {
        self.slices[self.slice] = self.slices[self.slice].min(rtt);
        if !self.known || rtt < self.base {
            self.base = rtt;
            self.known = true;
        }
        if rtt <= self.base + near {
            self.seen_at = now;
        }
    }

    /// Moves the window to `now`, or holds it while `frozen`.
    pub(super) fn advance(&mut self, frozen: bool, now: f64) {
        if now < self.slice_end {
            return;
        }
        let span = self.slice_span();
        self.slice_end = now + span;
        self.frozen = if frozen { self.frozen + span } else { 0.0 };
        if frozen && self.frozen < FREEZE_MAX_SECS {
            return;
        }
        self.slice = (self.slice + 1) % SLICES;
        self.slices[self.slice] = f64::INFINITY;
        let min = self.slices.iter().copied().fold(f64::INFINITY, f64::min);
        if min.is_finite() {
            self.base = min;
        }
    }

    /// The path became longer: forgets everything below `base`.
    pub(super) fn reset(&mut self, base: f64, now: f64) {
        self.slices = [f64::INFINITY; SLICES];
        self.slices[self.slice] = base;
        self.base = base;
        self.seen_at = now;
    }

    fn slice_span(&self) -> f64 {
        let window = if self.low { WINDOW_LOW_SECS } else { WINDOW_SECS };
        window.max(WINDOW_RTTS * self.base) / 15.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_path_is_believed_after_the_window() {
        let mut base = BaseRtt::new(0.2, false, 0.0);
        base.on_sample(0.1, 0.001, 0.0);
        for step in 1..400 {
            let now = f64::from(step) * 0.1;
            base.on_sample(0.15, 0.001, now);
            base.advance(false, now);
            let expected = if now < 29.0 { 0.1 } else { base.get() };
            assert!((base.get() - expected).abs() < 1e-9, "{now}");
        }
        assert!((base.get() - 0.15).abs() < 1e-9);
    }

    #[test]
    fn a_standing_queue_does_not_become_the_base_for_a_minute() {
        let mut base = BaseRtt::new(0.2, false, 0.0);
        base.on_sample(0.1, 0.001, 0.0);
        for step in 1..500 {
            let now = f64::from(step) * 0.1;
            base.on_sample(0.15, 0.001, now);
            base.advance(true, now);
        }
        assert!((base.get() - 0.1).abs() < 1e-9);
    }
}
