//! Revisions: what they cover, what they leave alone, and what the body is to do then.

use crate::folder::state::tests::{file, path, seal, state_of};
use crate::folder::{FileIdentity, FolderState, Found, Index as _, MemoryIndex, Placed, Task};
use crate::version::{Content, Meta};
use farhaul_proto::path_name::RelPath;

type State = FolderState<MemoryIndex>;

fn write(state: &mut State, at: &str, content: Content) {
    let found = Found { content, meta: Meta::default(), identity: FileIdentity::default() };
    state.observe(&path(at), Some(found), 5).expect("room");
    seal(state);
}

/// Does what is to be done at a path, as the body would.
fn act(state: &mut State, at: &str) {
    match state.task(&path(at)).expect("read") {
        Task::Place(version) => {
            let (meta, identity) = (version.meta.clone(), FileIdentity::default());
            let placed = Placed { version, meta, identity };
            state.placed(&path(at), Some(&placed)).expect("kept");
        }
        Task::Remove => state.placed(&path(at), None).expect("kept"),
        task => assert_eq!(task, Task::Settled),
    }
}

fn revise(state: &mut State, at: &str, content: Content) -> bool {
    let is_new = state.revise(&path(at), content, Meta::default(), 9).expect("room");
    seal(state);
    is_new
}

#[test]
fn what_was_there_before_comes_back_as_an_edit_of_what_stands() {
    let mut state = state_of(1, 1);
    write(&mut state, "a", file(1));
    write(&mut state, "a", file(2));
    assert!(revise(&mut state, "a", file(1)));
    let item = state.index().item(&path("a")).expect("read");
    assert_eq!(item.versions.len(), 1, "what stood is covered");
    let Task::Place(version) = state.task(&path("a")).expect("read") else {
        panic!("to be placed")
    };
    assert_eq!((version.content, version.dot.serial.get()), (file(1), 3));
}

#[test]
fn what_is_shown_already_is_not_published_again() {
    let mut state = state_of(1, 1);
    write(&mut state, "a", file(1));
    assert!(!revise(&mut state, "a", file(1)));
    assert!(!revise(&mut state, "never", Content::Gone));
    assert_eq!(state.task(&path("a")).expect("read"), Task::Settled);
}

#[test]
fn what_was_deleted_comes_back_and_what_came_can_go() {
    let mut state = state_of(1, 1);
    write(&mut state, "a", file(1));
    assert!(revise(&mut state, "a", Content::Gone));
    act(&mut state, "a");
    assert!(revise(&mut state, "a", file(1)));
    act(&mut state, "a");
    let placed = state.index().item(&path("a")).expect("read").placed.expect("it stands");
    assert_eq!(placed.version.content, file(1));
}

/// Two states that wrote the same path; the first has both versions and the copy in place.
fn conflict() -> (State, RelPath) {
    let (mut here, mut there) = (state_of(1, 1), state_of(2, 1));
    write(&mut here, "a", file(1));
    write(&mut there, "a", file(2));
    let mut feed = crate::folder::Feed::default();
    let fed = feed.next(there.index()).expect("read").expect("something");
    for run in &fed.records.runs {
        here.learn(run, &run.open().expect("as written")).expect("room");
    }
    let item = here.index().item(&path("a")).expect("read");
    assert_eq!(item.versions.len(), 2);
    let copies = here.index().copies_of(&path("a")).expect("read");
    let copy = copies[0].0.clone();
    for at in ["a", &String::from_utf8_lossy(copy.as_bytes())] {
        act(&mut here, at);
    }
    (here, copy)
}

#[test]
fn a_conflict_ends_with_the_side_that_is_kept() {
    for keeps_copy in [false, true] {
        let (mut state, copy) = conflict();
        let item = state.index().item(&path("a")).expect("read");
        let shown = item.placed.expect("in place").version.content;
        let loser = state.index().item(&copy).expect("read").copy.expect("a copy").1.content;
        assert!(state.end_conflict(&copy, keeps_copy, 9).expect("room"));
        seal(&mut state);
        assert_eq!(state.task(&copy).expect("read"), Task::Remove);
        act(&mut state, &String::from_utf8_lossy(copy.as_bytes()));
        act(&mut state, "a");
        let item = state.index().item(&path("a")).expect("read");
        let live: Vec<_> = item.versions.iter().filter(|version| version.is_live()).collect();
        assert_eq!(live.len(), 1);
        assert_eq!(live[0].content, if keeps_copy { loser } else { shown });
        assert!(!state.end_conflict(&copy, keeps_copy, 9).expect("read"), "it is over");
    }
}

#[test]
fn a_file_of_its_own_takes_the_place_of_a_copy() {
    let (mut state, copy) = conflict();
    let at = String::from_utf8_lossy(copy.as_bytes()).into_owned();
    assert!(revise(&mut state, &at, file(7)));
    act(&mut state, &at);
    let item = state.index().item(&copy).expect("read");
    assert_eq!((item.versions.len(), item.copy), (1, None));
    let origin = state.index().item(&path("a")).expect("read");
    assert_eq!(origin.versions.iter().filter(|version| version.is_live()).count(), 1);
}
