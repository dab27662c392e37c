//! Measures the way to the peer with padding, for somebody who wants to know, not for a transfer.
//!
//! ```text
//! sizes    three packets of each known size: which pass?
//! delay    small packets 5 ms apart: round trip, jitter, loss, order
//! trains   packets back to back: the bottleneck's rate
//! burst    at 95 % of that rate: what arrives of it, and whether that falls (a policer)
//! ```
//! The peer needs to know nothing of it: reports on padding say all that is used here. It is
//! bounded in time, in bytes, and in rate; while no report comes at all, nothing leaves.

use super::Session;
use super::figures::{self, Delays};
use crate::congestion::TrainSample;
use crate::ids::PacketNumber;
use crate::limits::{SYMBOL_SIZE, SYMBOL_SIZE_SMALL, TRAIN_PACKETS_MAX};
use crate::path::ledger::Settled;
use crate::path::mtu::packet_bytes;
use crate::units::{BitRate, Bytes, Timestamp};
use crate::wire::control::PathFigures;
use crate::wire::feedback::Feedback;
use crate::wire::header::Kind;
use core::time::Duration;
use std::collections::BTreeMap;

/// Packets of each size at the beginning.
const SIZE_PROBES: u32 = 3;
/// Symbol of a packet that measures delay: so small that its own length hardly counts.
const DELAY_SIZE: u16 = 64;
/// From one packet that measures delay to the next.
const DELAY_SPACING: Duration = Duration::from_millis(5);
/// Packets of a train.
const TRAIN: u32 = 32;
const _: () = assert!(TRAIN <= TRAIN_PACKETS_MAX);
/// From one train to the next, at least.
const TRAIN_SPACING: Duration = Duration::from_millis(50);
/// A train that arrives in less arrived as one, whatever the link's rate.
const GAPS_MIN: Duration = Duration::from_micros(10);
/// The burst's part of the rate of the trains.
const BURST_SHARE: f64 = 0.95;
/// Packets of the burst that leave at once, at most.
const BURST_AT_ONCE: u64 = 16;
/// Answers may take this much longer than a round trip: reports have a beat.
const SLACK: Duration = Duration::from_millis(60);
/// No phase is shorter.
const PHASE_MIN: Duration = Duration::from_millis(100);
/// Packets whose times are kept.
const KEPT_MAX: usize = 4096;

/// What may be used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbePlan {
    /// All of it takes about so long, the last answers included.
    pub span: Duration,
    /// Bytes at IP level, at most.
    pub bytes_max: Bytes,
    /// Never faster than this over more than a train.
    pub rate_max: Option<BitRate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Delay,
    Trains,
    /// For the answers to the trains.
    Pause,
    Burst,
    /// For the last answers.
    Farewell,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Prober {
    plan: ProbePlan,
    phase: Phase,
    /// Ends of the phases.
    ends: [Timestamp; 5],
    sizes_left: [u32; 2],
    /// Delay is measured from here on: the packets that asked for sizes are gone.
    delay_from: Timestamp,
    next_at: Timestamp,
    spent: Bytes,
    small_passes: bool,
    full_passes: bool,
    full_lost: bool,
    delays: Delays,
    /// Numbers and times of the packets that measure delay.
    sent: BTreeMap<PacketNumber, Timestamp>,
    trains: Vec<BitRate>,
    burst: figures::Burst,
}

impl Prober {
    fn new(plan: ProbePlan, rtt: Duration, now: Timestamp) -> Self {
        let answer = rtt + rtt / 8 + SLACK;
        let span = plan.span.saturating_sub(answer * 2).max(PHASE_MIN * 3);
        let delay = now + span.mul_f64(0.4).max(PHASE_MIN);
        let trains = delay + span.mul_f64(0.25).max(PHASE_MIN);
        let pause = trains + answer;
        let burst = pause + span.mul_f64(0.35).max(PHASE_MIN);
        Self {
            plan,
            phase: Phase::Delay,
            ends: [delay, trains, pause, burst, burst + answer],
            sizes_left: [SIZE_PROBES; 2],
            delay_from: now,
            next_at: now,
            spent: Bytes::ZERO,
            small_passes: false,
            full_passes: false,
            full_lost: false,
            delays: Delays::default(),
            sent: BTreeMap::new(),
            trains: Vec::new(),
            burst: figures::Burst::default(),
        }
    }

    fn advance(&mut self, now: Timestamp) {
        while self.phase < Phase::Farewell && now >= self.ends[self.phase as usize] {
            self.phase = match self.phase {
                Phase::Delay => Phase::Trains,
                Phase::Trains => Phase::Pause,
                Phase::Pause => {
                    self.burst.begin(now);
                    Phase::Burst
                }
                Phase::Burst | Phase::Farewell => Phase::Farewell,
            };
            self.next_at = now;
        }
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.phase == Phase::Farewell && now >= self.ends[Phase::Farewell as usize]
    }

    /// When the next packet leaves, or the next phase begins.
    fn due(&self) -> Timestamp {
        let end = self.ends[self.phase as usize];
        match self.phase {
            Phase::Pause | Phase::Farewell => end,
            Phase::Delay | Phase::Trains | Phase::Burst => self.next_at.min(end),
        }
    }

    /// The size of padding for trains and burst.
    const fn size(&self) -> u16 {
        if self.full_passes { SYMBOL_SIZE } else { SYMBOL_SIZE_SMALL }
    }

    fn cap(&self, rate: BitRate) -> BitRate {
        self.plan.rate_max.map_or(rate, |max| max.min(rate))
    }

    /// The rate of the burst; nothing without trains, unless there is a cap.
    fn burst_rate(&self) -> Option<BitRate> {
        let found = figures::median(&self.trains).map(|rate| self.cap(rate.mul_f64(BURST_SHARE)));
        // Where nothing arrives, nothing more is sent.
        let cap = self.plan.rate_max.filter(|_| self.small_passes || self.full_passes);
        Some(found.or(cap)?.max(BitRate::kbps(8)))
    }
}

/// What leaves now.
enum Leaves {
    Nothing,
    /// One packet of this size.
    Single(u16),
    Train(u32, u16),
    /// So many for the burst.
    Burst(u64, u16),
}

impl Session {
    /// Begins to measure the way to the peer; what was measured before is forgotten.
    pub fn probe(&mut self, plan: ProbePlan, now: Timestamp) {
        self.prober = Some(Box::new(Prober::new(plan, self.rtt.smoothed(), now)));
    }

    /// What was measured, once it is over.
    pub fn take_probed(&mut self, now: Timestamp) -> Option<PathFigures> {
        self.prober.as_mut()?.advance(now);
        let prober = self.prober.take_if(|prober| prober.is_over(now))?;
        Some(prober.figures())
    }

    pub(super) fn next_probe(&self) -> Option<Timestamp> {
        self.prober.as_ref().map(|prober| self.allowance.not_before(prober.due()))
    }

    /// Plans the packets of a measurement that may leave now, at `share` of their rate.
    pub(super) fn plan_measurement(
        &mut self,
        share: f64,
        now: Timestamp,
        plans: &mut Vec<super::PacketPlan>,
    ) {
        // What all sessions together may send bounds it like data. spec: W-148
        if self.allowance.is_spent() {
            return;
        }
        let Some(mut prober) = self.prober.take() else { return };
        prober.advance(now);
        let before = self.counters.wire_sent;
        match prober.leaves(share, now) {
            Leaves::Nothing => {}
            Leaves::Single(size) => {
                let number = self.ledger.next_number();
                if prober.sent.len() < KEPT_MAX && size == DELAY_SIZE {
                    prober.sent.insert(number, now);
                    prober.delays.sent += 1;
                }
                self.plan_padding(Kind::Pad, size, now, plans);
            }
            Leaves::Train(count, size) => {
                // Two trains in a row would be one to the receiver. spec: W-016
                if self.train_end == Some(self.ledger.next_number()) {
                    self.skip_number(now);
                }
                for _ in 0..count {
                    self.plan_padding(Kind::PadTrain, size, now, plans);
                }
                self.train_end = Some(self.ledger.next_number());
            }
            Leaves::Burst(count, size) => {
                for _ in 0..count {
                    prober.burst.on_sent(self.ledger.next_number(), packet_bytes(size));
                    self.plan_padding(Kind::Pad, size, now, plans);
                }
            }
        }
        prober.spent += self.counters.wire_sent - before;
        self.prober = Some(prober);
    }

    /// A report came while the way is measured.
    pub(super) fn measure(&mut self, settled: &Settled, feedback: &Feedback) {
        if let Some(prober) = &mut self.prober {
            prober.on_report(settled, feedback);
            let timed = |train: &&TrainSample| train.gaps >= TRAIN / 4 && train.gap_sum >= GAPS_MIN;
            let trains = self.trains.iter().filter(timed);
            prober.trains.extend(trains.map(|train| train.bytes.rate_over(train.gap_sum)));
        }
    }
}

impl Prober {
    fn leaves(&mut self, share: f64, now: Timestamp) -> Leaves {
        if now < self.next_at || self.spent >= self.plan.bytes_max {
            return Leaves::Nothing;
        }
        match self.phase {
            Phase::Pause | Phase::Farewell => Leaves::Nothing,
            Phase::Delay => {
                let [small, full] = &mut self.sizes_left;
                let size = match (*full, *small) {
                    (0, 0) => DELAY_SIZE,
                    (0, _) => {
                        *small -= 1;
                        SYMBOL_SIZE_SMALL
                    }
                    _ => {
                        *full -= 1;
                        SYMBOL_SIZE
                    }
                };
                let least = packet_bytes(size).time_at(self.cap(BitRate::mbps(100)));
                self.next_at = now + DELAY_SPACING.max(least).mul_f64(1.0 / share);
                if size != DELAY_SIZE {
                    self.delay_from = self.next_at;
                }
                Leaves::Single(size)
            }
            Phase::Trains => {
                let size = self.size();
                let bytes = packet_bytes(size).saturating_mul(u64::from(TRAIN));
                let least = bytes.time_at(self.cap(BitRate::mbps(200)));
                self.next_at = now + TRAIN_SPACING.max(least).mul_f64(1.0 / share);
                Leaves::Train(TRAIN, size)
            }
            Phase::Burst => self.leaves_in_burst(share, now),
        }
    }

    fn leaves_in_burst(&mut self, share: f64, now: Timestamp) -> Leaves {
        let Some(rate) = self.burst_rate() else {
            self.next_at = self.ends[Phase::Burst as usize];
            return Leaves::Nothing;
        };
        let rate = rate.mul_f64(share);
        let size = self.size();
        let packet = packet_bytes(size);
        // Enough for half a millisecond at once: timers are no finer.
        let at_once = rate.bytes_in(Duration::from_micros(500)).get() / packet.get();
        let count = at_once.clamp(1, BURST_AT_ONCE);
        let span = packet.saturating_mul(count).time_at(rate);
        // Late timers are made up for, but no more than a few.
        let late = now.since(self.next_at).min(span * 4);
        self.next_at = now + span.saturating_sub(late).max(Duration::from_micros(10));
        self.burst.rate = self.burst.rate.max(rate);
        Leaves::Burst(count, size)
    }

    fn on_report(&mut self, settled: &Settled, feedback: &Feedback) {
        for outcome in settled.acked.iter().chain(&settled.spurious) {
            if outcome.bytes >= packet_bytes(SYMBOL_SIZE) {
                self.full_passes = true;
            } else if outcome.bytes >= packet_bytes(SYMBOL_SIZE_SMALL) {
                self.small_passes = true;
            }
            self.burst.on_fate(outcome.number, outcome.sent_at, true);
        }
        for outcome in &settled.lost {
            self.full_lost |= outcome.bytes >= packet_bytes(SYMBOL_SIZE);
            self.delays.lost += u64::from(self.sent.contains_key(&outcome.number));
            self.burst.on_fate(outcome.number, outcome.sent_at, false);
        }
        for outcome in &settled.spurious {
            let counted = u64::from(self.sent.contains_key(&outcome.number));
            self.delays.lost = self.delays.lost.saturating_sub(counted);
        }
        for sample in &settled.rtts {
            let until = self.ends[Phase::Delay as usize];
            if sample.sent_at >= self.delay_from && sample.sent_at < until {
                self.delays.on_rtt(sample.rtt);
            }
        }
        self.delays.on_marks(&feedback.delays, &self.sent);
    }

    fn figures(&self) -> PathFigures {
        let mut figures = PathFigures {
            small_passes: self.small_passes.then_some(true),
            full_passes: match (self.full_passes, self.full_lost || self.small_passes) {
                (true, _) => Some(true),
                (false, true) => Some(false),
                (false, false) => None,
            },
            wire_bytes: self.spent.get(),
            ..PathFigures::default()
        };
        self.delays.fill(&mut figures);
        figures::fill_trains(&self.trains, &mut figures);
        self.burst.fill(&mut figures);
        figures
    }
}
