//! Joint drains: all flows see the empty link together, so late joiners learn the true base RTT.
//!
//! ```text
//! if the base was not seen for 9 .. 11 s and q > 0.3 Q:
//!     R *= 1 - min(0.6, 1.25 q C / (R r))  for 1.5 r        the whole queue drains
//! echo: q fell below half its recent maximum without own doing -> the same for 1 r,
//!     at most each 8 s                                      others' drains become everybody's
//! ```
//! One flow's dip drains its own share of the queue only; the echo makes the others join within
//! a round trip. Without it 16 flows at 100 ms end 461 % off their shares (rate-law section 2).

const PERIOD_MIN: f64 = 9.0;
const PERIOD_SPREAD: f64 = 2.0;
const ECHO_MIN: f64 = 8.0;

/// See the module.
#[derive(Debug)]
pub(super) struct Drain {
    until: f64,
    settled: f64,
    factor: f64,
    drained_at: f64,
    queue_max: f64,
    period: f64,
}

/// What a drain needs to know. Seconds and bytes per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) q: f64,
    pub(super) target: f64,
    pub(super) r: f64,
    pub(super) rate: f64,
    pub(super) capacity: f64,
    /// When the base was last seen.
    pub(super) base_seen: f64,
    /// How long measurements still contain the drain afterwards.
    pub(super) lag: f64,
}

impl Drain {
    pub(super) fn new(now: f64) -> Self {
        Self {
            until: now,
            settled: now,
            factor: 1.0,
            drained_at: now,
            queue_max: 0.0,
            period: PERIOD_MIN,
        }
    }

    /// Factor on the rate now.
    pub(super) fn factor(&self, now: f64) -> f64 {
        if now < self.until { self.factor } else { 1.0 }
    }

    /// True while a drain, or its echo in the measurements, makes them useless.
    pub(super) fn active(&self, now: f64) -> bool {
        now < self.settled
    }

    /// Begins a drain of `span` seconds that removes the whole queue.
    pub(super) fn begin(&mut self, state: State, span: f64, now: f64) {
        let depth = 1.25 * state.q * state.capacity.max(state.rate) / (state.rate * state.r);
        self.factor = 1.0 - depth.min(0.6);
        self.until = now + span;
        self.settled = self.until + state.lag;
        self.drained_at = now;
        self.queue_max = 0.0;
        // Spread by what is different at every flow and repeatable in a simulation.
        let spread = (now * 977.0 + state.q * 1e5).fract();
        self.period = PERIOD_MIN + PERIOD_SPREAD * spread;
    }

    /// Looks at the queue; begins a drain if one is due.
    pub(super) fn on_feedback(&mut self, state: State, now: f64) {
        if self.active(now) {
            return;
        }
        self.queue_max = (self.queue_max * 0.98).max(state.q);
        let unseen = now - state.base_seen.max(self.drained_at) > self.period;
        let fell = self.queue_max > 2.0 * state.target && state.q < 0.5 * self.queue_max;
        if unseen && state.q > 0.3 * state.target {
            self.begin(state, 1.5 * state.r, now);
        } else if fell && now - self.drained_at > ECHO_MIN {
            self.begin(state, state.r, now);
        }
    }
}
