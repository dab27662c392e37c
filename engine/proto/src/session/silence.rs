//! No feedback, no flood: the sender slows down and stops when nobody answers.
//!
//! No authenticated feedback for max(2 RTT, 200 ms) halves the rate, again and again; for 1 s
//! (plus the RTT in which none could have come) stops it, but for single probes with back-off.
//! It guards third parties against a peer that vanished or lied about its address. spec: W-058
//!
//! A rate that follows what arrives falls by itself where reports name nothing new. One that is held
//! does not, so there only what newly arrived ends the silence. spec: W-137

use crate::units::{BitRate, Timestamp};
use core::time::Duration;

const STEP_MIN: Duration = Duration::from_millis(200);
pub(super) const STOP_AFTER: Duration = Duration::from_secs(1);
const HALVINGS_MAX: u128 = 32;
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A path that is back is asked within this, should its reports not be first: a receiver repeats its
/// own more often.
const PROBE_EVERY_MAX: Duration = Duration::from_secs(2);

/// What may leave at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// Up to this rate.
    Rate(BitRate),
    /// One packet, now.
    Probe,
    /// Nothing before this time.
    WaitUntil(Timestamp),
}

/// Watches for the absence of feedback.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    /// Since when an answer is due.
    since: Option<Timestamp>,
    /// Packets left since the last news of one that arrived.
    unanswered: bool,
    /// The round trip as that news left it.
    rtt: Duration,
    next_probe: Option<Timestamp>,
    probe_gap: Duration,
}

impl Silence {
    /// Nothing sent yet.
    pub(super) const fn new() -> Self {
        Self {
            since: None,
            unanswered: false,
            rtt: Duration::MAX,
            next_probe: None,
            probe_gap: PROBE_EVERY,
        }
    }

    /// A packet that wants an answer left.
    pub(super) fn on_sent(&mut self, now: Timestamp) {
        self.since.get_or_insert(now);
        self.unanswered = true;
    }

    /// Packets are newly known to have arrived; `rtt` is the smoothed round trip since.
    pub(super) const fn on_news(&mut self, rtt: Duration) {
        self.unanswered = false;
        self.rtt = rtt;
    }

    /// What to wait for longer than, where a rate is held: reports that tell the same packets again
    /// measure an ever longer round trip.
    pub(super) fn patience(&self, rtt: Duration) -> Duration {
        rtt.min(self.rtt)
    }

    /// Nothing that left since the last news is known to have arrived.
    pub(super) const fn is_unanswered(&self) -> bool {
        self.unanswered
    }

    /// Authentic feedback arrived; `waiting` while more answers are due. Returns the length of
    /// an outage that this ends.
    pub(super) fn on_feedback(
        &mut self,
        waiting: bool,
        rtt: Duration,
        now: Timestamp,
    ) -> Option<Duration> {
        let gap = self.since.map(|since| now.since(since)).filter(|&gap| gap >= STOP_AFTER + rtt);
        self.since = waiting.then_some(now);
        self.next_probe = None;
        self.probe_gap = PROBE_EVERY;
        gap
    }

    /// True while sending is stopped.
    pub(super) fn is_stopped(&self, rtt: Duration, now: Timestamp) -> bool {
        self.since.is_some_and(|since| now.since(since) >= STOP_AFTER + rtt)
    }

    /// What may leave now at a nominal `rate`.
    pub(super) fn permission(&self, rate: BitRate, rtt: Duration, now: Timestamp) -> Permission {
        let Some(since) = self.since else { return Permission::Rate(rate) };
        let silent = now.since(since);
        if silent >= STOP_AFTER + rtt {
            return match self.next_probe {
                Some(at) if at > now => Permission::WaitUntil(at),
                _ => Permission::Probe,
            };
        }
        Permission::Rate(BitRate::bps(rate.get() >> self.halvings(rtt, now)))
    }

    /// How often the rate was halved.
    pub(super) fn halvings(&self, rtt: Duration, now: Timestamp) -> u32 {
        let Some(since) = self.since else { return 0 };
        let step = STEP_MIN.max(rtt * 2);
        let halvings = now.since(since).as_nanos() / step.as_nanos();
        u32::try_from(halvings.min(HALVINGS_MAX)).unwrap_or_default()
    }

    /// There is news of the peer from elsewhere: the next probe is due, and waits begin anew.
    pub(super) const fn ask_again(&mut self) {
        self.next_probe = None;
        self.probe_gap = PROBE_EVERY;
    }

    /// A probe left.
    pub(super) fn on_probe(&mut self, now: Timestamp) {
        self.next_probe = Some(now + self.probe_gap);
        self.probe_gap = (self.probe_gap * 5 / 4).min(PROBE_EVERY_MAX);
    }
}

impl Default for Silence {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);
    const RATE: BitRate = BitRate::mbps(64);

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn the_rate_halves_then_stops_then_probes() {
        let mut silence = Silence::new();
        silence.on_sent(at(0));
        assert_eq!(silence.permission(RATE, RTT, at(199)), Permission::Rate(RATE));
        assert_eq!(silence.permission(RATE, RTT, at(450)), Permission::Rate(BitRate::mbps(16)));
        assert_eq!(silence.permission(RATE, RTT, at(1100)), Permission::Probe);
        silence.on_probe(at(1100));
        assert_eq!(silence.permission(RATE, RTT, at(1200)), Permission::WaitUntil(at(2100)));
    }

    #[test]
    fn feedback_lifts_the_stop_and_tells_how_long_it_was() {
        let mut silence = Silence::new();
        silence.on_sent(at(0));
        assert_eq!(silence.on_feedback(true, RTT, at(5000)), Some(Duration::from_secs(5)));
        assert_eq!(silence.permission(RATE, RTT, at(5100)), Permission::Rate(RATE));
        assert_eq!(silence.on_feedback(true, RTT, at(5200)), None);
    }

    #[test]
    fn an_idle_sender_is_never_silent() {
        let mut silence = Silence::new();
        silence.on_sent(at(0));
        silence.on_feedback(false, RTT, at(100));
        assert_eq!(silence.permission(RATE, RTT, at(60_000)), Permission::Rate(RATE));
    }
}
