//! A model of BBR version 3 (draft-ietf-ccwg-bbr): version 1 with bounds on what is in flight.
//!
//! ```text
//! start-up  gain 2.77, until the bandwidth stops growing or a round loses more than 2 % in 6 packets
//! ProbeBW   DOWN 0.9 -> CRUISE 1 -> REFILL 1 -> UP 1.25 -> DOWN; a probe each 2 to 3 s, or
//!           min(BDP, 63) rounds
//! hi        UP that loses more than 2 % of a flight: hi = max(what was in flight, 0.7 of the target)
//!           UP that does not: hi grows by 1, 2, 4 ... packets a round
//! lo        a round with loss outside of REFILL and UP: bandwidth and window to 0.7, not below
//!           what was delivered; forgotten at REFILL
//! headroom  DOWN and CRUISE use 0.85 hi
//! ProbeRTT  each 5 s: half a BDP for 200 ms
//! ```

use super::max_filter::MaxFilter;
use super::{Ack, Law};

const START_GAIN: f64 = 2.77;
const DRAIN_GAIN: f64 = 0.5;
const START_WINDOW: f64 = 10.0;
const WINDOW_MIN: f64 = 4.0;
const LOSS_MAX: f64 = 0.02;
const BETA: f64 = 0.7;
const HEADROOM: f64 = 0.85;
const START_LOSSES: f64 = 6.0;
const FULL_GROWTH: f64 = 1.25;
const FULL_ROUNDS: u32 = 3;
const RENO_ROUNDS: f64 = 63.0;
const RTT_SPAN: f64 = 10.0;
const RTT_PROBE_EACH: f64 = 5.0;
const RTT_PROBE: f64 = 0.2;
/// The bandwidth is the largest of this and the last cycle.
const CYCLES: u64 = 2;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Start,
    Drain,
    Down,
    Cruise,
    Refill,
    Up,
    Rtt { until: Option<f64> },
}

/// See the module. Packets and seconds.
#[derive(Debug)]
pub(super) struct Bbr3 {
    mode: Mode,
    since: f64,
    cycle: u64,
    cycle_at: f64,
    cycle_rounds: f64,
    probe_after: f64,
    refill_rounds: u32,
    bandwidth: MaxFilter,
    bandwidth_lo: f64,
    hi: f64,
    lo: f64,
    up_rounds: i32,
    /// Largest delivery rate, and packets delivered, in this round; losses in it.
    round_bandwidth: f64,
    round_acked: f64,
    round_lost: f64,
    rtt: f64,
    rtt_at: f64,
    rtt_probed_at: f64,
    full: f64,
    full_rounds: u32,
    filled: bool,
    window: f64,
}

impl Bbr3 {
    pub(super) const fn new() -> Self {
        Self {
            mode: Mode::Start,
            since: 0.0,
            cycle: 0,
            cycle_at: 0.0,
            cycle_rounds: 0.0,
            probe_after: 2.0,
            refill_rounds: 0,
            bandwidth: MaxFilter::new(CYCLES),
            bandwidth_lo: f64::INFINITY,
            hi: f64::INFINITY,
            lo: f64::INFINITY,
            up_rounds: 0,
            round_bandwidth: 0.0,
            round_acked: 0.0,
            round_lost: 0.0,
            rtt: f64::INFINITY,
            rtt_at: 0.0,
            rtt_probed_at: 0.0,
            full: 0.0,
            full_rounds: 0,
            filled: false,
            window: START_WINDOW,
        }
    }

    fn rate(&self) -> f64 {
        self.bandwidth.get().min(self.bandwidth_lo)
    }

    fn bdp(&self) -> f64 {
        if self.rtt.is_finite() { self.rate() * self.rtt } else { START_WINDOW }
    }

    fn gain(&self) -> f64 {
        match self.mode {
            Mode::Start => START_GAIN,
            Mode::Drain => DRAIN_GAIN,
            Mode::Down => 0.9,
            Mode::Up => 1.25,
            Mode::Cruise | Mode::Refill | Mode::Rtt { .. } => 1.0,
        }
    }

    fn enter(&mut self, mode: Mode, now: f64) {
        (self.mode, self.since) = (mode, now);
        match mode {
            Mode::Down => {
                self.cycle += 1;
                (self.cycle_at, self.cycle_rounds) = (now, 0.0);
                self.probe_after = 2.0 + (now * 7919.0).fract();
            }
            Mode::Refill => {
                (self.lo, self.bandwidth_lo) = (f64::INFINITY, f64::INFINITY);
                self.refill_rounds = 0;
            }
            Mode::Up => self.up_rounds = 0,
            Mode::Start | Mode::Drain | Mode::Cruise | Mode::Rtt { .. } => {}
        }
    }

    fn end_round(&mut self, ack: &Ack) {
        let lossy = self.round_lost > LOSS_MAX * (self.round_acked + self.round_lost);
        if self.mode == Mode::Start {
            self.look_for_full_pipe(lossy && self.round_lost >= START_LOSSES, ack);
        } else if self.round_lost > 0.0 && !matches!(self.mode, Mode::Refill | Mode::Up) {
            let bandwidth = self.bandwidth_lo.min(self.bandwidth.get());
            self.bandwidth_lo = self.round_bandwidth.max(BETA * bandwidth);
            self.lo = (self.round_acked).max(BETA * self.lo.min(self.window));
        }
        self.cycle_rounds += 1.0;
        self.refill_rounds += u32::from(self.mode == Mode::Refill);
        if self.mode == Mode::Up
            && self.hi.is_finite()
            && ack.in_flight + ack.acked >= 0.9 * self.hi
        {
            self.hi += f64::from(1u32 << self.up_rounds.clamp(0, 30));
            self.up_rounds += 1;
        }
        (self.round_bandwidth, self.round_acked, self.round_lost) = (0.0, 0.0, 0.0);
    }

    fn look_for_full_pipe(&mut self, lossy: bool, ack: &Ack) {
        if lossy {
            self.filled = true;
            self.hi = self.bdp().max(ack.flight_then);
        } else if self.bandwidth.get() >= FULL_GROWTH * self.full {
            (self.full, self.full_rounds) = (self.bandwidth.get(), 0);
        } else {
            self.full_rounds += 1;
            self.filled = self.full_rounds >= FULL_ROUNDS;
        }
    }

    fn advance(&mut self, ack: &Ack) {
        let target = self.bdp().min(HEADROOM * self.hi);
        match self.mode {
            Mode::Start if self.filled => self.enter(Mode::Drain, ack.now),
            Mode::Drain if ack.in_flight <= self.bdp() => self.enter(Mode::Down, ack.now),
            Mode::Down | Mode::Cruise if self.is_probe_due(ack) => {
                self.enter(Mode::Refill, ack.now);
            }
            Mode::Down if ack.in_flight <= target => self.enter(Mode::Cruise, ack.now),
            Mode::Refill if self.refill_rounds > 0 => self.enter(Mode::Up, ack.now),
            Mode::Up => {
                let lossy = ack.lost > 0.0 && ack.lost_since > LOSS_MAX * ack.flight_then;
                if lossy {
                    self.hi = ack.flight_then.max(BETA * self.bdp().min(self.window));
                }
                let full = ack.now - self.since > self.rtt && ack.in_flight >= 1.25 * self.bdp();
                if lossy || full {
                    self.enter(Mode::Down, ack.now);
                }
            }
            Mode::Start
            | Mode::Drain
            | Mode::Down
            | Mode::Cruise
            | Mode::Refill
            | Mode::Rtt { .. } => {}
        }
    }

    fn is_probe_due(&self, ack: &Ack) -> bool {
        ack.now - self.cycle_at > self.probe_after
            || self.cycle_rounds > self.bdp().min(RENO_ROUNDS)
    }

    fn probe_rtt(&mut self, ack: &Ack) {
        let stale = ack.now - self.rtt_at > RTT_SPAN;
        if ack.rtt <= self.rtt || stale {
            (self.rtt, self.rtt_at) = (ack.rtt, ack.now);
            self.rtt_probed_at = if stale { self.rtt_probed_at } else { ack.now };
        }
        match self.mode {
            Mode::Rtt { until: None } if ack.in_flight <= (self.bdp() / 2.0).max(WINDOW_MIN) => {
                self.mode = Mode::Rtt { until: Some(ack.now + RTT_PROBE.max(ack.rtt)) };
            }
            Mode::Rtt { until: Some(until) } if ack.now > until => {
                (self.rtt_at, self.rtt_probed_at) = (ack.now, ack.now);
                self.enter(if self.filled { Mode::Down } else { Mode::Start }, ack.now);
            }
            Mode::Rtt { .. } => {}
            _ if ack.now - self.rtt_probed_at > RTT_PROBE_EACH => {
                self.mode = Mode::Rtt { until: None };
            }
            _ => {}
        }
    }

    fn bound(&self) -> f64 {
        match self.mode {
            Mode::Rtt { .. } => (self.bdp() / 2.0).max(WINDOW_MIN),
            Mode::Down | Mode::Cruise => (HEADROOM * self.hi).min(self.lo),
            Mode::Start | Mode::Drain => f64::INFINITY,
            Mode::Refill | Mode::Up => self.hi,
        }
    }
}

impl Law for Bbr3 {
    fn on_ack(&mut self, ack: &Ack) {
        if ack.acked > 0.0 {
            self.bandwidth.insert(self.cycle, ack.bandwidth);
            self.round_bandwidth = self.round_bandwidth.max(ack.bandwidth);
        }
        self.round_acked += ack.acked;
        self.round_lost += ack.lost;
        if ack.round {
            self.end_round(ack);
        }
        self.advance(ack);
        if ack.acked > 0.0 {
            self.probe_rtt(ack);
        }
        let gain = match self.mode {
            Mode::Start => START_GAIN,
            Mode::Up => 2.25,
            _ => 2.0,
        };
        let target = (gain * self.bdp()).max(if self.filled { WINDOW_MIN } else { START_WINDOW });
        let grown = if self.filled {
            target.min(self.window + ack.acked)
        } else {
            target.max(self.window).min(self.window + ack.acked)
        };
        self.window = grown.min(self.bound()).max(WINDOW_MIN);
    }

    fn on_timeout(&mut self, _: f64) {
        self.window = 1.0;
    }

    fn window(&self) -> f64 {
        self.window
    }

    fn pacing(&self) -> f64 {
        if self.rate() > 0.0 {
            self.gain() * self.rate()
        } else {
            START_GAIN * START_WINDOW / 0.001
        }
    }
}
