//! Buffers, and peers that want all of them.

use super::*;
use crate::driver::command::SessionKey;
use farhaul_proto::limits::SYMBOL_SIZE;
use std::time::Duration;

const SYMBOL: [u8; SYMBOL_SIZE as usize] = [0; SYMBOL_SIZE as usize];

#[test]
fn buffers_are_shared_by_the_sessions_that_carry_something() {
    let mut rig = Rig::new();
    let (ours, theirs) = secrets(1);
    let first = rig.add(&ours, NOWHERE);
    let second = rig.add(&secrets(2).0, NOWHERE);
    let idle = rig.add(&secrets(3).0, NOWHERE);
    let credit = |rig: &mut Rig, key| {
        rig.driver.turn();
        let mut feedback = Feedback::default();
        rig.driver.sessions[&key].core.receiver().report(&mut feedback);
        feedback.open_blocks_limit as usize
    };
    let sink = Kept::new(blocks(3));
    rig.declare_recv(first.key, blocks(3), vec![], sink.clone()).expect("alive").expect("good");
    // One is kept for each of the sessions, and one for the next.
    assert_eq!(credit(&mut rig, first.key), SLOTS / 2 - 3);
    rig.declare_recv(second.key, blocks(3), vec![], sink).expect("alive").expect("good");
    for key in [first.key, second.key, idle.key] {
        assert_eq!(credit(&mut rig, key), 3);
    }
    // A dead session gives its part back, and so does one that is removed.
    rig.hear(Forger::new(&theirs).packet(Kind::Feedback, &[0xFF; 20]));
    assert_eq!(credit(&mut rig, second.key), SLOTS / 2 - 2);
}

/// A peer that begins as many blocks as it is let, and finishes none.
struct Hoarder {
    end: rig::End,
    forger: Forger,
    begun: u32,
}

impl Hoarder {
    /// Joins with an object of many blocks.
    fn join(rig: &mut Rig, seed: u8) -> Self {
        let (ours, theirs) = secrets(seed);
        let end = rig.add(&ours, NOWHERE);
        let sink = Kept::new(blocks(1));
        rig.declare_recv(end.key, blocks(100), vec![], sink).expect("alive").expect("good");
        Self { end, forger: Forger::new(&theirs), begun: 0 }
    }

    /// Begins blocks until nothing more is taken; true if any was.
    fn grab(&mut self, rig: &mut Rig) -> bool {
        let before = self.begun;
        for _ in 0..2 * SLOTS {
            rig.hear(self.forger.symbol(self.begun, 0, &SYMBOL));
            let Some(session) = rig.driver.sessions.get(&self.end.key) else { break };
            let held = session.core.receiver().blocks_open();
            if held == self.begun {
                break;
            }
            self.begun = held;
        }
        self.begun > before
    }

    /// Takes all it can get, whatever it is told meanwhile.
    fn feast(&mut self, rig: &mut Rig) {
        let mut idle = 0;
        while idle < 20 {
            idle = if self.grab(rig) { 0 } else { idle + 1 };
            rig.driver.turn();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn dead(rig: &Rig, key: SessionKey) -> bool {
    rig.driver.sessions[&key].is_dead()
}

/// Two sessions of one site took all buffers and held them for ever; nobody else received or sent.
#[test]
fn sessions_that_begin_blocks_and_finish_none_keep_no_other_out() {
    let mut right = Rig::new();
    let mut hoarders: Vec<_> = (2..4)
        .map(|seed| {
            let mut hoarder = Hoarder::join(&mut right, seed);
            hoarder.feast(&mut right);
            hoarder
        })
        .collect();
    assert!(hoarders[0].begun > 4);
    let mut pair = Pair::new(Rig::new(), right);
    hoarders.iter_mut().for_each(|hoarder| hoarder.feast(&mut pair.right));
    let begun: u32 = hoarders.iter().map(|hoarder| hoarder.begun).sum();
    assert!(begun as usize <= SLOTS / 2, "they hold {begun} of {SLOTS}");

    let len = blocks(5);
    let (source, sink) = (Arc::new(Memory(content(len))), Kept::new(len));
    let object = pair.declare(len, vec![], source.clone(), sink.clone());
    pair.until("the object arrives", |pair| pair.completions(object) == 1);
    assert_eq!(sink.bytes(), source.0);
}

#[test]
fn who_lets_more_than_its_part_lie_while_others_wait_is_ended() {
    let mut rig = Rig::new();
    let mut hoarder = Hoarder::join(&mut rig, 2);
    hoarder.feast(&mut rig);
    let now = rig.driver.clock.now();
    let later = now + Duration::from_secs(61);
    // Alone, it harms nobody.
    rig.driver.share_buffers(now);
    rig.driver.share_buffers(later);
    assert!(!dead(&rig, hoarder.end.key));

    let other = Hoarder::join(&mut rig, 3);
    let now = rig.driver.clock.now();
    rig.driver.share_buffers(now + Duration::from_secs(59));
    assert!(!dead(&rig, hoarder.end.key));
    rig.driver.share_buffers(now + Duration::from_secs(61));
    assert!(dead(&rig, hoarder.end.key) && !dead(&rig, other.end.key));
    let told = hoarder.end.listen().last().cloned();
    assert!(matches!(told, Some(SessionEvent::Violation(Violation::Hoarding))), "{told:?}");
    assert_eq!(rig.driver.pool.free_slots(), SLOTS);
}

/// They counted as drops of this host, and the peer took them for lost. spec: W-076
#[test]
fn late_copies_need_no_buffer_and_arrived() {
    let mut rig = Rig::new();
    let mut guest = Hoarder::join(&mut rig, 2);
    rig.tell(Command::AbandonRecv(
        guest.end.key,
        farhaul_proto::ids::ObjectId::new(0),
        GivenUp::ByPeer,
    ));
    rig.driver.turn();
    let leases: Vec<_> = std::iter::from_fn(|| rig.driver.pool.try_lease()).collect();
    rig.hear(guest.forger.symbol(0, 0, &SYMBOL));
    assert_eq!(rig.driver.drops.no_buffer, 0);
    assert_eq!(rig.driver.sessions[&guest.end.key].core.receiver().counters().redundant, 1);
    drop(leases);
}
