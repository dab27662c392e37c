//! What the brain keeps here is what it keeps in memory: both go through the same histories.

use super::super::Durability;
use crate::index;
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::ranges::RangeSet;
use farhaul_proto::units::{Bytes, FileTime};
use farhaul_sync::folder::{
    Feed, FileIdentity, FolderState, Found, Index as _, MemoryIndex, Publisher,
};
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::{Author, Content, ManifestId, Meta, Serial};
use proptest::prelude::*;

const FOLDER: FolderKey = FolderKey([4; 32]);
const PATHS: [&str; 5] = ["a", "a/b", "a/b/c", "d", "d.x"];

fn path(n: usize) -> RelPath {
    RelPath::parse(PATHS[n % PATHS.len()].as_bytes()).expect("a path")
}

fn found(tick: u64, kind: u8) -> Option<Found> {
    let content = match kind % 4 {
        0 => return None,
        1 => Content::Dir,
        2 => Content::Symlink { target: tick.to_string().into_bytes().into() },
        _ => Content::File { manifest: ManifestId([kind; 32]), size: Bytes::new(tick) },
    };
    let meta = Meta { mtime: FileTime { secs: 5, nanos: 0 }, ..Meta::default() };
    let identity = FileIdentity { inode: tick, ..FileIdentity::default() };
    Some(Found { content, meta, identity })
}

fn seal<I: farhaul_sync::folder::Index>(state: &mut FolderState<I>) {
    if state.to_seal().is_some() {
        state.sealed([1; 32], [2; 64]).map_err(|e| e.to_string()).expect("kept");
    }
}

/// What a transaction says of a path is what stands in the index by now, however often it was asked.
fn check_held(begun: &index::Transaction<'_>) {
    for n in 0..PATHS.len() {
        let copies = begun.copies_of(&path(n)).expect("read");
        for path in copies.into_iter().map(|(copy, _)| copy).chain([path(n)]) {
            let item = begun.read().item(&path).expect("read");
            assert_eq!(begun.placed(&path).expect("read"), item.placed, "{path}");
            assert_eq!(begun.item(&path).expect("read"), item, "{path}");
        }
    }
}

/// The disk of one site is looked at `looks` times; a second site hears of some of it.
fn compare(looks: &[(usize, u8, bool)]) {
    let dir = tempfile::tempdir().expect("a directory");
    let site = SiteId([3; 32]);
    let mut index = index::Index::create(&dir.path().join("index"), FOLDER, site).expect("made");
    let author = index.author();
    let mut memory = FolderState::new(MemoryIndex::new(), FOLDER, first(author));
    let other = Author { site: SiteId([9; 32]), ..author };
    let mut teller = FolderState::new(MemoryIndex::new(), FOLDER, first(other));
    let mut told = Feed::default();
    let mut publisher = first(author);
    for (tick, (n, kind, is_told)) in (1..).zip(looks) {
        let begun = index.begin(Durability::Now).expect("begun");
        let mut state = FolderState::new(begun, FOLDER, publisher.clone());
        check_held(state.index());
        if *is_told {
            teller.observe(&path(*n), found(tick, *kind), tick).expect("few versions");
            seal(&mut teller);
            while let Some(fed) = told.next(teller.index()).expect("whole") {
                for run in &fed.records.runs {
                    let records = run.open().expect("sealed");
                    let learned = state.learn(run, &records).expect("known");
                    assert_eq!(memory.learn(run, &records).expect("known"), learned);
                }
            }
        } else {
            let published = state.observe(&path(*n), found(tick, *kind), tick).expect("few");
            let same = memory.observe(&path(*n), found(tick, *kind), tick).expect("few");
            assert_eq!(published, same);
            seal(&mut memory);
            seal(&mut state);
        }
        check_held(state.index());
        let (transaction, next) = state.into_parts();
        transaction.commit().expect("committed");
        publisher = next;
    }
    index.check().expect("in order");
    let begun = index.begin(Durability::Now).expect("begun");
    for n in 0..PATHS.len() {
        let same = memory.index().item(&path(n)).expect("in memory");
        assert_eq!(begun.item(&path(n)).expect("read"), same, "{}", path(n));
        let beneath = memory.index().beneath(&path(n), 2).expect("in memory");
        assert_eq!(begun.beneath(&path(n), 2).expect("read"), beneath, "{}", path(n));
    }
    assert_eq!(begun.read().unsettled(None, 99).expect("read"), memory.index().unsettled());
    let (mut here, mut there) = (Feed::default(), Feed::default());
    let fed = here.next(&begun).expect("whole").map(|fed| fed.records);
    assert_eq!(fed, there.next(memory.index()).expect("whole").map(|fed| fed.records));
    assert_eq!(begun.next_serial(), memory.index().next());
}

#[test]
fn which_tombstones_it_dropped_an_index_knows_until_it_has_another_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let (at, site) = (dir.path().join("index"), SiteId([3; 32]));
    let mut index = index::Index::create(&at, FOLDER, site).expect("made");
    let begun = index.begin(Durability::Now).expect("begun");
    assert!(begun.dropped().expect("read").is_empty());
    let mut dropped = RangeSet::new();
    dropped.insert_range(3, 5);
    dropped.insert(1 << 40);
    begun.set_dropped(&dropped).expect("kept");
    begun.commit().expect("committed");
    index.close().expect("closed");
    let mut index = index::Index::open(&at, FOLDER, site).expect("opened");
    index.check().expect("in order");
    assert_eq!(index.read().dropped().expect("read"), dropped);
    index.renew().expect("renewed");
    assert!(index.read().dropped().expect("read").is_empty());
}

fn first(author: Author) -> Publisher {
    Publisher::new(author, Serial::FIRST)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn an_index_on_disk_and_one_in_memory_say_the_same(
        looks in proptest::collection::vec((0_usize..5, any::<u8>(), any::<bool>()), 1..25),
    ) {
        compare(&looks);
    }
}
