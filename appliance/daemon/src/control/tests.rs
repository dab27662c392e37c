//! Folders in a loop without a network: what a neighbour says is made up, and everything else is the
//! real disk, index and threads.

use super::*;
use crate::boot::{Boot, tests::SAID};
use crate::events::Events;
use crate::index::Kept;
use crate::sample::{FOLDER, dot, path, run, version};
use crate::scan::Rules;
use crate::store::{Principals, Unnamed, crash};
use farhaul_sync::folder::{Item, Placed};
use farhaul_sync::message::SealedRun;
use farhaul_sync::record::Record;
use farhaul_sync::version::{Content, Dot};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

mod beyond;
mod claims;
mod copying;
mod crowd;
mod declined;
mod elsewhere;
mod guards;
mod links;
mod metadata;
mod opening;
mod owned;
mod pages;
mod resumed;
mod room;
mod rotten;
mod rules;
mod service;
mod shortfalls;
mod stops;
mod swarm;
mod telling;
mod thin;

/// Longer than any machine that is only busy needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A loop whose events the test hands on.
pub(super) struct Bench {
    body: Loop,
    queue: mpsc::Receiver<Event>,
    home: tempfile::TempDir,
}

impl Bench {
    pub(super) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        Self::at(home, Arc::new(Unnamed))
    }

    pub(super) fn at(home: tempfile::TempDir, principals: Arc<dyn Principals>) -> Self {
        let identity = Identity::ephemeral().unwrap();
        let mut bench = Self::empty(home, &identity);
        bench.open(FOLDER, "tree", principals);
        bench
    }

    fn empty(home: tempfile::TempDir, identity: &Identity) -> Self {
        let (events, queue) = mpsc::channel(1 << 16);
        let mut body = Loop::new(identity, events, (Events::default(), Arc::default()));
        body.opens_here = true;
        Self { body, queue, home }
    }

    pub(super) fn open(&mut self, key: FolderKey, name: &str, principals: Arc<dyn Principals>) {
        self.body.open(setup_at(self.home.path(), key, name, principals));
        self.body.folders.values_mut().for_each(Folder::hear_all);
    }

    /// As after a power cut or a kill: nothing is closed.
    fn killed(self) -> (tempfile::TempDir, Identity) {
        let Self { body, home, .. } = self;
        (home, body.identity.clone())
    }

    /// As after a stop in order.
    fn closed(self) -> (tempfile::TempDir, Identity) {
        let Self { mut body, home, .. } = self;
        std::mem::take(&mut body.folders).into_values().for_each(Folder::close);
        (home, body.identity.clone())
    }

    pub(super) fn folder(&mut self) -> &mut Folder {
        self.body.folders.get_mut(&FOLDER).expect("it runs")
    }

    pub(super) fn root(&self, at: &str) -> PathBuf {
        self.home.path().join("tree").join(at)
    }

    /// Hands on events until nothing is under way.
    pub(super) fn settle(&mut self) {
        let began = Instant::now();
        self.body.take(Event::More);
        loop {
            while let Ok(event) = self.queue.try_recv() {
                self.body.take(event);
            }
            // Nobody is there to be heard.
            self.body.folders.values_mut().for_each(Folder::hear_all);
            self.body.folders.values_mut().for_each(Folder::go_on);
            self.body.put_halted_aside();
            if self.queue.is_empty() && !self.body.folders.values().any(Folder::is_busy) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "after all patience");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(super) fn scan(&mut self) {
        self.body.folders.values_mut().for_each(Folder::scan);
        self.settle();
    }

    pub(super) fn item(&mut self, at: &str) -> Item {
        self.folder().index.read().item(&path(at)).unwrap()
    }

    pub(super) fn placed(&mut self, at: &str) -> Placed {
        self.item(at).placed.expect("something stands there")
    }

    /// A neighbour says `version` of a path.
    pub(super) fn say(&mut self, at: &str, version: &Version) {
        self.say_all(&[Record { path: path(at), version: version.clone() }]);
    }

    /// It says all of these at once.
    pub(super) fn say_all(&mut self, records: &[Record]) {
        let (made, bytes) = run(records);
        let run = SealedRun {
            key: [7; 32],
            statement: made.statement,
            signature: made.signature.0,
            records: (0..).zip(bytes).collect(),
            proof: made.proof,
        };
        let learned = self
            .folder()
            .change(crate::index::Durability::Now, |state| Ok(state.learn(&run, records)?));
        learned.unwrap();
    }

    /// A neighbour that saw what stands at `at` puts `content` there.
    pub(super) fn say_next(&mut self, at: &str, serial: u64, content: Content) -> Version {
        let seen = self.item(at).placed.map(|placed| placed.version);
        let mut said = version(dot(2, serial), &[], content);
        if let Some(seen) = seen {
            said.context = seen.context.clone();
            said.context.insert(seen.dot);
            said.stamp.millis = seen.stamp.millis + 1;
        }
        self.say(at, &said);
        said
    }

    fn kept(&mut self) -> Vec<Kept> {
        self.folder().index.read().kept_from(None, 100_000).unwrap()
    }

    fn kept_bytes(&mut self, kept: &Kept) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.folder().store.open_kept(&kept.name).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn halt(&self, name: &str) -> Option<Halt> {
        let conditions = self.body.conditions.lock().unwrap();
        let condition = conditions.values().find(|condition| condition.name == name);
        condition.expect("it is shown").halt.clone()
    }

    /// Lets the time of halted folders come.
    fn retry(&mut self) {
        let began = Instant::now();
        while !self.body.halted.is_empty() && began.elapsed() < PATIENCE {
            self.body.retry_halted();
            std::thread::sleep(Duration::from_millis(100));
        }
        self.settle();
    }
}

/// A folder and what this site knows of it, both in `home`.
fn setup_at(
    home: &Path,
    key: FolderKey,
    name: &str,
    principals: Arc<dyn Principals>,
) -> FolderSetup {
    let (root, state) = (home.join(name), home.join("state").join(name));
    let _ = fs::create_dir(&root);
    fs::create_dir_all(&state).unwrap();
    let (name, ours) = (name.to_owned(), crate::sample::setup(home, SiteId([2; 32])));
    FolderSetup { name, key, path: root, state, principals, ..ours }
}

/// The files of a tree but for what is this site's own, and what is in them.
fn files_of(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().unwrap().is_file() {
            found.push((name, fs::read(entry.path()).unwrap()));
        }
    }
    found
}

/// The versions that are known of a path.
fn dots(bench: &mut Bench, at: &str) -> Vec<Dot> {
    bench.item(at).versions.iter().map(|version| version.dot).collect()
}

fn content_of(bench: &mut Bench, at: &str) -> Content {
    bench.placed(at).version.content
}

#[test]
fn an_edit_that_a_change_displaces_becomes_a_version_and_is_seen() {
    let mut bench = Bench::new();
    fs::write(bench.root("a"), "old").unwrap();
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let theirs = content_of(&mut bench, "source");
    bench.say_next("a", 1, theirs.clone());
    let edited = bench.root("a");
    // Between the look at the path and the exchange.
    crash::at_step(2, move || fs::write(edited, "an edit").unwrap());
    bench.settle();
    crash::no_more();
    bench.scan();
    let files = files_of(&bench.root(""));
    let texts: BTreeSet<&[u8]> = files.iter().map(|(_, text)| &text[..]).collect();
    assert_eq!(texts, BTreeSet::from([&b"an edit"[..], b"theirs"]), "{files:?}");
    assert_eq!(files.iter().filter(|(name, _)| name.contains(".conflict-")).count(), 1);
    assert!(bench.kept().iter().all(|kept| kept.version.is_some()));
    assert_eq!(bench.item("a").versions.iter().count(), 2);
}

#[test]
fn what_an_editor_writes_into_a_displaced_file_it_has_open_is_published_too() {
    let mut bench = Bench::new();
    fs::write(bench.root("a"), "old").unwrap();
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let mut open = fs::File::options().append(true).open(bench.root("a")).unwrap();
    let theirs = content_of(&mut bench, "source");
    bench.say_next("a", 1, theirs);
    bench.settle();
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"theirs");
    for more in [" and", " more"] {
        open.write_all(more.as_bytes()).unwrap();
        bench.folder().upkeep.look_at_loose_now();
        bench.settle();
    }
    bench.scan();
    let texts: BTreeSet<Vec<u8>> =
        files_of(&bench.root("")).into_iter().map(|(_, text)| text).collect();
    assert!(texts.contains(&b"old and more"[..]) && texts.contains(&b"theirs"[..]), "{texts:?}");
}

#[test]
fn nothing_that_an_editor_appends_while_neighbours_replace_the_file_is_lost() {
    const ROUNDS: u64 = 40;
    let mut bench = Bench::new();
    fs::write(bench.root("a"), "begin\n").unwrap();
    fs::create_dir(bench.root("sources")).unwrap();
    for round in 1..=ROUNDS {
        fs::write(bench.root(&format!("sources/{round}")), format!("theirs {round}\n")).unwrap();
    }
    bench.scan();
    let is_over = Arc::new(AtomicBool::new(false));
    let moments: Rc<RefCell<Vec<String>>> = Rc::default();
    let (ends, at) = (Arc::clone(&is_over), bench.root("a"));
    let editor = std::thread::spawn(move || {
        let mut written = 0_u64;
        while !ends.load(Ordering::Relaxed) {
            // An editor that finds nothing there begins anew.
            let file = fs::File::options().append(true).create(true).open(&at);
            let line = format!("line {written} of the editor\n");
            if file.is_ok_and(|mut file| file.write_all(line.as_bytes()).is_ok()) {
                written += 1;
            }
            std::thread::sleep(Duration::from_millis(3 + written * 37 % 50));
        }
        written
    });
    for round in 1..=ROUNDS {
        let theirs = content_of(&mut bench, &format!("sources/{round}"));
        if bench.item("a").placed.is_some() {
            bench.say_next("a", round, theirs);
        }
        // And one writes at the very moment, wherever in the change that is.
        let (at, line) = (bench.root("a"), format!("moment {round} of the editor\n"));
        let said = Rc::clone(&moments);
        crash::at_step(1 + u32::try_from(round % 4).unwrap(), move || {
            let file = fs::File::options().append(true).create(true).open(at);
            if file.is_ok_and(|mut file| file.write_all(line.as_bytes()).is_ok()) {
                said.borrow_mut().push(line);
            }
        });
        bench.scan();
    }
    is_over.store(true, Ordering::Relaxed);
    let written = editor.join().unwrap();
    for _ in 0..2 {
        bench.folder().upkeep.look_at_loose_now();
        bench.scan();
    }
    let mut places: Vec<String> = Vec::new();
    for (_, text) in files_of(&bench.root("")) {
        places.push(String::from_utf8(text).unwrap());
    }
    let mut edits = 0;
    for kept in bench.kept() {
        assert!(kept.version.is_some(), "{kept:?} has no version");
        let text = String::from_utf8(bench.kept_bytes(&kept)).unwrap();
        edits += usize::from(text.contains("of the editor"));
        places.push(text);
    }
    let found: BTreeSet<&str> = places.iter().flat_map(|text| text.lines()).collect();
    let lines = (0..written).map(|line| format!("line {line} of the editor"));
    let moments = moments.borrow();
    for line in lines.chain(moments.iter().map(|line| line.trim_end().to_owned())) {
        assert!(found.contains(&*line), "{line} is lost");
    }
    assert!(moments.len() > 10, "only {} changes were met", moments.len());
    println!("{written} lines, {} at the moment, in {edits} kept objects", moments.len());
}

#[test]
fn a_folder_that_cannot_be_opened_halts_and_the_others_run() {
    let home = tempfile::tempdir().unwrap();
    let mut bench = Bench::at(home, Arc::new(Unnamed));
    let other = FolderKey([8; 32]);
    bench.open(other, "other", Arc::new(Unnamed));
    let (home, identity) = bench.killed();
    fs::rename(home.path().join("other/.farhaul"), home.path().join("aside")).unwrap();
    let mut bench = Bench::empty(home, &identity);
    bench.open(FOLDER, "tree", Arc::new(Unnamed));
    bench.open(other, "other", Arc::new(Unnamed));
    assert_eq!(bench.halt("other").expect("it halts").kind, HaltKind::Elsewhere);
    assert!(bench.halt("tree").is_none());
    fs::write(bench.root("a"), "a").unwrap();
    bench.scan();
    assert_eq!(bench.item("a").versions.iter().count(), 1);
    fs::rename(bench.home.path().join("aside"), bench.home.path().join("other/.farhaul")).unwrap();
    bench.retry();
    assert_eq!((bench.halt("other").is_none(), bench.body.folders.len()), (true, 2));
}

#[test]
fn a_root_that_is_moved_away_or_emptied_halts_before_anything_counts_as_deleted() {
    for empties in [false, true] {
        let mut bench = Bench::new();
        let names = ["a", "b", "c"];
        for name in names {
            fs::write(bench.root(name), name).unwrap();
        }
        bench.scan();
        let (root, aside) = (bench.root(""), bench.home.path().join("aside"));
        if empties {
            // As a removal from outside does it: the marker goes with the rest.
            fs::create_dir(&aside).unwrap();
            for name in names.iter().chain(&[".farhaul"]) {
                fs::rename(bench.root(name), aside.join(name)).unwrap();
            }
        } else {
            fs::rename(&root, &aside).unwrap();
            fs::create_dir(&root).unwrap();
        }
        bench.scan();
        assert_eq!(bench.halt("tree").expect("it halts").kind, HaltKind::Elsewhere);
        fs::remove_dir(&root).unwrap();
        fs::rename(&aside, &root).unwrap();
        bench.retry();
        for name in names {
            assert!(bench.item(name).versions.is_live(), "{name}");
            assert_eq!(bench.item(name).versions.iter().count(), 1, "{name}");
        }
    }
}

/// A start of the machine, `secs` seconds after this moment.
fn boot(id: u64, secs: i64) -> Boot {
    Boot { id: Some(id), at_secs: (folder::wall_millis() / 1000).cast_signed() + secs }
}

#[test]
fn what_a_power_cut_left_of_a_file_is_fetched_again_and_kept_and_edits_are_published() {
    let text = "all of it ".repeat(1000);
    for (left, is_edit) in [("", false), ("all of", false), ("zeros", false), ("longer", true)] {
        SAID.set(Some(boot(7, -1000)));
        let mut bench = Bench::new();
        fs::write(bench.root("a"), &text).unwrap();
        bench.scan();
        let before = bench.placed("a").version;
        let (home, identity) = bench.killed();
        let left = match left {
            "zeros" => [text.as_bytes(), &[0; 5000]].concat(),
            "longer" => format!("{text} and more").into_bytes(),
            left => left.as_bytes().to_vec(),
        };
        fs::write(home.path().join("tree/a"), &left).unwrap();
        SAID.set(Some(boot(8, 1000)));
        let mut bench = Bench::empty(home, &identity);
        bench.open(FOLDER, "tree", Arc::new(Unnamed));
        // Stopped in order, or killed, before it has looked at anything.
        let (home, identity) = match is_edit {
            true => bench.killed(),
            false => bench.closed(),
        };
        let mut bench = Bench::empty(home, &identity);
        bench.open(FOLDER, "tree", Arc::new(Unnamed));
        assert!(bench.folder().index.was_cut());
        bench.scan();
        assert!(!bench.folder().index.was_cut());
        let item = bench.item("a");
        let heads: Vec<Dot> = item.versions.iter().map(|version| version.dot).collect();
        assert_eq!(heads != [before.dot], is_edit, "{} bytes left", left.len());
        if !is_edit {
            // What stood there comes back, here from the tree, and what was left is kept.
            SAID.set(Some(boot(8, -1000)));
            fs::write(bench.root("again"), &text).unwrap();
            bench.scan();
            assert_eq!(fs::read(bench.root("a")).unwrap(), text.as_bytes());
            assert_eq!(bench.item("a").versions.iter().count(), 1);
            let kept = bench.kept();
            assert_eq!(kept.len(), 1);
            assert_eq!(bench.kept_bytes(&kept[0]), left);
        }
        SAID.set(None);
    }
}

/// spec: S-103
#[test]
fn an_edit_that_waited_before_the_power_went_is_no_damage() {
    use farhaul_sync::folder::{Policy, Rights, Role};
    SAID.set(Some(boot(7, -1000)));
    let mut bench = Bench::new();
    fs::write(bench.root("a"), "all of it").unwrap();
    bench.scan();
    let before = bench.placed("a").version;
    let read_only = Policy { rights: Rights::new(Role::ReadOnly, []), ..Policy::default() };
    let govern = |bench: &mut Bench| {
        bench.folder().setup.policy = Arc::new(read_only.clone());
        bench.folder().take_up_guards().unwrap();
    };
    govern(&mut bench);
    fs::write(bench.root("a"), "less").unwrap();
    bench.scan();
    assert!(bench.folder().index.read().look(&path("a")).unwrap().is_some(), "it waits");
    let (home, identity) = bench.killed();
    SAID.set(Some(boot(8, 1000)));
    let mut bench = Bench::empty(home, &identity);
    bench.open(FOLDER, "tree", Arc::new(Unnamed));
    govern(&mut bench);
    assert!(bench.folder().index.was_cut());
    // What stood there could be had from here.
    fs::write(bench.root("again"), "all of it").unwrap();
    bench.scan();
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"less");
    assert!(bench.folder().index.read().look(&path("a")).unwrap().is_some(), "it waits still");
    assert_eq!(bench.placed("a").version, before);
    assert_eq!(bench.kept().len(), 0);
    SAID.set(None);
}

#[test]
fn after_a_kill_without_a_power_cut_a_shorter_file_is_an_edit() {
    for (id, secs) in [(7, -1000), (8, -1000)] {
        // The same start of the machine, or another one, after which the file was edited.
        SAID.set(Some(boot(7, -1000)));
        let mut bench = Bench::new();
        fs::write(bench.root("a"), "all of it").unwrap();
        bench.scan();
        let before = bench.placed("a").version;
        let (home, identity) = bench.killed();
        fs::write(home.path().join("tree/a"), "less").unwrap();
        SAID.set(Some(boot(id, secs)));
        let mut bench = Bench::empty(home, &identity);
        bench.open(FOLDER, "tree", Arc::new(Unnamed));
        bench.scan();
        let head = bench.item("a").versions.iter().next().cloned().expect("one");
        assert!(head.dot != before.dot && head.covers(&before));
        SAID.set(None);
    }
}

#[test]
fn a_directory_that_something_beneath_needs_displaces_a_file_durably() {
    let mut bench = Bench::new();
    fs::write(bench.root("d"), "a file").unwrap();
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let theirs = content_of(&mut bench, "source");
    let said = version(dot(2, 1), &[], theirs);
    bench.say("d/a", &said);
    bench.scan();
    assert_eq!(fs::read(bench.root("d/a")).unwrap(), b"theirs");
    assert_eq!(bench.placed("d").version.content, Content::Dir);
    // The file is seen beside it.
    let copies: Vec<_> = files_of(&bench.root(""));
    let copies = copies.iter().filter(|(name, _)| name.contains(".conflict-"));
    assert_eq!(copies.map(|(_, text)| &text[..]).collect::<Vec<_>>(), [b"a file"]);
    assert!(bench.kept().iter().all(|kept| kept.version.is_some()));
}
