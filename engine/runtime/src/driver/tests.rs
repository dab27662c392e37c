//! The driver against peers, disks, sources and sinks that misbehave.

mod flows;
mod moves;
mod rig;
mod shares;
mod traces;

use super::command::{Command, GivenUp, SessionEvent, Violation};
use super::receive::{Coming, LaneDrops};
use super::{SLEEP_MAX, SpareDisk};
use crate::disk::{Completion, Disk, DiskError, Request};
use crate::objects::{BlockSink, BlockSource, Failure, Load, Store};
use farhaul_proto::content::Digest;
use farhaul_proto::ids::PacketNumber;
use farhaul_proto::objects::Placed;
use farhaul_proto::wire::control::FailCode;
use farhaul_proto::wire::feedback::{Feedback, PacketRange};
use farhaul_proto::wire::header::Kind;
use farhaul_proto::wire::number::KeyEpoch;
use rig::{Broken, Forger, Kept, Memory, OnDisk, Pair, Rig, SLOTS, blocks, content, secrets};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

impl Rig {
    /// A lane packet arrives.
    fn hear(&mut self, mut packet: Vec<u8>) {
        self.hear_from(NOWHERE, &mut packet);
    }

    /// A lane packet arrives from somewhere.
    fn hear_from(&mut self, from: SocketAddr, packet: &mut [u8]) {
        let now = self.driver.clock.now();
        self.driver.on_lane_packet(packet, Coming { from, arrived: now, now });
    }
}

#[test]
fn forged_replayed_and_unknown_packets_change_nothing_but_a_counter() {
    let mut rig = Rig::new();
    let (ours, theirs) = secrets(1);
    let mut end = rig.add(&ours, NOWHERE);
    let mut peer = Forger::new(&theirs);
    let mut stranger = Forger::new(&secrets(2).1);
    let good = peer.packet(Kind::Pad, &[0; 100]);
    let mut forged = peer.packet(Kind::Pad, &[0; 100]);
    forged[50] ^= 1;

    rig.hear(good.clone());
    rig.hear(good);
    rig.hear(forged);
    rig.hear(stranger.packet(Kind::Pad, &[0; 100]));
    rig.hear(vec![0x3F; 40]);

    let drops = rig.driver.drops;
    let counts = (drops.replayed, drops.forged, drops.unknown_lane, drops.malformed);
    assert_eq!(counts, (1, 1, 1, 1));
    assert!(end.listen().is_empty());
    // What was heard is the one packet that opened.
    let session = &rig.driver.sessions[&end.key];
    assert_eq!(session.largest, Some(PacketNumber::new(0)));
}

/// A session over TCP was asked for at the UDP address that one of its packets came from, and went on
/// there: without the rate law of UDP, and without an end when nobody answers. spec: W-112
#[test]
fn what_comes_over_udp_is_not_taken_for_a_link_and_what_comes_over_a_link_only_for_its_own() {
    let mut rig = Rig::new();
    let link = || rig.driver.port.links().add(NOWHERE).id.address();
    let (link, another) = (link(), link());
    for (seed, home, astray) in [(1, link, [NOWHERE, another]), (2, NOWHERE, [link, another])] {
        let (ours, theirs) = secrets(seed);
        let (key, mut peer) = (rig.add(&ours, home).key, Forger::new(&theirs));
        for from in astray {
            rig.hear_from(from, &mut peer.packet(Kind::Pad, &[0; 100]));
        }
        assert_eq!(rig.driver.sessions[&key].largest, None, "{home} heard {astray:?}");
        rig.hear_from(home, &mut peer.packet(Kind::Pad, &[0; 100]));
        assert_eq!(rig.driver.sessions[&key].largest, Some(PacketNumber::new(2)));
    }
    assert_eq!(rig.driver.drops.unknown_lane, 4);
}

/// A slow session kept one key for half a day: only packets were counted.
#[test]
fn a_key_is_renewed_after_two_minutes_and_the_peer_follows() {
    let mut pair = Pair::new(Rig::new(), Rig::new());
    let len = blocks(2);
    let send = |pair: &mut Pair| {
        let sink = Kept::new(len);
        let object = pair.declare(len, vec![], Arc::new(Memory(content(len))), sink.clone());
        pair.until("it is complete", |pair| pair.completions(object) == 1);
        assert_eq!(sink.bytes(), content(len));
    };
    send(&mut pair);
    let later = pair.left.driver.clock.now() + Duration::from_secs(121);
    let session = pair.left.driver.sessions.get_mut(&pair.sender.key).expect("alive");
    session.renew_key(later - Duration::from_secs(21));
    assert_eq!(session.seal.epoch(), KeyEpoch::new(0));
    session.renew_key(later);
    session.renew_key(later);
    assert_eq!(session.seal.epoch(), KeyEpoch::new(1));
    send(&mut pair);
    let open = &pair.right.driver.sessions[&pair.receiver.key].open;
    assert_eq!(open.epoch(), KeyEpoch::new(1));
}

/// A session that was idle for six minutes took three keys that sealed nothing, and its peer could
/// not follow: what came then was taken for forged, and the session died after a minute.
/// spec: W-023
#[test]
fn a_session_that_was_idle_for_long_is_understood_at_once() {
    let mut pair = Pair::new(Rig::new(), Rig::new());
    let begun = pair.left.driver.clock.now();
    for (side, key) in [(&mut pair.left, pair.sender.key), (&mut pair.right, pair.receiver.key)] {
        let session = side.driver.sessions.get_mut(&key).expect("alive");
        for minutes in (2..=20).step_by(2) {
            session.renew_key(begun + Duration::from_secs(minutes * 60 + 1));
        }
        assert!(session.seal.epoch() <= KeyEpoch::new(1));
    }
    let len = blocks(2);
    let sink = Kept::new(len);
    let object = pair.declare(len, vec![], Arc::new(Memory(content(len))), sink.clone());
    pair.until("it is complete", |pair| pair.completions(object) == 1);
    assert_eq!(sink.bytes(), content(len));
}

/// spec: W-041
#[test]
fn a_malformed_report_kills_its_session_and_no_other() {
    let mut rig = Rig::new();
    let (ours, theirs) = secrets(1);
    let mut guilty = rig.add(&ours, NOWHERE);
    let (other_ours, other_theirs) = secrets(2);
    let mut innocent = rig.add(&other_ours, NOWHERE);
    let source = Arc::new(Memory(content(blocks(1))));
    rig.declare_send(guilty.key, blocks(1), vec![], source.clone()).expect("alive").expect("good");

    rig.hear(Forger::new(&theirs).packet(Kind::Feedback, &[0xFF; 20]));
    rig.hear(Forger::new(&other_theirs).packet(Kind::Pad, &[0; 20]));

    let told = guilty.listen().last().cloned();
    assert!(matches!(told, Some(SessionEvent::Violation(Violation::Report(_)))), "{told:?}");
    assert!(innocent.listen().is_empty());
    let session = guilty.key;
    let sink = Kept::new(blocks(1));
    assert!(rig.declare_recv(session, blocks(1), vec![], sink.clone()).is_none());
    assert!(rig.declare_recv(innocent.key, blocks(1), vec![], sink).is_some());
    rig.until("the buffers are back", |rig| rig.driver.pool.free_slots() == SLOTS);
    assert_eq!(Arc::strong_count(&source), 1);
    rig.hear(Forger::new(&theirs).packet(Kind::Pad, &[0; 20]));
    assert_eq!(rig.driver.drops.dead_session, 1);
}

/// spec: W-045
#[test]
fn padding_that_carries_something_kills_its_session() {
    let mut rig = Rig::new();
    let (ours, theirs) = secrets(1);
    let mut end = rig.add(&ours, NOWHERE);
    let mut payload = [0; 100];
    payload[99] = 1;
    rig.hear(Forger::new(&theirs).packet(Kind::Pad, &payload));
    let told = end.listen().last().cloned();
    assert!(matches!(told, Some(SessionEvent::Violation(Violation::Padding))), "{told:?}");
}

#[test]
fn a_dead_session_sets_no_timer() {
    let mut rig = Rig::new();
    let (ours, theirs) = secrets(1);
    let mut end = rig.add(&ours, NOWHERE);
    let mut peer = Forger::new(&theirs);
    rig.hear(peer.packet(Kind::Pad, &[0; 100]));
    let now = rig.driver.clock.now();
    assert!(rig.driver.wake_at(false, now) < now + SLEEP_MAX, "the live session has a timer");

    let never_sent = PacketNumber::new(1 << 30);
    let range = PacketRange { first: never_sent, last: never_sent };
    let lie = Feedback {
        largest: never_sent,
        received_packets: 1,
        covered_from: never_sent,
        ranges: vec![range],
        ..Feedback::default()
    };
    let mut report = Vec::new();
    lie.encode_into(&mut report, 1000);
    rig.hear(peer.packet(Kind::Feedback, &report));
    let told = end.listen().last().cloned();
    assert!(matches!(told, Some(SessionEvent::Violation(Violation::Session(_)))), "{told:?}");

    for _ in 0..3 {
        let turn = rig.driver.turn();
        let now = rig.driver.clock.now();
        assert!(!turn.more && !turn.blocked);
        assert_eq!(rig.driver.wake_at(false, now), now + SLEEP_MAX);
    }
}

#[test]
fn a_wrong_claim_is_made_good_after_the_rest_is_complete() {
    let mut pair = Pair::new(Rig::new(), Rig::new());
    let len = blocks(3);
    let (source, sink) = (Arc::new(Memory(content(len))), Kept::new(len));
    let object = pair.declare(len, vec![(1, 1)], source.clone(), sink.clone());
    pair.until("the first pass is complete", |pair| pair.completions(object) == 1);
    pair.until("the sender knows", |pair| {
        pair.sender.seen.iter().any(|event| matches!(event, SessionEvent::SendComplete(..)))
    });
    assert_ne!(sink.bytes(), source.0);

    pair.reopen(object, 1);

    pair.until("the claim is made good", |pair| pair.completions(object) == 2);
    assert_eq!(sink.bytes(), source.0);
}

#[test]
fn an_object_that_was_claimed_whole_can_be_reopened() {
    let mut pair = Pair::new(Rig::new(), Rig::new());
    let len = blocks(2);
    let (source, sink) = (Arc::new(Memory(content(len))), Kept::new(len));
    let object = pair.declare(len, vec![(0, 2)], source.clone(), sink.clone());
    pair.until("nothing is missing", |pair| pair.completions(object) == 1);
    for position in [1, 0] {
        pair.reopen(object, position);
    }
    pair.until("both blocks are here", |pair| pair.completions(object) == 2);
    assert_eq!(sink.bytes(), source.0);
}

#[test]
fn a_block_reopened_after_its_file_was_forgotten_fails_the_object() {
    for forget_source in [true, false] {
        let mut pair = Pair::new(Rig::new(), Rig::new());
        let len = blocks(2);
        let (source, sink) = (Arc::new(Memory(content(len))), Kept::new(len));
        let object = pair.declare(len, vec![(0, 1)], source.clone(), sink.clone());
        pair.until("the rest is complete", |pair| pair.completions(object) == 1);
        let (sender, receiver) = (pair.sender.key, pair.receiver.key);
        if forget_source {
            pair.left.tell(Command::ForgetSend(sender, object));
        } else {
            pair.right.tell(Command::ForgetRecv(receiver, object));
        }
        pair.reopen(object, 0);
        pair.until("the failure is told", |pair| {
            pair.source_failure().or(pair.sink_failure()).is_some()
        });
        let held =
            if forget_source { Arc::strong_count(&source) } else { Arc::strong_count(&sink) };
        assert_eq!(held, 1, "the file is let go");
        let failure = pair.source_failure().or(pair.sink_failure());
        assert_eq!(failure.map(|failure| failure.code), Some(FailCode::Internal));
    }
}

/// A source that waits until its gate opens.
struct Slow(Mutex<std::sync::mpsc::Receiver<()>>);

impl BlockSource for Slow {
    fn load(&self, _placed: Placed, _buffer: &mut [u8]) -> Result<Load, Failure> {
        let _ = self.0.lock().expect("nobody panics in there").recv();
        Ok(Load::Filled)
    }
}

#[test]
fn abandoning_while_a_job_runs_lets_everything_go() {
    let mut pair = Pair::new(Rig::new(), Rig::new());
    let (gate, waits) = std::sync::mpsc::channel();
    let (source, sink) = (Arc::new(Slow(Mutex::new(waits))), Kept::new(blocks(1)));
    let object = pair.declare(blocks(1), vec![], source.clone(), sink.clone());
    pair.until("the job has its buffer", |pair| pair.left.driver.pool.free_slots() < SLOTS);

    let (sender, receiver) = (pair.sender.key, pair.receiver.key);
    let abandon = |reply| Command::AbandonSend { session: sender, object, reply };
    assert_eq!(pair.left.ask(abandon), Some(()));
    pair.right.tell(Command::AbandonRecv(receiver, object, GivenUp::ByPeer));
    pair.until("the sink is let go", |_| Arc::strong_count(&sink) == 1);
    drop(gate);

    pair.until("the source is let go", |_| Arc::strong_count(&source) == 1);
    pair.until("the buffer is back", |pair| pair.left.driver.pool.free_slots() == SLOTS);
    assert_eq!((pair.source_failure(), pair.sink_failure()), (None, None));
    let len = blocks(2);
    let (source, sink) = (Arc::new(Memory(content(len))), Kept::new(len));
    let next = pair.declare(len, vec![], source.clone(), sink.clone());
    pair.until("the next object arrives", |pair| pair.completions(next) == 1);
    assert_eq!(sink.bytes(), source.0);
}

/// A source with a bug.
struct Panics;

impl BlockSource for Panics {
    fn load(&self, _placed: Placed, _buffer: &mut [u8]) -> Result<Load, Failure> {
        std::panic::resume_unwind(Box::new("a bug"))
    }
}

#[test]
fn a_panic_in_a_job_fails_its_object_and_no_other() {
    let mut pair = Pair::new(Rig::new(), Rig::new());
    pair.declare(blocks(1), vec![], Arc::new(Panics), Kept::new(blocks(1)));
    let len = blocks(2);
    let (source, sink) = (Arc::new(Memory(content(len))), Kept::new(len));
    let good = pair.declare(len, vec![], source.clone(), sink.clone());
    pair.until("the other object arrives", |pair| pair.completions(good) == 1);
    assert_eq!(pair.source_failure().map(|failure| failure.code), Some(FailCode::Internal));
    assert_eq!(sink.bytes(), source.0);
}

fn failing(error: DiskError) -> Rig {
    Rig::with_disk(|_, _, waker| (Broken::new(error, waker), None))
}

#[test]
fn a_disk_that_cannot_be_read_fails_the_object_at_its_source() {
    let mut pair = Pair::new(failing(DiskError::DeviceFailed), Rig::new());
    let source = OnDisk::new(&content(blocks(2)));
    pair.declare(blocks(2), vec![], source.clone(), Kept::new(blocks(2)));
    pair.until("the failure is told", |pair| pair.source_failure().is_some());
    let failure = pair.source_failure().map(|failure| failure.code);
    assert_eq!(failure, Some(FailCode::SourceUnreadable));
    pair.until("the buffers are back", |pair| pair.left.driver.pool.free_slots() == SLOTS);
    assert_eq!(Arc::strong_count(&source), 1);
}

#[test]
fn a_full_or_failing_disk_fails_the_object_at_its_sink() {
    let cases = [
        (DiskError::NoSpace, FailCode::NoSpace),
        (DiskError::QuotaExceeded, FailCode::NoSpace),
        (DiskError::DeviceFailed, FailCode::Io),
    ];
    for (error, code) in cases {
        let mut pair = Pair::new(Rig::new(), failing(error));
        let sink = OnDisk::new(&[]);
        let source = Arc::new(Memory(content(blocks(2))));
        pair.declare(blocks(2), vec![], source, sink.clone());
        pair.until("the failure is told", |pair| pair.sink_failure().is_some());
        assert_eq!(pair.sink_failure().map(|failure| failure.code), Some(code));
        pair.until("the buffers are back", |pair| pair.right.driver.pool.free_slots() == SLOTS);
        assert_eq!(Arc::strong_count(&sink), 1);
    }
}

#[test]
fn a_disk_engine_that_breaks_is_replaced_and_nothing_is_lost() {
    let rig = || {
        Rig::with_disk(|disk, _, waker| {
            let spare: SpareDisk = Box::new(|| Ok(disk));
            (Broken::new(DiskError::EngineFailed { errno: 5 }, waker), Some(spare))
        })
    };
    let mut pair = Pair::new(rig(), rig());
    let len = blocks(5);
    let bytes = content(len);
    let (source, sink) = (OnDisk::new(&bytes), OnDisk::new(&[]));
    let object = pair.declare(len, vec![], source, sink.clone());
    pair.until("the object arrives", |pair| pair.completions(object) == 1);
    assert!(sink.bytes(len) == bytes);
    for rig in [&pair.left, &pair.right] {
        assert_eq!(rig.driver.disk.name(), "threads");
        assert!(rig.driver.broken_disk.is_none());
    }
}

/// The kernel may keep the memory of a write that nobody can ask about any more.
#[test]
fn a_block_whose_buffer_the_broken_engine_keeps_is_sent_again() {
    let keeping = Rig::with_disk(|disk, _, waker| {
        let spare: SpareDisk = Box::new(|| Ok(disk));
        (Broken::keeping(DiskError::EngineFailed { errno: 5 }, waker), Some(spare))
    });
    let mut pair = Pair::new(Rig::new(), keeping);
    let len = blocks(3);
    let bytes = content(len);
    let sink = OnDisk::new(&[]);
    let object = pair.declare(len, vec![], Arc::new(Memory(bytes.clone())), sink.clone());
    let (sender, mut asked) = (pair.sender.key, 0);
    pair.until("the object arrives", |pair| {
        let again = pair.receiver.seen.iter().filter_map(|event| match event {
            SessionEvent::AskAgain(block) => Some(*block),
            _ => None,
        });
        let new: Vec<_> = again.skip(asked).collect();
        asked += new.len();
        new.into_iter().for_each(|block| pair.left.tell(Command::RestartSend(sender, block)));
        pair.completions(object) == 1
    });
    assert!(asked > 0);
    assert!(sink.bytes(len) == bytes);
    assert_eq!(pair.right.driver.fallback_disk.get(), Some(&"threads"));
    let received = pair.right.driver.sessions[&pair.receiver.key].core.receiver().counters();
    assert_eq!(received.corrupt, 0);
}

/// The window closed when the session was on its way to the driver, and the train that came just
/// then was lost.
#[test]
fn the_first_packets_are_kept_until_the_driver_knows_the_lane() {
    let mut rig = Rig::new();
    let (ours, theirs) = secrets(1);
    let opening = rig.driver.openings.begin();
    let end = rig.announce(&ours, NOWHERE, Some(opening));
    rig.hear(Forger::new(&theirs).packet(Kind::Pad, &[0; 100]));
    rig.hear(Forger::new(&secrets(2).1).packet(Kind::Pad, &[0; 100]));
    rig.driver.turn();
    assert_eq!(rig.driver.sessions[&end.key].largest, Some(PacketNumber::new(0)));
    assert!(!rig.driver.openings.any());
    let drops = rig.ask(Command::Drops).expect("alive");
    assert_eq!(drops, LaneDrops::default());
    std::thread::sleep(Duration::from_millis(300));
    let drops = rig.ask(Command::Drops).expect("alive");
    assert_eq!(drops, LaneDrops { unknown_lane: 1, ..LaneDrops::default() });
}

#[test]
fn without_another_disk_engine_a_broken_one_fails_objects() {
    let mut pair = Pair::new(Rig::new(), failing(DiskError::EngineFailed { errno: 5 }));
    let source = Arc::new(Memory(content(blocks(1))));
    pair.declare(blocks(1), vec![], source, OnDisk::new(&[]));
    pair.until("the failure is told", |pair| pair.sink_failure().is_some());
}

/// What the socket dropped before a session began is not reported to its peer.
#[test]
fn drops_before_a_session_are_not_its_own_and_missing_buffers_are() {
    let mut pair = Pair::new(Rig::new(), Rig::new());
    let key = pair.receiver.key;
    let session = pair.right.driver.sessions.get_mut(&key).expect("alive");
    session.no_buffer = 5;
    let len = blocks(2);
    let source = Arc::new(Memory(content(len)));
    let object = pair.declare(len, vec![], source, Kept::new(len));
    pair.until("the object arrives", |pair| pair.completions(object) == 1);
    pair.until("the sender hears of it", |pair| {
        let session = &pair.left.driver.sessions[&pair.sender.key];
        session.core.counters().receiver_drops >= 5
    });
}

/// A disk engine whose bug ends the driver.
struct Bug;

impl Disk for Bug {
    fn submit(&mut self, request: Request) -> Result<(), Request> {
        Err(request)
    }

    fn poll(&mut self, _out: &mut Vec<Completion>) {
        std::panic::resume_unwind(Box::new("a bug"))
    }

    fn name(&self) -> &'static str {
        "bug"
    }

    fn in_flight(&self) -> usize {
        0
    }
}

#[test]
fn a_driver_that_panics_closes_the_control_channel() {
    let mut rig = Rig::new();
    rig.driver.disk = Box::new(Bug);
    let broken = Arc::<AtomicBool>::default();
    let Rig { driver, control, runtime, .. } = rig;
    let thread = crate::engine::spawn(driver, control.clone(), Arc::clone(&broken));
    assert!(runtime.block_on(control.accept()).is_none());
    thread.expect("a thread").join().expect("the panic ends there");
    assert!(broken.load(Ordering::Acquire));
}

#[test]
fn what_the_socket_did_not_take_leaves_first_and_in_order() {
    let mut pair = Pair::new(Rig::new(), Rig::new());
    let key = pair.sender.key;
    let session = pair.left.driver.sessions.get_mut(&key).expect("alive");
    let first =
        super::session::Unsent { to: session.core.peer(), segment_len: 3, bytes: vec![0x3F; 9] };
    session.unsent.push_back(first);
    pair.left.driver.turn();
    assert!(pair.left.driver.sessions[&key].unsent.is_empty());
    pair.until("they arrive", |pair| pair.right.driver.drops.malformed == 3);
}

/// A sink that has no room for a while.
struct Full(AtomicBool, Arc<Kept>);

impl BlockSink for Full {
    fn has_room(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }

    fn store(&self, placed: Placed, data: &[u8]) -> Result<Store, Failure> {
        assert!(self.has_room());
        self.1.store(placed, data)
    }

    fn stored(&self, placed: Placed, digest: Digest) -> Result<(), Failure> {
        self.1.stored(placed, digest)
    }
}

/// A file that had to wait for the disk slept on a thread that serves all sessions.
#[test]
fn blocks_whose_sink_has_no_room_hold_nothing_else_up() {
    let mut pair = Pair::new(Rig::new(), Rig::new());
    let len = blocks(1);
    let source = Arc::new(Memory(content(len)));
    let full: Vec<_> =
        (0..5).map(|_| Arc::new(Full(AtomicBool::new(true), Kept::new(len)))).collect();
    let waiting: Vec<_> =
        full.iter().map(|sink| pair.declare(len, vec![], source.clone(), sink.clone())).collect();
    let other = Kept::new(len);
    let object = pair.declare(len, vec![], source.clone(), other.clone());
    pair.until("the other object arrives", |pair| pair.completions(object) == 1);
    pair.until("the others wait", |pair| pair.right.driver.waiting_stores.len() == full.len());
    assert_eq!(other.bytes(), source.0);
    assert!(waiting.iter().all(|&object| pair.completions(object) == 0));

    // One is not wanted any more.
    let receiver = pair.receiver.key;
    pair.right.tell(Command::AbandonRecv(receiver, waiting[0], GivenUp::Here));
    full.iter().for_each(|sink| sink.0.store(false, Ordering::Relaxed));
    pair.until("they arrive", |pair| {
        waiting[1..].iter().all(|&object| pair.completions(object) == 1)
    });
    assert!(full[1..].iter().all(|sink| sink.1.bytes() == source.0));
    assert!(pair.right.driver.waiting_stores.is_empty());
    assert_eq!(Arc::strong_count(&full[0]), 1);
}
