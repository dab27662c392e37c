//! The event loop of a cell: one heap of due events, links in between.
//!
//! Ties are broken by the order in which events were made, so a run is repeatable.

use super::outcome::{FlowOutcome, Outcome};
use super::receiver::{Packet, Receiver, Report};
use super::sender::{Departure, PACKET, Sender};
use super::spec::Cell;
use super::stall::Host;
use crate::link::{Fate, Link};
use crate::profile::{LinkProfile, Loss, QueueLimit};
use crate::rng::Rng;
use core::cmp::Reverse;
use core::time::Duration;
use farhaul_proto::congestion::{Policy, controller};
use farhaul_proto::limits::{FEEDBACK_MAX, FEEDBACK_MIN};
use farhaul_proto::units::{BitRate, Bytes, Timestamp};
use std::collections::BinaryHeap;

/// The access link is so many times faster than the bottleneck.
const ACCESS: u64 = 10;
/// IP-level size of a report.
const REPORT: Bytes = Bytes::new(400);
/// Virtual time of the start; not zero, so that subtraction is visible.
const ORIGIN: Timestamp = Timestamp::from_millis(1_000);

#[derive(Debug)]
enum Event {
    Wake { flow: usize, turn: u64 },
    Offer { flow: usize, packet: Packet },
    Arrive { flow: usize, packet: Packet },
    Report { flow: usize },
    ReportArrives { flow: usize, report: Report },
    Step { index: usize },
    Measure,
    OvershootEnds,
}

struct Flow {
    sender: Sender,
    receiver: Receiver,
    access: Link,
    reverse: Link,
    turn: u64,
    outcome: FlowOutcome,
}

/// See the module.
pub(super) struct World<'a> {
    cell: &'a Cell,
    flows: Vec<Flow>,
    link: Link,
    heap: BinaryHeap<Reverse<(Timestamp, u64, usize)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    order: u64,
    rng: Rng,
    sender_host: Host,
    receiver_host: Host,
    departures: Vec<Departure>,
    measuring: bool,
    overshoot: Option<u64>,
    bin: Duration,
}

impl<'a> World<'a> {
    pub(super) fn new(cell: &'a Cell, seed: u64) -> Self {
        let rng = Rng::new(seed);
        let mut link_rng = rng.fork("link");
        let mut world = Self {
            cell,
            flows: Vec::new(),
            link: Link::new(cell.link.clone(), link_rng.next_u64()),
            heap: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            order: 0,
            sender_host: Host::new(cell.sender_stalls, rng.fork("sender host")),
            receiver_host: Host::new(cell.receiver_stalls, rng.fork("receiver host")),
            rng: rng.fork("world"),
            departures: Vec::new(),
            measuring: false,
            overshoot: None,
            bin: (cell.rtt() / 4).max(Duration::from_millis(5)),
        };
        world.populate();
        world
    }

    pub(super) fn run(mut self) -> Outcome {
        let end = ORIGIN + self.cell.duration;
        while let Some(Reverse((at, _, slot))) = self.heap.pop() {
            if at >= end {
                break;
            }
            if let Some(event) = self.events[slot].take() {
                self.free.push(slot);
                self.handle(event, at);
            }
        }
        self.finish()
    }

    fn populate(&mut self) {
        let rtt = self.cell.rtt();
        for (index, spec) in self.cell.flows.iter().enumerate() {
            let start = ORIGIN + spec.start;
            // The handshake measured the round trip, with some of the queue of the moment.
            let law = controller(spec.policy, spec.cap, spec.hint, rtt, start);
            let seed = self.rng.next_u64();
            self.flows.push(Flow {
                sender: Sender::new(law, spec.app, rtt, start),
                receiver: Receiver::default(),
                access: Link::new(self.access(), seed),
                reverse: Link::new(self.cell.reverse.clone(), seed ^ 1),
                turn: 0,
                outcome: FlowOutcome {
                    arrived: Bytes::ZERO,
                    sent: Vec::new(),
                    received: Vec::new(),
                    views: Vec::new(),
                },
            });
            self.schedule(start, Event::Wake { flow: index, turn: 0 });
            self.schedule(start + self.report_interval(), Event::Report { flow: index });
        }
        for (index, step) in self.cell.steps.iter().enumerate() {
            self.schedule(ORIGIN + step.at, Event::Step { index });
        }
        self.schedule(ORIGIN + self.cell.measure_from, Event::Measure);
        self.schedule(ORIGIN + rtt * 10, Event::OvershootEnds);
    }

    fn access(&self) -> LinkProfile {
        LinkProfile {
            rate: self.cell.link.rate.map(|r| BitRate::bps(r.get().saturating_mul(ACCESS))),
            queue: QueueLimit::Bytes(Bytes::mib(64)),
            ..LinkProfile::default()
        }
    }

    fn report_interval(&self) -> Duration {
        (self.cell.rtt() / 8).clamp(FEEDBACK_MIN, FEEDBACK_MAX)
    }

    fn schedule(&mut self, at: Timestamp, event: Event) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[slot] = Some(event);
        self.order += 1;
        self.heap.push(Reverse((at, self.order, slot)));
    }

    fn handle(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::Wake { flow, turn } => self.wake(flow, turn, now),
            Event::Offer { flow, packet } => self.offer(flow, packet, now),
            Event::Arrive { flow, packet } => self.arrive(flow, packet, now),
            Event::Report { flow } => self.report(flow, now),
            Event::ReportArrives { flow, report } => self.report_arrives(flow, report, now),
            Event::Step { index } => {
                self.link.set_profile(self.cell.steps[index].link.clone(), now);
            }
            Event::Measure => {
                self.note_overshoot();
                self.measuring = true;
            }
            Event::OvershootEnds => self.note_overshoot(),
        }
    }

    /// Counts drops by load until the first of: ten round trips, the measured part.
    fn note_overshoot(&mut self) {
        if !self.measuring {
            let dropped = self.link.take_stats().dropped_by_load();
            self.overshoot.get_or_insert(dropped);
        }
    }

    fn wake(&mut self, flow: usize, turn: u64, now: Timestamp) {
        if turn != self.flows[flow].turn {
            return;
        }
        let runs_at = self.sender_host.runs_at(now);
        if runs_at > now {
            return self.schedule(runs_at, Event::Wake { flow, turn });
        }
        self.send(flow, now);
    }

    fn send(&mut self, flow: usize, now: Timestamp) {
        let mut departures = core::mem::take(&mut self.departures);
        self.flows[flow].sender.departures(now, &mut departures);
        let bin = self.bin_of(now);
        for departure in &departures {
            let packet = Packet { number: departure.number, bytes: PACKET, train: departure.train };
            add_to(&mut self.flows[flow].outcome.sent, bin);
            if let Fate::Deliver { at, .. } = self.flows[flow].access.offer(PACKET, now) {
                self.schedule(at, Event::Offer { flow, packet });
            }
        }
        self.departures = departures;
        self.plan_wake(flow, now);
    }

    fn plan_wake(&mut self, flow: usize, now: Timestamp) {
        self.flows[flow].turn += 1;
        let turn = self.flows[flow].turn;
        if let Some(at) = self.flows[flow].sender.next_wake(now) {
            self.schedule(at, Event::Wake { flow, turn });
        }
    }

    fn offer(&mut self, flow: usize, packet: Packet, now: Timestamp) {
        if let Fate::Deliver { at, duplicate_at, corrupt } = self.link.offer(packet.bytes, now) {
            if !corrupt {
                self.schedule(at, Event::Arrive { flow, packet });
            }
            if let Some(again) = duplicate_at {
                self.schedule(again, Event::Arrive { flow, packet });
            }
        }
    }

    fn arrive(&mut self, flow: usize, packet: Packet, now: Timestamp) {
        let seen_at = self.polled(now);
        let noise = self.cell.noise.mul_f64(2.0 * self.rng.f64());
        let stamped = (seen_at + noise) - self.cell.noise;
        let bin = self.bin_of(now);
        let measuring = self.measuring;
        let flow = &mut self.flows[flow];
        flow.receiver.on_packet(packet, stamped);
        add_to(&mut flow.outcome.received, bin);
        if measuring {
            flow.outcome.arrived += packet.bytes;
        }
    }

    /// When the receiving process sees what arrives at `at`.
    fn polled(&mut self, at: Timestamp) -> Timestamp {
        let poll = self.cell.poll.as_nanos();
        let at = match u64::try_from(poll) {
            Ok(poll) if poll > 0 => Timestamp::from_nanos(at.as_nanos().div_ceil(poll) * poll),
            _ => at,
        };
        self.receiver_host.runs_at(at)
    }

    fn report(&mut self, flow: usize, now: Timestamp) {
        let runs_at = self.receiver_host.runs_at(now);
        if runs_at > now {
            return self.schedule(runs_at, Event::Report { flow });
        }
        if let Some(report) = self.flows[flow].receiver.report(now)
            && let Fate::Deliver { at, .. } = self.flows[flow].reverse.offer(REPORT, now)
        {
            self.schedule(at, Event::ReportArrives { flow, report });
        }
        self.schedule(now + self.report_interval(), Event::Report { flow });
    }

    fn report_arrives(&mut self, flow: usize, report: Report, now: Timestamp) {
        let runs_at = self.sender_host.runs_at(now);
        if runs_at > now {
            return self.schedule(runs_at, Event::ReportArrives { flow, report });
        }
        let Flow { sender, receiver, .. } = &mut self.flows[flow];
        let Receiver { trains, .. } = receiver;
        let known = core::mem::take(trains);
        sender.on_report(
            &report,
            |into| receiver.take_until(report.arrivals_end, into),
            &known,
            now,
        );
        receiver.trains = known;
        self.note_view(flow, now);
        self.send(flow, now);
    }

    fn note_view(&mut self, flow: usize, now: Timestamp) {
        let at = self.bin * u32::try_from(self.bin_of(now)).unwrap_or(u32::MAX);
        let Flow { sender, outcome, .. } = &mut self.flows[flow];
        if outcome.views.last().is_none_or(|(last, _)| *last < at) {
            outcome.views.push((at, sender.controller.view()));
        }
    }

    fn bin_of(&self, now: Timestamp) -> usize {
        let bins = now.since(ORIGIN).as_nanos() / self.bin.as_nanos();
        usize::try_from(bins).unwrap_or(0)
    }

    fn finish(mut self) -> Outcome {
        let measured = self.cell.duration.saturating_sub(self.cell.measure_from);
        let flows = self.flows.into_iter().map(|f| f.outcome).collect();
        Outcome {
            flows,
            measured,
            bin: self.bin,
            link: self.link.take_stats(),
            overshoot: self.overshoot.unwrap_or(0),
            best: best(self.cell),
            rate: carried(&self.cell.link),
            rtt: self.cell.rtt(),
        }
    }
}

fn add_to(bins: &mut Vec<Bytes>, bin: usize) {
    if bins.len() <= bin {
        bins.resize(bin + 1, Bytes::ZERO);
    }
    bins[bin] += PACKET;
}

/// What a link carries, before random loss.
fn carried(link: &LinkProfile) -> BitRate {
    let rate = link.rate.unwrap_or(BitRate::MAX);
    link.policer.map_or(rate, |p| p.rate.min(rate))
}

/// What a link delivers at best.
fn delivered(link: &LinkProfile) -> BitRate {
    let loss = match link.loss {
        Loss::None => 0.0,
        Loss::Bernoulli(share) => share.get(),
        Loss::GilbertElliott { mean, .. } => mean.get(),
    };
    carried(link).mul_f64(1.0 - loss)
}

/// The best goodput over the measured part, steps included, and never above a fixed target.
fn best(cell: &Cell) -> BitRate {
    let (mut at, mut rate, mut bytes) = (cell.measure_from, delivered(&cell.link), Bytes::ZERO);
    for step in &cell.steps {
        if step.at > at {
            bytes += rate.bytes_in(step.at.saturating_sub(at));
            at = step.at;
        }
        rate = delivered(&step.link);
    }
    bytes += rate.bytes_in(cell.duration.saturating_sub(at));
    let best = bytes.rate_over(cell.duration.saturating_sub(cell.measure_from));
    match cell.flows.as_slice() {
        [only] if only.policy == Policy::Fixed => only.cap.map_or(best, |cap| {
            best.min(cap.mul_f64(best.as_f64() / carried(&cell.link).as_f64()))
        }),
        _ => best,
    }
}
