//! Versions that nobody has any more, given up: what is seen then at this site and at others.

use crate::folder::state::tests::{file, path, seal, state_of};
use crate::folder::{
    Feed, FileIdentity, FolderState, Found, Index as _, MemoryIndex, Placed, Task,
};
use crate::version::{Content, Meta, Shown, Version, view};
use farhaul_proto::path_name::RelPath;

type State = FolderState<MemoryIndex>;

fn a() -> RelPath {
    path("a")
}

/// Two sites; nothing is known.
fn sites() -> (State, State) {
    (state_of(1, 1), state_of(2, 1))
}

fn write(state: &mut State, content: Content, millis: u64) {
    let found = Found { content, meta: Meta::default(), identity: FileIdentity::default() };
    state.observe(&a(), Some(found), millis).expect("room");
    seal(state);
}

/// Tells all that one of them knows to the other.
fn tell(from: &State, to: &mut State) {
    let mut feed = Feed::default();
    while let Some(fed) = feed.next(from.index()).expect("whole") {
        for run in &fed.records.runs {
            to.learn(run, &run.open().expect("sealed")).expect("words came first");
        }
    }
}

fn forget(state: &mut State, at: &RelPath, lost: &Version) -> bool {
    let was_there = state.forget(at, lost.dot, 500).expect("room");
    seal(state);
    was_there
}

fn shown(state: &State) -> Option<Content> {
    let item = state.index().item(&a()).expect("read");
    match view(&item.versions, false).shown {
        Shown::Version(version) => Some(version.content.clone()),
        _ => None,
    }
}

fn wanted(state: &mut State, at: &RelPath) -> Version {
    match state.task(at).expect("read") {
        Task::Place(version) => version,
        task => panic!("{task:?}"),
    }
}

/// spec: S-067
#[test]
fn what_stands_takes_the_place_of_what_nobody_has() {
    let (mut here, mut there) = sites();
    write(&mut here, file(1), 5);
    tell(&here, &mut there);
    let version = wanted(&mut there, &a());
    let placed = Placed { meta: Meta::default(), version, identity: FileIdentity::default() };
    there.placed(&a(), Some(&placed)).expect("kept");
    write(&mut there, file(7), 9);
    tell(&there, &mut here);
    let lost = wanted(&mut here, &a());
    assert!(forget(&mut here, &a(), &lost));
    assert_eq!((shown(&here), here.task(&a()).expect("read")), (Some(file(1)), Task::Settled));
    assert!(!forget(&mut here, &a(), &lost), "it is over");
    // Whoever has it after all gives it up like anything that was written over.
    tell(&here, &mut there);
    assert_eq!(wanted(&mut there, &a()).content, file(1));
}

/// spec: S-067
#[test]
fn where_nothing_stands_the_lost_version_is_deleted() {
    let (mut here, mut there) = sites();
    write(&mut there, file(7), 5);
    tell(&there, &mut here);
    let lost = wanted(&mut here, &a());
    assert!(forget(&mut here, &a(), &lost));
    assert_eq!((shown(&here), here.task(&a()).expect("read")), (None, Task::Settled));
    tell(&here, &mut there);
    assert_eq!(there.task(&a()).expect("read"), Task::Remove);
}

/// spec: S-067
#[test]
fn of_two_versions_the_one_that_somebody_has_goes_on() {
    let mut are_copies = Vec::new();
    for (one, other) in [(1, 2), (2, 1)] {
        let (mut here, mut there) = (state_of(one, 1), state_of(other, 1));
        write(&mut here, file(1), 5);
        write(&mut there, file(7), 5);
        tell(&there, &mut here);
        // What nobody has is shown, or is a copy.
        let copies = here.index().copies_of(&a()).expect("read");
        let is_lost = |task: &Task| matches!(task, Task::Place(lost) if lost.content == file(7));
        let at = match is_lost(&here.task(&a()).expect("read")) {
            true => a(),
            false => copies[0].0.clone(),
        };
        are_copies.push(at != a());
        let lost = wanted(&mut here, &at);
        assert_eq!(lost.content, file(7));
        assert!(forget(&mut here, &at, &lost));
        assert_eq!(shown(&here), Some(file(1)));
        assert!(here.index().copies_of(&a()).expect("read").is_empty());
        assert_eq!(here.task(&a()).expect("read"), Task::Settled);
    }
    are_copies.sort_unstable();
    assert_eq!(are_copies, [false, true]);
}
