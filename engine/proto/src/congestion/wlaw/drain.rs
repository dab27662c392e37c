//! Joint drains: all flows see the empty link together, so late joiners learn the true base RTT.
//!
//! ```text
//! if the base was not seen for 9 .. 11 s and q > 0.3 Q:
//!     R *= 1 - min(0.6, 1.25 q C / (R r))  for 1.5 r        the whole queue drains
//! echo: q fell below half its recent maximum without own doing -> the same for 1 r,
//!     at most each 8 s                                      others' drains become everybody's
//! echo among many: R < 0.3 C, and q fell by 0.45 r R/C (1 ms at least)
//!     -> the same, at most each 30 r (1 .. 8 s)
//! q > 1.6 Q + 1 ms for T and R < 0.75 C -> drain, at most each 30 r (1 .. 3 s)       somebody has joined
//! ```
//! One flow's dip drains its own share of the queue only; the echo makes the others join within
//! a round trip. Without it 16 flows at 100 ms end 461 % off their shares (rate-law section 2).
//! Who joins takes the queue of the others for the path, and puts its own on top of it: with eight
//! flows the queue ended where it overflows. The others all see it rise, and make room for the
//! newcomer to see the empty link.
//!
//! Among eight flows and more one drain takes a third of the queue at most, so nobody echoed, and who had
//! joined kept a wrong base. An equal's drain takes 0.6 of R for 1.5 r: half of that is what counts.
//! A dip means nothing where packets overtake each other, nor where d + b < 5 ms; there rests are 8 and 3 s.

const PERIOD_MIN: f64 = 9.0;
const PERIOD_SPREAD: f64 = 2.0;
const ECHO_MIN: f64 = 8.0;
/// Queues of so many targets, and so much more, that last.
const CROWDED: f64 = 1.6;
const CROWDED_MIN: f64 = 0.001;
/// Who has more than this of the link has no company.
pub(super) const CROWD_SHARE: f64 = 0.75;
const CROWD_REST_MAX: f64 = 3.0;
/// Who has less than this of the link is one of many.
const MANY_SHARE: f64 = 0.3;
/// Half of what the drain of a flow like ours takes from the queue, in r R/C.
const DIP: f64 = 0.45;
const DIP_MIN: f64 = 0.001;
/// Among others there are so many round trips between two drains, and so many seconds at least.
const REST_RTTS: f64 = 30.0;
const REST_MIN: f64 = 1.0;
/// On paths shorter than the spacing of feedback a drain is not seen, and what dips is a host's doing.
const NEAR: f64 = 0.005;

/// See the module.
#[derive(Debug)]
pub(super) struct Drain {
    until: f64,
    settled: f64,
    factor: f64,
    drained_at: f64,
    queue_max: f64,
    period: f64,
    crowded_since: f64,
}

/// What a drain needs to know. Seconds and bytes per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) q: f64,
    pub(super) target: f64,
    pub(super) r: f64,
    pub(super) rate: f64,
    pub(super) capacity: f64,
    /// Our part of it.
    pub(super) share: f64,
    /// Packets overtake each other: a dip of the delay means nothing.
    pub(super) overtaken: bool,
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
            crowded_since: now,
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
        if state.share > CROWD_SHARE || state.q < CROWDED * state.target + CROWDED_MIN {
            self.crowded_since = now;
        }
        let drained = now - self.drained_at;
        let near = state.r - state.q < NEAR;
        let rest = if near { ECHO_MIN } else { (REST_RTTS * state.r).clamp(REST_MIN, ECHO_MIN) };
        let crowded = now - self.crowded_since > state.lag && drained > rest.min(CROWD_REST_MAX);
        let unseen = now - state.base_seen.max(self.drained_at) > self.period;
        let fell = self.queue_max > 2.0 * state.target && state.q < 0.5 * self.queue_max;
        let dip = (DIP * state.r * state.share).max(DIP_MIN);
        let many =
            !near && !state.overtaken && state.share < MANY_SHARE && self.queue_max - state.q > dip;
        if crowded || (unseen && state.q > 0.3 * state.target) {
            self.begin(state, 1.5 * state.r, now);
        } else if (fell && drained > ECHO_MIN) || (many && drained > rest) {
            self.begin(state, state.r, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at a queue of 1.8 targets for `seconds`; answers whether that began a drain.
    fn drains(share: f64, seconds: f64) -> bool {
        let mut drain = Drain::new(0.0);
        let mut now = 0.0;
        while now < 4.0 + seconds {
            now += 0.01;
            let q = if now > 4.0 { 0.018 } else { 0.01 };
            let (target, r, rate, capacity) = (0.01, 0.1, 1e6, 1e7);
            let state = State {
                q,
                target,
                r,
                rate,
                capacity,
                share,
                overtaken: false,
                base_seen: now,
                lag: 0.15,
            };
            drain.on_feedback(state, now);
        }
        drain.factor(now) < 1.0
    }

    #[test]
    fn a_newcomers_queue_is_drained_so_that_it_sees_the_empty_link() {
        assert!(drains(0.3, 0.2), "it lasts longer than a loop");
        assert!(!drains(0.3, 0.1), "it may be a burst");
    }

    /// Looks at a queue that falls by a third after ten seconds; answers whether that began a drain.
    fn echoes(share: f64, overtaken: bool) -> bool {
        let mut drain = Drain::new(0.0);
        for step in 1..=1010 {
            let now = f64::from(step) * 0.01;
            let q = if now < 10.0 { 0.012 } else { 0.008 };
            let (target, r, rate, capacity) = (0.012, 0.03, 1e6, 1e7);
            let state =
                State { q, target, r, rate, capacity, share, overtaken, base_seen: now, lag: 0.05 };
            drain.on_feedback(state, now);
        }
        drain.drained_at > 9.9
    }

    #[test]
    fn one_of_many_joins_a_drain_that_takes_a_third_of_the_queue() {
        assert!(echoes(0.12, false));
        assert!(!echoes(0.12, true), "packets overtake");
        assert!(!echoes(0.5, false), "an equal drain would take more");
    }

    #[test]
    fn who_has_the_link_alone_has_no_newcomer() {
        assert!(!drains(0.9, 0.2));
    }
}
