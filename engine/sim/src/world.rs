//! The virtual world: two hosts, the links between them, a clock that jumps from event to event.
//!
//! It carries packets and messages, calls the hosts and asks after every step whether all rules
//! still hold. Deterministic: one heap by (time, order of planning), one generator forked per
//! component, no hash maps. It decides nothing about the protocol.

mod addresses;
pub(crate) mod agenda;
pub(crate) mod control;
mod interruption;
mod messages;
pub(crate) mod record;
mod summary;
mod trace;
mod watch;

use crate::check::{Truth, Violation, bound};
use crate::host::{Around, Host};
use crate::link::{Fate, Link};
use crate::report::Report;
use crate::rng::Rng;
use crate::scenario::{First, Load, Scenario, Side, Step};
use addresses::{Addresses, LEAD};
use agenda::{Agenda, Happening, Packet};
use control::Control;
use core::time::Duration;
use farhaul_proto::ids::ObjectId;
use farhaul_proto::limits::{SYMBOL_SIZE, SYMBOL_SIZE_JUMBO, TRAIN_PACKETS_MAX};
use farhaul_proto::objects::ObjectError;
use farhaul_proto::path::mtu::packet_bytes;
use farhaul_proto::session::{PacketPlan, Route};
use farhaul_proto::trace::flight::Flight;
use farhaul_proto::units::Timestamp;
use interruption::Standing;
use thiserror::Error;
use trace::Trace;
pub use watch::{Sent, run_watched};

/// Calls in a row at one moment that do nothing: beyond this the session spins.
const IDLE_CALLS_MAX: u32 = 1_000;
/// After the end a session may repeat its last words for so long.
const FAREWELL: Duration = Duration::from_secs(60);

/// Whether a run tells its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// It does not.
    Silent,
    /// One line per event on standard output.
    Lines,
}

/// A run that broke a rule.
#[derive(Clone, Debug, Error)]
#[error("{name} (seed {seed}) at {:.6} s: {violation}", at.as_secs_f64())]
pub struct Failure {
    /// The scenario.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// When.
    pub at: Timestamp,
    /// Which rule.
    pub violation: Violation,
}

/// See the module.
pub struct World {
    scenario: Scenario,
    steps: Vec<Option<Step>>,
    steps_left: usize,
    now: Timestamp,
    agenda: Agenda,
    hosts: [Host; 2],
    /// By the side that sends.
    links: [Link; 2],
    addresses: Addresses,
    controls: [Control; 2],
    messages_flying: usize,
    wakes: [Option<Timestamp>; 2],
    /// Hosts that are interrupted.
    standing: [Option<Standing>; 2],
    idle_calls: u32,
    truths: [Truth; 2],
    plans: Vec<PacketPlan>,
    trace: Trace,
    record: Option<record::Record>,
    watch: Option<Vec<Sent>>,
    over_since: Option<Timestamp>,
    farewell_said: bool,
    packets_at_end: [u64; 2],
}

/// Plays a scenario to its end.
///
/// # Errors
/// The first rule that does not hold, with the time at which it was broken.
pub fn run(scenario: &Scenario, speech: Speech) -> Result<Report, Failure> {
    World::new(scenario.clone(), speech).play()
}

/// Plays a scenario to its end, and tells what its first sender did as the product's flight
/// recorder would.
///
/// # Errors
/// As [`run`].
#[expect(clippy::missing_panics_doc, reason = "the record is in the world from its beginning")]
pub fn run_recorded(scenario: &Scenario, speech: Speech) -> Result<(Report, Flight), Failure> {
    let mut world = World::new(scenario.clone(), speech);
    let record = record::Record::new(scenario, &world.hosts);
    world.record = Some(record);
    let world = world.play_to_end()?;
    let report = world.summary();
    let flight = world.record.map(record::Record::finish);
    Ok((report, flight.expect("it was put there, and nobody takes it")))
}

impl World {
    /// A world in which nothing has happened yet.
    pub fn new(scenario: Scenario, speech: Speech) -> Self {
        let rng = Rng::new(scenario.seed);
        let rtt = scenario.rtt();
        let host = |side: Side, label: &str| {
            let profile = scenario.hosts[side.index()].clone();
            Host::new(side, profile, rtt.max(Duration::from_millis(1)), &rng.fork(label))
        };
        let link = |side: Side, label: &str| {
            Link::new(scenario.links[side.index()].clone(), rng.fork(label).next_u64())
        };
        let mut agenda = Agenda::default();
        let steps = scenario.agenda();
        for (index, (at, _)) in steps.iter().enumerate() {
            agenda.plan(*at, Happening::Step(index));
        }
        Self {
            hosts: [host(Side::A, "host a"), host(Side::B, "host b")],
            links: [link(Side::A, "link a"), link(Side::B, "link b")],
            addresses: Addresses::new(),
            controls: [Control::new(rng.fork("control a")), Control::new(rng.fork("control b"))],
            truths: [Truth::new(Side::A, rtt), Truth::new(Side::B, rtt)],
            steps_left: steps.len(),
            steps: steps.into_iter().map(|(_, step)| Some(step)).collect(),
            scenario,
            now: Timestamp::ZERO,
            agenda,
            messages_flying: 0,
            wakes: [None; 2],
            standing: [None, None],
            idle_calls: 0,
            plans: Vec::new(),
            trace: Trace::new(speech == Speech::Lines),
            record: None,
            watch: None,
            over_since: None,
            farewell_said: false,
            packets_at_end: [0; 2],
        }
    }

    /// Plays to the end.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn play(self) -> Result<Report, Failure> {
        self.play_to_end().map(|world| world.summary())
    }

    fn play_to_end(mut self) -> Result<Self, Failure> {
        match self.play_on() {
            Ok(()) => Ok(self),
            Err(violation) => {
                self.tell_state();
                let Scenario { name, seed, .. } = self.scenario;
                Err(Failure { name, seed, at: self.now, violation })
            }
        }
    }

    /// For whoever looks for the cause of a failure.
    fn tell_state(&self) {
        for host in &self.hosts {
            let session = &host.session;
            self.trace.line(self.now, || {
                format!(
                    "{:?} in flight {} of {}, {:?}\n{:?}\n{:#?}\n{:#?}",
                    host.side,
                    session.in_flight(),
                    session.in_flight_limit(),
                    session.rtt(),
                    session.view(),
                    session.sender(),
                    session.receiver()
                )
            });
        }
    }

    fn play_on(&mut self) -> Result<(), Violation> {
        while let Some((at, what)) = self.agenda.next() {
            self.now = at;
            self.happen(what)?;
            self.check_progress()?;
            if self.is_said() {
                break;
            }
        }
        if self.over_since.is_none() {
            // Nothing is planned, and not everything is done: nobody will ever wake up.
            return Err(self.stalled(Duration::MAX));
        }
        self.check_end()
    }

    fn happen(&mut self, what: Happening) -> Result<(), Violation> {
        match self.wait_for_host(self.now, what) {
            Some(what) => self.happen_at(self.now, what),
            None => Ok(()),
        }
    }

    /// What began to wait at `came` happens to its host.
    fn happen_at(&mut self, came: Timestamp, what: Happening) -> Result<(), Violation> {
        match what {
            Happening::Wake(side) => {
                if self.wakes[side.index()] != Some(self.now) {
                    return Ok(());
                }
                self.wakes[side.index()] = None;
                self.trace.note(self.now, "wake", side as u64, 0);
                self.serve(side)
            }
            Happening::Arrive(side, packet) => self.arrive(side, packet, came),
            Happening::Resume(side) => self.resume(side),
            Happening::Done(side, done) => {
                self.trace.note_words(self.now, "done", side, &done);
                self.trace.line(self.now, || format!("{side:?} {done:?}"));
                self.with_host(side, |host, around| host.on_done(done, around))?;
                self.serve(side)
            }
            Happening::Control(side, message) => {
                self.messages_flying -= 1;
                self.trace.note_words(self.now, "control", side, &message);
                self.trace.line(self.now, || format!("{side:?} hears {message:?}"));
                self.on_message(side, message)?;
                self.serve(side)
            }
            Happening::Step(index) => self.step(index),
        }
    }

    fn arrive(&mut self, side: Side, mut packet: Packet, came: Timestamp) -> Result<(), Violation> {
        if !self.addresses.reaches(side, packet.to, &mut packet.from) {
            self.trace.note_packet(self.now, "astray", side, &packet);
            return Ok(());
        }
        let number = packet.number.get();
        self.trace.note_packet(self.now, "arrive", side, &packet);
        self.trace.line(self.now, || format!("{side:?} <- {number} {}", told(&packet)));
        if !packet.corrupt {
            self.addresses.on_arrived(side, packet.from, packet.kind, packet.bytes);
        }
        self.with_host(side, |host, around| host.on_packet(&packet, came, around))?;
        self.serve(side)
    }

    fn with_host(
        &mut self,
        side: Side,
        act: impl FnOnce(&mut Host, &mut Around<'_>) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let mut around =
            Around { now: self.now, agenda: &mut self.agenda, truths: &mut self.truths };
        act(&mut self.hosts[side.index()], &mut around)
    }

    /// The contract of a session: effects and events, then packets, until there is nothing;
    /// then the next timeout.
    fn serve(&mut self, side: Side) -> Result<(), Violation> {
        if self.is_standing(side) {
            return Ok(());
        }
        let mut sent = 0;
        loop {
            self.with_host(side, Host::perform)?;
            let now = self.transmit(side)?;
            if now == 0 {
                break;
            }
            if self.is_standing(side) {
                return Ok(());
            }
            sent += now;
        }
        self.with_host(side, Host::perform)?;
        for message in core::mem::take(&mut self.hosts[side.index()].outbox) {
            self.tell(side, message);
        }
        self.plan_wake(side, sent)?;
        self.take_trace(side);
        self.hosts[side.index()].check(&self.truths)
    }

    /// What the session wrote down about itself is part of what two runs must agree on.
    fn take_trace(&mut self, side: Side) {
        while let Some(record) = self.hosts[side.index()].session.poll_trace() {
            self.trace.note_words(record.at, "trace", side, &record.event);
            self.trace.line(record.at, || format!("{side:?} notes {:?}", record.event));
            if let Some(flight) = &mut self.record {
                flight.note(side, &record);
            }
        }
        if let Some(record) = &mut self.record {
            record.look(side, &self.hosts[side.index()], self.now);
        }
    }

    fn plan_wake(&mut self, side: Side, sent: usize) -> Result<(), Violation> {
        let Some(at) = self.hosts[side.index()].session.poll_timeout(self.now) else {
            return Ok(());
        };
        let at = at.max(self.now);
        self.idle_calls = if sent == 0 && at == self.now { self.idle_calls + 1 } else { 0 };
        if self.idle_calls > IDLE_CALLS_MAX {
            return Err(Violation::Spins { side });
        }
        let planned = &mut self.wakes[side.index()];
        // An earlier call is kept: it does no harm, and asks again.
        if planned.is_none_or(|planned| at < planned) {
            *planned = Some(at);
            self.agenda.plan(at, Happening::Wake(side));
        }
        Ok(())
    }

    fn transmit(&mut self, side: Side) -> Result<usize, Violation> {
        let session = &mut self.hosts[side.index()].session;
        let before = session.in_flight();
        let limit = session.in_flight_limit();
        let mut plans = core::mem::take(&mut self.plans);
        session.poll_transmit(self.now, &mut plans);
        let after = session.in_flight();
        // Beyond the limit goes one train, or a probe, and a few for the sizes.
        let packet = packet_bytes(SYMBOL_SIZE);
        let train = packet.saturating_mul(u64::from(TRAIN_PACKETS_MAX));
        let sizes = packet_bytes(SYMBOL_SIZE_JUMBO).saturating_mul(4);
        let most = (limit + train).max(before + packet) + sizes;
        bound(side, "bytes in flight", after.get(), most.get())?;
        let count = plans.len();
        let host = &mut self.hosts[side.index()];
        let interruption = if count > 0 { host.interruption() } else { None };
        let mut train = Vec::new();
        let (from, peer) = (self.addresses.of(side), self.hosts[side.index()].session.peer());
        for plan in plans.drain(..) {
            let (to, also) = match plan.route {
                Route::Peer => (peer, None),
                Route::Only(to) => (to, None),
                Route::Also(also) => (peer, Some(also)),
            };
            let mut around =
                Around { now: self.now, agenda: &mut self.agenda, truths: &mut self.truths };
            let sealed = self.hosts[side.index()].seal(plan, &mut around)?;
            self.watch(side, &sealed);
            for to in core::iter::once(to).chain(also) {
                train.push(Packet { from, to, ..sealed.clone() });
            }
        }
        self.plans = plans;
        match interruption {
            Some(span) => self.interrupt(side, span, train),
            None => self.send(side, train)?,
        }
        Ok(count)
    }

    /// Packets reach the kernel of their host.
    fn send(&mut self, side: Side, train: Vec<Packet>) -> Result<(), Violation> {
        for packet in train {
            self.addresses.on_sent(side, packet.to, packet.bytes)?;
            self.offer(side, packet);
        }
        self.hosts[side.index()].session.on_handed(self.now);
        Ok(())
    }

    fn offer(&mut self, side: Side, packet: Packet) {
        if packet.bytes.get() > u64::from(self.scenario.hosts[side.index()].mtu) {
            return self.trace.note_packet(self.now, "too long", side, &packet);
        }
        let fate = self.links[side.index()].offer(packet.bytes, self.now);
        self.trace.note_packet(self.now, "send", side, &packet);
        self.trace.note_words(self.now, "fate", side, &fate);
        self.trace
            .line(self.now, || format!("{side:?} -> {} {} {fate:?}", packet.number, told(&packet)));
        let Fate::Deliver { at, duplicate_at, corrupt } = fate else { return };
        let peer = side.peer();
        if let Some(from) = self.addresses.forwarder_of(side) {
            let copy = Packet { from, ..packet.clone() };
            let at = if at > self.now + LEAD { at - LEAD } else { self.now };
            self.agenda.plan(at, Happening::Arrive(peer, copy));
        }
        if let Some(again) = duplicate_at {
            // Only the first copy is damaged, as in the emulator.
            let copy = packet.clone();
            self.agenda.plan(again, Happening::Arrive(peer, copy));
        }
        self.agenda.plan(at, Happening::Arrive(peer, Packet { corrupt, ..packet }));
    }

    fn step(&mut self, index: usize) -> Result<(), Violation> {
        let Some(step) = self.steps[index].take() else { return Ok(()) };
        self.trace.note(self.now, "step", index as u64, 0);
        self.trace.line(self.now, || format!("step {step:?}"));
        self.steps_left -= 1;
        match step {
            Step::Declare { source, place } => self.declare_first(source, place),
            Step::Reopen { source, object, position, count } => {
                if self.may_reopen(source, object) {
                    return self.reopen(source, object, position, count);
                }
                // Not declared yet: look again later.
                self.steps[index] = Some(Step::Reopen { source, object, position, count });
                self.steps_left += 1;
                let later = self.now + Duration::from_millis(500);
                self.agenda.plan(later, Happening::Step(index));
                Ok(())
            }
            Step::Cancel { source, object } => self.cancel(source, object),
            Step::Refuse { source, object } => self.refuse(source, object),
            Step::Share { side, send, recv } => {
                self.hosts[side.index()].share(send, recv, self.now);
                self.serve(side)
            }
            Step::Flow { side, flow, plan } => {
                let session = &mut self.hosts[side.index()].session;
                session.set_flow(flow, plan, self.now).map_err(ObjectError::from)?;
                self.serve(side)
            }
            Step::Readdress { side, to } => {
                self.addresses.readdress(side, to);
                Ok(())
            }
            Step::Forward(by) => {
                self.addresses.forward(by);
                Ok(())
            }
            Step::Link { from, profile } => {
                self.links[from.index()].set_profile(profile, self.now);
                Ok(())
            }
        }
    }

    /// Both sides must number blocks in the same order: where the target declares first, the
    /// source may not reopen before it has heard every declaration.
    fn may_reopen(&self, source: Side, object: ObjectId) -> bool {
        let truth = &self.truths[source.index()];
        let count = self.scenario.loads[source.index()].len();
        match self.scenario.first {
            First::Source => truth.is_declared(source, object),
            First::Target => truth.objects_declared(source) == count,
        }
    }

    fn declare_first(&mut self, source: Side, place: usize) -> Result<(), Violation> {
        let load = self.scenario.loads[source.index()][place].clone();
        let first = match self.scenario.first {
            First::Source => source,
            First::Target => source.peer(),
        };
        let object = ObjectId::new(u32::try_from(place).unwrap_or(u32::MAX));
        self.declare(first, source, object, &load)?;
        let Load { len, held, .. } = load;
        self.tell(first, control::Message::Declare { object, len, held });
        self.serve(first)
    }

    fn check_progress(&mut self) -> Result<(), Violation> {
        if let Some(over) = self.over_since {
            if !self.farewell_said && self.now.since(over) > FAREWELL {
                self.farewell_said = true;
                self.packets_at_end = [0, 1].map(|side: usize| self.hosts[side].tally.packets);
            }
            return Ok(());
        }
        if self.is_over() {
            self.over_since = Some(self.now);
            return Ok(());
        }
        let elapsed = self.now.since(Timestamp::ZERO);
        if elapsed > self.scenario.deadline {
            return Err(Violation::TooSlow(elapsed));
        }
        let useful = self.hosts[0].tally.progress.max(self.hosts[1].tally.progress);
        let up = self.scenario.outages.iter().map(|outage| outage.until);
        let up = up.filter(|&until| until <= self.now).max().unwrap_or_default();
        let idle = self.now.since(useful.max(up));
        let dark = self.scenario.up_at(self.now) > self.now;
        let waits = self.steps_left > 0 || self.messages_flying > 0;
        if idle > self.scenario.patience && !dark && !waits {
            return Err(self.stalled(idle));
        }
        Ok(())
    }

    fn stalled(&self, idle: Duration) -> Violation {
        let (total, missing) = (0..2)
            .map(|index| self.truths[index].bytes())
            .fold(Default::default(), |(all, open), (total, missing)| {
                (all + total, open + missing)
            });
        Violation::Stalled { idle, missing, total }
    }

    /// Every object ended on both sides, and every buffer was given back.
    fn is_over(&self) -> bool {
        self.steps_left == 0
            && self.messages_flying == 0
            && self.truths.iter().zip(&self.scenario.loads).all(|(t, l)| t.is_over(l.len()))
            && self.hosts.iter().all(Host::is_empty)
    }

    /// The end was long enough ago.
    fn is_said(&self) -> bool {
        self.over_since.is_some_and(|over| self.now.since(over) > FAREWELL * 2)
    }
}

fn told(packet: &Packet) -> String {
    use farhaul_proto::session::PlanBody;
    match &packet.body {
        PlanBody::Symbol { data, .. } => {
            format!("{:?} {}/{}", packet.kind, data.block, data.symbol)
        }
        PlanBody::Padding(len) => format!("{:?} {len}", packet.kind),
        PlanBody::Path(_) => format!("{:?} {} => {}", packet.kind, packet.from, packet.to),
        PlanBody::Report(payload) => {
            let feedback = farhaul_proto::wire::feedback::Feedback::decode(payload);
            feedback.map_or_else(
                |error| format!("{error}"),
                |feedback| {
                    format!(
                        "Report largest {} below {} complete {:?} deficits {:?} limit {}",
                        feedback.largest,
                        feedback.complete_below,
                        feedback.complete,
                        feedback.deficits,
                        feedback.open_blocks_limit
                    )
                },
            )
        }
    }
}
