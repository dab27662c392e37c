//! Files with several names: told, placed, edited, parted.

use super::*;
use farhaul_sync::folder::Found;
use farhaul_sync::version::{LinkGroup, Version};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

const GROUP: LinkGroup = LinkGroup([3; 16]);

impl Bench {
    fn inode(&self, at: &str) -> u64 {
        fs::metadata(self.root(at)).unwrap().ino()
    }

    fn names(&self, at: &str) -> u64 {
        fs::metadata(self.root(at)).unwrap().nlink()
    }

    /// The number that this site gives next: the same as before if it said nothing.
    fn next(&mut self) -> u64 {
        self.folder().publisher.next().expect("numbers are left").get()
    }

    fn group(&mut self, at: &str) -> Option<LinkGroup> {
        self.placed(at).version.meta.link
    }

    /// What stands there is looked at as if somebody had told of it.
    fn look_at(&mut self, at: &str) {
        self.folder().upkeep.look_again(&path(at));
        self.settle();
    }

    /// A neighbour says that all of these are names of a file with the content of `source`.
    fn say_linked(&mut self, names: &[&str], serial: u64, source: &str) -> Vec<Version> {
        let content = content_of(self, source);
        let mut meta = version(dot(2, serial), &[], content.clone()).meta;
        meta.link = Some(GROUP);
        let said = (serial..).zip(names).map(|(serial, name)| {
            let mut said = self.next_of(name, serial, content.clone());
            said.meta.clone_from(&meta);
            (*name, said)
        });
        let said: Vec<(&str, Version)> = said.collect();
        said.iter().for_each(|(name, said)| self.say(name, said));
        said.into_iter().map(|(_, said)| said).collect()
    }

    fn next_of(&mut self, at: &str, serial: u64, content: Content) -> Version {
        let seen = self.item(at).placed.map(|placed| placed.version);
        let mut said = version(dot(2, serial), &[], content);
        if let Some(seen) = seen {
            said.context = seen.context.clone();
            said.context.insert(seen.dot);
            said.stamp.millis = seen.stamp.millis + 1;
        }
        said
    }

    /// Scans again, twice: what this site did itself is no edit, and what the index says is so.
    fn says_nothing(&mut self) {
        let before = self.next();
        self.scan();
        self.scan();
        assert_eq!(self.next(), before, "it said something of what it did itself");
        self.folder().index.check().unwrap();
    }
}

/// A folder with files that are names of one file, placed for a neighbour.
fn linked(names: &[&str]) -> Bench {
    let mut bench = Bench::new();
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    bench.say_linked(names, 10, "source");
    bench.settle();
    for name in names {
        assert_eq!(fs::read(bench.root(name)).unwrap(), b"theirs");
        assert_eq!(bench.inode(name), bench.inode(names[0]));
    }
    bench
}

#[test]
fn names_of_one_file_come_as_names_of_one_file_and_nothing_is_said_of_that() {
    let names = ["a", "b", "c", "d", "e"];
    let mut bench = linked(&names);
    assert_eq!(bench.names("a"), 5);
    assert!(bench.inode("source") != bench.inode("a"), "what has the same bytes is no name of it");
    bench.says_nothing();
    // What came is the state that the index knows, of each of them.
    for name in names {
        let known = bench.placed(name).identity;
        let disk = bench.folder().store.root().stat(&path(name)).unwrap();
        assert_eq!(crate::scan::identity_of(&disk), known, "{name}");
    }
    let incoming = fs::read_dir(bench.root(".farhaul/incoming")).unwrap();
    assert_eq!(incoming.count(), 0);
}

#[test]
fn what_is_written_by_one_name_is_told_of_all() {
    let mut bench = Bench::new();
    fs::write(bench.root("a"), "old").unwrap();
    fs::hard_link(bench.root("a"), bench.root("b")).unwrap();
    bench.scan();
    let group = bench.group("a").expect("they belong together");
    assert_eq!(bench.group("b"), Some(group));
    bench.says_nothing();
    fs::write(bench.root("a"), "an edit").unwrap();
    bench.look_at("a");
    for name in ["a", "b"] {
        let said = bench.placed(name).version;
        assert!(matches!(said.content, Content::File { size, .. } if size.get() == 7));
        assert_eq!(said.meta.link, Some(group));
    }
    let (a, b) = (bench.placed("a").version, bench.placed("b").version);
    assert!(a.is_one_file_with(&b));
    bench.says_nothing();
}

#[test]
fn a_further_name_of_a_file_that_is_known_brings_both_into_a_group() {
    let mut bench = Bench::new();
    fs::write(bench.root("m"), "text").unwrap();
    bench.scan();
    assert_eq!(bench.group("m"), None);
    for (at, name) in [(1, "z"), (2, "a")] {
        fs::hard_link(bench.root("m"), bench.root(name)).unwrap();
        bench.look_at(name);
        let (one, other) = (bench.placed("m").version, bench.placed(name).version);
        assert!(one.is_one_file_with(&other), "{one:?} {other:?}");
        assert_eq!(bench.names("m"), 1 + at);
    }
    bench.says_nothing();
}

#[test]
fn a_name_outside_the_folder_is_no_edit() {
    let mut bench = Bench::new();
    fs::write(bench.root("a"), "text").unwrap();
    bench.scan();
    let next = bench.next();
    fs::hard_link(bench.root("a"), bench.home.path().join("outside")).unwrap();
    bench.scan();
    assert_eq!((bench.next(), bench.group("a")), (next, None));
}

#[test]
fn a_name_that_is_broken_and_edited_is_replaced_alone() {
    let mut bench = linked(&["a", "b", "c"]);
    let inode = bench.inode("a");
    // Broken without another content: nothing is said of it.
    let next = bench.next();
    let times = fs::metadata(bench.root("b")).unwrap().modified().unwrap();
    fs::copy(bench.root("b"), bench.root("new")).unwrap();
    fs::File::options().append(true).open(bench.root("new")).unwrap().set_modified(times).unwrap();
    fs::rename(bench.root("new"), bench.root("b")).unwrap();
    bench.scan();
    assert_eq!((bench.next(), bench.group("b")), (next, Some(GROUP)));
    // A neighbour's edit of one name is none of the others.
    fs::write(bench.root("other"), "an edit").unwrap();
    bench.scan();
    let edited = content_of(&mut bench, "other");
    let mut said = bench.next_of("a", 50, edited);
    said.meta.link = Some(GROUP);
    bench.say("a", &said);
    bench.settle();
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"an edit");
    assert_eq!(fs::read(bench.root("c")).unwrap(), b"theirs");
    assert_eq!(bench.inode("c"), inode);
    bench.says_nothing();
}

#[test]
fn copies_that_come_into_a_group_become_names_of_one_file() {
    let mut bench = Bench::new();
    for name in ["a", "b", "source"] {
        fs::write(bench.root(name), "text").unwrap();
    }
    bench.scan();
    let said = bench.say_linked(&["a", "b"], 10, "source");
    bench.settle();
    assert_eq!((bench.inode("a"), bench.names("a")), (bench.inode("b"), 2));
    assert_eq!(
        (bench.placed("a").version, bench.placed("b").version),
        (said[0].clone(), said[1].clone())
    );
    bench.says_nothing();
}

#[test]
fn other_metadata_of_all_names_is_set_once_and_of_one_makes_it_a_file_of_its_own() {
    let mut bench = linked(&["a", "b"]);
    let inode = bench.inode("a");
    let mode = |bench: &Bench, at: &str| {
        fs::metadata(bench.root(at)).unwrap().permissions().mode() & 0o777
    };
    let describe = |bench: &mut Bench, at: &str, serial: u64, to: u32| {
        let placed = bench.placed(at).version;
        let mut said = bench.next_of(at, serial, placed.content);
        said.meta = farhaul_sync::version::Meta { mode: to, ..placed.meta };
        bench.say(at, &said);
    };
    describe(&mut bench, "a", 50, 0o600);
    describe(&mut bench, "b", 51, 0o600);
    bench.settle();
    bench.says_nothing();
    for name in ["a", "b"] {
        assert_eq!((bench.inode(name), mode(&bench, name)), (inode, 0o600));
    }
    describe(&mut bench, "a", 52, 0o644);
    bench.settle();
    bench.says_nothing();
    assert_eq!((mode(&bench, "a"), mode(&bench, "b")), (0o644, 0o600));
    // And when the other one follows they are one file again.
    describe(&mut bench, "b", 53, 0o644);
    bench.settle();
    bench.says_nothing();
    assert_eq!((bench.inode("a"), mode(&bench, "b")), (bench.inode("b"), 0o644));
}

#[test]
fn an_edit_of_all_names_replaces_all_in_one_round_and_keeps_what_was_there_once() {
    let names = ["a", "b", "c", "d"];
    let mut bench = linked(&names);
    fs::write(bench.root("other"), "an edit").unwrap();
    bench.scan();
    bench.say_linked(&names, 50, "other");
    bench.settle();
    for name in names {
        assert_eq!(fs::read(bench.root(name)).unwrap(), b"an edit");
        assert_eq!(bench.inode(name), bench.inode("a"));
    }
    bench.says_nothing();
    let kept = bench.kept();
    assert_eq!(kept.len(), 4);
    assert!(kept.iter().all(|kept| kept.version.is_some()));
}

#[test]
fn all_names_of_a_file_are_removed_in_one_round() {
    let names = ["a", "b", "c", "d"];
    let mut bench = linked(&names);
    for (serial, name) in (50..).zip(names) {
        bench.say_next(name, serial, Content::Gone);
    }
    bench.settle();
    assert!(names.iter().all(|name| !bench.root(name).exists()));
    assert!(names.iter().all(|name| bench.folder().health.failure(&path(name)).is_none()));
    bench.says_nothing();
}

#[test]
fn where_a_disk_has_no_links_names_are_copies_and_stay_so() {
    let mut bench = Bench::new();
    bench.folder().store.refuse_links(true);
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let said = bench.say_linked(&["a", "b", "c"], 10, "source");
    bench.settle();
    for (name, said) in ["a", "b", "c"].into_iter().zip(&said) {
        assert_eq!(fs::read(bench.root(name)).unwrap(), b"theirs");
        assert_eq!(bench.names(name), 1);
        assert_eq!(bench.placed(name).version, *said);
    }
    bench.says_nothing();
    // An edit by one name is an edit of that one, and keeps the group.
    fs::write(bench.root("a"), "an edit").unwrap();
    bench.scan();
    assert_eq!(bench.group("a"), Some(GROUP));
    assert_eq!(bench.placed("b").version, said[1]);
}

#[test]
fn what_is_kept_of_one_name_is_not_what_is_written_by_another_one() {
    let mut bench = linked(&["a", "b"]);
    bench.say_next("a", 50, Content::Gone);
    bench.settle();
    assert_eq!((bench.root("a").exists(), bench.names("b")), (false, 2));
    bench.folder().upkeep.look_at_loose_now();
    bench.settle();
    assert_eq!(bench.names("b"), 1, "what is kept has bytes of its own");
    fs::write(bench.root("b"), "an edit").unwrap();
    bench.folder().upkeep.look_at_loose_now();
    bench.scan();
    let kept = bench.kept();
    assert_eq!(kept.len(), 1);
    assert_eq!(bench.kept_bytes(&kept[0]), b"theirs");
    assert!(!bench.item("a").versions.is_live(), "nobody edited what was deleted");
    bench.says_nothing();
}

#[test]
fn what_was_written_by_another_name_before_that_is_no_edit_of_what_was_displaced() {
    let mut bench = linked(&["a", "b"]);
    bench.say_next("a", 50, Content::Gone);
    bench.settle();
    fs::write(bench.root("b"), "an edit").unwrap();
    bench.folder().upkeep.look_at_loose_now();
    bench.scan();
    assert!(!bench.item("a").versions.is_live());
    // What is not kept is not said to be.
    assert!(bench.kept().is_empty());
    assert_eq!(fs::read(bench.root("b")).unwrap(), b"an edit");
    bench.says_nothing();
}

/// As when a kept name of the file goes in the moment in which an edit of it is seen: its time of
/// change is another one then, and nobody tells of that.
#[test]
fn an_edit_that_was_seen_in_a_state_that_is_over_is_looked_at_again_before_the_next_scan() {
    let mut bench = Bench::new();
    fs::write(bench.root("a"), "old").unwrap();
    bench.scan();
    let before = bench.placed("a");
    fs::write(bench.root("a"), "an edit").unwrap();
    let (content, meta) = (before.version.content.clone(), before.meta);
    let seen = Found { content, meta, identity: before.identity };
    bench.folder().looked(path("a"), Some(seen));
    bench.settle();
    let now = bench.placed("a").version;
    assert!(matches!(now.content, Content::File { size, .. } if size.get() == 7), "{now:?}");
}

#[test]
fn copies_of_a_conflict_are_names_of_one_file_where_both_sides_were() {
    let mut bench = linked(&["a", "b"]);
    // Both names were edited here, and there.
    fs::write(bench.root("a"), "ours").unwrap();
    fs::write(bench.root("other"), "other").unwrap();
    bench.scan();
    let ours = ["a", "b"].map(|name| bench.placed(name).version.stamp.millis);
    let (newest, content) = (ours[0].max(ours[1]), content_of(&mut bench, "other"));
    let mut meta = version(dot(2, 60), &[], content.clone()).meta;
    meta.link = Some(GROUP);
    for (serial, name) in [(60, "a"), (61, "b")] {
        let mut said = version(dot(2, serial), &[dot(2, 10), dot(2, 11)], content.clone());
        said.meta.clone_from(&meta);
        said.stamp.millis = newest + 1;
        bench.say(name, &said);
    }
    bench.settle();
    bench.says_nothing();
    let files = files_of(&bench.root(""));
    let copies = files.iter().filter(|(name, _)| name.contains(".conflict-"));
    let copies: Vec<_> = copies.map(|(name, text)| (name.clone(), text.clone())).collect();
    assert_eq!(copies.len(), 2, "{files:?}");
    assert!(copies.iter().all(|(_, text)| text == b"ours"));
    assert_eq!(bench.inode(&copies[0].0), bench.inode(&copies[1].0));
    assert_eq!(bench.inode("a"), bench.inode("b"));
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"other");
}

#[test]
fn an_edit_at_the_very_moment_in_which_a_name_is_made_is_published() {
    for step in 1..=7 {
        let mut bench = linked(&["a"]);
        let edited = bench.root("a");
        let content = content_of(&mut bench, "a");
        let mut said = bench.next_of("b", 50, content);
        said.meta = bench.placed("a").version.meta;
        bench.say("b", &said);
        crash::at_step(step, move || fs::write(edited, "an edit at that moment").unwrap());
        bench.settle();
        crash::no_more();
        bench.scan();
        bench.scan();
        let found: BTreeSet<Vec<u8>> =
            files_of(&bench.root("")).into_iter().map(|(_, text)| text).collect();
        assert!(found.contains(&b"an edit at that moment"[..]), "step {step}");
        for name in ["a", "b"] {
            let text = fs::read(bench.root(name)).unwrap();
            let is_edit = text == b"an edit at that moment";
            assert!(is_edit || text == b"theirs", "{name} at step {step}");
            assert_eq!(content_of(&mut bench, name) == said.content, !is_edit, "{name}: {step}");
        }
        bench.says_nothing();
    }
}
