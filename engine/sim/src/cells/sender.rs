//! A sender around a controller: pacing, the table of what is in flight, loss declared by time.
//!
//! Loss is declared RACK style: a packet is lost when one sent a reorder window later has
//! arrived. The window is max(2 ms, rtt/8), doubles when a loss turns out to be spurious, and
//! falls back over 16 round trips.

use super::receiver::{Arrival, Report, TrainReport};
use core::time::Duration;
use farhaul_proto::congestion::pacer::Pacer;
use farhaul_proto::congestion::{Controller, Outcome, RttSample, Sample, TrainSample};
use farhaul_proto::ids::{PacketNumber, RateEpoch};
use farhaul_proto::path::ages::AgeBound;
use farhaul_proto::path::back::{Named, WayBack};
use farhaul_proto::units::{BitRate, Bytes, Timestamp};
use std::collections::VecDeque;

/// IP-level size of every packet: 1408-byte symbols, 37 bytes of header and tag, 28 of UDP/IP.
pub(super) const PACKET: Bytes = Bytes::new(1_473);
const REORDER_MIN: Duration = Duration::from_millis(2);
const REORDER_RTTS: u32 = 16;
/// A path silent for so long (and a round trip) is only asked, once each such time.
const SILENCE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Flying,
    Acked,
    Lost,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Timestamp,
    epoch: RateEpoch,
    state: State,
}

/// A packet that leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    pub(super) number: u64,
    pub(super) train: Option<(u64, u64)>,
}

#[derive(Debug)]
pub(super) struct Sender {
    pub(super) controller: Box<dyn Controller>,
    pacer: Pacer,
    flight: VecDeque<Sent>,
    first: u64,
    in_flight: Bytes,
    rtt: Duration,
    ages: AgeBound,
    way_back: WayBack,
    reorder: Duration,
    calmed_at: Timestamp,
    newest_acked: Timestamp,
    trains_seen: usize,
    app: Option<BitRate>,
    app_limited: bool,
    app_sent: Bytes,
    started: Timestamp,
    heard_at: Timestamp,
    asked_at: Timestamp,
    acked: Vec<Outcome>,
    lost: Vec<Outcome>,
    spurious: Vec<Outcome>,
    arrivals: Vec<Arrival>,
}

impl Sender {
    pub(super) fn new(
        controller: Box<dyn Controller>,
        app: Option<BitRate>,
        rtt: Duration,
        now: Timestamp,
    ) -> Self {
        Self {
            controller,
            pacer: Pacer::new(),
            flight: VecDeque::new(),
            first: 0,
            in_flight: Bytes::ZERO,
            rtt,
            ages: AgeBound::new(rtt),
            way_back: WayBack::default(),
            reorder: REORDER_MIN.max(rtt / 8),
            calmed_at: now,
            newest_acked: Timestamp::ZERO,
            trains_seen: 0,
            app,
            app_limited: false,
            app_sent: Bytes::ZERO,
            started: now,
            heard_at: now,
            asked_at: now,
            acked: Vec::new(),
            lost: Vec::new(),
            spurious: Vec::new(),
            arrivals: Vec::new(),
        }
    }

    /// Everything that may leave now.
    pub(super) fn departures(&mut self, now: Timestamp, out: &mut Vec<Departure>) {
        out.clear();
        if self.is_silent(now) {
            if now.since(self.asked_at) >= SILENCE {
                self.asked_at = now;
                self.depart(None, now, out);
            }
            return;
        }
        if self.controller.next_timer().is_some_and(|at| at <= now) {
            self.controller.on_timer(now);
        }
        let rate = self.controller.pacing_rate(now);
        let mut budget = self.pacer.budget(now, rate);
        if let Some(count) = self.controller.take_train(now) {
            let first = self.first + self.flight.len() as u64;
            let range = (first, first + u64::from(count.max(1)) - 1);
            (0..count).for_each(|_| self.depart(Some(range), now, out));
            budget = self.pacer.budget(now, rate);
        }
        while budget >= PACKET && self.in_flight + PACKET <= self.controller.in_flight_limit() {
            if !self.has_data(now) {
                self.app_limited = true;
                self.pacer.pause();
                break;
            }
            self.app_sent += PACKET;
            self.depart(None, now, out);
            budget -= PACKET;
        }
        if self.in_flight + PACKET > self.controller.in_flight_limit() {
            self.pacer.hold();
        }
    }

    /// When to look again, as far as the sender knows.
    pub(super) fn next_wake(&mut self, now: Timestamp) -> Option<Timestamp> {
        if self.is_silent(now) {
            return Some(self.asked_at + SILENCE);
        }
        let rate = self.controller.pacing_rate(now);
        let timer = self.controller.next_timer().map(|at| at.max(now + Duration::from_micros(1)));
        if self.in_flight + PACKET > self.controller.in_flight_limit() {
            let silent = self.heard_at + SILENCE + self.rtt;
            return Some(timer.map_or(silent, |t| t.min(silent)));
        }
        let burst = Pacer::quantum(rate);
        let mut wake = self.pacer.next_release(now, rate, burst);
        if wake <= now {
            // Allowed, yet nothing left: the application has no data.
            wake = now + Duration::from_millis(1);
        }
        Some(timer.map_or(wake, |t| t.min(wake)))
    }

    /// A report arrived; `arrivals` is what it newly says, `trains` all trains so far.
    pub(super) fn on_report(
        &mut self,
        report: &Report,
        take: impl FnOnce(&mut Vec<Arrival>),
        trains: &[TrainReport],
        now: Timestamp,
    ) {
        if self.is_silent(now) {
            self.controller.on_outage_end(now.since(self.heard_at), now);
        }
        self.heard_at = now;
        let mut arrivals = core::mem::take(&mut self.arrivals);
        take(&mut arrivals);
        self.acked.clear();
        self.lost.clear();
        self.spurious.clear();
        for arrival in &arrivals {
            self.on_arrival(arrival.number, now);
        }
        self.arrivals = arrivals;
        self.acked.sort_unstable_by_key(|o| o.number);
        let rtts = self.delays(report, now);
        self.declare_lost();
        let trains = self.new_trains(trains, report.trains_end);
        let sample = Sample {
            acked: &self.acked,
            lost: &self.lost,
            dead: &[],
            spurious: &self.spurious,
            rtts: &rtts,
            trains: &trains,
            receiver_drops: 0,
            in_flight: self.in_flight,
            app_limited: self.app_limited,
        };
        self.controller.on_feedback(&sample, now);
        self.app_limited = false;
        self.forget_resolved();
    }

    /// When packet `number` left, while it is remembered.
    pub(super) fn sent_at(&self, number: u64) -> Option<Timestamp> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.flight.get(index).map(|sent| sent.at)
    }

    /// How often the receiver's clock was found to lie.
    pub(super) fn accused(&self) -> u32 {
        self.way_back.found()
    }

    fn is_silent(&self, now: Timestamp) -> bool {
        self.in_flight > Bytes::ZERO && now.since(self.heard_at) >= SILENCE + self.rtt
    }

    fn depart(&mut self, train: Option<(u64, u64)>, now: Timestamp, out: &mut Vec<Departure>) {
        if self.in_flight == Bytes::ZERO {
            self.heard_at = self.heard_at.max(now);
        }
        let number = self.first + self.flight.len() as u64;
        let epoch = self.controller.on_sent(PacketNumber::new(number), PACKET, now);
        self.flight.push_back(Sent { at: now, epoch, state: State::Flying });
        self.in_flight += PACKET;
        self.pacer.on_sent(PACKET);
        out.push(Departure { number, train });
    }

    fn has_data(&self, now: Timestamp) -> bool {
        self.app.is_none_or(|rate| self.app_sent < rate.bytes_in(now.since(self.started)))
    }

    fn on_arrival(&mut self, number: u64, now: Timestamp) {
        let Some(index) = number.checked_sub(self.first) else { return };
        let Some(sent) = usize::try_from(index).ok().and_then(|i| self.flight.get_mut(i)) else {
            return;
        };
        let outcome = outcome(number, sent);
        match sent.state {
            State::Acked => return,
            State::Lost => {
                self.spurious.push(outcome);
                self.reorder = (self.reorder * 2).min(self.rtt.max(REORDER_MIN));
                self.calmed_at = now;
            }
            State::Flying => {
                self.acked.push(outcome);
                self.in_flight -= PACKET;
            }
        }
        sent.state = State::Acked;
        self.newest_acked = self.newest_acked.max(sent.at);
    }

    fn delays(&mut self, report: &Report, now: Timestamp) -> Vec<RttSample> {
        let named = report.samples.iter().filter_map(|sample| {
            let number = PacketNumber::new(sample.number);
            let index = self.acked.binary_search_by_key(&number, |o| o.number).ok()?;
            let sent_at = self.acked[index].sent_at;
            Some((sent_at, now.since(sent_at), report.left.since(sample.at)))
        });
        let ages = &mut self.ages;
        named.clone().for_each(|(_, elapsed, age)| ages.on_named(elapsed, age, now));
        let mut rtts = Vec::with_capacity(report.samples.len());
        for (sent_at, elapsed, age) in named {
            if let Some(rtt) = ages.round_trip(elapsed, age) {
                rtts.push(RttSample { sent_at, rtt, back: Duration::ZERO });
            }
        }
        if let Some(min) = rtts.iter().map(|s| s.rtt).min() {
            self.rtt = min;
        }
        let newest = self.sent_at(report.largest).map(|sent_at| now.since(sent_at));
        let named = Named { newest, fresh: self.acked.len() + self.spurious.len() };
        self.way_back.on_report(report.left.wrapped(), named, &mut rtts, now);
        if now.since(self.calmed_at) > self.rtt * REORDER_RTTS {
            self.reorder = REORDER_MIN.max(self.rtt / 8).max(self.reorder / 2);
            self.calmed_at = now;
        }
        rtts
    }

    fn declare_lost(&mut self) {
        let limit = self.newest_acked - self.reorder;
        for (index, sent) in self.flight.iter_mut().enumerate() {
            if sent.at >= limit {
                break;
            }
            if sent.state == State::Flying {
                sent.state = State::Lost;
                self.lost.push(outcome(self.first + index as u64, sent));
                self.in_flight -= PACKET;
            }
        }
    }

    fn new_trains(&mut self, trains: &[TrainReport], end: usize) -> Vec<TrainSample> {
        let from = self.trains_seen.min(end);
        self.trains_seen = self.trains_seen.max(end);
        trains[from..end]
            .iter()
            .map(|t| TrainSample {
                bytes: t.bytes,
                gap_sum: t.gap_sum,
                gaps: t.gaps,
                sent_at: self.sent_at(t.first).unwrap_or_default(),
            })
            .collect()
    }

    /// Keeps lost packets for four round trips, to recognise spurious losses.
    fn forget_resolved(&mut self) {
        let limit = self.newest_acked - self.rtt * 4;
        while self.flight.front().is_some_and(|s| s.state != State::Flying && s.at < limit) {
            self.flight.pop_front();
            self.first += 1;
        }
    }
}

fn outcome(number: u64, sent: &Sent) -> Outcome {
    let number = PacketNumber::new(number);
    Outcome { number, sent_at: sent.at, bytes: PACKET, epoch: sent.epoch }
}
