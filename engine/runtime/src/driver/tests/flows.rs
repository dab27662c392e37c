//! Flows of a session, and one cap over all sessions.

use super::*;
use crate::driver::command::{LinkNumber, SessionKey};
use farhaul_proto::ids::FlowId;
use farhaul_proto::objects::ObjectError;
use farhaul_proto::shares::{Class, FlowError, FlowFigures, FlowLimit, FlowPlan, Weight};
use farhaul_proto::units::{BitRate, Bytes, Timestamp};
use std::time::{Duration, Instant};

fn set(rig: &mut Rig, key: SessionKey, flow: u32, plan: FlowPlan) -> Result<(), FlowError> {
    rig.ask(|reply| Command::SetFlow(key, FlowId::new(flow), plan, reply)).expect("alive")
}

fn figures(rig: &mut Rig, key: SessionKey, flow: u32) -> FlowFigures {
    let flows = rig.ask(|reply| Command::Flows(key, reply)).expect("alive");
    flows.into_iter().find(|figures| figures.flow == FlowId::new(flow)).expect("it is open")
}

#[test]
fn a_paused_flow_waits_while_another_arrives_and_then_arrives_too() {
    let mut pair = Pair::new(Rig::new(), Rig::new());
    let key = pair.sender.key;
    let paused = FlowPlan { paused: true, ..FlowPlan::default() };
    set(&mut pair.left, key, 1, paused).expect("there is room");
    set(&mut pair.left, key, 2, FlowPlan { class: Class::Urgent, ..FlowPlan::default() })
        .expect("there is room");
    let len = blocks(3);
    let source = Arc::new(Memory(content(len)));
    let sinks = [Kept::new(len), Kept::new(len)];
    let objects = [1, 2].map(|flow| {
        pair.declare_in(FlowId::new(flow), len, source.clone(), sinks[flow as usize - 1].clone())
    });
    pair.until("the urgent one arrives", |pair| pair.completions(objects[1]) == 1);
    assert_eq!(pair.completions(objects[0]), 0);
    let waits = figures(&mut pair.left, key, 1);
    assert_eq!((waits.wire, waits.limit), (Bytes::ZERO, Some(FlowLimit::Pause)));
    assert!(figures(&mut pair.left, key, 2).wire > len);
    set(&mut pair.left, key, 1, FlowPlan::default()).expect("it is open");
    pair.until("the other arrives too", |pair| pair.completions(objects[0]) == 1);
    assert!(sinks.iter().all(|sink| sink.bytes() == source.0));
    pair.until("the sender hears of it", |pair| {
        pair.left.driver.sessions[&key].core.sender().is_idle()
    });
    for flow in [1, 2] {
        let end = |reply| Command::EndFlow(key, FlowId::new(flow), reply);
        assert_eq!(pair.left.ask(end), Some(Ok(())));
    }
    let unknown = Err(ObjectError::Flow(FlowError::Unknown(FlowId::new(1))));
    let declared = pair.left.ask(|reply| Command::DeclareSend {
        session: key,
        flow: FlowId::new(1),
        len,
        held: vec![],
        source,
        reply,
    });
    assert_eq!(declared, Some(unknown));
}

/// What a driver sent, looked at after every turn, against a cap: as the clock of the driver goes, whatever
/// the machine is busy with.
#[test]
fn the_cap_over_all_sessions_holds_in_any_200_ms_and_is_shared_by_weight() {
    const CAP: BitRate = BitRate::mbps(40);
    let mut pair = Pair::new(Rig::new(), Rig::new());
    let (ours, theirs) = secrets(9);
    let (left, right) = (pair.left.addr(), pair.right.addr());
    let keys = [pair.sender.key, pair.left.add(&ours, right).key];
    let theirs = [pair.receiver.key, pair.right.add(&theirs, left).key];
    pair.left.tell(Command::ShapeLink(LinkNumber(0), Some(CAP)));
    pair.left.tell(Command::Weigh(keys[0], Weight::new(300)));
    let len = blocks(20);
    let source = Arc::new(Memory(content(len)));
    for (ours, theirs) in keys.into_iter().zip(theirs) {
        let sink = Kept::new(len);
        pair.right.declare_recv(theirs, len, vec![], sink).expect("alive").expect("good");
        pair.left.declare_send(ours, len, vec![], source.clone()).expect("alive").expect("good");
    }
    let sent = |pair: &Pair, key| pair.left.driver.sessions[&key].core.counters().wire_sent;
    let begun = Instant::now();
    let mut seen: Vec<(Timestamp, Timestamp, Bytes)> = Vec::new();
    while begun.elapsed() < Duration::from_millis(1_500) {
        let before = pair.left.driver.clock.now();
        pair.left.driver.turn();
        let all = sent(&pair, keys[0]) + sent(&pair, keys[1]);
        if seen.last().is_none_or(|&(.., bytes)| bytes != all) {
            seen.push((before, pair.left.driver.clock.now(), all));
        }
        pair.right.driver.turn();
    }
    // What left behind the end of one turn and up to that of another, both within 200 ms.
    let allowed = CAP.bytes_in(Duration::from_millis(200));
    let mut from = 0;
    for &(_, until, bytes) in &seen {
        while until.since(seen[from].0) > Duration::from_millis(200) {
            from += 1;
        }
        let most = bytes - seen[from].2;
        assert!(most.get() * 100 <= allowed.get() * 102, "{most} in 200 ms, {allowed} allowed");
    }
    let [first, second] = keys.map(|key| sent(&pair, key).get());
    assert!(first > second * 2 && first < second * 4, "{first} and {second}, three to one");
    // Without a cap both go on at the rate of their own.
    pair.left.tell(Command::ShapeLink(LinkNumber(0), None));
    let done = |pair: &Pair, key| pair.left.driver.sessions[&key].core.sender().is_idle();
    pair.until("both arrive", |pair| keys.iter().all(|&key| done(pair, key)));
}

/// The sessions' weights say a hundred to one, the classes of what they carry the opposite.
/// spec: W-151
#[test]
fn a_higher_class_in_one_session_goes_before_a_lower_one_in_another() {
    let mut pair = Pair::new(Rig::new(), Rig::new());
    let (ours, theirs) = secrets(9);
    let (left, right) = (pair.left.addr(), pair.right.addr());
    let keys = [pair.sender.key, pair.left.add(&ours, right).key];
    let theirs = [pair.receiver.key, pair.right.add(&theirs, left).key];
    pair.left.tell(Command::ShapeLink(LinkNumber(0), Some(BitRate::mbps(40))));
    pair.left.tell(Command::Weigh(keys[0], Weight::new(60_000)));
    pair.left.tell(Command::Weigh(keys[1], Weight::new(600)));
    let plan = FlowPlan { class: Class::Urgent, ..FlowPlan::default() };
    set(&mut pair.left, keys[1], 0, plan).expect("its own flow");
    let lens = [blocks(60), blocks(10)];
    for ((ours, theirs), len) in keys.into_iter().zip(theirs).zip(lens) {
        let source = Arc::new(Memory(content(len)));
        let sink = Kept::new(len);
        pair.right.declare_recv(theirs, len, vec![], sink).expect("alive").expect("good");
        pair.left.declare_send(ours, len, vec![], source).expect("alive").expect("good");
    }
    let done = |pair: &Pair, key| pair.left.driver.sessions[&key].core.sender().is_idle();
    pair.until("the urgent one arrives", |pair| done(pair, keys[1]));
    let sent = |key| pair.left.driver.sessions[&key].core.counters().wire_sent;
    let [lower, urgent] = keys.map(sent);
    println!("{lower} of the lower class beside {urgent}");
    assert!(lower.saturating_mul(2) < urgent, "{lower} of the lower class beside {urgent}");
}

/// spec: W-149
#[test]
fn each_link_has_a_cap_of_its_own_and_a_session_that_goes_over_another_has_that() {
    let mut pair = Pair::new(Rig::new(), Rig::new());
    let (ours, theirs) = secrets(9);
    let (left, right) = (pair.left.addr(), pair.right.addr());
    let keys = [pair.sender.key, pair.left.add(&ours, right).key];
    let theirs = [pair.receiver.key, pair.right.add(&theirs, left).key];
    // Nothing leaves over the second one.
    pair.left.tell(Command::ShapeLink(LinkNumber(0), Some(BitRate::mbps(400))));
    pair.left.tell(Command::ShapeLink(LinkNumber(1), Some(BitRate::ZERO)));
    pair.left.tell(Command::PutOver(keys[1], LinkNumber(1)));
    let len = blocks(2);
    let source = Arc::new(Memory(content(len)));
    for (ours, theirs) in keys.into_iter().zip(theirs) {
        let sink = Kept::new(len);
        pair.right.declare_recv(theirs, len, vec![], sink).expect("alive").expect("good");
        pair.left.declare_send(ours, len, vec![], source.clone()).expect("alive").expect("good");
    }
    let done = |pair: &Pair, key| pair.left.driver.sessions[&key].core.sender().is_idle();
    pair.until("what goes over the first arrives", |pair| done(pair, keys[0]));
    assert_eq!(figures(&mut pair.left, keys[1], 0).wire, Bytes::ZERO);
    pair.left.tell(Command::PutOver(keys[1], LinkNumber(0)));
    pair.until("the other arrives over the first too", |pair| done(pair, keys[1]));
}
