//! Versions that nobody has any more, given up: what is seen then at this site and at others.

use crate::folder::{
    Feed, FileIdentity, FolderState, Found, Index as _, MemoryIndex, Placed, Publisher, Task,
};
use crate::seal::FolderKey;
use crate::version::{
    Author, Content, Incarnation, ManifestId, Meta, Serial, Shown, Version, view,
};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;

type State = FolderState<MemoryIndex>;

fn path() -> RelPath {
    RelPath::parse(b"a").expect("a path")
}

fn file(n: u8) -> Content {
    Content::File { manifest: ManifestId([n; 32]), size: Bytes::new(1) }
}

fn state(site: u8) -> State {
    let author = Author { site: SiteId([site; 32]), incarnation: Incarnation::new(1) };
    let publisher = Publisher::new(author, Serial::FIRST);
    FolderState::new(MemoryIndex::new(), FolderKey([1; 32]), publisher)
}

/// Two sites; nothing is known.
fn sites() -> (State, State) {
    (state(1), state(2))
}

fn write(state: &mut State, content: Content, millis: u64) {
    let found = Found { content, meta: Meta::default(), identity: FileIdentity::default() };
    state.observe(&path(), Some(found), millis).expect("room");
    state.sealed([1; 32], [2; 64]).expect("kept");
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
    state.sealed([1; 32], [2; 64]).expect("kept");
    was_there
}

fn shown(state: &State) -> Option<Content> {
    let item = state.index().item(&path()).expect("read");
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
    let version = wanted(&mut there, &path());
    let placed = Placed { meta: Meta::default(), version, identity: FileIdentity::default() };
    there.placed(&path(), Some(&placed)).expect("kept");
    write(&mut there, file(7), 9);
    tell(&there, &mut here);
    let lost = wanted(&mut here, &path());
    assert!(forget(&mut here, &path(), &lost));
    assert_eq!((shown(&here), here.task(&path()).expect("read")), (Some(file(1)), Task::Settled));
    assert!(!forget(&mut here, &path(), &lost), "it is over");
    // Whoever has it after all gives it up like anything that was written over.
    tell(&here, &mut there);
    assert_eq!(wanted(&mut there, &path()).content, file(1));
}

/// spec: S-067
#[test]
fn where_nothing_stands_the_lost_version_is_deleted() {
    let (mut here, mut there) = sites();
    write(&mut there, file(7), 5);
    tell(&there, &mut here);
    let lost = wanted(&mut here, &path());
    assert!(forget(&mut here, &path(), &lost));
    assert_eq!((shown(&here), here.task(&path()).expect("read")), (None, Task::Settled));
    tell(&here, &mut there);
    assert_eq!(there.task(&path()).expect("read"), Task::Remove);
}

/// spec: S-067
#[test]
fn of_two_versions_the_one_that_somebody_has_goes_on() {
    let mut are_copies = Vec::new();
    for (one, other) in [(1, 2), (2, 1)] {
        let (mut here, mut there) = (state(one), state(other));
        write(&mut here, file(1), 5);
        write(&mut there, file(7), 5);
        tell(&there, &mut here);
        // What nobody has is shown, or is a copy.
        let copies = here.index().copies_of(&path()).expect("read");
        let is_lost = |task: &Task| matches!(task, Task::Place(lost) if lost.content == file(7));
        let at = match is_lost(&here.task(&path()).expect("read")) {
            true => path(),
            false => copies[0].0.clone(),
        };
        are_copies.push(at != path());
        let lost = wanted(&mut here, &at);
        assert_eq!(lost.content, file(7));
        assert!(forget(&mut here, &at, &lost));
        assert_eq!(shown(&here), Some(file(1)));
        assert!(here.index().copies_of(&path()).expect("read").is_empty());
        assert_eq!(here.task(&path()).expect("read"), Task::Settled);
    }
    are_copies.sort_unstable();
    assert_eq!(are_copies, [false, true]);
}
