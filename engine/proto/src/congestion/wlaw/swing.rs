//! How long a window must be for the smallest delay in it to be steady.
//!
//! ```text
//! spans    8 ms, 16 ms, ... 1.02 s; m_j: the smallest RTT of the j-th window of a span
//! bend     |m_j - 2 m_(j-1) + m_(j-2)|/2, of the delay or of what is left of it without our own
//!          doing (see `sending`), whichever is less
//! swings   bend > max(0.2 Q0, 2 packets) in six of ten windows of a span within 2 tau .. 0.75 T
//! window   twice the longest span (to 7 T) whose mean bend exceeds max(0.3 Q0, 1 ms)
//! ```
//! Where a path swings by itself (radio links) the delay of a moment is no queue. But its swings
//! have a floor, and the longer the window, the nearer to the floor its minimum. The *change of the
//! change* is looked at because a queue rises and falls steadily over many windows. A queue cannot
//! follow within its own loop: only what swings faster, most of the time and without our doing, is
//! the path. Without that condition the law takes the cycles of several flows for swings, looks
//! through longer windows, and cycles more slowly and higher.

/// The shortest span, in seconds.
const SPAN_MIN: f64 = 0.008;
const SPANS: usize = 8;
/// Windows of a span that are remembered.
const MEMORY: u32 = 8;
/// A single outlier (a drain, a stall, a link that changed) is no swing.
const OUTLIER: f64 = 30.0;
/// Share of the target that a steady minimum may differ by.
const STEADY: f64 = 0.3;
const STEADY_MIN: f64 = 0.001;
/// Below this share of that, a shorter window is steady as well.
const CALM: f64 = 0.5;
/// Share of the target that counts as a swing.
const SWING: f64 = 0.2;
/// Share of the windows that must swing for the path to swing, and to go on.
const OFTEN: f64 = 0.6;
const STILL_OFTEN: f64 = 0.36;
const OFTEN_MEMORY: u32 = 64;
const OFTEN_MEMORY_MIN: u32 = 8;
/// Swings faster than this share of the loop are not the loop's.
const FASTER: f64 = 0.75;
/// The longest window, in loops.
const LOOPS_MAX: f64 = 14.0;

#[derive(Clone, Copy, Debug)]
struct Span {
    length: f64,
    end: f64,
    min: f64,
    caused: f64,
    before: [[f64; 2]; 2],
    windows: u32,
    rough: f64,
    often: f64,
}

/// What the delay is held against. Seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) target: f64,
    pub(super) tau: f64,
    /// Two packets: what a queue moves by at least.
    pub(super) grain: f64,
    /// As it is without swings.
    pub(super) loop_delay: f64,
}

/// See the module. Seconds.
#[derive(Debug)]
pub(super) struct Swing {
    spans: [Span; SPANS],
    /// So many of the spans are too short.
    short: usize,
    shortened_at: f64,
}

impl Swing {
    pub(super) fn new() -> Self {
        let mut length = SPAN_MIN / 2.0;
        let spans = core::array::from_fn(|_| {
            length *= 2.0;
            Span::new(length)
        });
        Self { spans, short: 0, shortened_at: 0.0 }
    }

    /// True while the delay swings within half a loop, most of the time.
    fn swings(&self, pace: Pace) -> bool {
        let often = if self.short > 0 { STILL_OFTEN } else { OFTEN };
        let within = |s: &&Span| s.length >= 2.0 * pace.tau && s.length <= FASTER * pace.loop_delay;
        self.spans.iter().filter(within).any(|s| s.often > often)
    }

    /// The smallest RTT of a feedback, and how much of it is our own doing.
    pub(super) fn on_feedback(&mut self, (rtt, caused): (f64, f64), pace: Pace, now: f64) {
        let limit = (STEADY * pace.target).max(STEADY_MIN);
        let swing = (SWING * pace.target).max(pace.grain);
        for span in &mut self.spans {
            span.on_feedback((rtt, caused), (OUTLIER * limit, swing), now);
        }
        if !self.swings(pace) {
            self.short = 0;
            return;
        }
        let rough = |span: &Span| {
            span.windows > 2
                && span.rough > limit
                && 2.0 * span.length <= LOOPS_MAX * pace.loop_delay
        };
        if let Some(longest) = self.spans.iter().rposition(rough)
            && longest >= self.short
        {
            self.short = longest + 1;
            self.shortened_at = now;
        } else if self.short > 0
            && self.spans[self.short - 1].rough < CALM * limit
            && now - self.shortened_at > 2.0 * self.spans[self.short - 1].length
        {
            self.short -= 1;
            self.shortened_at = now;
        }
    }

    /// The window over which the smallest delay is steady; zero if any is.
    pub(super) fn window(&self) -> f64 {
        if self.short == 0 { 0.0 } else { 2.0 * self.spans[self.short - 1].length }
    }

    /// By how much the smallest delays of such windows still differ.
    pub(super) fn rest(&self) -> f64 {
        match self.short {
            0 => 0.0,
            short => {
                let span = &self.spans[short.min(SPANS - 1)];
                if span.windows > MEMORY { span.rough } else { self.spans[short - 1].rough }
            }
        }
    }
}

impl Span {
    fn new(length: f64) -> Self {
        Self {
            length,
            end: 0.0,
            min: f64::INFINITY,
            caused: 0.0,
            before: [[0.0; 2]; 2],
            windows: 0,
            rough: 0.0,
            often: 0.0,
        }
    }

    fn on_feedback(&mut self, (rtt, caused): (f64, f64), (outlier, swing): (f64, f64), now: f64) {
        if now >= self.end {
            if now - self.end < self.length && self.min.is_finite() {
                self.close(outlier, swing);
            } else {
                // A pause: what was before has nothing to do with what follows.
                self.windows = 0;
            }
            (self.end, self.min) = (now + self.length, f64::INFINITY);
        }
        if rtt < self.min {
            (self.min, self.caused) = (rtt, caused);
        }
    }

    fn close(&mut self, outlier: f64, swing: f64) {
        let [last, older] = self.before;
        let fresh = [self.min, self.min - self.caused];
        self.before = [fresh, last];
        self.windows = self.windows.saturating_add(1);
        if self.windows >= 3 {
            let bend = |i: usize| (fresh[i] - 2.0 * last[i] + older[i]).abs() / 2.0;
            let change = bend(0).min(bend(1)).min(outlier);
            let known = (self.windows - 2).min(MEMORY);
            self.rough += (change - self.rough) / f64::from(known);
            let swings = if change > swing { 1.0 } else { 0.0 };
            self.often += (swings - self.often)
                / f64::from((self.windows - 2).clamp(OFTEN_MEMORY_MIN, OFTEN_MEMORY));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { target: 0.002, tau: 0.005, grain: 0.0002, loop_delay: 0.08 };

    fn play(delay: impl Fn(f64) -> f64, caused: impl Fn(f64) -> f64) -> Swing {
        let mut swing = Swing::new();
        for step in 0..2_000 {
            let now = f64::from(step) * 0.005;
            swing.on_feedback((0.05 + delay(now), caused(now)), PACE, now);
        }
        swing
    }

    /// Triangles of 80 ms: as quick as half a loop of queue control.
    fn triangle(now: f64) -> f64 {
        ((now / 0.08).fract() - 0.5).abs() * 0.04
    }

    #[test]
    fn a_path_that_swings_is_looked_at_through_a_longer_window() {
        assert!(play(triangle, |_| 0.0).window() > 0.08);
    }

    #[test]
    fn what_we_did_ourselves_is_no_swing() {
        assert!(play(triangle, triangle).window() == 0.0);
    }

    #[test]
    fn a_queue_that_rises_and_falls_slowly_is_no_swing() {
        let slow = |now: f64| ((now / 2.0).fract() - 0.5).abs() * 0.04;
        assert!(play(slow, |_| 0.0).window() == 0.0);
    }
}
