//! Many authors at one path, and of one index: what is bounded holds back nothing.

use super::*;
use crate::limits::{CONCURRENT_MAX, CONTEXT_RUNS_MAX};
use crate::message::Records;

const NOW: u64 = 1_000_000;

fn found(content: Content, inode: u64) -> Option<Found> {
    let identity = FileIdentity { inode, ..FileIdentity::default() };
    Some(Found { content, meta: Meta::default(), identity })
}

fn write(state: &mut FolderState<MemoryIndex>, at: &str, content: u32) {
    let look = found(file(content), u64::from(content));
    assert!(state.observe(&path(at), look, NOW).expect("in memory"));
    seal(state);
}

/// All of what `from` has, part by part, taken in by `to`.
fn tell(from: &FolderState<MemoryIndex>, to: &mut FolderState<MemoryIndex>) -> Learned {
    let mut feed = Feed::default();
    let mut all = Learned::default();
    while let Some(fed) = feed.next(from.index()).expect("whole") {
        let records = Records::decode(&fed.records.encode(), FOLDER).expect("within limits");
        for run in &records.runs {
            let learned = to.learn(run, &run.open().expect("sealed")).expect("words came first");
            all.changed.extend(learned.changed);
            all.aside.extend(learned.aside);
        }
    }
    all
}

fn author(n: u32) -> FolderState<MemoryIndex> {
    state_of(1, n)
}

/// L2.
#[test]
fn a_crowded_path_holds_back_no_other_and_takes_in_what_waits_once_there_is_room() {
    let mut here = state_of(0, 0);
    let mut first = author(1);
    write(&mut first, "p", 7);
    tell(&first, &mut here);
    for n in 2..=u32::try_from(CONCURRENT_MAX).expect("small") {
        let mut other = author(n);
        // The second one writes what the first one wrote.
        write(&mut other, "p", if n == 2 { 7 } else { n + 1000 });
        tell(&other, &mut here);
        if n == 2 {
            tell(&other, &mut first);
        }
    }
    let mut late = author(9999);
    write(&mut late, "p", 1);
    write(&mut late, "q", 2);
    let learned = tell(&late, &mut here);
    assert_eq!((learned.aside, learned.changed), (vec![path("p")], vec![path("q")]));
    // Neither does an edit of a user.
    let look = found(file(3), 3);
    assert!(!here.observe(&path("p"), look.clone(), NOW).expect("in memory"));
    let waiting = here.index().look(&path("p")).expect("in memory");
    assert_eq!(waiting.map(|look| look.why), Some(Why::Crowded));
    assert_eq!(here.task(&path("p")).expect("in memory"), Task::Settled);
    here.retry_aside(None, 99).expect("in memory");
    assert_eq!(here.index().aside_count(), Ok(1));
    // Whoever deletes what two wrote covers both: there is room for one more.
    assert!(first.observe(&path("p"), None, NOW).expect("in memory"));
    seal(&mut first);
    tell(&first, &mut here);
    here.retry_aside(None, 99).expect("in memory");
    assert_eq!(here.index().aside_count(), Ok(0));
    let versions = here.index().item(&path("p")).expect("in memory").versions;
    assert_eq!(versions.len(), CONCURRENT_MAX);
    // An edit covers the tombstone: for that there is room.
    assert!(here.observe(&path("p"), look, NOW).expect("in memory"));
    assert_eq!(here.index().look(&path("p")), Ok(None));
}

#[test]
fn thousands_of_incarnations_are_told_in_parts_that_a_reader_takes() {
    let (mut here, mut there) = (state_of(0, 0), state_of(2, 0));
    for n in 1..=5000_u32 {
        let mut other = author(n);
        write(&mut other, &format!("p{n}"), n);
        tell(&other, &mut here);
        let item = here.index().item(&path(&format!("p{n}"))).expect("in memory");
        let version = item.versions.iter().next().expect("told").clone();
        let (meta, identity) = (version.meta.clone(), FileIdentity::default());
        let placed = Placed { version, meta, identity };
        here.placed(&path(&format!("p{n}")), Some(&placed)).expect("in memory");
        write(&mut here, &format!("p{n}"), n + 10_000);
    }
    let learned = tell(&here, &mut there);
    assert_eq!((learned.changed.len(), learned.aside.len()), (5000, 0));
}

#[test]
fn a_path_that_thousands_of_incarnations_wrote_keeps_a_context_that_a_reader_takes() {
    let mut here = state_of(0, 0);
    let gaps = u32::try_from(CONTEXT_RUNS_MAX).expect("small") + 50;
    for n in 1..=gaps {
        let mut other = author(n);
        write(&mut other, "p", 0);
        tell(&other, &mut here);
        let look = found(file(0), u64::from(n));
        here.observe(&path("p"), look, NOW).expect("in memory");
        // Everything with the same content is seen, and covered.
        write(&mut here, "p", n);
    }
    let item = here.index().item(&path("p")).expect("in memory");
    let newest = item.versions.iter().max_by_key(|version| version.stamp).expect("one");
    assert_eq!(newest.context.runs_len(), CONTEXT_RUNS_MAX);
    let mut there = state_of(2, 0);
    assert_eq!(tell(&here, &mut there).changed.len(), item.versions.len());
}

#[test]
fn one_word_of_what_is_durable_ends_all_parts_up_to_there() {
    let mut here = state_of(0, 0);
    let mut feed = Feed::default();
    for n in 1..=4 {
        write(&mut here, &format!("p{n}"), n);
        feed.next(here.index()).expect("whole").expect("something new");
    }
    let last = here.index().last_arrival().expect("in memory");
    assert_eq!(feed.in_flight(), 4);
    feed.stored(0);
    assert_eq!(feed.in_flight(), 4);
    feed.stored(last - 1);
    feed.stored(last - 1);
    assert_eq!(feed.in_flight(), 1);
    feed.stored(last);
    assert_eq!(feed.in_flight(), 0);
}

#[test]
fn who_has_everything_is_told_so_once_with_its_own_word() {
    let (mut here, mut there) = (state_of(0, 0), state_of(2, 0));
    write(&mut there, "p", 1);
    tell(&there, &mut here);
    let last = here.index().last_arrival().expect("in memory");
    let mut feed = Feed::greeting(last, there.author());
    let fed = feed.next(here.index()).expect("whole").expect("the first part");
    assert_eq!((fed.after, fed.to), (last, last));
    let heads: Vec<_> = fed.records.runs.iter().map(|run| run.statement.head).collect();
    assert_eq!(heads, [Serial::FIRST]);
    assert_eq!(feed.next(here.index()).expect("whole"), None);
}
