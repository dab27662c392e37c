//! What a session writes down about itself, at a pace that does not depend on the packet rate.
//!
//! Changes of rate and phase are looked for at most every 5 ms, samples taken at most every 100 ms,
//! losses gathered into episodes. It watches; nothing it keeps decides anything.

use super::silence::Permission;
use super::{Session, SessionError};
use crate::congestion::{Outcome, View};
use crate::ids::PacketNumber;
use crate::limits::FEEDBACK_MIN;
use crate::recv::RecvCounters;
use crate::trace::{Closed, Counters, Limit, LimitWindow, Ring, TraceEvent, TraceRecord};
use crate::units::{BitRate, Timestamp};
use core::time::Duration;

/// Records kept until the body takes them.
const RECORDS_MAX: usize = 512;
/// Shortest time between two looks at rate and phase: honest reports come no faster.
const LOOK_EVERY: Duration = FEEDBACK_MIN;
/// Shortest time between two changes of phase, once the start-up is over.
const PHASE_EVERY: Duration = Duration::from_millis(50);
/// Shortest time between two samples.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// Span over which what limits is told to users.
const SECOND: Duration = Duration::from_secs(1);
/// A change of rate that is worth an event.
const RATE_STEP: f64 = 0.1;
/// Time without loss that ends an episode.
const LOSS_PAUSE: Duration = Duration::from_millis(100);
/// An episode that goes on is told after this time, and begins anew.
const LOSS_SPAN_MAX: Duration = Duration::from_secs(1);

/// Losses with no pause between them.
#[derive(Clone, Copy, Debug)]
struct Losses {
    first: PacketNumber,
    last: PacketNumber,
    packets: u32,
    since: Timestamp,
    until: Timestamp,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Observer {
    records: Ring<TraceRecord>,
    /// Of the newest record: they never go back in time.
    newest: Timestamp,
    looked_at: Timestamp,
    sampled_at: Timestamp,
    phase: &'static str,
    phased_at: Timestamp,
    rate: BitRate,
    /// What limits, as told.
    limit: Option<Limit>,
    sampled: LimitWindow,
    /// What limited for most of the last whole second.
    lately: Option<Limit>,
    second: LimitWindow,
    second_at: Timestamp,
    counted: Counters,
    received: RecvCounters,
    losses: Option<Losses>,
    overtaken: u32,
    halvings: u32,
    silent: bool,
}

impl Observer {
    /// Nothing seen yet but what the controller begins with.
    pub(super) fn new(view: &View, now: Timestamp) -> Self {
        Self {
            records: Ring::new(RECORDS_MAX),
            newest: now,
            looked_at: now,
            sampled_at: now,
            phase: view.phase,
            phased_at: now,
            rate: view.rate,
            limit: None,
            sampled: LimitWindow::default(),
            lately: None,
            second: LimitWindow::default(),
            second_at: now,
            counted: Counters::default(),
            received: RecvCounters::default(),
            losses: None,
            overtaken: 0,
            halvings: 0,
            silent: false,
        }
    }

    /// Writes an event down.
    pub(super) fn note(&mut self, event: TraceEvent, now: Timestamp) {
        self.newest = self.newest.max(now);
        self.records.push(TraceRecord { at: self.newest, event });
    }

    /// A report came later than one sent after it.
    pub(super) const fn on_overtaken(&mut self) {
        self.overtaken = self.overtaken.saturating_add(1);
    }

    /// Packets were declared lost.
    pub(super) fn on_lost(&mut self, lost: &[Outcome], now: Timestamp) {
        let (Some(first), Some(last)) = (lost.first(), lost.last()) else { return };
        let packets = u32::try_from(lost.len()).unwrap_or(u32::MAX);
        let (first, last) = (first.number, last.number);
        let fresh = Losses { first, last, packets: 0, since: now, until: now };
        let losses = self.losses.get_or_insert(fresh);
        losses.first = losses.first.min(first);
        losses.last = losses.last.max(last);
        losses.packets = losses.packets.saturating_add(packets);
        losses.until = now;
    }

    fn tell_losses(&mut self, now: Timestamp) {
        if let Some(Losses { first, last, packets, since, until }) = self.losses.take() {
            let span = until.since(since);
            self.note(TraceEvent::PacketsLost { first, last, packets, span }, now);
        }
    }

    /// What may leave, as the silence of the peer has it.
    pub(super) fn on_permission(&mut self, permission: Permission, halvings: u32, now: Timestamp) {
        if !matches!(permission, Permission::Rate(_)) {
            if !self.silent {
                self.note(TraceEvent::PathSilent, now);
            }
            self.silent = true;
            return;
        }
        if halvings > self.halvings {
            self.note(TraceEvent::FeedbackOverdue { halvings }, now);
        }
        (self.halvings, self.silent) = (halvings, false);
    }

    fn on_view(&mut self, view: &View, now: Timestamp) {
        // At its goal the law may change its mind with every report.
        let settled = view.starting || now.since(self.phased_at) >= PHASE_EVERY;
        if view.phase != self.phase && settled {
            self.phased_at = now;
            let old = core::mem::replace(&mut self.phase, view.phase);
            self.note(TraceEvent::CongestionStateUpdated { old, new: view.phase }, now);
        }
        let (before, rate) = (self.rate.as_f64(), view.rate.as_f64());
        if (rate - before).abs() >= RATE_STEP * before {
            self.rate = view.rate;
            self.note(TraceEvent::RateUpdated { rate: view.rate, capacity: view.capacity }, now);
        }
    }

    fn on_limit(&mut self, limit: Option<Limit>, now: Timestamp) {
        if limit != self.limit {
            let old = core::mem::replace(&mut self.limit, limit);
            self.note(TraceEvent::LimitUpdated { old, new: limit }, now);
        }
    }
}

impl Session {
    /// The next thing that happened, oldest first, until there is none.
    pub fn poll_trace(&mut self) -> Option<TraceRecord> {
        self.observer.records.pop()
    }

    /// Events that were dropped because nobody took them in time.
    pub const fn trace_dropped(&self) -> u64 {
        self.observer.records.dropped()
            + self.sender.trace_dropped()
            + self.receiver.trace_dropped()
    }

    /// The session ends: the last word of its trace.
    pub fn close(&mut self, why: Closed, now: Timestamp) {
        self.collect(now);
        self.observer.tell_losses(now);
        let waiting_for = self.next_timer(now).map(|(_, timer)| timer);
        let (unsent, in_flight) = (self.sender.unsent(), self.ledger.in_flight());
        let event = TraceEvent::SessionClosed { why, waiting_for, unsent, in_flight };
        self.observer.note(event, now);
    }

    /// What limited for most of the last tenth of a second.
    pub const fn limit_sampled(&self) -> Option<Limit> {
        self.observer.limit
    }

    /// What limited for most of the last whole second; before there was one, what limits now.
    pub fn limit_lately(&self) -> Option<Limit> {
        self.observer.limit.map(|now| self.observer.lately.unwrap_or(now))
    }

    /// The session has nothing left to do.
    pub fn is_idle(&self) -> bool {
        self.sender.is_idle() && self.receiver.is_idle()
    }

    /// A report that breaks a rule.
    pub(super) fn on_invalid(&mut self, number: PacketNumber, error: SessionError, now: Timestamp) {
        self.observer.note(TraceEvent::ReportInvalid { number, error }, now);
    }

    /// Takes over what sending and receiving side noted: they know no time.
    fn collect(&mut self, now: Timestamp) {
        while let Some(event) = self.sender.poll_trace() {
            self.observer.note(event, now);
        }
        while let Some(event) = self.receiver.poll_trace() {
            self.observer.note(event, now);
        }
    }

    /// Looks at what changed since it last did.
    pub(super) fn observe(&mut self, now: Timestamp) {
        self.collect(now);
        // To begin and to end is told at once: in between it changes from packet to packet.
        let limit = self.limits.current();
        if limit.is_none() || self.observer.limit.is_none() {
            self.observer.on_limit(limit, now);
        }
        if now.since(self.observer.looked_at) < LOOK_EVERY {
            return;
        }
        self.observer.looked_at = now;
        let view = self.controller.view();
        self.observer.on_view(&view, now);
        let ended = self.observer.losses.is_some_and(|losses| {
            now.since(losses.until) >= LOSS_PAUSE || now.since(losses.since) >= LOSS_SPAN_MAX
        });
        if ended {
            self.observer.tell_losses(now);
        }
        if now.since(self.observer.sampled_at) >= SAMPLE_EVERY {
            self.observer.sampled_at = now;
            self.sample(&view, now);
        }
    }

    fn sample(&mut self, view: &View, now: Timestamp) {
        let dominant = self.observer.sampled.look(&self.limits);
        if dominant.is_some() && self.limits.current().is_some() {
            self.observer.on_limit(dominant, now);
        }
        if now.since(self.observer.second_at) >= SECOND {
            self.observer.second_at = now;
            self.observer.lately = self.observer.second.look(&self.limits);
        }
        let reports = core::mem::take(&mut self.observer.overtaken);
        if reports > 0 {
            let newest = self.newest_report.unwrap_or_default();
            self.observer.note(TraceEvent::ReportsOvertaken { reports, newest }, now);
        }
        self.sample_path(view, now);
        self.sample_receiver(now);
    }

    fn sample_path(&mut self, view: &View, now: Timestamp) {
        let before = core::mem::replace(&mut self.observer.counted, self.counters);
        let event = TraceEvent::MetricsUpdated {
            rtt: self.rtt.smoothed(),
            rtt_min: view.rtt_min,
            queue_delay: view.queue_delay,
            in_flight: self.ledger.in_flight(),
            sent: grown(before.packets_sent, self.counters.packets_sent),
            acked: grown(before.packets_acked, self.counters.packets_acked),
            lost: grown(before.packets_lost, self.counters.packets_lost),
        };
        let settled = (before.packets_acked, before.packets_lost);
        let moved = settled != (self.counters.packets_acked, self.counters.packets_lost);
        if moved || self.ledger.in_flight().get() > 0 {
            self.observer.note(event, now);
        }
    }

    fn sample_receiver(&mut self, now: Timestamp) {
        let counters = self.receiver.counters();
        let before = core::mem::replace(&mut self.observer.received, counters);
        if before != counters {
            let event = TraceEvent::ReceiveUpdated {
                written: counters.written - before.written,
                backlog: self.receiver.backlog(),
                open: self.receiver.blocks_open(),
                refused: grown(before.refused, counters.refused),
                redundant: grown(before.redundant, counters.redundant),
            };
            self.observer.note(event, now);
        }
    }
}

fn grown(before: u64, now: u64) -> u32 {
    u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX)
}
