//! Growth where the delay swings by itself, and a queue is seen late.
//!
//! ```text
//! known     a queue of 3 Q + 5 ms stood in the last 20 s, and S arrived meanwhile:
//!           R <= max(A (1 + Q/age), 0.97 S)   age: since the last packet left that met q < Q/2
//! unknown   R < 0.8 of what most trains show: R grows by half per r, to 2 A
//!           else by v per T, from 5 % (2 % after a queue stood), doubled each T, at most 50 %
//! ```
//! Swings only ever add delay: a packet that was quick met no queue. What may stand by now is what
//! was sent since beyond what arrives. The bound keeps that to about Q, however late it is seen.

use super::steer;

/// A queue of so many targets and so much more is no swing.
const STOOD_TARGETS: f64 = 3.0;
const STOOD: f64 = 0.005;
/// The others may be gone by then, or the link may have changed.
const KNOWN_FOR: f64 = 20.0;
/// A loop that became so much slower saw swings, not queues.
const SLOWER: f64 = 1.4;
const CARRIED: f64 = 0.97;
const START: f64 = 0.05;
const GENTLE: f64 = 0.02;
const MAX: f64 = 0.5;
const SHOWN: f64 = 0.8;
/// Towards what is known, per T.
const RETURN: f64 = 0.25;

/// What growth looks at. Bytes per second, seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) rate: f64,
    pub(super) advance: f64,
    /// What most trains show at least; zero if unknown.
    pub(super) least: f64,
    pub(super) queue: steer::Queue,
    /// The loop without the window.
    pub(super) r: f64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Caution {
    /// When the last packet left that met no queue.
    quick_at: f64,
    stood_at: f64,
    carried: f64,
    speed: f64,
    doubled_at: f64,
    loop_delay: f64,
}

impl Caution {
    pub(super) fn new() -> Self {
        Self {
            quick_at: 0.0,
            stood_at: f64::NEG_INFINITY,
            carried: 0.0,
            speed: START,
            doubled_at: 0.0,
            loop_delay: 0.0,
        }
    }

    /// A packet that left at `sent` met so much delay beyond the base.
    pub(super) fn on_delay(&mut self, delay: f64, target: f64, sent: f64) {
        if delay < target / 2.0 {
            self.quick_at = self.quick_at.max(sent);
        }
    }

    /// A queue stands.
    pub(super) fn on_queue(&mut self, queue: steer::Queue, carried: f64, dt: f64, now: f64) {
        if queue.loop_delay > SLOWER * self.loop_delay {
            // What was seen through a shorter window was no queue.
            self.stood_at = f64::NEG_INFINITY;
            self.loop_delay = queue.loop_delay;
        }
        self.loop_delay = self.loop_delay.min(2.0 * queue.loop_delay);
        if queue.delay > STOOD_TARGETS * queue.target + STOOD {
            let fresh = now - self.stood_at < KNOWN_FOR;
            let gain = if fresh { (dt / queue.loop_delay).min(1.0) } else { 1.0 };
            self.carried += (carried - self.carried) * gain;
            (self.stood_at, self.speed, self.doubled_at) = (now, GENTLE, now);
        }
    }

    /// The rate after a step of `dt`.
    pub(super) fn seek(&mut self, sight: Sight, dt: f64, now: f64) -> f64 {
        let lag = sight.queue.loop_delay;
        if now - self.stood_at < KNOWN_FOR {
            let age = (now - self.quick_at).max(sight.r);
            let bound =
                (sight.advance * (1.0 + sight.queue.target / age)).max(CARRIED * self.carried);
            return steer::grow(sight.rate, RETURN, lag, dt).min(bound);
        }
        if sight.rate < SHOWN * sight.least {
            return steer::grow(sight.rate, MAX, sight.r, dt).min(2.0 * sight.advance);
        }
        if now - self.doubled_at > lag {
            (self.speed, self.doubled_at) = ((2.0 * self.speed).min(MAX), now);
        }
        steer::grow(sight.rate, self.speed, lag, dt)
            .min((1.0 + 2.0 * self.speed) * sight.advance)
            .max(sight.rate)
    }
}
