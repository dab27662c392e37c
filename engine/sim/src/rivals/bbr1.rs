//! BBR version 1: a model of bandwidth and round trip, deaf to loss.
//!
//! ```text
//! start-up   gain 2.885 until the bandwidth grew by less than a quarter for three rounds
//! drain      gain 1/2.885 until one bandwidth-delay product is in flight
//! ProbeBW    gains 1.25, 0.75, 1 x 6, a round trip each; window 2 BDP
//! ProbeRTT   each 10 s without a new minimum: 4 packets for 200 ms and a round
//! bandwidth  largest delivery rate of ten rounds
//! ```
//! The packet conservation of the first round of a recovery is left out: with pacing it does not
//! bind.

use super::max_filter::MaxFilter;
use super::{Ack, Law};

const START_GAIN: f64 = 2.885;
const GAINS: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
const WINDOW_GAIN: f64 = 2.0;
const START_WINDOW: f64 = 10.0;
const WINDOW_MIN: f64 = 4.0;
const BANDWIDTH_ROUNDS: u64 = 10;
const FULL_GROWTH: f64 = 1.25;
const FULL_ROUNDS: u32 = 3;
const RTT_SPAN: f64 = 10.0;
const RTT_PROBE: f64 = 0.2;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Start,
    Drain,
    Bandwidth { phase: usize, since: f64 },
    Rtt { until: Option<f64> },
}

/// See the module. Packets and seconds.
#[derive(Debug)]
pub(super) struct Bbr1 {
    mode: Mode,
    round: u64,
    bandwidth: MaxFilter,
    rtt: f64,
    rtt_at: f64,
    full: f64,
    full_rounds: u32,
    filled: bool,
    window: f64,
}

impl Bbr1 {
    pub(super) const fn new() -> Self {
        Self {
            mode: Mode::Start,
            round: 0,
            bandwidth: MaxFilter::new(BANDWIDTH_ROUNDS),
            rtt: f64::INFINITY,
            rtt_at: 0.0,
            full: 0.0,
            full_rounds: 0,
            filled: false,
            window: START_WINDOW,
        }
    }

    fn bdp(&self) -> f64 {
        if self.rtt.is_finite() { self.bandwidth.get() * self.rtt } else { START_WINDOW }
    }

    fn gain(&self) -> f64 {
        match self.mode {
            Mode::Start => START_GAIN,
            Mode::Drain => 1.0 / START_GAIN,
            Mode::Bandwidth { phase, .. } => GAINS[phase],
            Mode::Rtt { .. } => 1.0,
        }
    }

    fn look_for_full_pipe(&mut self, ack: &Ack) {
        if self.filled || !ack.round {
            return;
        }
        if self.bandwidth.get() >= FULL_GROWTH * self.full {
            (self.full, self.full_rounds) = (self.bandwidth.get(), 0);
            return;
        }
        self.full_rounds += 1;
        self.filled = self.full_rounds >= FULL_ROUNDS;
    }

    fn cycle(&mut self, ack: &Ack) {
        match self.mode {
            Mode::Start if self.filled => self.mode = Mode::Drain,
            Mode::Drain if ack.in_flight <= self.bdp() => self.enter_bandwidth(ack),
            Mode::Bandwidth { phase, since } => {
                let elapsed = ack.now - since > self.rtt;
                let over = match phase {
                    0 => elapsed && (ack.lost > 0.0 || ack.in_flight >= GAINS[0] * self.bdp()),
                    1 => elapsed || ack.in_flight <= self.bdp(),
                    _ => elapsed,
                };
                if over {
                    let phase = (phase + 1) % GAINS.len();
                    self.mode = Mode::Bandwidth { phase, since: ack.now };
                }
            }
            Mode::Start | Mode::Drain | Mode::Rtt { .. } => {}
        }
    }

    /// Any phase but the second, picked by what differs between flows.
    fn enter_bandwidth(&mut self, ack: &Ack) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 6")]
        let pick = ((ack.now * 7919.0).fract() * 7.0) as usize;
        let phase = if pick == 0 { 0 } else { pick + 1 };
        self.mode = Mode::Bandwidth { phase, since: ack.now };
    }

    fn probe_rtt(&mut self, ack: &Ack) {
        let stale = ack.now - self.rtt_at > RTT_SPAN;
        if ack.rtt <= self.rtt || stale {
            (self.rtt, self.rtt_at) = (ack.rtt, ack.now);
        }
        match self.mode {
            Mode::Rtt { until: None } if ack.in_flight <= WINDOW_MIN => {
                self.mode = Mode::Rtt { until: Some(ack.now + RTT_PROBE.max(ack.rtt)) };
            }
            Mode::Rtt { until: Some(until) } if ack.now > until => {
                self.rtt_at = ack.now;
                if self.filled {
                    self.enter_bandwidth(ack);
                } else {
                    self.mode = Mode::Start;
                }
            }
            Mode::Rtt { .. } => {}
            Mode::Start | Mode::Drain | Mode::Bandwidth { .. } if stale => {
                self.mode = Mode::Rtt { until: None };
            }
            Mode::Start | Mode::Drain | Mode::Bandwidth { .. } => {}
        }
    }
}

impl Law for Bbr1 {
    fn on_ack(&mut self, ack: &Ack) {
        self.round += u64::from(ack.round);
        if ack.acked > 0.0 {
            self.bandwidth.insert(self.round, ack.bandwidth);
        }
        self.look_for_full_pipe(ack);
        self.cycle(ack);
        if ack.acked > 0.0 {
            self.probe_rtt(ack);
        }
        let gain = if self.filled { WINDOW_GAIN } else { START_GAIN };
        let target = (gain * self.bdp()).max(WINDOW_MIN);
        self.window = match self.mode {
            Mode::Rtt { .. } => WINDOW_MIN,
            _ if self.filled => target.min(self.window + ack.acked),
            _ => target.max(START_WINDOW).min(self.window + ack.acked),
        };
    }

    fn on_timeout(&mut self, _: f64) {
        self.window = 1.0;
    }

    fn window(&self) -> f64 {
        self.window
    }

    fn pacing(&self) -> f64 {
        if self.bandwidth.get() > 0.0 {
            self.gain() * self.bandwidth.get()
        } else {
            START_GAIN * START_WINDOW / 0.001
        }
    }
}
