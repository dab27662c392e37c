//! The event loop of a cell: one heap of due events, links in between.
//!
//! Ties are broken by the order in which events were made, so a run is repeatable.

use super::liar::Liar;
use super::medium::Air;
use super::outcome::{FlowOutcome, Outcome};
use super::receiver::{Packet, Receiver, Report};
use super::sender::{Departure, PACKET, Sender};
use super::spec::Cell;
use super::stall::Host;
use crate::link::{Fate, Link};
use crate::profile::{LinkProfile, Loss, QueueLimit};
use crate::rivals::tcp::Tcp;
use crate::rng::Rng;
use core::cmp::Reverse;
use core::time::Duration;
use farhaul_proto::congestion::wlaw::WConfig;
use farhaul_proto::congestion::{Policy, configured};
use farhaul_proto::limits::{FEEDBACK_MAX, FEEDBACK_MIN};
use farhaul_proto::units::{BitRate, Bytes, Timestamp};
use std::collections::BinaryHeap;

/// The access link is so many times faster than the bottleneck.
const ACCESS: u64 = 10;
/// IP-level size of an acknowledgement of TCP.
const ACK: Bytes = Bytes::new(52);
/// IP-level size of a report.
const REPORT: Bytes = Bytes::new(400);
/// Virtual time of the start; not zero, so that subtraction is visible.
const ORIGIN: Timestamp = Timestamp::from_millis(1_000);

#[derive(Debug)]
enum Event {
    Wake { flow: usize, turn: u64 },
    Offer { flow: usize, packet: Packet },
    OfferSecond { flow: usize, packet: Packet },
    Arrive { flow: usize, packet: Packet },
    Report { flow: usize },
    ReportArrives { flow: usize, report: Report },
    AckArrives { flow: usize, end: u64 },
    Step { index: usize },
    Measure,
    OvershootEnds,
}

/// Who sends.
enum Source {
    Own(Box<Sender>, Receiver),
    Rival(Box<Tcp>),
}

struct Flow {
    source: Source,
    access: Link,
    /// Its data takes the link that is the way back for the others.
    backward: bool,
    second_only: bool,
    liar: Option<Liar>,
    turn: u64,
    outcome: FlowOutcome,
}

/// See the module.
pub(super) struct World<'a> {
    cell: &'a Cell,
    flows: Vec<Flow>,
    link: Link,
    second: Option<Link>,
    reverse: Link,
    air: Air,
    /// Sum and count of queue delays, by bin.
    queue: Vec<(Duration, u32)>,
    heap: BinaryHeap<Reverse<(Timestamp, u64, usize)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    order: u64,
    rng: Rng,
    sender_host: Host,
    receiver_host: Host,
    departures: Vec<Departure>,
    numbers: Vec<u64>,
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
            second: cell.second.clone().map(|link| Link::new(link, link_rng.next_u64())),
            reverse: Link::new(cell.reverse.clone(), 0),
            air: Air::new(cell.medium, cell.bunch, rng.fork("medium").next_u64()),
            queue: Vec::new(),
            heap: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            order: 0,
            sender_host: Host::new(cell.sender_stalls, rng.fork("sender host")),
            receiver_host: Host::new(cell.receiver_stalls, rng.fork("receiver host")),
            rng: rng.fork("world"),
            departures: Vec::new(),
            numbers: Vec::new(),
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
            let seed = self.rng.next_u64();
            if index == 0 {
                self.reverse = Link::new(self.cell.reverse.clone(), seed ^ 1);
            }
            let source = if let Some(kind) = spec.rival {
                Source::Rival(Box::new(Tcp::new(kind, start)))
            } else {
                // The handshake measured the round trip, with some of the queue of the moment.
                let config = WConfig {
                    start_hint: spec.hint,
                    mirror: self.cell.mirror,
                    ..WConfig::new(spec.policy, spec.bounds, rtt)
                };
                let law = configured(config, start);
                let sender = Sender::new(law, spec.app, rtt, start);
                Source::Own(Box::new(sender), Receiver::default())
            };
            self.flows.push(Flow {
                source,
                access: Link::new(self.access(spec.access), seed),
                backward: spec.backward,
                second_only: spec.second_only,
                liar: spec.lie.map(|lie| Liar::new(lie, start)),
                turn: 0,
                outcome: FlowOutcome {
                    counted: !spec.backward,
                    arrived: Bytes::ZERO,
                    sent: Vec::new(),
                    received: Vec::new(),
                    views: Vec::new(),
                    accused: 0,
                },
            });
            if spec.rival.is_none() {
                let first = start + self.report_interval(index);
                self.schedule(first, Event::Report { flow: index });
            }
            self.schedule(start, Event::Wake { flow: index, turn: 0 });
        }
        for (index, step) in self.cell.steps.iter().enumerate() {
            self.schedule(ORIGIN + step.at, Event::Step { index });
        }
        self.schedule(ORIGIN + self.cell.measure_from, Event::Measure);
        self.schedule(ORIGIN + rtt * 10, Event::OvershootEnds);
    }

    fn access(&self, rate: Option<BitRate>) -> LinkProfile {
        let usual = self.cell.link.rate.map(|r| BitRate::bps(r.get().saturating_mul(ACCESS)));
        LinkProfile {
            rate: rate.or(usual),
            queue: QueueLimit::Bytes(Bytes::mib(64)),
            ..LinkProfile::default()
        }
    }

    fn report_interval(&self, flow: usize) -> Duration {
        let usual = (self.cell.rtt() / 8).clamp(FEEDBACK_MIN, FEEDBACK_MAX);
        self.flows[flow].liar.as_ref().and_then(Liar::every).unwrap_or(usual)
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
            Event::OfferSecond { flow, packet } => self.offer_second(flow, packet, now),
            Event::Arrive { flow, packet } => self.arrive(flow, packet, now),
            Event::Report { flow } => self.report(flow, now),
            Event::ReportArrives { flow, report } => self.report_arrives(flow, report, now),
            Event::AckArrives { flow, end } => self.ack_arrives(flow, end, now),
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
        if matches!(self.flows[flow].source, Source::Own(..)) {
            let runs_at = self.sender_host.runs_at(now);
            if runs_at > now {
                return self.schedule(runs_at, Event::Wake { flow, turn });
            }
        }
        self.send(flow, now);
    }

    fn send(&mut self, flow: usize, now: Timestamp) {
        let mut departures = core::mem::take(&mut self.departures);
        match &mut self.flows[flow].source {
            Source::Own(sender, _) => sender.departures(now, &mut departures),
            Source::Rival(tcp) => {
                tcp.departures(now, &mut self.numbers);
                let departure = |&number: &u64| Departure { number, train: None };
                departures.clear();
                departures.extend(self.numbers.iter().map(departure));
            }
        }
        let bin = self.bin_of(now);
        for departure in &departures {
            let packet = Packet { number: departure.number, bytes: PACKET, train: departure.train };
            add_to(&mut self.flows[flow].outcome.sent, bin);
            if let Fate::Deliver { at, .. } = self.flows[flow].access.offer(PACKET, now) {
                let second = self.flows[flow].second_only;
                let event = if second {
                    Event::OfferSecond { flow, packet }
                } else {
                    Event::Offer { flow, packet }
                };
                self.schedule(at, event);
            }
        }
        self.departures = departures;
        self.plan_wake(flow, now);
    }

    fn plan_wake(&mut self, flow: usize, now: Timestamp) {
        self.flows[flow].turn += 1;
        let turn = self.flows[flow].turn;
        let wake = match &mut self.flows[flow].source {
            Source::Own(sender, _) => sender.next_wake(now),
            Source::Rival(tcp) => Some(tcp.next_wake().max(now)),
        };
        if let Some(at) = wake {
            self.schedule(at, Event::Wake { flow, turn });
        }
    }

    fn offer(&mut self, flow: usize, packet: Packet, now: Timestamp) {
        let backward = self.flows[flow].backward;
        if !backward {
            self.note_queue(now);
        }
        let link = if backward { &mut self.reverse } else { &mut self.link };
        let fate = link.offer(packet.bytes, now);
        let further = self.second.is_some() && !backward;
        self.pass_on(fate, || {
            if further {
                Event::OfferSecond { flow, packet }
            } else {
                Event::Arrive { flow, packet }
            }
        });
    }

    fn offer_second(&mut self, flow: usize, packet: Packet, now: Timestamp) {
        if let Some(second) = &mut self.second {
            let fate = second.offer(packet.bytes, now);
            self.pass_on(fate, || Event::Arrive { flow, packet });
        }
    }

    fn pass_on(&mut self, fate: Fate, event: impl Fn() -> Event) {
        if let Fate::Deliver { at, duplicate_at, corrupt } = fate {
            let at = self.air.arrival(at);
            if !corrupt {
                self.schedule(at, event());
            }
            if let Some(again) = duplicate_at {
                self.schedule(again, event());
            }
        }
    }

    fn note_queue(&mut self, now: Timestamp) {
        let bin = self.bin_of(now);
        if self.queue.len() <= bin {
            self.queue.resize(bin + 1, (Duration::ZERO, 0));
        }
        let (sum, count) = &mut self.queue[bin];
        *sum += self.link.queue_delay(now);
        *count += 1;
    }

    fn arrive(&mut self, flow: usize, packet: Packet, now: Timestamp) {
        let bin = self.bin_of(now);
        add_to(&mut self.flows[flow].outcome.received, bin);
        if self.measuring {
            self.flows[flow].outcome.arrived += packet.bytes;
        }
        if matches!(self.flows[flow].source, Source::Own(..)) {
            let seen_at = self.polled(now);
            let stamped = self.stamp(seen_at);
            if let Source::Own(_, receiver) = &mut self.flows[flow].source {
                receiver.on_packet(packet, stamped);
            }
        } else {
            self.acknowledge(flow, packet, now);
        }
    }

    fn acknowledge(&mut self, flow: usize, packet: Packet, now: Timestamp) {
        let Flow { source, backward, .. } = &mut self.flows[flow];
        let Source::Rival(tcp) = source else { return };
        let end = tcp.on_arrival(packet.number);
        let link = if *backward { &mut self.link } else { &mut self.reverse };
        if let Fate::Deliver { at, .. } = link.offer(ACK, now) {
            self.schedule(at, Event::AckArrives { flow, end });
        }
    }

    fn ack_arrives(&mut self, flow: usize, end: u64, now: Timestamp) {
        if let Source::Rival(tcp) = &mut self.flows[flow].source {
            tcp.on_ack(end, now);
        }
        self.send(flow, now);
    }

    /// What the receiver's clock says at `at`: skewed, coarse, noisy.
    fn stamp(&mut self, at: Timestamp) -> Timestamp {
        let noise = self.cell.noise.mul_f64(2.0 * self.rng.f64());
        self.by_receiver((at + noise) - self.cell.noise)
    }

    fn by_receiver(&self, at: Timestamp) -> Timestamp {
        let at = if self.cell.skew == 0.0 {
            at
        } else {
            ORIGIN + at.since(ORIGIN).mul_f64(1.0 + self.cell.skew)
        };
        match u64::try_from(self.cell.tick.as_nanos()) {
            Ok(tick) if tick > 0 => Timestamp::from_nanos(at.as_nanos() / tick * tick),
            _ => at,
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
        let clock = self.by_receiver(now);
        let interval = self.report_interval(flow);
        let Flow { source, liar, .. } = &mut self.flows[flow];
        if let Source::Own(sender, receiver) = source
            && let Some(mut report) = receiver.report(clock)
            && let Some(wait) = self.air.report(now, interval)
            && let Fate::Deliver { at, .. } = self.reverse.offer(REPORT, now)
        {
            let at = at + wait;
            let at = at + liar.as_ref().map_or(Duration::ZERO, |liar| liar.late(now));
            if let Some(liar) = liar {
                liar.tell(&mut report, |number| sender.sent_at(number), now, at);
            }
            self.schedule(at, Event::ReportArrives { flow, report });
        }
        self.schedule(now + interval, Event::Report { flow });
    }

    fn report_arrives(&mut self, flow: usize, report: Report, now: Timestamp) {
        let runs_at = self.sender_host.runs_at(now);
        if runs_at > now {
            return self.schedule(runs_at, Event::ReportArrives { flow, report });
        }
        let Source::Own(sender, receiver) = &mut self.flows[flow].source else { return };
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
        let Flow { source, outcome, .. } = &mut self.flows[flow];
        let Source::Own(sender, _) = source else { return };
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
        for flow in &mut self.flows {
            if let Source::Own(sender, _) = &flow.source {
                flow.outcome.accused = sender.accused();
            }
        }
        let flows = self.flows.into_iter().map(|f| f.outcome).collect();
        Outcome {
            flows,
            measured,
            bin: self.bin,
            queue: self.queue.iter().map(|(sum, n)| *sum / (*n).max(1)).collect(),
            link: self.link.take_stats(),
            overshoot: self.overshoot.unwrap_or(0),
            best: best(self.cell),
            rate: carried(self.cell, &self.cell.link),
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

/// What the way through `link` carries, before random loss.
fn carried(cell: &Cell, link: &LinkProfile) -> BitRate {
    let rate = |link: &LinkProfile| link.rate.unwrap_or(BitRate::MAX);
    let mut carried = link.policer.map_or(rate(link), |p| p.rate.min(rate(link)));
    if let Some(second) = &cell.second {
        carried = carried.min(rate(second));
    }
    match cell.flows.as_slice() {
        [only] => only.access.map_or(carried, |access| access.min(carried)),
        _ => carried,
    }
}

/// What is delivered at best.
pub(super) fn delivered(cell: &Cell, link: &LinkProfile) -> BitRate {
    let loss = match link.loss {
        _ if link.down => 1.0,
        Loss::None => 0.0,
        Loss::Bernoulli(share) => share.get(),
        Loss::GilbertElliott { mean, .. } => mean.get(),
    };
    carried(cell, link).mul_f64(1.0 - loss)
}

/// The best goodput over the measured part, steps included, and never above a fixed target.
fn best(cell: &Cell) -> BitRate {
    let (mut at, mut rate, mut bytes) =
        (cell.measure_from, delivered(cell, &cell.link), Bytes::ZERO);
    for step in &cell.steps {
        if step.at > at {
            bytes += rate.bytes_in(step.at.saturating_sub(at));
            at = step.at;
        }
        rate = delivered(cell, &step.link);
    }
    bytes += rate.bytes_in(cell.duration.saturating_sub(at));
    let best = bytes.rate_over(cell.duration.saturating_sub(cell.measure_from));
    match cell.flows.as_slice() {
        [only] if only.policy == Policy::Fixed => only.bounds.cap().map_or(best, |cap| {
            best.min(cap.mul_f64(best.as_f64() / carried(cell, &cell.link).as_f64()))
        }),
        _ => best,
    }
}
