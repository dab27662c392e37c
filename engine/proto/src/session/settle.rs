//! A report of the peer: what it settles, and who is told.

use super::{Arrival, Session, SessionError};
use crate::congestion::{Outcome, Policy, Sample, TrainSample, View};
use crate::limits::FEEDBACK_MAX;
use crate::path::back::Named;
use crate::path::ledger::{Carried, Settled};
use crate::path::loss::LossMeter;
use crate::path::mtu::PathMtu;
use crate::path::rtt::RttEstimator;
use crate::send::RepairContext;
use crate::trace::TraceEvent;
use crate::units::{Bytes, Timestamp};
use crate::wire::feedback::Feedback;
use core::time::Duration;

impl Session {
    /// An authentic, decoded feedback packet. The path is measured by when it arrived, not by when a
    /// busy host came to read it.
    pub fn on_feedback(
        &mut self,
        arrival: &Arrival,
        feedback: &Feedback,
        now: Timestamp,
    ) -> Result<(), SessionError> {
        let number = arrival.number;
        self.acks.on_silent_packet(arrival);
        let taken = self.take_report(arrival, feedback, now);
        match taken {
            Ok(()) => self.observe(now),
            Err(error) => self.on_invalid(number, error, now),
        }
        taken
    }

    fn take_report(
        &mut self,
        arrival: &Arrival,
        feedback: &Feedback,
        now: Timestamp,
    ) -> Result<(), SessionError> {
        let (number, arrived) = (arrival.number, arrival.at.min(now));
        self.counters.reports_received += 1;
        // It is shown and recorded, so a peer that boasts gets no further than what was sent.
        let received = feedback.received_bytes.min(self.counters.wire_sent);
        self.counters.wire_delivered = self.counters.wire_delivered.max(received);
        let newest = self.newest_report.is_none_or(|seen| number > seen);
        self.newest_report = self.newest_report.max(Some(number));
        if newest {
            self.peer_backlog = feedback.backlog;
            self.decoding.at_peer = feedback.decoding.into();
        } else {
            self.observer.on_overtaken();
        }
        let drops = feedback.receiver_drops.saturating_sub(self.receiver_drops_seen);
        let mut settled = core::mem::take(&mut self.settled);
        self.ledger.on_feedback(feedback, &mut self.rtt, arrived, &mut settled)?;
        if !feedback.ranges.is_empty() {
            let fresh = settled.acked.len() + settled.spurious.len();
            let named = Named { newest: settled.newest_elapsed, fresh };
            self.way_back.on_report(feedback.clock, named, &mut settled.rtts, arrived);
        }
        let reliable = self.config.carrier.is_reliable();
        self.end_silence(&settled, drops, now);
        self.lost.clear();
        let lost = settled.lost.iter().zip(&settled.lost_carried);
        let real = lost.filter(|lost| !is_size_probe(&self.mtu, *lost));
        self.lost.extend(real.map(|(lost, _)| *lost));
        self.observer.on_lost(&self.lost, now);
        self.count(&settled);
        self.steer(&settled, feedback, drops, now);
        self.measure(&settled, feedback);
        self.apply(&settled);
        self.settled = settled;
        self.sender.on_feedback(feedback, newest, &self.repair)?;
        if core::mem::take(&mut self.sizes.hole) {
            self.fall_back(now);
        }
        if reliable {
            self.ask_behind_the_last(now);
        }
        Ok(())
    }

    /// Takes the report for a sign of life, unless it may be one that names nothing new for ever while
    /// the rate is held. Who has nothing to send floods nobody. spec: W-058, W-137
    fn end_silence(&mut self, settled: &Settled, drops: u64, now: Timestamp) {
        if !settled.acked.is_empty() || !settled.spurious.is_empty() {
            self.silence.on_news(self.rtt.smoothed());
            self.reach.on_arrived();
        } else if drops > 0 {
            self.reach.on_dropped();
        }
        if self.holds_rate() && self.silence.is_unanswered() && !self.sender.is_idle() {
            return;
        }
        let waiting = self.awaits_answer() && !self.config.carrier.is_reliable();
        if let Some(gap) = self.silence.on_feedback(waiting, self.patience(), now) {
            self.outage = Some((now - gap, now));
            self.controller.on_outage_end(gap, now);
            self.ask_sizes_anew(now);
            self.place.nudge = true;
            self.observer.note(TraceEvent::PathRestored { silent: gap }, now);
        }
    }

    /// The rate does not fall when nothing arrives any more.
    fn holds_rate(&self) -> bool {
        self.config.policy == Policy::Fixed || self.config.bounds.floor().is_some()
    }

    /// The round trip by which silence is judged.
    pub(super) fn patience(&self) -> Duration {
        let rtt = self.rtt.smoothed();
        if self.holds_rate() { self.silence.patience(rtt) } else { rtt }
    }

    /// Where order is kept, only what was sent later tells that the receiver did not take a packet.
    /// Behind the last one nothing is, so that something has to follow. spec: W-113
    fn ask_behind_the_last(&mut self, now: Timestamp) {
        let patience = self.rtt.pessimistic() + self.rtt.reorder_window();
        self.asks |= self.ledger.in_flight() > Bytes::ZERO && now.since(self.last_sent) > patience;
    }

    /// Who does not know the path's sizes yet looks for them as at the start.
    fn ask_sizes_anew(&mut self, now: Timestamp) {
        if self.warm && self.sender.symbol_size().is_none() {
            self.mtu.ask_anew(now);
            self.plan_size_probes();
        }
    }

    /// Feedback has to come: packets are out, or an object of which everything arrived waits for
    /// the word that it is written.
    pub(super) fn awaits_answer(&self) -> bool {
        self.ledger.in_flight() > Bytes::ZERO || self.sender.awaits_peer()
    }

    fn count(&mut self, settled: &Settled) {
        let counters = &mut self.counters;
        let spurious = settled.spurious.len() as u64;
        counters.packets_acked += settled.acked.len() as u64 + spurious;
        let mtu = &self.mtu;
        let lost = settled.lost.iter().zip(&settled.lost_carried);
        counters.packets_lost += lost.filter(|lost| !is_size_probe(mtu, *lost)).count() as u64;
        counters.packets_lost -= spurious.min(counters.packets_lost);
        counters.packets_spurious += spurious;
    }

    /// Tells the controller, and refreshes what repair decisions depend on.
    fn steer(&mut self, settled: &Settled, feedback: &Feedback, drops: u64, now: Timestamp) {
        for outcome in settled.acked.iter().chain(&settled.spurious) {
            self.mtu.on_acked(outcome, now);
        }
        // A link carries every size. spec: W-113
        let hole = !self.config.carrier.is_reliable() && {
            settled.lost.iter().for_each(|outcome| self.mtu.on_lost(outcome));
            self.mtu.has_hole(now)
        };
        self.collect_trains(feedback);
        self.receiver_drops_seen += drops;
        self.counters.receiver_drops = self.receiver_drops_seen;
        self.discard_dead(settled, now);
        let sample = Sample {
            acked: &settled.acked,
            lost: &self.lost,
            dead: &self.dead,
            spurious: &settled.spurious,
            rtts: &settled.rtts,
            trains: &self.trains,
            receiver_drops: drops,
            in_flight: self.ledger.in_flight(),
            app_limited: core::mem::take(&mut self.app_limited),
        };
        // Before there is something to send, a report tells nothing about the rate; start-up would
        // take it for one that misses its train.
        if self.warm {
            self.controller.on_feedback(&sample, now);
        }
        let view = self.controller.view();
        for sample in &settled.rtts {
            self.queue_delay.record(sample.ahead().saturating_sub(view.rtt_min));
        }
        self.loss.on_settled(settled.acked.len(), &self.lost, settled.spurious.len());
        self.repair = repair_context(&view, &self.loss, &self.rtt, self.decoding.at_peer);
        self.sizes.hole |= hole;
    }

    /// Packets that died in an outage say nothing about the rate, and neither does a probe of a
    /// packet size that the path may not carry (RFC 8899 section 3).
    fn discard_dead(&mut self, settled: &Settled, now: Timestamp) {
        let (mtu, outage, astray) = (&self.mtu, self.outage, self.place.astray_from);
        let died = |lost: &Outcome| {
            outage.is_some_and(|(from, until)| lost.sent_at >= from && lost.sent_at < until)
                || astray.is_some_and(|from| lost.sent_at > from)
                || mtu.may_be_too_large(lost)
        };
        self.lost.clear();
        self.dead.clear();
        for lost in settled.lost.iter().zip(&settled.lost_carried) {
            let counts = !is_size_probe(mtu, lost) && !died(lost.0);
            if counts { &mut self.lost } else { &mut self.dead }.push(*lost.0);
        }
        if self.outage.is_some_and(|(_, until)| now.since(until) > self.rtt.pessimistic() * 3) {
            self.outage = None;
        }
    }

    fn collect_trains(&mut self, feedback: &Feedback) {
        self.trains.clear();
        for train in &feedback.trains {
            if train.last <= self.trains_seen || train.gaps == 0 {
                continue;
            }
            let Some(sent) = self.ledger.sent_at(train.first) else { continue };
            // Which gaps were counted is not known, so packets of two sizes are averaged.
            let Some(packet) = self.ledger.mean_bytes(train.first, train.last) else { continue };
            self.trains.push(TrainSample {
                bytes: packet.saturating_mul(u64::from(train.gaps)),
                gap_sum: Duration::from(train.gap_sum),
                gaps: train.gaps,
                sent_at: sent,
            });
        }
        if let Some(last) = feedback.trains.iter().map(|train| train.last).max() {
            self.trains_seen = self.trains_seen.max(last);
        }
    }

    fn apply(&mut self, settled: &Settled) {
        for &carried in &settled.acked_carried {
            self.sender.on_acked(carried);
        }
        for &carried in &settled.spurious_carried {
            self.sender.on_spurious(carried);
        }
        self.sender.on_lost(&settled.lost_carried, &self.repair);
    }
}

/// A lost packet that may just have been too long for the path.
fn is_size_probe(mtu: &PathMtu, (lost, carried): (&Outcome, &Carried)) -> bool {
    *carried == Carried::Padding && mtu.is_probe(lost)
}

fn repair_context(
    view: &View,
    loss: &LossMeter,
    rtt: &RttEstimator,
    decoding: Duration,
) -> RepairContext {
    RepairContext {
        loss: loss.estimate(),
        bdp: view.rate.bytes_in(rtt.smoothed()),
        congested: view.queue_delay > Duration::from_millis(20).max(view.rtt_min / 4),
        // Another round takes a round trip, and the time until somebody reports.
        decoder_behind: decoding > rtt.smoothed().max(FEEDBACK_MAX),
    }
}
