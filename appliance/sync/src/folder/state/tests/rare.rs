//! What random histories meet too rarely to be proof of it: each rule by itself.

use super::*;
use crate::folder::Aside;
use crate::folder::state::ASIDE_MAX;
use crate::version::Serial;

/// A signed word of ours about numbers that this index never gave, with no record in it.
#[test]
fn a_word_of_ours_about_numbers_that_were_not_given_is_noticed() {
    let mut world = settled(&[Step::Write(0, 6)]);
    let author = world.sites[0].state.author();
    let word = world.sites[1].state.index().statement(author).expect("in memory").expect("signed");
    assert!(world.sites[0].state.learn(&word, &[]).is_ok(), "it is its own");
    let learned = state_of(0, 0).learn(&word, &[]);
    assert!(matches!(learned, Err(StateError::RolledBack)), "{learned:?}");
}

/// spec: S-065
#[test]
fn a_tombstone_stays_while_what_it_deletes_stands_on_disk() {
    let mut world = settled(&[Step::Write(0, 6)]);
    take(&mut world, &[Step::Delete(0, 6), Step::Scan(0), Step::Tell { from: 0, to: 1 }]);
    let collect = |world: &mut World| {
        world.sites[1].state.collect(u64::MAX, None, 99).expect("in memory").dropped
    };
    assert_eq!(collect(&mut world), 0, "nothing would say that the file is to go");
    take(&mut world, &[Step::Act(1)]);
    assert_eq!(collect(&mut world), 1);
}

/// Directories that somebody deleted, and in which somebody else wrote meanwhile, are to be made anew,
/// from the top.
#[test]
fn all_directories_above_a_file_that_came_back_are_to_be_made() {
    let mut world = settled(&[Step::Write(0, 2)]);
    take(&mut world, &[Step::Delete(0, 0), Step::Scan(0), Step::Write(1, 2), Step::Scan(1)]);
    assert!(world.sites[0].state.index().unsettled().is_empty());
    take(&mut world, &[Step::Tell { from: 1, to: 0 }]);
    let todo = world.sites[0].state.index().unsettled();
    assert_eq!(todo, ["a", "a/b", "a/b/c"].map(path));
}

/// spec: S-025
#[test]
fn no_more_records_are_set_aside_than_there_is_room_for() {
    let mut world = settled(&[Step::Write(1, 6)]);
    remove(&mut world);
    take(&mut world, &[Step::Cut(0, 2), Step::Cut(1, 2), Step::Tell { from: 2, to: 0 }]);
    let state = &mut world.sites[0].state;
    let asides = state.index().asides(None, 9).expect("in memory");
    let [aside] = &asides[..] else { panic!("one record is set aside, not {asides:?}") };
    state.index_mut().set_aside(aside.dot, None).expect("in memory");
    let others = (1_u64..).filter_map(Serial::new).map(|serial| {
        let author = Author { incarnation: Incarnation::new(77), ..aside.dot.author };
        Dot { author, serial }
    });
    for dot in others.take(ASIDE_MAX - 1) {
        let other = Aside { dot, ..aside.clone() };
        state.index_mut().set_aside(dot, Some(&other)).expect("in memory");
    }
    let records = aside.run.open().expect("sealed");
    let mut learn = || state.learn_from(&aside.run, &records, Teller::Stale);
    assert!(learn().is_ok(), "there is room for the last one");
    state.index_mut().set_aside(aside.dot, None).expect("in memory");
    let dot = Dot { serial: Serial::new(1 << 40).expect("not 0"), ..aside.dot };
    let other = Aside { dot, ..aside.clone() };
    state.index_mut().set_aside(dot, Some(&other)).expect("in memory");
    let learned = state.learn_from(&aside.run, &records, Teller::Stale);
    assert!(matches!(learned, Err(StateError::TooManyAside)), "{learned:?}");
}

/// Two numbers of one author whose names for copies begin with the same eight letters.
const ALIKE: [u64; 2] = [56_394, 286_382];

/// Long names, cut to the same stem, and dots that hash to the same letters.
///
/// spec: S-012
#[test]
fn copies_of_two_paths_that_would_have_one_name_have_two() {
    let [long, other] = ["1", "2"].map(|end| path(&format!("{}{end}", "n".repeat(240))));
    let mut winner = state_of(1, 0);
    for (place, tick) in [(&long, 1), (&other, 2)] {
        winner.observe(place, Some(found(tick, 500)), 1_000_000).expect("in memory");
    }
    seal(&mut winner);
    for (place, serial) in [&long, &other].into_iter().zip(ALIKE) {
        let author = Author { site: SiteId([9; 32]), incarnation: Incarnation::new(0) };
        let serial = Serial::new(serial).expect("not 0");
        let publisher = Publisher::new(author, serial);
        let mut loser = FolderState::new(MemoryIndex::new(), FOLDER, publisher);
        let tick = u32::try_from(serial.get()).expect("small");
        loser.observe(place, Some(found(tick, 400)), 1_000_000).expect("in memory");
        seal(&mut loser);
        let fed = Feed::default().next(loser.index()).expect("whole").expect("one record");
        let run = &fed.records.runs[0];
        winner.learn(run, &run.open().expect("sealed")).expect("in memory");
    }
    let copies = [&long, &other].map(|origin| {
        let copies = winner.index().copies_of(origin).expect("in memory");
        let [(at, _)] = &copies[..] else { panic!("{origin} has {} copies", copies.len()) };
        at.clone()
    });
    let letters = |at: &RelPath| at.as_bytes().rsplit(|byte| *byte == b'-').next().map(<[u8]>::len);
    assert_ne!(copies[0], copies[1]);
    let mut lens = copies.each_ref().map(letters);
    lens.sort_unstable();
    assert_eq!(lens, [Some(8), Some(12)], "one has the shorter name: {copies:?}");
}

/// Something new, dated by so many seconds.
fn found(tick: u32, secs: i64) -> Found {
    let mtime = FileTime { secs, nanos: 0 };
    let identity = FileIdentity { inode: u64::from(tick), ..FileIdentity::default() };
    Found { content: file(tick), meta: Meta { mtime, ..Meta::default() }, identity }
}
