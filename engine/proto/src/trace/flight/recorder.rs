//! From a session and its trace to the lines of a flight record.
//!
//! It looks at the session when it is asked to, takes differences of its counters, and allocates
//! nothing. A session that nobody records pays nothing: there is no recorder then.

use super::{FlightEvent, FlightLine, FlightSample, SAMPLE_US, What, Word, way, why};
use crate::recv::RecvCounters;
use crate::send::SendCounters;
use crate::session::Session;
use crate::trace::{Counters, TraceEvent, TraceRecord};
use crate::units::{BitRate, Bytes, Timestamp};
use core::time::Duration;
use std::borrow::Cow;

/// See the module.
#[derive(Debug)]
pub struct Recorder {
    began: Timestamp,
    sampled_at: Timestamp,
    counters: Counters,
    sent: SendCounters,
    received: RecvCounters,
    arrived: Bytes,
}

impl Recorder {
    /// A recorder of a session that began at `began`; what it counted until now is not told.
    pub fn new(session: &Session, began: Timestamp, now: Timestamp) -> Self {
        Self {
            began,
            sampled_at: now,
            counters: session.counters(),
            sent: session.sender().counters(),
            received: session.receiver().counters(),
            arrived: session.arrived(),
        }
    }

    /// The line for an event, if it is one that a record has.
    pub fn event(&self, record: &TraceRecord) -> Option<FlightLine> {
        let at_us = micros(record.at.since(self.began));
        event_of(&record.event).map(|what| FlightLine::Event(FlightEvent { at_us, what }))
    }

    /// The line of measurements, if it is time for one and something moved.
    pub fn sample(&mut self, session: &Session, now: Timestamp) -> Option<FlightLine> {
        if now.since(self.sampled_at) < Duration::from_micros(SAMPLE_US) {
            return None;
        }
        self.measure(session, now)
    }

    /// What moved since the last line of measurements, however long ago that is.
    pub fn last_sample(&mut self, session: &Session, now: Timestamp) -> Option<FlightLine> {
        (now > self.sampled_at).then(|| self.measure(session, now)).flatten()
    }

    fn measure(&mut self, session: &Session, now: Timestamp) -> Option<FlightLine> {
        let span = now.since(self.sampled_at);
        let before = core::mem::replace(self, Self::new(session, self.began, now));
        let (counted, counters) = (before.counters, self.counters);
        let (sent, received) = (before.sent, before.received);
        let limit = session.limit_sampled();
        let moved = counters.wire_sent != counted.wire_sent
            || counters.wire_delivered != counted.wire_delivered
            || self.arrived != before.arrived
            || self.received != received
            || limit.is_some();
        if !moved {
            return None;
        }
        let view = session.view();
        let measured = session.is_measured();
        let sample = FlightSample {
            at_us: micros(now.since(self.began)),
            span_us: micros(span),
            sent: (counters.wire_sent - counted.wire_sent).get(),
            delivered: (counters.wire_delivered - counted.wire_delivered).get(),
            acked: counters.packets_acked.saturating_sub(counted.packets_acked),
            lost: counters.packets_lost.saturating_sub(counted.packets_lost),
            repair: self.sent.repair - sent.repair,
            resent: self.sent.resent - sent.resent,
            rtt_us: if measured { micros(session.rtt().smoothed()) } else { 0 },
            base_rtt_us: if measured { micros(view.rtt_min) } else { 0 },
            queue_us: if measured { micros(view.queue_delay) } else { 0 },
            in_flight: session.in_flight().get(),
            rate_bps: view.rate.get(),
            ceiling_bps: view.ceiling.map(BitRate::get),
            capacity_bps: view.capacity.map(BitRate::get),
            phase: Cow::Borrowed(view.phase),
            limit,
            arrived: (self.arrived - before.arrived).get(),
            redundant: self.received.redundant.saturating_sub(received.redundant),
            written: (self.received.written - received.written).get(),
            backlog: session.receiver().backlog().get(),
        };
        Some(FlightLine::Sample(sample))
    }
}

/// What a record says of a trace event; of those that happen with every block, nothing.
pub fn event_of(event: &TraceEvent) -> Option<What> {
    let bps = |rate: Option<BitRate>| rate.map(BitRate::get);
    Some(match *event {
        TraceEvent::SessionStarted { policy, bounds, start_hint, initial_rtt, .. } => {
            What::Started {
                policy: policy.name().into(),
                cap_bps: bps(bounds.cap()),
                floor_bps: bps(bounds.floor()),
                hint_bps: bps(start_hint),
                initial_rtt_us: micros(initial_rtt),
            }
        }
        TraceEvent::PolicyUpdated { policy, bounds } => What::Policy {
            policy: policy.name().into(),
            cap_bps: bps(bounds.cap()),
            floor_bps: bps(bounds.floor()),
        },
        TraceEvent::MtuUpdated { symbol_size, packet } => {
            What::PacketSize { symbol: u64::from(symbol_size), packet: packet.get() }
        }
        TraceEvent::CongestionStateUpdated { old, new } => {
            What::Phase { old: word(old), new: word(new) }
        }
        TraceEvent::LimitUpdated { old, new } => What::Limit { old, new },
        TraceEvent::PacketsLost { packets, span, .. } => {
            What::Losses { packets: u64::from(packets), span_us: micros(span) }
        }
        TraceEvent::FeedbackOverdue { halvings } => {
            What::FeedbackOverdue { halvings: u64::from(halvings) }
        }
        TraceEvent::PathSilent => What::Silent {},
        TraceEvent::PathRestored { silent } => What::Restored { silent_us: micros(silent) },
        TraceEvent::ObjectDeclared { way: w, object, len } => {
            What::Declared { way: way(w), object: u64::from(object.get()), len: len.get() }
        }
        TraceEvent::ObjectCompleted { way: w, object } => {
            What::Completed { way: way(w), object: u64::from(object.get()) }
        }
        TraceEvent::ObjectAbandoned { way: w, object } => {
            What::Abandoned { way: way(w), object: u64::from(object.get()) }
        }
        TraceEvent::SessionClosed { why: closed, unsent, in_flight, .. } => {
            What::Ended { why: why(closed), unsent: unsent.get(), in_flight: in_flight.get() }
        }
        _ => return None,
    })
}

const fn word(text: &'static str) -> Word {
    Cow::Borrowed(text)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
