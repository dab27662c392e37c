//! Two folders that follow each other, on real indexes, without a network: whatever one says the test
//! hands to the other, or makes it as if it had been taken in and is lost.

use super::super::super::health::Health;
use super::*;
use crate::control::folder::wall_millis;
use crate::control::opening::Progress;
use crate::events::Events;
use crate::index::Durability;
use crate::sample::{file, path};
use crate::site::{Outbox, Outgoing};
use farhaul_engine::identity::Identity;
use farhaul_sync::folder::{FileIdentity, Found, Index as _};
use farhaul_sync::message::{Message, Records};
use farhaul_sync::version::{Dot, Meta};
use tokio::sync::mpsc;

struct Side {
    _home: tempfile::TempDir,
    folder: Folder,
    said: mpsc::Receiver<Outgoing>,
    /// What its records hold is lost at the other side from now on, which calls them durable.
    is_lost: bool,
    /// Messages of comparisons that it sent.
    turns: usize,
}

impl Side {
    fn new(identity: &Identity, peer: SiteId) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        for dir in ["tree", "state"] {
            std::fs::create_dir(home.path().join(dir)).expect("made");
        }
        let setup = crate::sample::setup(home.path(), peer);
        let (events, _) = mpsc::channel(9);
        let said = (Health::new("projects", Events::default()), 1);
        let opened = Folder::open(setup, identity, events, said, &Progress::default());
        let mut folder = opened.expect("its own");
        folder.hear_all();
        folder.publisher = folder.publisher.clone().silent(false);
        let (_, said) = mpsc::channel(1);
        Self { _home: home, folder, said, is_lost: false, turns: 0 }
    }

    fn publish(&mut self, at: &str, content: Option<u8>) {
        let published = self.folder.change(Durability::Now, |state| {
            let found = content.map(|n| {
                let (content, identity) = (file(&[n]), FileIdentity::default());
                Found { content, meta: Meta::default(), identity }
            });
            Ok(state.observe(&path(at), found, wall_millis())?)
        });
        published.expect("an edit");
    }

    fn id(&self) -> SiteId {
        self.folder.identity.id()
    }

    /// The versions of a path.
    fn heads(&self, at: &str) -> Vec<Dot> {
        let item = self.folder.index.read().item(&path(at)).expect("read");
        item.versions.iter().map(|version| version.dot).collect()
    }

    fn is_live(&self, at: &str) -> bool {
        self.folder.index.read().item(&path(at)).expect("read").versions.is_live()
    }

    fn agreement(&self, peer: SiteId) -> Option<(u64, u64)> {
        self.folder.checks.last(peer).map(|last| (last.lacked, last.regained))
    }
}

/// The first one is who asks.
struct Pair([Side; 2]);

impl Pair {
    fn new() -> Self {
        let mut identities = [(); 2].map(|()| Identity::ephemeral().expect("made"));
        identities.sort_by_key(Identity::id);
        let [a, b] = &identities;
        let mut pair = Self([Side::new(a, b.id()), Side::new(b, a.id())]);
        pair.join();
        pair
    }

    /// A session begins.
    fn join(&mut self) {
        let ids = self.0.each_ref().map(Side::id);
        let shared = [0, 1].map(|at| self.0[at].folder.share_with(ids[1 - at]).expect("shared"));
        for at in [0, 1] {
            let (outbox, said) = Outbox::to_test(ids[1 - at], true);
            self.0[at].said = said;
            self.0[at].folder.shared(ids[1 - at], &shared[1 - at], outbox);
        }
        self.settle();
    }

    /// Hands on what is said until nobody says anything.
    fn settle(&mut self) {
        loop {
            let mut is_quiet = true;
            for at in [0, 1] {
                self.0[at].folder.go_on();
                let mut said = Vec::new();
                while let Ok(outgoing) = self.0[at].said.try_recv() {
                    said.push(outgoing);
                }
                for outgoing in said {
                    is_quiet = false;
                    self.hand_on(at, outgoing);
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    fn hand_on(&mut self, from: usize, outgoing: Outgoing) {
        let (peer, is_lost) = (self.0[from].id(), self.0[from].is_lost);
        if let Outgoing::Say(Message::Compare { .. }) | Outgoing::Answer { .. } = &outgoing {
            self.0[from].turns += 1;
        }
        let hearer = &mut self.0[1 - from].folder;
        match outgoing {
            Outgoing::Records { epoch, after, to, mut bytes, .. } => {
                if is_lost {
                    let mut records = Records::decode(&bytes, hearer.setup.key).expect("its own");
                    records.runs.clear();
                    bytes = records.encode();
                }
                hearer.told(peer, (epoch, after, to), &bytes);
            }
            Outgoing::Say(Message::Stored { epoch, up_to, .. }) => {
                hearer.stored(peer, epoch, up_to);
            }
            Outgoing::Say(Message::Compare { salt, is_answer, turn, .. })
            | Outgoing::Answer {
                message: Message::Compare { salt, is_answer, turn, .. }, ..
            } => {
                hearer.compared(peer, salt, is_answer, &turn);
            }
            Outgoing::Say(Message::Incomparable { salt, .. }) => hearer.incomparable(peer, salt),
            // Contents are of no interest here.
            _ => {}
        }
    }

    /// The time has come to compare.
    fn check(&mut self) {
        let peer = self.0[1].id();
        self.0[0].folder.checks.is_due_now(peer);
        self.0[0].folder.keep_checking();
        self.settle();
    }

    fn agreements(&self) -> [Option<(u64, u64)>; 2] {
        [self.0[0].agreement(self.0[1].id()), self.0[1].agreement(self.0[0].id())]
    }
}

/// spec: S-182
#[test]
fn who_follows_and_is_followed_compares_and_agrees_with_a_message_or_two() {
    let mut pair = Pair::new();
    for n in 0..40 {
        pair.0[usize::from(n % 2)].publish(&format!("file {n}"), Some(n));
    }
    pair.settle();
    assert_eq!(pair.agreements(), [None, None], "nothing was compared yet");
    let before = pair.0.each_ref().map(|side| side.turns);
    pair.0[0].folder.keep_checking();
    pair.settle();
    assert_eq!(pair.0.each_ref().map(|side| side.turns), before, "nor is it time");
    pair.check();
    assert_eq!(pair.agreements(), [Some((0, 0)); 2]);
    let turns = pair.0.each_ref().map(|side| side.turns);
    assert_eq!([turns[0] - before[0], turns[1] - before[1]], [2, 1], "asked, answered, over");
    pair.0[0].folder.keep_checking();
    pair.settle();
    assert_eq!(pair.0.each_ref().map(|side| side.turns), turns, "not before an hour has passed");
}

/// spec: S-182
#[test]
fn a_record_that_one_lost_though_it_follows_is_found_and_told_again() {
    for from in [0, 1] {
        let mut pair = Pair::new();
        pair.0[from].publish("a", Some(1));
        pair.settle();
        pair.0[from].is_lost = true;
        pair.0[from].publish("lost", Some(2));
        pair.settle();
        pair.0[from].is_lost = false;
        pair.0[from].publish("b", Some(3));
        pair.0[1 - from].publish("c", Some(4));
        pair.settle();
        // Each follows the other to its last number, and nothing is to be said any more.
        assert!(pair.0[1 - from].is_live("b") && !pair.0[1 - from].is_live("lost"));
        pair.join();
        assert!(!pair.0[1 - from].is_live("lost"), "another session heals nothing");
        pair.check();
        assert_eq!(pair.0[1 - from].heads("lost"), pair.0[from].heads("lost"));
        let mut expected = [Some((1, 0)), Some((0, 1))];
        expected.rotate_left(from);
        assert_eq!(pair.agreements(), expected);
        pair.check();
        assert_eq!(pair.agreements(), [Some((0, 0)); 2]);
    }
}

/// The loop looks at some of them at a time, and the next comparison is soon.
/// spec: S-182
#[test]
fn many_records_that_one_lost_are_told_again_over_some_comparisons() {
    for before in [0, 3] {
        let mut pair = Pair::new();
        for n in 0..before {
            pair.0[0].publish(&format!("before {n}"), Some(n));
        }
        pair.settle();
        pair.0[0].is_lost = true;
        for n in 0..50 {
            pair.0[0].publish(&format!("lost {n}"), Some(n));
        }
        pair.settle();
        pair.0[0].is_lost = false;
        let peer = pair.0[1].id();
        let there =
            |pair: &Pair| (0..50).filter(|n| pair.0[1].is_live(&format!("lost {n}"))).count();
        for round in 1..=4 {
            pair.check();
            assert_eq!(there(&pair), (round * LOOKED_MAX).min(50 + usize::from(before)).min(50));
            let next = pair.0[0].folder.checks.of(peer).next;
            let is_soon = next < Instant::now() + EVERY / 2;
            assert_eq!(is_soon, round < 4, "round {round}");
        }
        pair.check();
        assert_eq!(pair.agreements(), [Some((0, 0)); 2]);
    }
}

/// spec: S-182
#[test]
fn a_deletion_and_an_edit_that_one_lost_are_told_again_too() {
    for (from, content) in [(0, None), (1, None), (0, Some(9)), (1, Some(9))] {
        let mut pair = Pair::new();
        pair.0[from].publish("a", Some(1));
        pair.settle();
        pair.0[from].is_lost = true;
        pair.0[from].publish("a", content);
        pair.settle();
        pair.0[from].is_lost = false;
        assert_ne!(pair.0[0].heads("a"), pair.0[1].heads("a"));
        pair.check();
        assert_eq!(pair.0[0].heads("a"), pair.0[1].heads("a"), "{from} {content:?}");
        assert_eq!(pair.0[1 - from].is_live("a"), content.is_some());
    }
}

/// spec: S-182
#[test]
fn a_tombstone_that_one_has_dropped_is_no_difference_and_not_told_again() {
    for from in [0, 1] {
        let mut pair = Pair::new();
        for at in ["a", "b"] {
            pair.0[0].publish(at, Some(1));
        }
        pair.settle();
        pair.0[0].publish("a", None);
        pair.settle();
        let dropped = pair.0[from].heads("a");
        let drops = pair.0[from].folder.change(Durability::Now, |state| {
            Ok(state.index_mut().drop_version(&path("a"), dropped[0])?)
        });
        drops.expect("dropped");
        pair.check();
        assert_eq!(pair.0[from].heads("a"), []);
        assert_eq!(pair.agreements(), [Some((0, 0)); 2]);
    }
}

/// spec: S-182
#[test]
fn a_comparison_during_which_something_changes_counts_for_nothing() {
    let mut pair = Pair::new();
    pair.0[0].publish("a", Some(1));
    pair.settle();
    let peer = pair.0[1].id();
    pair.0[0].folder.checks.is_due_now(peer);
    pair.0[0].folder.keep_checking();
    pair.0[0].publish("b", Some(2));
    pair.0[1].publish("c", Some(3));
    pair.settle();
    assert_eq!(pair.agreements()[0], None);
    let next = pair.0[0].folder.checks.of(peer).next;
    assert!(next < Instant::now() + EVERY / 2, "it is tried again soon");
    pair.check();
    assert_eq!(pair.agreements(), [Some((0, 0)); 2]);
}

/// What it does not take in, because its author may not publish there, it is told again once.
/// spec: S-182
#[test]
fn what_is_not_taken_in_is_told_again_once_and_not_for_ever() {
    let mut pair = Pair::new();
    pair.0[0].publish("a", Some(1));
    pair.settle();
    pair.0[0].is_lost = true;
    pair.0[0].publish("lost", Some(2));
    pair.settle();
    // Told again, it is lost again.
    pair.check();
    assert_eq!(pair.agreements()[0], Some((1, 0)));
    let peer = pair.0[1].id();
    assert!(pair.0[0].folder.checks.of(peer).told.is_some());
    pair.0[0].is_lost = false;
    pair.check();
    assert!(!pair.0[1].is_live("lost"), "the same is not told a third time");
    assert_eq!(pair.agreements()[0], Some((1, 0)), "but shown");
}
