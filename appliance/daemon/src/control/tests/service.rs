//! Folders that a configuration does not have for a while: what happens in their directories
//! meanwhile, and what becomes of that (S-38).

use super::*;
use crate::control::service::{UNKEPT, forget_unkept, note_unkept, said_in, was_unkept};
use crate::events::From;
use std::ffi::OsStr;

impl Bench {
    fn texts(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = files_of(&self.root(""));
        files.sort();
        files
    }
}

/// Stops in order, has a site run without the folder, does something to its directory, and has it
/// kept again.
fn without_it(bench: Bench, meanwhile: impl FnOnce(&Path)) -> Bench {
    let (home, identity) = bench.closed();
    note_unkept(&home.path().join("state"), &BTreeSet::new()).unwrap();
    meanwhile(&home.path().join("tree"));
    let mut bench = Bench::empty(home, &identity);
    bench.open(FOLDER, "tree", Arc::new(Unnamed));
    bench
}

/// spec: S-024, S-175
#[test]
fn a_folder_that_is_kept_again_hears_its_neighbours_before_it_publishes() {
    let mut bench = Bench::new();
    fs::write(bench.root("a"), "text").unwrap();
    bench.scan();
    let (home, identity) = bench.closed();
    note_unkept(&home.path().join("state"), &BTreeSet::new()).unwrap();
    let mut bench = Bench::empty(home, &identity);
    bench.body.open(setup_at(bench.home.path(), FOLDER, "tree", Arc::new(Unnamed)));
    assert!(bench.folder().listening().is_some());
    assert!(bench.folder().publisher.is_silent(), "nobody was heard");
    bench.folder().end_listening().unwrap();
    assert!(bench.folder().publisher.is_silent(), "and still nobody is");
    bench.folder().hear_all();
    assert!(!bench.folder().publisher.is_silent());
}

/// spec: S-175
#[test]
fn a_folder_that_ceases_to_be_kept_while_it_is_brought_back_stays_noted() {
    let bench = Bench::new();
    let (home, _) = bench.closed();
    let (states, state) = (home.path().join("state"), home.path().join("state/tree"));
    note_unkept(&states, &BTreeSet::new()).unwrap();
    let before = said_in(&state, UNKEPT).unwrap().expect("it is noted");
    note_unkept(&states, &BTreeSet::new()).unwrap();
    let refused = forget_unkept(&state, &before, &Stop::default());
    assert!(matches!(refused, Err(FolderError::Unwanted)) && was_unkept(&state));
    let now = said_in(&state, UNKEPT).unwrap().expect("it is noted");
    let stopped = Stop::default();
    stopped.set();
    let refused = forget_unkept(&state, &now, &stopped);
    assert!(matches!(refused, Err(FolderError::Unwanted)) && was_unkept(&state));
}

/// spec: S-175
#[test]
fn however_often_it_breaks_off_that_a_folder_is_brought_back_one_life_begins() {
    let mut bench = Bench::new();
    let (states, state) = (bench.home.path().join("state"), bench.home.path().join("state/tree"));
    let first = bench.folder().index.author();
    note_unkept(&states, &BTreeSet::new()).unwrap();
    let stopped = Stop::default();
    stopped.set();
    let broken_off = bench.folder().return_to_service(&stopped);
    assert!(matches!(broken_off, Err(FolderError::Unwanted)) && was_unkept(&state));
    let second = bench.folder().index.author();
    assert_ne!(first, second);
    let broken_off = bench.folder().return_to_service(&stopped);
    assert!(matches!(broken_off, Err(FolderError::Unwanted)) && was_unkept(&state));
    bench.folder().return_to_service(&Stop::default()).unwrap();
    assert_eq!(bench.folder().index.author(), second);
    assert!(!was_unkept(&state));
    // The next time it is another one.
    note_unkept(&states, &BTreeSet::new()).unwrap();
    bench.folder().return_to_service(&Stop::default()).unwrap();
    assert_ne!(bench.folder().index.author(), second);
}

#[test]
fn where_it_cannot_be_noted_of_one_folder_no_other_one_is_noted() {
    let states = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..16).map(|number| format!("runs {number}")).collect();
    for name in &names {
        fs::create_dir(states.path().join(name)).unwrap();
    }
    let was_before = states.path().join("was before");
    fs::create_dir(&was_before).unwrap();
    let kept = names.iter().map(OsStr::new).collect();
    note_unkept(states.path(), &kept).unwrap();
    assert!(was_unkept(&was_before));
    fs::create_dir_all(states.path().join("runs 7/unkept.new")).unwrap();
    assert!(note_unkept(states.path(), &BTreeSet::new()).is_err());
    for name in &names {
        assert!(!was_unkept(&states.path().join(name)), "{name} goes on");
    }
    assert!(was_unkept(&was_before));
}

fn versions_of(bench: &mut Bench, at: &str) -> Vec<Version> {
    bench.item(at).versions.iter().cloned().collect()
}

/// spec: S-175
#[test]
fn what_is_gone_from_a_folder_that_was_not_kept_was_deleted_by_nobody() {
    let mut bench = Bench::new();
    fs::create_dir(bench.root("dir")).unwrap();
    for name in ["a", "b", "dir/c", "source"] {
        fs::write(bench.root(name), "text").unwrap();
    }
    bench.scan();
    let names = ["a", "b", "dir", "dir/c", "source"];
    let before: Vec<_> = names.map(|name| versions_of(&mut bench, name)).into();
    let author = bench.folder().index.author();
    let mut bench = without_it(bench, |tree| {
        fs::remove_file(tree.join("a")).unwrap();
        fs::remove_dir_all(tree.join("dir")).unwrap();
    });
    assert!(!was_unkept(&bench.home.path().join("state/tree")), "it is kept now");
    assert_ne!(bench.folder().index.author(), author, "in another life");
    bench.scan();
    let now: Vec<_> = names.map(|name| versions_of(&mut bench, name)).into();
    assert_eq!(now, before, "nothing was published");
    for name in ["a", "dir/c"] {
        assert_eq!(fs::read(bench.root(name)).unwrap(), b"text", "{name} is there again");
    }
    let said = bench.body.log.since(From::OtherRun, 999).events;
    let texts: Vec<_> = said.into_iter().filter_map(|event| event.text).collect();
    assert!(texts.iter().any(|text| text.contains("3 paths that are gone")), "{texts:?}");
    // From now on it is looked after.
    fs::remove_file(bench.root("a")).unwrap();
    bench.scan();
    assert!(!bench.item("a").versions.is_live());
    let mut bench = {
        let (home, identity) = bench.closed();
        fs::remove_file(home.path().join("tree/b")).unwrap();
        let mut bench = Bench::empty(home, &identity);
        bench.open(FOLDER, "tree", Arc::new(Unnamed));
        bench
    };
    bench.scan();
    assert!(!bench.item("b").versions.is_live(), "a site that was stopped had it all the time");
}

#[test]
fn what_was_written_in_a_folder_that_was_not_kept_is_an_edit_of_what_stood_there() {
    let mut bench = Bench::new();
    for name in ["edited", "moved", "stays"] {
        fs::write(bench.root(name), name).unwrap();
    }
    bench.scan();
    let before = bench.placed("edited").version;
    let mut bench = without_it(bench, |tree| {
        fs::write(tree.join("edited"), "by a user").unwrap();
        fs::rename(tree.join("moved"), tree.join("elsewhere")).unwrap();
        fs::write(tree.join("new"), "new").unwrap();
    });
    bench.scan();
    let now = versions_of(&mut bench, "edited");
    assert_eq!(now.len(), 1, "no conflict: {now:?}");
    assert!(now[0].context.contains(before.dot) && now[0].dot.author != before.dot.author);
    assert!(bench.item("moved").versions.is_live() && bench.item("elsewhere").versions.is_live());
    let texts: Vec<(&str, &[u8])> = vec![
        ("edited", b"by a user"),
        ("elsewhere", b"moved"),
        ("moved", b"moved"),
        ("new", b"new"),
        ("stays", b"stays"),
    ];
    let found = bench.texts();
    let found: Vec<_> = found.iter().map(|(name, text)| (name.as_str(), &text[..])).collect();
    assert_eq!(found, texts);
}

#[test]
fn what_peers_deleted_while_a_folder_was_not_kept_stays_deleted() {
    let mut bench = Bench::new();
    for name in ["gone here", "still here"] {
        fs::write(bench.root(name), name).unwrap();
    }
    bench.scan();
    let seen = ["gone here", "still here"].map(|name| bench.placed(name).version);
    let mut bench = without_it(bench, |tree| fs::remove_file(tree.join("gone here")).unwrap());
    for ((at, serial), seen) in [("gone here", 1), ("still here", 2)].into_iter().zip(seen) {
        let mut said = version(dot(2, serial), &[], Content::Gone);
        said.context.insert(seen.dot);
        said.stamp.millis = seen.stamp.millis + 1;
        bench.say(at, &said);
    }
    bench.scan();
    assert_eq!(bench.texts(), []);
    assert!(!bench.item("gone here").versions.is_live());
}

/// What was found while the folder was kept counts, whatever came after.
#[test]
fn a_deletion_that_waits_when_its_folder_ceases_to_be_kept_is_published_when_it_is_kept_again() {
    let mut bench = Bench::new();
    for name in ["before", "meanwhile"] {
        fs::write(bench.root(name), name).unwrap();
    }
    bench.scan();
    bench.folder().publisher = bench.folder().publisher.clone().silent(true);
    fs::remove_file(bench.root("before")).unwrap();
    let deleted = path("before");
    bench.folder().looked(deleted.clone(), None);
    bench.folder().go_on();
    assert!(bench.folder().index.read().look(&deleted).unwrap().is_some());
    let mut bench = without_it(bench, |tree| fs::remove_file(tree.join("meanwhile")).unwrap());
    bench.scan();
    assert!(!bench.item("before").versions.is_live());
    assert!(bench.item("meanwhile").versions.is_live());
}

#[test]
fn only_folders_that_are_not_kept_are_noted() {
    let states = tempfile::tempdir().unwrap();
    let dir = |name: &str| states.path().join(name);
    note_unkept(&dir("none"), &BTreeSet::new()).unwrap();
    for name in ["kept", "left"] {
        fs::create_dir(dir(name)).unwrap();
    }
    fs::write(dir("a file"), "").unwrap();
    for _ in 0..2 {
        note_unkept(states.path(), &BTreeSet::from([OsStr::new("kept")])).unwrap();
        assert!(was_unkept(&dir("left")) && !was_unkept(&dir("kept")));
    }
}
