//! What sessions write down about themselves: to the log, and kept for the day of a fault.
//!
//! Events go to the log under a target of their own, blocks at trace level, everything else at
//! debug. The newest are kept, whatever the level: when a session dies, they say how it came to
//! that. Nothing is made into text unless somebody listens.

use super::command::{SessionEvent, SessionKey};
use super::session::SessionBody;
use farhaul_proto::trace::{Closed, Ring, TraceEvent, TraceRecord};
use farhaul_proto::units::{BitRate, Timestamp};
use std::time::Duration;

/// Events kept for a fault.
const KEPT: usize = 128;

/// One event under the target of traces.
macro_rules! tell {
    ($level:ident, $session:expr, $record:expr $(, $($field:tt)+)?) => {
        tracing::event!(
            target: "farhaul::trace",
            tracing::Level::$level,
            session = $session.0,
            at_us = $record.at.as_nanos() / 1_000,
            event = $record.event.name()
            $(, $($field)+)?
        )
    };
}

/// The newest events of a session.
pub(super) struct Flight {
    session: SessionKey,
    kept: Ring<TraceRecord>,
}

impl Flight {
    pub(super) const fn new(session: SessionKey) -> Self {
        Self { session, kept: Ring::new(KEPT) }
    }

    fn take(&mut self, record: TraceRecord) {
        tell_session(self.session, &record);
        self.kept.push(record);
    }

    /// A session died of a fault: how it came to that.
    fn tell_fault(&self, why: &SessionEvent, missed: u64) {
        tracing::warn!(
            target: "farhaul::trace",
            session = self.session.0,
            ?why,
            missed,
            "a session died; its last events follow"
        );
        for record in self.kept.iter() {
            tell!(WARN, self.session, record, details = ?record.event);
        }
    }

    /// A session was cut off with work left: somebody may ask why.
    fn tell_cut_off(&self) {
        for record in self.kept.iter() {
            tell!(INFO, self.session, record, details = ?record.event);
        }
    }

    /// What is kept, oldest first.
    pub(super) fn records(&self) -> impl Iterator<Item = &TraceRecord> {
        self.kept.iter()
    }

    /// What is kept, oldest first.
    #[cfg(test)]
    pub(super) fn events(&self) -> Vec<TraceEvent> {
        self.kept.iter().map(|record| record.event).collect()
    }
}

impl SessionBody {
    /// Takes what the core wrote down.
    pub(super) fn take_trace(&mut self) {
        while let Some(record) = self.core.poll_trace() {
            if let Some(recording) = &mut self.recording {
                recording.take(&record);
            }
            self.flight.take(record);
        }
    }

    /// The last word of a session that dies of a fault.
    pub(super) fn trace_fault(&mut self, why: &SessionEvent, now: Timestamp) {
        let forged = matches!(why, SessionEvent::ForgeryLimit);
        self.end_recording(now);
        self.core.close(if forged { Closed::ForgeryLimit } else { Closed::Violation }, now);
        self.take_trace();
        self.flight.tell_fault(why, self.core.trace_dropped());
    }

    /// The last word of a session that its owner lets go.
    pub(super) fn trace_end(&mut self, now: Timestamp) {
        let done = self.core.is_idle();
        self.end_recording(now);
        self.core.close(if done { Closed::Done } else { Closed::Unfinished }, now);
        self.take_trace();
        if !done {
            self.flight.tell_cut_off();
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn bps(rate: Option<BitRate>) -> Option<u64> {
    rate.map(BitRate::get)
}

/// What a session is set up with.
fn tell_session(session: SessionKey, record: &TraceRecord) {
    match record.event {
        TraceEvent::SessionStarted {
            policy,
            bounds,
            start_hint,
            fec,
            initial_rtt,
            send_blocks,
            recv_blocks,
        } => tell!(
            DEBUG,
            session,
            record,
            ?policy,
            cap_bps = bps(bounds.cap()),
            floor_bps = bps(bounds.floor()),
            hint_bps = bps(start_hint),
            ?fec,
            initial_rtt_us = micros(initial_rtt),
            send_blocks,
            recv_blocks
        ),
        TraceEvent::SessionClosed { why, waiting_for, unsent, in_flight } => tell!(
            DEBUG,
            session,
            record,
            ?why,
            ?waiting_for,
            unsent = unsent.get(),
            in_flight = in_flight.get()
        ),
        TraceEvent::PolicyUpdated { policy, bounds } => {
            let (cap, floor) = (bounds.cap(), bounds.floor());
            tell!(DEBUG, session, record, ?policy, cap_bps = bps(cap), floor_bps = bps(floor));
        }
        TraceEvent::PeerMoved { returned } => tell!(INFO, session, record, returned),
        TraceEvent::MtuUpdated { symbol_size, packet } => {
            tell!(DEBUG, session, record, symbol_size, packet = packet.get());
        }
        _ => tell_path(session, record),
    }
}

/// Path and rate.
fn tell_path(session: SessionKey, record: &TraceRecord) {
    match record.event {
        TraceEvent::CongestionStateUpdated { old, new } => {
            tell!(DEBUG, session, record, old, new);
        }
        TraceEvent::RateUpdated { rate, capacity } => {
            tell!(DEBUG, session, record, rate_bps = rate.get(), capacity_bps = bps(capacity));
        }
        TraceEvent::MetricsUpdated { rtt, rtt_min, queue_delay, in_flight, sent, acked, lost } => {
            tell!(
                DEBUG,
                session,
                record,
                rtt_us = micros(rtt),
                rtt_min_us = micros(rtt_min),
                queue_delay_us = micros(queue_delay),
                in_flight = in_flight.get(),
                sent,
                acked,
                lost
            );
        }
        TraceEvent::LimitUpdated { old, new } => tell!(DEBUG, session, record, ?old, ?new),
        TraceEvent::PacketsLost { first, last, packets, span } => tell!(
            DEBUG,
            session,
            record,
            first = first.get(),
            last = last.get(),
            packets,
            span_us = micros(span)
        ),
        TraceEvent::ReportsOvertaken { reports, newest } => {
            tell!(DEBUG, session, record, reports, newest = newest.get());
        }
        TraceEvent::ReportInvalid { number, error } => {
            tell!(DEBUG, session, record, number = number.get(), %error);
        }
        TraceEvent::FeedbackOverdue { halvings } => tell!(DEBUG, session, record, halvings),
        TraceEvent::PathSilent | TraceEvent::ProbeSent => tell!(DEBUG, session, record),
        TraceEvent::PathRestored { silent } => {
            tell!(DEBUG, session, record, silent_us = micros(silent));
        }
        _ => tell_transfer(session, record),
    }
}

/// Objects and blocks.
fn tell_transfer(session: SessionKey, record: &TraceRecord) {
    match record.event {
        TraceEvent::ReceiveUpdated { written, backlog, open, refused, redundant } => tell!(
            DEBUG,
            session,
            record,
            written = written.get(),
            backlog = backlog.get(),
            open,
            refused,
            redundant
        ),
        TraceEvent::ObjectDeclared { way, object, len } => {
            tell!(DEBUG, session, record, ?way, object = object.get(), len = len.get());
        }
        TraceEvent::ObjectCompleted { way, object }
        | TraceEvent::ObjectAbandoned { way, object } => {
            tell!(DEBUG, session, record, ?way, object = object.get());
        }
        TraceEvent::BlockOpened { way, block, symbols } => {
            tell!(TRACE, session, record, ?way, block = block.get(), symbols);
        }
        TraceEvent::BlockCompleted { way, block } => {
            tell!(TRACE, session, record, ?way, block = block.get());
        }
        TraceEvent::BlockRestarted { way, block } => {
            tell!(DEBUG, session, record, ?way, block = block.get());
        }
        TraceEvent::DeficitReported { block, missing } => {
            tell!(DEBUG, session, record, block = block.get(), missing);
        }
        TraceEvent::RepairPlanned { block, symbols }
        | TraceEvent::ResendPlanned { block, symbols } => {
            tell!(DEBUG, session, record, block = block.get(), symbols);
        }
        event => tell!(DEBUG, session, record, details = ?event),
    }
}
