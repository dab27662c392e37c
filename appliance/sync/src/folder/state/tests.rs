//! Three sites with trees, users, scans, engines and neighbours that are told things late or twice:
//! in whatever order, all trees end alike, and nothing that somebody wrote is lost.

use super::super::{Feed, FileIdentity, MemoryIndex};
use super::*;
use crate::message::Records;
use crate::version::{Incarnation, ManifestId};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::{Bytes, FileTime};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const SITES: usize = 3;
/// Files and directories get into each other's way.
const PATHS: [&str; 7] = ["a", "a/b", "a/b/c", "a/d", "e", "e/f", "g"];
const FOLDER: FolderKey = FolderKey([9; 32]);

type Tree = BTreeMap<RelPath, Found>;

#[derive(Clone, Debug)]
enum Step {
    /// A user writes something that nobody wrote before.
    Write(usize, usize),
    /// A user makes a directory.
    MakeDir(usize, usize),
    /// A user deletes what stands there, and all beneath.
    Delete(usize, usize),
    /// A user writes over a conflict copy, or deletes it.
    TouchCopy(usize, bool),
    /// A site looks at all of its tree.
    Scan(usize),
    /// A site does what is to be done.
    Act(usize),
    /// A site is told what another one has that it has not been told.
    Tell { from: usize, to: usize },
    /// Everything is told again from the start.
    TellAgain { from: usize, to: usize },
    /// A site loses its index.
    Forget(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let site = || 0..SITES;
    let path = || 0..PATHS.len();
    prop_oneof![
        4 => (site(), path()).prop_map(|(at, path)| Step::Write(at, path)),
        2 => (site(), path()).prop_map(|(at, path)| Step::MakeDir(at, path)),
        2 => (site(), path()).prop_map(|(at, path)| Step::Delete(at, path)),
        1 => (site(), any::<bool>()).prop_map(|(at, deletes)| Step::TouchCopy(at, deletes)),
        5 => site().prop_map(Step::Scan),
        5 => site().prop_map(Step::Act),
        6 => (site(), site()).prop_map(|(from, to)| Step::Tell { from, to }),
        1 => (site(), site()).prop_map(|(from, to)| Step::TellAgain { from, to }),
        1 => site().prop_map(Step::Forget),
    ]
}

struct Site {
    state: FolderState<MemoryIndex>,
    tree: Tree,
    /// What each other site was told.
    feeds: Vec<Feed>,
    /// What the engine took from its place.
    aside: BTreeSet<Content>,
    forgot: bool,
}

struct World {
    sites: Vec<Site>,
    tick: u32,
    written: BTreeSet<Content>,
    /// What a user replaced or deleted, having it on disk.
    seen_off: BTreeSet<Content>,
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

fn state_of(site: usize, incarnation: u32) -> FolderState<MemoryIndex> {
    let site = SiteId([u8::try_from(site).expect("few sites"); 32]);
    let author = Author { site, incarnation: Incarnation::new(u64::from(incarnation)) };
    FolderState::new(MemoryIndex::new(), FOLDER, Publisher::new(author, Serial::FIRST))
}

fn file(tick: u32) -> Content {
    let manifest = ManifestId(*blake3::hash(&tick.to_be_bytes()).as_bytes());
    Content::File { manifest, size: Bytes::new(4) }
}

impl World {
    fn new() -> Self {
        let site = |at| Site {
            state: state_of(at, 0),
            tree: Tree::new(),
            feeds: vec![Feed::default(); SITES],
            aside: BTreeSet::new(),
            forgot: false,
        };
        let (written, seen_off) = (BTreeSet::new(), BTreeSet::new());
        Self { sites: (0..SITES).map(site).collect(), tick: 0, written, seen_off }
    }

    fn of(steps: &[Step]) -> Self {
        let mut world = Self::new();
        steps.iter().for_each(|step| {
            world.take(step);
            world.check();
        });
        world
    }

    fn found(&self, content: Content) -> Found {
        let mtime = FileTime { secs: i64::from(self.tick), nanos: 0 };
        let meta = Meta { mtime, ..Meta::default() };
        let identity = FileIdentity { inode: u64::from(self.tick), ..FileIdentity::default() };
        Found { content, meta, identity }
    }

    fn take(&mut self, step: &Step) {
        self.tick += 1;
        match step {
            Step::Write(at, place) => self.write(*at, &path(PATHS[*place]), file(self.tick)),
            Step::MakeDir(at, place) => self.write(*at, &path(PATHS[*place]), Content::Dir),
            Step::Delete(at, place) => self.delete(*at, &path(PATHS[*place])),
            Step::TouchCopy(at, deletes) => self.touch_copy(*at, *deletes),
            Step::Scan(at) => self.scan(*at),
            Step::Act(at) => self.act(*at),
            Step::Tell { from, to } => self.tell(*from, *to),
            Step::TellAgain { from, to } => {
                self.sites[*from].feeds[*to] = Feed::default();
                self.tell(*from, *to);
            }
            Step::Forget(at) => {
                let site = &mut self.sites[*at];
                (site.state, site.forgot) = (state_of(*at, self.tick), true);
                site.feeds = vec![Feed::default(); SITES];
                self.sites.iter_mut().for_each(|site| site.feeds[*at] = Feed::default());
            }
        }
    }

    /// A user puts something at a path, if what is above it are directories, or nothing.
    fn write(&mut self, at: usize, place: &RelPath, content: Content) {
        let found = self.found(content.clone());
        let site = &mut self.sites[at];
        let mut above = place.parent();
        let mut missing = Vec::new();
        while let Some(parent) = above {
            match site.tree.get(&parent) {
                Some(there) if there.content != Content::Dir => return,
                Some(_) => {}
                None => missing.push(parent.clone()),
            }
            above = parent.parent();
        }
        if site.tree.get(place).is_some_and(|there| there.content == Content::Dir) {
            return;
        }
        let dir = Found { content: Content::Dir, ..found.clone() };
        site.tree.extend(missing.into_iter().map(|parent| (parent, dir.clone())));
        self.seen_off.extend(site.tree.insert(place.clone(), found).map(|old| old.content));
        if content != Content::Dir {
            self.written.insert(content);
        }
    }

    fn delete(&mut self, at: usize, place: &RelPath) {
        let gone: Vec<RelPath> =
            self.sites[at].tree.keys().filter(|path| path.starts_with(place)).cloned().collect();
        for path in gone {
            self.seen_off.extend(self.sites[at].tree.remove(&path).map(|found| found.content));
        }
    }

    fn touch_copy(&mut self, at: usize, deletes: bool) {
        let is_copy =
            |path: &&RelPath| path.as_bytes().windows(10).any(|part| part == b".conflict-");
        let Some(copy) = self.sites[at].tree.keys().find(is_copy).cloned() else { return };
        if deletes {
            self.delete(at, &copy);
        } else {
            self.write(at, &copy, file(self.tick));
        }
    }

    fn scan(&mut self, at: usize) {
        let Site { state, tree, .. } = &mut self.sites[at];
        let known = state.index().paths();
        let all: BTreeSet<RelPath> = known.into_iter().chain(tree.keys().cloned()).collect();
        let wall = u64::from(self.tick) * 1000;
        for path in all {
            state.observe(&path, tree.get(&path).cloned(), wall).expect("few versions");
            if state.is_run_full() {
                seal(state);
            }
        }
        seal(state);
    }

    fn tell(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        loop {
            let Site { state, feeds, .. } = &mut self.sites[from];
            let Some(fed) = feeds[to].next(state.index()).expect("a whole index") else { break };
            let bytes = fed.records.encode();
            let records = Records::decode(&bytes, FOLDER).expect("as it was encoded");
            let heard = &mut self.sites[to].state;
            for run in &records.runs {
                let opened = run.open().expect("as it was sealed");
                heard.learn(run, &opened).expect("known authors, few versions");
            }
        }
    }

    /// The engine does what can be done; where it finds something else than it knows of, it looks.
    fn act(&mut self, at: usize) {
        let todo = self.sites[at].state.index().unsettled();
        for path in todo.iter().chain(todo.iter().rev()) {
            self.tick += 1;
            self.act_at(at, path);
        }
    }

    fn act_at(&mut self, at: usize, path: &RelPath) {
        let (tick, made) = (self.tick, self.found(Content::Dir));
        let Site { state, tree, aside, .. } = &mut self.sites[at];
        let placed = state.index().item(path).expect("in memory").placed;
        let known = placed.map(|placed| placed.identity);
        if known != tree.get(path).map(|found| found.identity) {
            let found = tree.get(path).cloned();
            state.observe(path, found, u64::from(tick) * 1000).expect("few versions");
            seal(state);
        }
        let is_in_dir = path
            .parent()
            .is_none_or(|parent| tree.get(&parent).is_some_and(|d| d.content == Content::Dir));
        let is_empty = !tree.keys().any(|other| other != path && other.starts_with(path));
        let is_dir = tree.get(path).is_some_and(|found| found.content == Content::Dir);
        let can_go = !is_dir || is_empty;
        match state.task(path).expect("in memory") {
            Task::Settled => {}
            Task::SetMeta(version) => {
                let identity = made.identity;
                let found = tree.get_mut(path).expect("the index knows of it");
                (found.meta, found.identity) = (version.meta.clone(), identity);
                let meta = version.meta.clone();
                state.placed(path, Some(&Placed { version, meta, identity })).expect("in memory");
            }
            Task::Place(version) if is_in_dir && can_go => {
                let (content, meta) = (version.content.clone(), version.meta.clone());
                let identity = made.identity;
                let found = Found { content, meta: meta.clone(), identity };
                aside.extend(tree.insert(path.clone(), found).map(|old| old.content));
                state.placed(path, Some(&Placed { version, meta, identity })).expect("in memory");
            }
            Task::MakeDir if is_in_dir => {
                aside.extend(tree.insert(path.clone(), made.clone()).map(|old| old.content));
                state.placed(path, None).expect("in memory");
                state.observe(path, Some(made), u64::from(tick) * 1000).expect("few versions");
                seal(state);
            }
            Task::Remove if can_go => {
                aside.extend(tree.remove(path).map(|old| old.content));
                state.placed(path, None).expect("in memory");
            }
            // Later: what is above is not there yet, or what is beneath is there still.
            Task::Place(_) | Task::MakeDir | Task::Remove => {}
        }
    }

    /// Nothing that was written is gone unless a user who had it on disk put something in its place.
    fn check(&self) {
        let mut kept: BTreeSet<Content> = BTreeSet::new();
        for site in &self.sites {
            kept.extend(site.tree.values().map(|found| found.content.clone()));
            kept.extend(site.aside.iter().cloned());
            for path in site.state.index().paths() {
                let item = site.state.index().item(&path).expect("in memory");
                kept.extend(item.versions.iter().map(|version| version.content.clone()));
            }
        }
        for content in self.written.difference(&self.seen_off) {
            assert!(kept.contains(content), "{content:?} is lost");
        }
    }

    /// No user does anything any more, and everybody hears everything.
    fn quiesce(&mut self) {
        for _ in 0..12 {
            for at in 0..SITES {
                self.tick += 1;
                self.scan(at);
                (0..SITES).for_each(|to| self.tell(at, to));
                (0..4).for_each(|_| self.act(at));
            }
        }
    }

    fn visible(&self, at: usize) -> BTreeMap<String, (Content, Meta)> {
        let shown = self.sites[at].tree.iter().map(|(path, found)| {
            let found = found.clone().without_noise();
            (path.to_string(), (found.content, found.meta))
        });
        shown.collect()
    }
}

/// Signs what is to be signed; nobody verifies it here.
fn seal(state: &mut FolderState<MemoryIndex>) {
    if state.to_seal().is_some() {
        state.sealed([0; 32], [0; 64]).expect("in memory");
    }
}

fn settled(steps: &[Step]) -> World {
    let mut world = World::of(steps);
    world.quiesce();
    world.check();
    world
}

fn assert_alike(world: &World) {
    let first = world.visible(0);
    for at in 1..SITES {
        assert_eq!(world.visible(at), first, "site {at} differs");
    }
    for site in &world.sites {
        let left = site.state.index().unsettled();
        assert!(left.is_empty(), "left to do: {left:?}");
    }
}

#[test]
fn a_tree_written_at_one_site_stands_at_all() {
    let world = settled(&[Step::Write(0, 2), Step::Write(0, 6)]);
    assert_alike(&world);
    let names: Vec<String> = world.visible(2).into_keys().collect();
    assert_eq!(names, ["a", "a/b", "a/b/c", "g"]);
}

#[test]
fn a_conflict_leaves_both_contents_under_the_same_names_everywhere() {
    let world = settled(&[Step::Write(0, 6), Step::Write(1, 6)]);
    assert_alike(&world);
    let files: BTreeSet<Content> = world.visible(2).into_values().map(|(c, _)| c).collect();
    assert_eq!(files, world.written);
}

#[test]
fn who_deletes_a_copy_deletes_it_everywhere_and_nothing_else() {
    let mut world = settled(&[Step::Write(0, 6), Step::Write(1, 6)]);
    world.take(&Step::TouchCopy(2, true));
    world.quiesce();
    assert_alike(&world);
    assert_eq!(world.visible(0).into_keys().collect::<Vec<_>>(), ["g"]);
}

#[test]
fn who_edits_a_copy_makes_it_a_file_of_its_own() {
    let mut world = settled(&[Step::Write(0, 6), Step::Write(1, 6)]);
    world.take(&Step::TouchCopy(2, false));
    world.quiesce();
    assert_alike(&world);
    let files: BTreeSet<Content> = world.visible(0).into_values().map(|(c, _)| c).collect();
    assert_eq!(files, world.written.difference(&world.seen_off).cloned().collect());
}

#[test]
fn a_file_written_into_a_directory_that_another_site_deletes_brings_it_back() {
    let mut world = settled(&[Step::MakeDir(0, 4)]);
    world.take(&Step::Delete(0, 4));
    world.take(&Step::Write(1, 5));
    world.quiesce();
    assert_alike(&world);
    assert_eq!(world.visible(2).into_keys().collect::<Vec<_>>(), ["e", "e/f"]);
}

#[test]
fn a_deleted_tree_is_gone_everywhere() {
    let mut world = settled(&[Step::Write(0, 2), Step::Write(0, 3)]);
    world.take(&Step::Delete(2, 0));
    world.quiesce();
    assert_alike(&world);
    assert!(world.visible(0).is_empty());
}

#[test]
fn a_copy_of_an_index_that_was_put_back_is_noticed() {
    let mut world = settled(&[Step::Write(0, 6)]);
    world.sites[0].state = state_of(0, 0);
    let fed = Feed::default().next(world.sites[1].state.index()).expect("whole");
    let run = &fed.expect("one record").records.runs[0];
    let opened = run.open().expect("sealed");
    let learned = world.sites[0].state.learn(run, &opened);
    assert!(matches!(learned, Err(StateError::RolledBack)), "{learned:?}");
}

#[test]
fn a_record_that_names_what_nobody_published_is_refused() {
    let mut world = settled(&[Step::Write(0, 6)]);
    world.take(&Step::Write(1, 6));
    world.scan(1);
    let fed = Feed::default().next(world.sites[1].state.index()).expect("whole").expect("one");
    let mut fresh = state_of(2, 77);
    let own = fed.records.runs.iter().filter(|run| !run.records.is_empty());
    let own: Vec<&SealedRun> = own.collect();
    let learned = fresh.learn(own[0], &own[0].open().expect("sealed"));
    assert!(matches!(learned, Err(StateError::Ahead)), "{learned:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn all_trees_end_alike_and_nothing_written_is_lost(
        steps in proptest::collection::vec(step(), 1..50),
    ) {
        let world = settled(&steps);
        assert_alike(&world);
        let mut visible: BTreeSet<Content> =
            world.sites[0].tree.values().map(|found| found.content.clone()).collect();
        for site in world.sites.iter().filter(|site| site.forgot) {
            visible.extend(site.aside.iter().cloned());
        }
        for content in world.written.difference(&world.seen_off) {
            prop_assert!(visible.contains(content), "{content:?} is kept, but nobody sees it");
        }
    }
}
