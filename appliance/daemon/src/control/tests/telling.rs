//! What a site tells neighbours that take little of it, or nothing.

use super::*;
use crate::index::Durability;
use crate::site::{Outbox, Outgoing};
use farhaul_proto::units::Bytes;
use farhaul_sync::folder::FileIdentity;
use farhaul_sync::message::Records;
use farhaul_sync::version::Meta;

const PEER: SiteId = SiteId([2; 32]);
/// What is held for a session that takes nothing: the room, and at most a message more.
const HELD_MIN: Bytes = Bytes::mib(32);
const HELD_MAX: Bytes = Bytes::mib(34);

/// Publishes `count` links, whose records have 4 KiB each.
fn publish(bench: &mut Bench, folder: FolderKey, count: usize) {
    let folder = bench.body.folders.get_mut(&folder).expect("it runs");
    let links: Vec<usize> = (0..count).collect();
    for links in links.chunks(200) {
        let published = folder.change(Durability::Now, |state| {
            for n in links {
                let content = Content::Symlink { target: vec![b'x'; 4000].into() };
                let (meta, identity) = (Meta::default(), FileIdentity::default());
                let found = Found { content, meta, identity };
                state.observe(&path(&format!("link {n}")), Some(found), 1000)?;
            }
            Ok(())
        });
        published.expect("new links");
    }
    assert_eq!(folder.index.last_seq().get(), count as u64);
}

/// What is given to a session to be sent, and not taken.
struct Session {
    outbox: Outbox,
    said: mpsc::Receiver<Outgoing>,
    held: std::collections::VecDeque<(FolderKey, u64, u64, Outgoing)>,
    /// All that was ever given to it.
    told: BTreeMap<FolderKey, u64>,
}

impl Session {
    fn new() -> Self {
        let (outbox, said) = Outbox::to_test(PEER, false);
        Self::of(outbox, said)
    }

    fn of(outbox: Outbox, said: mpsc::Receiver<Outgoing>) -> Self {
        Self { outbox, said, held: Default::default(), told: BTreeMap::new() }
    }

    /// The neighbour says that it has nothing of a folder.
    fn share(&self, bench: &mut Bench, folder: FolderKey) {
        let theirs = Shared { folder, epoch: 9, head: 0, followed: None };
        let outbox = self.outbox.clone();
        bench.body.with(folder, |folder| folder.shared(PEER, &theirs, outbox));
    }

    /// The loop goes round, and what is told is held.
    fn go_on(&mut self, bench: &mut Bench) {
        bench.body.folders.values_mut().for_each(Folder::go_on);
        while let Ok(outgoing) = self.said.try_recv() {
            if let Outgoing::Records { folder, after, to, .. } = outgoing {
                self.held.push_back((folder, after, to, outgoing));
            }
        }
    }

    fn bytes(&self) -> Bytes {
        let records = |outgoing: &Outgoing| match outgoing {
            Outgoing::Records { bytes, .. } => bytes.len(),
            _ => 0,
        };
        Bytes::of_len(self.held.iter().map(|(.., outgoing)| records(outgoing)).sum())
    }

    fn stored(bench: &mut Bench, folder: FolderKey, up_to: u64) {
        bench.body.with(folder, |folder| {
            let life = folder.index.author().incarnation.get();
            folder.stored(PEER, life, up_to);
        });
    }

    /// The oldest message of those held is taken, and called durable. Its folder and records.
    fn take(&mut self, bench: &mut Bench) -> Option<(FolderKey, usize)> {
        let (folder, after, to, outgoing) = self.held.pop_front()?;
        let told = self.told.entry(folder).or_default();
        assert!(after <= *told, "what is between {told} and {after} was not told");
        *told = to.max(*told);
        let Outgoing::Records { bytes, .. } = outgoing else { panic!("no records") };
        let records = Records::decode(&bytes, folder).expect("our own");
        Self::stored(bench, folder, to);
        Some((folder, records.runs.iter().map(|run| run.records.len()).sum()))
    }
}

/// spec: S-162
#[test]
fn for_who_shares_again_and_takes_nothing_no_more_is_held_than_a_session_has_room_for() {
    let mut bench = Bench::new();
    publish(&mut bench, FOLDER, 900);
    let mut session = Session::new();
    for _ in 0..30 {
        session.share(&mut bench, FOLDER);
        session.go_on(&mut bench);
    }
    let held = session.bytes();
    assert!((HELD_MIN..=HELD_MAX).contains(&held), "{held}");
    // When it takes what it was told, it is told all the rest.
    session.share(&mut bench, FOLDER);
    let old = session.held.len();
    for _ in 0..old {
        session.take(&mut bench);
    }
    session.told.clear();
    let mut records = 0;
    session.go_on(&mut bench);
    while let Some((_, more)) = session.take(&mut bench) {
        records += more;
        session.go_on(&mut bench);
    }
    assert_eq!(records, 900);
    assert_eq!(session.told[&FOLDER], bench.folder().index.last_seq().get());
}

/// spec: S-162
#[test]
fn who_calls_durable_what_it_did_not_take_is_told_no_more_until_it_does() {
    let mut bench = Bench::new();
    publish(&mut bench, FOLDER, 3000);
    let mut session = Session::new();
    for _ in 0..4 {
        session.share(&mut bench, FOLDER);
        for _ in 0..12 {
            session.go_on(&mut bench);
            Session::stored(&mut bench, FOLDER, u64::MAX);
        }
    }
    let held = session.bytes();
    assert!((HELD_MIN..=HELD_MAX).contains(&held), "{held}");
}

/// spec: S-162
#[test]
fn who_is_slow_is_told_of_all_folders_in_turn_and_of_each_in_order() {
    const MANY: usize = 2000;
    const ROOM: Bytes = Bytes::mib(2);
    let mut bench = Bench::new();
    let [first, small] = [FolderKey([1; 32]), FolderKey([8; 32])];
    let folders = [(first, MANY), (FOLDER, MANY), (small, 1)];
    bench.open(first, "first", Arc::new(Unnamed));
    bench.open(small, "small", Arc::new(Unnamed));
    let (outbox, said) = Outbox::to_test(PEER, false);
    let mut session = Session::of(outbox.with_room(ROOM.get()), said);
    for (folder, count) in folders {
        publish(&mut bench, folder, count);
        session.share(&mut bench, folder);
    }
    let (mut told, mut taken, mut small_after) = (BTreeMap::new(), 0, None);
    session.go_on(&mut bench);
    while let Some((folder, records)) = session.take(&mut bench) {
        taken += 1;
        *told.entry(folder).or_insert(0) += records;
        if folder == small {
            small_after.get_or_insert(taken);
        }
        // None gets ahead of the others.
        let of = |folder| told.get(&folder).copied().unwrap_or(0);
        assert!(of(first).abs_diff(of(FOLDER)) < MANY / 2, "{told:?}");
        session.go_on(&mut bench);
        assert!(session.bytes() < ROOM + Bytes::mib(2));
    }
    assert!(small_after.is_some_and(|after| after <= 6), "{small_after:?}");
    for (folder, count) in folders {
        assert_eq!(told[&folder], count);
        let last = bench.body.folders[&folder].index.last_seq().get();
        assert_eq!(session.told[&folder], last);
    }
}
