//! Three sites with trees, users, scans, engines and neighbours that are told things late or twice:
//! in whatever order, all trees end alike, and nothing that somebody wrote is lost.

mod asides;
mod brake;
mod crowds;
mod halves;
mod hub;
mod invariants;
mod many;
mod moves;
mod permutations;
mod rare;
mod roles;
mod scenarios;
mod sessions;

use super::super::{Ack, Feed, FileIdentity, Listening, MemoryIndex};
use super::*;
use crate::message::{Followed, SealedRun};
use crate::version::{Dot, Incarnation, ManifestId};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::{Bytes, FileTime};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const SITES: usize = 3;
/// In which orders they can do something one after the other.
const ORDERS: [[usize; SITES]; 6] =
    [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
/// Files and directories get into each other's way.
const PATHS: [&str; 7] = ["a", "a/b", "a/b/c", "a/d", "e", "e/f", "g"];
const FOLDER: FolderKey = FolderKey([9; 32]);

type Tree = BTreeMap<RelPath, Found>;
type Versions = BTreeMap<RelPath, Vec<Version>>;

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
    /// A site looks at one path, as if it had heard of it.
    Look(usize, usize),
    /// A site does what is to be done.
    Act(usize),
    /// A site goes one step further with a change: what it looked at, the disk, then the index.
    Further(usize),
    /// A session begins in which a site tells another one; what was on its way is lost.
    Send { from: usize, to: usize },
    /// Part of what is on its way arrives.
    Receive { from: usize, to: usize },
    /// Both at once, to the end.
    Tell { from: usize, to: usize },
    /// Two sites do not reach each other any more, or do again.
    Cut(usize, usize),
    /// A site drops the tombstones that all have.
    Collect(usize),
    /// A site waits for those that it did not hear.
    Wait(usize),
    /// A site's clock goes wrong by so many hours.
    Clock(usize, i8),
    /// A site stops and starts again.
    Restart(usize),
    /// A site loses its index.
    Forget(usize),
    /// A site loses its index and its tree.
    LoseAll(usize),
    /// A copy of a site's index is made.
    Save(usize),
    /// The copy is put back.
    Restore(usize),
}

impl Step {
    /// Whose process does something else than to go on with a change. What users, links and clocks do
    /// comes in between.
    fn engine(&self) -> Option<usize> {
        match self {
            Self::Scan(at)
            | Self::Look(at, _)
            | Self::Act(at)
            | Self::Collect(at)
            | Self::Wait(at)
            | Self::Restart(at)
            | Self::Save(at) => Some(*at),
            Self::Send { to, .. } | Self::Receive { to, .. } | Self::Tell { to, .. } => Some(*to),
            _ => None,
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let site = || 0..SITES;
    let path = || 0..PATHS.len();
    prop_oneof![
        4 => (site(), path()).prop_map(|(at, path)| Step::Write(at, path)),
        2 => (site(), path()).prop_map(|(at, path)| Step::MakeDir(at, path)),
        3 => (site(), path()).prop_map(|(at, path)| Step::Delete(at, path)),
        1 => (site(), any::<bool>()).prop_map(|(at, deletes)| Step::TouchCopy(at, deletes)),
        5 => site().prop_map(Step::Scan),
        3 => (site(), path()).prop_map(|(at, path)| Step::Look(at, path)),
        5 => site().prop_map(Step::Act),
        4 => site().prop_map(Step::Further),
        2 => (site(), site()).prop_map(|(from, to)| Step::Send { from, to }),
        3 => (site(), site()).prop_map(|(from, to)| Step::Receive { from, to }),
        5 => (site(), site()).prop_map(|(from, to)| Step::Tell { from, to }),
        1 => (site(), site()).prop_map(|(one, other)| Step::Cut(one, other)),
        2 => site().prop_map(Step::Collect),
        1 => site().prop_map(Step::Wait),
        1 => (site(), any::<i8>()).prop_map(|(at, hours)| Step::Clock(at, hours)),
        2 => site().prop_map(Step::Restart),
        1 => site().prop_map(Step::Forget),
        1 => site().prop_map(Step::LoseAll),
        1 => site().prop_map(Step::Save),
        1 => site().prop_map(Step::Restore),
    ]
}

/// What a site keeps in its database, all of which a copy holds.
#[derive(Clone)]
struct Database {
    index: MemoryIndex,
    author: Author,
    /// How far each other site is followed.
    followed: Vec<Option<Followed>>,
    /// What each other site had of this one.
    acked: Vec<Option<Ack>>,
}

/// Part of what is on its way.
struct Part {
    epoch: u64,
    after: u64,
    to: u64,
    teller: Teller,
    bytes: Vec<u8>,
}

struct Site {
    state: FolderState<MemoryIndex>,
    policy: Arc<Policy>,
    tree: Tree,
    followed: Vec<Option<Followed>>,
    acked: Vec<Option<Ack>>,
    /// Whom it hears before it publishes.
    listening: Option<Listening>,
    /// What is on its way to each other site.
    wire: Vec<VecDeque<Part>>,
    copy: Option<Database>,
    /// Milliseconds by which its clock is wrong.
    clock: i64,
    /// A change that is under way.
    half: Option<halves::Half>,
    /// What changes displaced that nobody had seen, and that is not published yet.
    loose: Vec<halves::Loose>,
    /// What the engine took from its place.
    aside: BTreeSet<Content>,
    /// What its users replaced or deleted, or its disk took with it.
    seen_off: BTreeSet<Content>,
    /// It lost its index, or has an old one: what it put aside has no name in the tree.
    forgot: bool,
    /// Its index is an old copy of itself, and has no new name yet.
    is_old: bool,
    /// How many indexes it had.
    lives: u32,
}

struct World {
    sites: Vec<Site>,
    cut: BTreeSet<(usize, usize)>,
    /// Site 0 shares the folder with the others, and these with nobody else.
    has_hub: bool,
    /// How often a site took a new name that had no need of one.
    needless: usize,
    tick: u32,
    written: BTreeSet<Content>,
    /// Paths that a user wrote to.
    touched: BTreeSet<RelPath>,
    /// What each site's index had before the last step, in which of its lives.
    before: BTreeMap<usize, (u32, Versions)>,
    /// Deletions that all sites knew of at a time.
    deleted: BTreeMap<Dot, (RelPath, Version)>,
    /// A person accepted what was set aside.
    has_accepted: bool,
    /// Every version that anybody but its author ever heard of.
    dots: BTreeMap<Dot, (RelPath, Version)>,
}

pub(super) fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

pub(super) fn state_of(site: usize, incarnation: u32) -> FolderState<MemoryIndex> {
    let site = SiteId([u8::try_from(site).expect("few sites"); 32]);
    let author = Author { site, incarnation: Incarnation::new(u64::from(incarnation)) };
    FolderState::new(MemoryIndex::new(), FOLDER, Publisher::new(author, Serial::FIRST))
}

/// The others of three.
fn others(at: usize) -> impl Iterator<Item = usize> {
    (0..SITES).filter(move |other| *other != at)
}

fn id(at: usize) -> SiteId {
    SiteId([u8::try_from(at).expect("few sites"); 32])
}

pub(super) fn file(tick: u32) -> Content {
    let manifest = ManifestId(*blake3::hash(&tick.to_be_bytes()).as_bytes());
    Content::File { manifest, size: Bytes::new(4) }
}

impl World {
    fn new() -> Self {
        Self::with(SITES)
    }

    /// A world of so many sites.
    fn with(count: usize) -> Self {
        let site = |at| Site {
            state: state_of(at, 0),
            policy: Arc::default(),
            tree: Tree::new(),
            followed: vec![None; count],
            acked: vec![None; count],
            listening: None,
            wire: (0..count).map(|_| VecDeque::new()).collect(),
            copy: None,
            clock: 0,
            half: None,
            loose: Vec::new(),
            aside: BTreeSet::new(),
            seen_off: BTreeSet::new(),
            forgot: false,
            is_old: false,
            lives: 0,
        };
        Self {
            sites: (0..count).map(site).collect(),
            cut: BTreeSet::new(),
            has_hub: false,
            needless: 0,
            tick: 0,
            written: BTreeSet::new(),
            touched: BTreeSet::new(),
            before: BTreeMap::new(),
            deleted: BTreeMap::new(),
            has_accepted: false,
            dots: BTreeMap::new(),
        }
    }

    fn of(steps: &[Step]) -> Self {
        Self::new().after(steps)
    }

    fn after(mut self, steps: &[Step]) -> Self {
        take(&mut self, steps);
        self
    }

    /// With whom a site shares the folder.
    fn members(&self, at: usize) -> impl Iterator<Item = usize> + use<> {
        let has_hub = self.has_hub;
        let others = (0..self.sites.len()).filter(move |other| *other != at);
        others.filter(move |other| !has_hub || at == 0 || *other == 0)
    }

    fn found(&self, content: Content) -> Found {
        let mtime = FileTime { secs: i64::from(self.tick), nanos: 0 };
        let meta = Meta { mtime, ..Meta::default() };
        let identity = FileIdentity { inode: u64::from(self.tick), ..FileIdentity::default() };
        Found { content, meta, identity }
    }

    fn take(&mut self, step: &Step) {
        self.tick += 1;
        if let Some(at) = step.engine() {
            self.finish(at);
        }
        match step {
            Step::Write(at, place) => self.write(*at, &path(PATHS[*place]), file(self.tick)),
            Step::MakeDir(at, place) => self.write(*at, &path(PATHS[*place]), Content::Dir),
            Step::Delete(at, place) => self.delete(*at, &path(PATHS[*place])),
            Step::TouchCopy(at, deletes) => self.touch_copy(*at, *deletes),
            Step::Scan(at) => self.scan(*at),
            Step::Look(at, place) => self.look(*at, &path(PATHS[*place])),
            Step::Act(at) => self.act(*at),
            Step::Further(at) => self.further(*at),
            Step::Send { from, to } => self.send(*from, *to),
            Step::Receive { from, to } => self.receive(*from, *to),
            Step::Tell { from, to } => self.tell(*from, *to),
            Step::Cut(one, other) => {
                let link = (*one.min(other), *one.max(other));
                if !self.cut.remove(&link) {
                    self.cut.insert(link);
                }
            }
            Step::Collect(at) => self.collect(*at),
            Step::Wait(at) => self.end_listening(*at, true),
            Step::Clock(at, hours) => self.sites[*at].clock = i64::from(*hours) * 3_600_000,
            Step::Restart(at) => self.start(*at),
            Step::Forget(at) => self.forget(*at),
            Step::LoseAll(at) => {
                let Site { tree, aside, seen_off, .. } = &mut self.sites[*at];
                let tree = core::mem::take(tree).into_values().map(|found| found.content);
                seen_off.extend(tree.chain(core::mem::take(aside)));
                self.forget(*at);
            }
            Step::Save(at) => {
                let Site { state, followed, acked, copy, .. } = &mut self.sites[*at];
                let (index, author) = (state.index().clone(), state.author());
                let (followed, acked) = (followed.clone(), acked.clone());
                *copy = Some(Database { index, author, followed, acked });
            }
            Step::Restore(at) => self.restore(*at),
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
        site.seen_off.extend(site.tree.insert(place.clone(), found).map(|old| old.content));
        self.touched.insert(place.clone());
        if content != Content::Dir {
            self.written.insert(content);
        }
    }

    fn delete(&mut self, at: usize, place: &RelPath) {
        let Site { tree, seen_off, .. } = &mut self.sites[at];
        let gone = tree.extract_if(.., |path, _| path.starts_with(place));
        seen_off.extend(gone.map(|(_, found)| found.content));
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

    fn wall(&self, at: usize) -> u64 {
        let millis = 1_000_000_000 + i64::from(self.tick) * 1000 + self.sites[at].clock;
        u64::try_from(millis).expect("after 1970")
    }

    fn scan(&mut self, at: usize) {
        let wall = self.wall(at);
        let Site { state, tree, .. } = &mut self.sites[at];
        let known = state.index().paths();
        let waiting = state.index().looks(None, 1000).expect("in memory");
        let waiting = waiting.into_iter().map(|(path, _)| path);
        let all: BTreeSet<RelPath> =
            known.into_iter().chain(tree.keys().cloned()).chain(waiting).collect();
        let looks: Vec<_> =
            all.iter().map(|path| (path.clone(), tree.get(path).cloned())).collect();
        state.weigh_looks(&looks, wall).expect("in memory");
        for path in all {
            state.observe(&path, tree.get(&path).cloned(), wall).expect("in memory");
            if state.is_run_full() {
                seal(state);
            }
        }
        seal(state);
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
        let (wall, made) = (self.wall(at), self.found(Content::Dir));
        let Site { state, tree, .. } = &mut self.sites[at];
        let placed = state.index().item(path).expect("in memory").placed;
        let known = placed.map(|placed| placed.identity);
        if known != tree.get(path).map(|found| found.identity) {
            let found = tree.get(path).cloned();
            state.observe(path, found, wall).expect("in memory");
            seal(state);
        }
        let is_in_dir = path
            .parent()
            .is_none_or(|parent| tree.get(&parent).is_some_and(|d| d.content == Content::Dir));
        let is_empty = !tree.keys().any(|other| other != path && other.starts_with(path));
        let is_dir = tree.get(path).is_some_and(|found| found.content == Content::Dir);
        let can_go = !is_dir || is_empty;
        let task = state.task(path).expect("in memory");
        if matches!(&task, Task::Place(version) if !self.is_held(&version.content)) {
            return;
        }
        let Site { state, tree, aside, .. } = &mut self.sites[at];
        match task {
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
                state.observe(path, Some(made), wall).expect("in memory");
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

    /// No user does anything any more, and everybody hears everything.
    fn quiesce(&mut self) {
        self.cut.clear();
        for round in 0..16 {
            if round == 8 {
                self.accept_all();
            }
            for at in 0..self.sites.len() {
                self.tick += 1;
                self.finish(at);
                self.scan(at);
                (0..self.sites.len()).for_each(|to| self.tell(at, to));
                (0..4).for_each(|_| self.act(at));
            }
            self.check();
        }
    }

    /// A person accepts what is set aside.
    fn accept_all(&mut self) {
        self.has_accepted = true;
        for site in &mut self.sites {
            for aside in site.state.index().asides(None, 1000).expect("in memory") {
                site.state.accept_aside(&aside).expect("in memory");
            }
        }
    }

    /// What users replaced or deleted, having it on disk, or what a disk took with it.
    fn seen_off(&self) -> BTreeSet<Content> {
        self.sites.iter().flat_map(|site| &site.seen_off).cloned().collect()
    }

    /// Whether anybody has a content: no user destroyed it at the only site that had it. Where an index
    /// was lost nobody knows any more what a user had there; that counts as had.
    fn is_held(&self, content: &Content) -> bool {
        *content == Content::Dir
            || self.sites.iter().any(|site| {
                let stands = site.tree.values().any(|found| found.content == *content);
                let was_there = site.forgot && site.seen_off.contains(content);
                stands || was_there || site.aside.contains(content)
            })
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
pub(super) fn seal(state: &mut FolderState<MemoryIndex>) {
    if state.to_seal().is_some() {
        state.sealed([0; 32], [0; 64]).expect("in memory");
    }
}

fn names(world: &World, at: usize) -> Vec<String> {
    world.visible(at).into_keys().collect()
}

fn take(world: &mut World, steps: &[Step]) {
    for step in steps {
        world.take(step);
        world.check();
    }
}

/// Site 2 is removed, and what the other two then delete at "g" they forget.
fn remove(world: &mut World) {
    take(world, &[Step::Cut(0, 2), Step::Cut(1, 2), Step::Delete(1, 6), Step::Scan(1)]);
    for _ in 0..2 {
        take(world, &[Step::Tell { from: 1, to: 0 }, Step::Act(0)]);
        take(world, &[Step::Tell { from: 0, to: 1 }, Step::Act(1)]);
    }
    for at in 0..2 {
        let last = world.sites[at].state.index().last_arrival().expect("in memory");
        let collected = world.sites[at].state.collect(last, None, 99).expect("in memory");
        assert_eq!(collected.dropped, 1);
    }
}

fn settled(steps: &[Step]) -> World {
    let mut world = World::of(steps);
    world.quiesce();
    world
}

fn assert_alike(world: &World) {
    let first = world.visible(0);
    for at in 1..world.sites.len() {
        assert_eq!(world.visible(at), first, "site {at} differs");
    }
    for site in &world.sites {
        let left = site.state.index().unsettled();
        assert!(left.is_empty(), "left to do: {left:?}");
    }
}

proptest! {
    #![proptest_config(crate::cases::cases(2000))]

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
        for content in world.written.difference(&world.seen_off()) {
            prop_assert!(visible.contains(content), "{content:?} is kept, but nobody sees it");
        }
    }
}
