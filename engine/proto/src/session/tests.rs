//! Two sessions at the ends of a wire that carries every packet it takes, in a millisecond.

mod carrier;
mod floor;
mod shared;
mod traces;

use super::*;
use crate::limits::{PLAIN_HEADER_LEN, SYMBOL_SIZE, SYMBOL_SIZE_SMALL, TAG_LEN, UDP_IP_OVERHEAD};
use crate::units::Micros;
use crate::wire::feedback::Feedback;
use crate::wire::header::Kind;
use std::collections::VecDeque;

const DELAY: Duration = Duration::from_millis(1);
const TICK: Duration = Duration::from_micros(50);

struct Pair {
    ends: [Session; 2],
    /// By the side that sends.
    wires: [VecDeque<(Timestamp, PacketPlan)>; 2],
    now: Timestamp,
    /// How far time goes in a step.
    tick: Duration,
    /// The largest packet at IP level that passes.
    mtu: Bytes,
    /// The control channel lives, whatever the lanes do.
    control_lives: bool,
    /// What waits in front of the second side's packets on their way.
    queue_back: Duration,
    /// The second side's disk stands still.
    disk_stands: bool,
    to_write: Vec<BlockIndex>,
    /// The first side's verdict on the path, once it has one.
    unreached: Option<(Timestamp, Unreached)>,
    /// Everything that the first side sent, call by call.
    sent: Vec<Vec<PacketPlan>>,
}

fn session(policy: Policy, cap: Option<BitRate>) -> Session {
    session_over(Carrier::Udp, policy, cap)
}

fn session_over(carrier: Carrier, policy: Policy, cap: Option<BitRate>) -> Session {
    let config = SessionConfig {
        carrier,
        policy,
        bounds: Bounds::capped(cap),
        start_hint: None,
        fec: FecPolicy::Auto,
        initial_rtt: DELAY * 2,
        send_blocks: 8,
        recv_blocks: 8,
        seed: 7,
        peer: SocketAddr::from(([192, 0, 2, 1], 7411)),
    };
    Session::new(config, Timestamp::ZERO)
}

fn size(plan: &PacketPlan) -> Bytes {
    let plain =
        |len: usize| Bytes::new((PLAIN_HEADER_LEN + len + TAG_LEN) as u64 + UDP_IP_OVERHEAD);
    match &plan.body {
        PlanBody::Symbol { len, .. } => packet_bytes(*len),
        PlanBody::Padding(len) => plain(usize::from(*len)),
        PlanBody::Report(payload) => plain(payload.len()),
        PlanBody::Path(_) => crate::path::migrate::CHALLENGE_BYTES,
    }
}

impl Pair {
    fn new(policy: Policy, cap: Option<BitRate>) -> Self {
        Self {
            ends: [session(policy, cap), session(Policy::Fair, None)],
            wires: [VecDeque::new(), VecDeque::new()],
            now: Timestamp::ZERO,
            tick: TICK,
            mtu: Bytes::new(1_500),
            control_lives: false,
            queue_back: Duration::ZERO,
            disk_stands: false,
            to_write: Vec::new(),
            unreached: None,
            sent: Vec::new(),
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now += self.tick;
            if self.control_lives && self.now.as_nanos().is_multiple_of(5_000_000_000) {
                self.ends[0].on_control(self.now);
            }
            self.step(0);
            self.step(1);
        }
    }

    /// The first side's host does not run for `span`; its kernel stamps what comes.
    fn first_stands_still(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now += self.tick;
            self.step(1);
        }
    }

    fn step(&mut self, side: usize) {
        while let Some((at, plan)) = self.wires[1 - side].pop_front_if(|(at, _)| *at <= self.now) {
            self.arrive(side, &plan, at);
        }
        let end = &mut self.ends[side];
        while let Some(effect) = end.poll_effect() {
            match effect {
                Effect::Send(SendEffect::Read { block, shape, .. }) => end.on_loaded(block, shape),
                Effect::Send(SendEffect::Encode { block, count, .. }) => {
                    end.on_encoded(block, Some(count));
                }
                Effect::Recv(RecvEffect::Verify { block, .. }) => {
                    end.on_verified(block, Verified::Good, self.now);
                }
                Effect::Recv(RecvEffect::Write { block, .. }) => self.to_write.push(block),
                Effect::Send(SendEffect::Reshape { .. } | SendEffect::Release { .. })
                | Effect::Recv(_) => {}
            }
        }
        // Only the second side receives in these tests.
        if side == 1 && !self.disk_stands {
            self.to_write.drain(..).for_each(|block| end.on_written(block, self.now));
        }
        let mut plans = Vec::new();
        end.poll_transmit(self.now, &mut plans);
        plans.iter().for_each(|plan| end.on_sealed(plan.number, proof(plan.number)));
        end.on_handed(self.now);
        if side == 0 {
            let verdict = end.unreached(self.now).map(|unreached| (self.now, unreached));
            self.unreached = self.unreached.or(verdict);
            self.sent.push(plans.clone());
        }
        let passes = plans.into_iter().filter(|plan| size(plan) <= self.mtu);
        let queue = if side == 1 { self.queue_back } else { Duration::ZERO };
        self.wires[side].extend(passes.map(|plan| (self.now + DELAY + queue, plan)));
    }

    fn arrive(&mut self, side: usize, plan: &PacketPlan, at: Timestamp) {
        let (end, now) = (&mut self.ends[side], self.now);
        let arrival = arrival(plan.number, plan.kind.is_train(), at);
        match &plan.body {
            PlanBody::Symbol { data, len } => {
                end.on_data(&arrival, *data, *len, now);
            }
            PlanBody::Padding(_) => end.on_padding(&arrival, size(plan), now),
            PlanBody::Report(payload) => {
                let feedback = Feedback::decode(payload).unwrap();
                end.on_feedback(&arrival, &feedback, now).unwrap();
            }
            PlanBody::Path(_) => {}
        }
    }
}

/// Bits that tell the packets apart.
fn proof(number: PacketNumber) -> Proof {
    Proof::new(u16::try_from(number.get() * 7919 % 65_521).unwrap())
}

fn arrival(number: PacketNumber, train: bool, at: Timestamp) -> Arrival {
    Arrival { number, proof: proof(number), train, at }
}

/// A socket counts from the start of the process. The first report of a session spoke of all
/// that, and its peer forgave as many losses.
#[test]
fn reports_count_the_drops_of_their_own_session() {
    let mut end = session(Policy::Fair, None);
    end.on_local_drops(5_000);
    let mut drops = Vec::new();
    for (number, total) in [(0, 5_000), (1, 5_003), (2, 5_003)] {
        end.on_local_drops(total);
        let at = Timestamp::from_millis(number * 100);
        let arrival = arrival(PacketNumber::new(number), false, at);
        end.on_padding(&arrival, Bytes::new(1_473), at);
        let mut plans = Vec::new();
        end.poll_transmit(at + Duration::from_millis(50), &mut plans);
        let PlanBody::Report(payload) = &plans[0].body else { panic!("{plans:?}") };
        drops.push(Feedback::decode(payload).unwrap().receiver_drops);
    }
    assert_eq!(drops, [0, 3, 3]);
}

/// On a short path the trains of the start-up follow each other with nothing in between; the
/// receiver took them for one.
#[test]
fn two_trains_are_never_neighbours() {
    let mut pair = Pair::new(Policy::Fair, None);
    pair.ends[0].warm_up(None);
    pair.run(Duration::from_millis(100));
    let trains = pair.sent.iter().filter(|plans| plans.iter().any(|plan| plan.kind.is_train()));
    let mut last: Option<PacketNumber> = None;
    let mut count = 0;
    for train in trains {
        let mut members = train.iter().filter(|plan| plan.kind.is_train());
        let first = members.next().unwrap();
        assert!(last.is_none_or(|last| first.number > last.next()), "{last:?} {first:?}");
        last = Some(members.next_back().unwrap_or(first).number);
        count += 1;
    }
    assert!(count >= 3, "{count} trains");
}

#[test]
fn a_path_for_small_packets_is_measured_with_small_packets_and_without_loss() {
    let mut pair = Pair::new(Policy::Fair, Some(BitRate::mbps(100)));
    pair.mtu = Bytes::new(1_300);
    pair.ends[0].declare_send(Bytes::mib(64), &[]).unwrap();
    pair.ends[1].declare_recv(Bytes::mib(64), &[]).unwrap();
    pair.run(Duration::from_millis(600));
    let sender = &pair.ends[0];
    assert_eq!(sender.sender().symbol_size(), Some(SYMBOL_SIZE_SMALL));
    // The full-size train is no loss: it asked for the size that passes.
    let fits = |plan: &&PacketPlan| size(plan) <= pair.mtu;
    assert!(pair.sent.iter().flatten().filter(|plan| !fits(plan)).count() >= 32);
    assert_eq!(sender.counters().packets_lost, 0, "{:?}", sender.counters());
    assert_eq!(sender.repair.loss.mean.get(), 0.0);
    assert_eq!(sender.view().loss.get(), 0.0);
    let full = packet_bytes(SYMBOL_SIZE);
    let chosen = pair.sent.iter().position(|plans| plans.iter().any(|plan| plan.kind.has_data()));
    let later = pair.sent[chosen.unwrap()..].iter().flatten();
    let trains: Vec<_> = later.filter(|plan| plan.kind == Kind::PadTrain).collect();
    assert!(trains.iter().all(|plan| size(plan) < full), "{trains:?}");
}

#[test]
fn an_overtaken_report_takes_no_credit_back() {
    let mut pair = Pair::new(Policy::Fixed, Some(BitRate::mbps(20)));
    pair.ends[0].declare_send(Bytes::mib(64), &[]).unwrap();
    pair.ends[1].declare_recv(Bytes::mib(64), &[]).unwrap();
    pair.run(Duration::from_millis(200));
    let sender = &mut pair.ends[0];
    let open = sender.sender().blocks_open();
    assert!(open >= 1 && !sender.sender().blocked_by_peer());
    let stale = Feedback {
        open_blocks_limit: 1,
        backlog: Bytes::mib(900),
        decoding: Micros::new(u32::MAX),
        ..Feedback::default()
    };
    let overtaken = arrival(PacketNumber::new(0), false, pair.now);
    sender.on_feedback(&overtaken, &stale, pair.now).unwrap();
    assert!(!sender.sender().blocked_by_peer());
    assert!(sender.peer_backlog < Bytes::mib(900));
    assert_eq!(sender.decoding.at_peer, Duration::ZERO);
}

/// A pair in mid-transfer, with a step for long times.
fn under_way() -> Pair {
    let mut pair = Pair::new(Policy::Fair, Some(BitRate::mbps(20)));
    pair.ends[0].declare_send(Bytes::mib(64), &[]).unwrap();
    pair.ends[1].declare_recv(Bytes::mib(64), &[]).unwrap();
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.ends[0].sender().symbol_size(), Some(SYMBOL_SIZE));
    pair.tick = Duration::from_millis(1);
    pair
}

/// Reports that waited in the socket while the host was busy with other work counted as a longer
/// path: the rate law saw a queue, and slowed down.
#[test]
fn reports_that_are_read_late_make_the_path_no_longer() {
    let mut pair = under_way();
    pair.tick = TICK;
    let mut longest = Duration::ZERO;
    for _ in 0..50 {
        pair.first_stands_still(Duration::from_millis(20));
        pair.run(TICK);
        longest = longest.max(pair.ends[0].rtt().latest());
        pair.run(Duration::from_millis(5));
    }
    assert!(longest < Duration::from_millis(4), "{longest:?}");
    assert_eq!(pair.ends[0].counters().packets_lost, 0);
    assert!(pair.ends[0].view().queue_delay < Duration::from_millis(1));
}

/// Traffic of others fills the way back, and reports wait behind it. spec: W-132
#[test]
fn a_queue_that_reports_wait_in_makes_the_path_no_slower() {
    let mut pair = under_way();
    pair.tick = TICK;
    pair.queue_back = Duration::from_millis(40);
    pair.run(Duration::from_millis(500));
    let sender = &pair.ends[0];
    assert!(sender.rtt().latest() > Duration::from_millis(40), "{:?}", sender.rtt());
    let queue = sender.view().queue_delay;
    assert!(queue < Duration::from_millis(1), "{queue:?}");
}

/// A flight record had numbers then that its readers refuse.
#[test]
fn no_more_counts_as_delivered_than_was_sent_whatever_the_peer_says() {
    let mut pair = under_way();
    let (sender, now) = (&mut pair.ends[0], pair.now);
    let boast = Feedback { received_bytes: Bytes::new(1 << 60), ..Feedback::default() };
    sender.on_feedback(&arrival(PacketNumber::new(1 << 20), false, now), &boast, now).unwrap();
    assert_eq!(sender.counters().wire_delivered, sender.counters().wire_sent);
}

/// The route changed, or something on it eats packets: QUIC lived on, and the transfer stood for
/// ever. spec: W-059
#[test]
fn a_path_that_carries_no_data_packets_any_more_is_given_up() {
    for (mtu, smallest) in [(1_200, SYMBOL_SIZE_SMALL), (0, SYMBOL_SIZE_SMALL)] {
        let mut pair = under_way();
        let cut = pair.now;
        pair.mtu = Bytes::new(mtu);
        pair.control_lives = true;
        pair.run(Duration::from_secs(60));
        let (at, unreached) = pair.unreached.expect("it sends in vain for ever");
        let after = at.since(cut);
        assert!(after > Duration::from_secs(44) && after < Duration::from_secs(55), "{after:?}");
        assert!(unreached.smallest <= packet_bytes(SYMBOL_SIZE), "{unreached:?}");
        assert!(unreached.smallest >= packet_bytes(smallest), "{unreached:?}");
    }
}

/// A path that is dead at first, or a peer that is not there yet, says nothing about packet sizes.
#[test]
fn a_path_that_comes_late_is_asked_for_its_sizes_anew() {
    let mut pair = Pair::new(Policy::Fair, Some(BitRate::mbps(20)));
    pair.tick = Duration::from_millis(1);
    pair.mtu = Bytes::ZERO;
    pair.ends[0].warm_up(None);
    pair.run(Duration::from_secs(5));
    pair.ends[0].declare_send(Bytes::mib(4), &[]).unwrap();
    pair.ends[1].declare_recv(Bytes::mib(4), &[]).unwrap();
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.ends[0].sender().symbol_size(), None);
    pair.mtu = Bytes::new(1_500);
    pair.run(Duration::from_secs(20));
    assert_eq!(pair.ends[0].sender().symbol_size(), Some(SYMBOL_SIZE));
    assert!(pair.ends[0].sender().is_idle());
}

/// A transfer that begins is news of the peer: who waits eight seconds for the next question
/// because the peer came late asks at once.
#[test]
fn a_silent_path_is_asked_at_once_when_an_object_begins() {
    let mut pair = Pair::new(Policy::Fair, Some(BitRate::mbps(20)));
    pair.tick = Duration::from_millis(1);
    pair.mtu = Bytes::ZERO;
    pair.ends[0].warm_up(None);
    pair.run(Duration::from_secs(25));
    pair.mtu = Bytes::new(1_500);
    let asked = pair.ends[0].counters().packets_sent;
    pair.ends[0].declare_send(Bytes::mib(1), &[]).unwrap();
    pair.ends[1].declare_recv(Bytes::mib(1), &[]).unwrap();
    pair.run(Duration::from_millis(10));
    assert!(pair.ends[0].counters().packets_sent > asked);
}

/// spec: W-059
#[test]
fn an_outage_that_the_connection_survives_is_survived() {
    let mut pair = under_way();
    pair.mtu = Bytes::ZERO;
    pair.run(Duration::from_secs(150));
    pair.mtu = Bytes::new(1_500);
    // QUIC may be back a little sooner than the lanes.
    pair.control_lives = true;
    pair.run(Duration::from_secs(60));
    assert_eq!(pair.unreached, None);
    assert!(pair.ends[0].sender().is_idle());
}

/// spec: W-059
#[test]
fn a_receiver_whose_disk_stands_still_is_waited_for() {
    let mut pair = under_way();
    pair.disk_stands = true;
    pair.run(Duration::from_secs(300));
    assert!(!pair.ends[0].sender().is_idle());
    pair.disk_stands = false;
    pair.run(Duration::from_secs(60));
    assert_eq!(pair.unreached, None);
    assert!(pair.ends[0].sender().is_idle());
}

/// spec: W-059
#[test]
fn a_question_lost_now_and_then_gives_no_path_up() {
    let mut pair = Pair::new(Policy::Fair, None);
    pair.tick = Duration::from_millis(1);
    pair.mtu = Bytes::ZERO;
    for _ in 0..10 {
        pair.ends[0].ask_peer();
        pair.run(Duration::from_secs(20));
    }
    assert_eq!(pair.unreached, None);
}

/// A side that asked long before it has something to send must not take the answer for news about
/// the path's rate and packet sizes. spec: W-096
#[test]
fn a_peer_with_nothing_to_do_answers_a_question_and_the_path_is_measured_as_ever() {
    let mut pair = Pair::new(Policy::Fair, Some(BitRate::mbps(20)));
    pair.run(Duration::from_secs(1));
    pair.ends[0].ask_peer();
    pair.run(Duration::from_millis(20));
    assert!(pair.ends[0].counters().reports_received > 0);
    pair.run(Duration::from_secs(5));
    pair.ends[0].declare_send(Bytes::mib(4), &[]).unwrap();
    pair.ends[1].declare_recv(Bytes::mib(4), &[]).unwrap();
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.ends[0].sender().symbol_size(), Some(SYMBOL_SIZE));
}
