//! The rate equation: one step of R towards the queue target.
//!
//! ```text
//! T = d + q + tau + max(2 tau, w)                                          the loop delay
//! busy:            q > min(Q, 1.25 (Q0 + nu + packet/R))/2; Q/2 where the delay swings or packets overtake
//!                  R -> a (1 + 0.6 clamp((Q - q)/T, +-1/4)),   a = min(A, (1.01 + 2 sigma) D/(1 - p0))
//!                  approached with time constant T/1.5, a within R/2 .. 1.05 R
//! else             R grows by gamma per T (see `growth`) while A (1 + 1.5 gamma) >= 0.88 R
//! ```
//! The gain 0.6 belongs to the whole loop delay: round trip, feedback spacing and the window of
//! the minimum. 0.8 over d + q alone cycles at 20 ms. In equilibrium all flows see one q, so
//! R_i is proportional to their weights.

const GAIN: f64 = 0.6;
const STEP_MAX: f64 = 0.25;
const APPROACH: f64 = 1.5;
const ANCHOR_MIN: f64 = 0.5;
const ANCHOR_MAX: f64 = 1.05;
/// The advance rate is one loop behind: at growth gamma it lags by so many gammas.
const LAG: f64 = 1.5;
/// Hosts that stall for 6 % of the time still follow.
const FOLLOWS: f64 = 0.88;

/// The queue as the equation sees it. Seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    /// Queue delay q.
    pub(super) delay: f64,
    /// Target Q.
    pub(super) target: f64,
    /// From this delay on the link is busy.
    pub(super) busy_at: f64,
    /// Loop delay T.
    pub(super) loop_delay: f64,
}

impl Queue {
    pub(super) fn is_busy(&self) -> bool {
        self.delay > self.busy_at
    }
}

/// T, from the base, the queue, the feedback spacing and the window of the minimum.
pub(super) fn loop_delay(d: f64, q: f64, tau: f64, window: f64) -> f64 {
    d + q + tau + window.max(2.0 * tau)
}

/// One step while a queue stands; `anchor` is what the link is seen to carry.
pub(super) fn toward_target(rate: f64, anchor: f64, queue: Queue, dt: f64) -> f64 {
    let anchor = anchor.clamp(ANCHOR_MIN * rate, ANCHOR_MAX * rate);
    let error = ((queue.target - queue.delay) / queue.loop_delay).clamp(-STEP_MAX, STEP_MAX);
    let goal = anchor * (1.0 + GAIN * error);
    rate + (goal - rate) * (APPROACH * dt / queue.loop_delay).min(1.0)
}

/// True if what arrives keeps up with what is sent; growth beyond that is growth into the unknown
/// (a stalled host, an application without data, a policer).
pub(super) fn follows(rate: f64, gamma: f64, advance: f64) -> bool {
    advance * (1.0 + LAG * gamma) >= FOLLOWS * rate
}

/// One step while no queue stands.
pub(super) fn grow(rate: f64, gamma: f64, loop_delay: f64, dt: f64) -> f64 {
    rate * (1.0 + gamma * (dt / loop_delay).min(1.0))
}
