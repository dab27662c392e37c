//! Changes in the middle of which something else happens: a user edits what is about to be displaced,
//! or the process is killed between the disk and the index; and looks at single paths, as whoever
//! watches a tree takes them, early, late or never.

use super::*;

/// How far a change is.
#[derive(Clone)]
pub(super) enum Half {
    /// It was looked that what is known stands there; nothing is done yet. The intent is written.
    Chosen { path: RelPath, known: Option<Box<Placed>>, new: Option<Version> },
    /// The disk is as it is to be; the index does not say so yet.
    Done { path: RelPath, placed: Option<Placed>, out: Option<Box<Loose>> },
}

/// What a change displaced that is not what was known to stand there.
#[derive(Clone)]
pub(super) struct Loose {
    path: RelPath,
    found: Found,
    over: Option<Version>,
}

impl World {
    /// Goes one step further with a change, or begins one.
    pub(super) fn further(&mut self, at: usize) {
        match self.sites[at].half.take() {
            None => self.choose(at),
            Some(Half::Chosen { path, known, new }) => {
                self.change(at, path, known.map(|known| *known), new);
            }
            done => self.sites[at].half = done,
        }
    }

    /// The first change that can be made now.
    fn choose(&mut self, at: usize) {
        for path in self.sites[at].state.index().unsettled() {
            let Site { state, tree, .. } = &mut self.sites[at];
            let known = state.index().item(&path).expect("in memory").placed;
            let stands = tree.get(&path).map(|found| found.identity);
            if known.as_ref().map(|placed| placed.identity) != stands {
                continue;
            }
            let task = state.task(&path).expect("in memory");
            let is_dir = tree.get(&path).is_some_and(|found| found.content == Content::Dir);
            let parent = path.parent();
            let has_place = parent.is_none_or(|parent| is_dir_in(tree, &parent));
            let new = match task {
                Task::Place(version) if has_place && self.is_held(&version.content) => {
                    Some(version)
                }
                Task::Remove => None,
                _ => continue,
            };
            // Directories are made and removed in one step.
            if !is_dir && new.as_ref().is_none_or(|new| new.content != Content::Dir) {
                let known = known.map(Box::new);
                self.sites[at].half = Some(Half::Chosen { path, known, new });
                return;
            }
        }
    }

    /// What the disk does at once: the new file changes places with whatever stands there now.
    fn change(&mut self, at: usize, path: RelPath, known: Option<Placed>, new: Option<Version>) {
        let identity = self.found(Content::Dir).identity;
        let Site { tree, aside, half, .. } = &mut self.sites[at];
        let has_place = path.parent().is_none_or(|parent| is_dir_in(tree, &parent));
        let stands = tree.get(&path);
        let is_dir = stands.is_some_and(|found| found.content == Content::Dir);
        // It is refused: there is something where nothing was, nothing where something was, or a
        // directory in the way. Whoever looks next sees that.
        if !has_place || is_dir || stands.is_some() != known.is_some() {
            return;
        }
        let out = match &new {
            None => tree.remove(&path),
            Some(version) => {
                let (content, meta) = (version.content.clone(), version.meta.clone());
                tree.insert(path.clone(), Found { content, meta, identity })
            }
        };
        aside.extend(out.iter().map(|out| out.content.clone()));
        let is_known = out.as_ref().map(|out| out.identity) == known.as_ref().map(|k| k.identity);
        let over = known.map(|known| known.version);
        let loose = out
            .filter(|_| !is_known)
            .map(|found| Box::new(Loose { path: path.clone(), found, over }));
        let placed = new.map(|version| Placed { meta: version.meta.clone(), version, identity });
        *half = Some(Half::Done { path, placed, out: loose });
    }

    /// The index hears what became of the change that was begun, before anything else is done: by the
    /// process that made it, or by the next one, which asks the disk (spec: S-044).
    pub(super) fn finish(&mut self, at: usize) {
        let wall = self.wall(at);
        let Site { state, half, loose, .. } = &mut self.sites[at];
        if let Some(Half::Done { path, placed, out }) = half.take() {
            state.placed(&path, placed.as_ref()).expect("in memory");
            loose.extend(out.map(|out| *out));
        }
        // What may not be published yet is tried again.
        loose.retain(|Loose { path, found, over }| {
            let said = state.displaced(path, found.clone(), over.as_ref(), wall);
            seal(state);
            said.expect("in memory").is_err()
        });
    }

    /// Looks where something happened: at what is above it, where nothing is known of that, at what is
    /// gone with it, and at it.
    pub(super) fn look(&mut self, at: usize, place: &RelPath) {
        let wall = self.wall(at);
        let Site { state, tree, .. } = &mut self.sites[at];
        let mut paths: Vec<RelPath> = Vec::new();
        if tree.contains_key(place) {
            let above = core::iter::successors(place.parent(), RelPath::parent);
            let is_known = |dir: &RelPath| {
                let placed = state.index().item(dir).expect("in memory").placed;
                placed.is_some_and(|placed| placed.version.content == Content::Dir)
            };
            paths.extend(above.take_while(|dir| !is_known(dir)));
            paths.reverse();
        }
        if !is_dir_in(tree, place) {
            let known = state.index().paths().into_iter().rev();
            paths.extend(known.filter(|path| path != place && path.starts_with(place)));
        }
        paths.push(place.clone());
        let looks: Vec<_> =
            paths.into_iter().map(|path| (path.clone(), tree.get(&path).cloned())).collect();
        state.weigh_looks(&looks, wall).expect("in memory");
        for (path, found) in looks {
            state.observe(&path, found, wall).expect("in memory");
            if state.is_run_full() {
                seal(state);
            }
        }
        seal(state);
    }
}

fn is_dir_in(tree: &Tree, path: &RelPath) -> bool {
    tree.get(path).is_some_and(|found| found.content == Content::Dir)
}

/// F-08: a user writes into a file in the moment in which a version from elsewhere takes its place.
#[test]
fn an_edit_that_a_change_displaces_in_the_moment_between_look_and_swap_is_seen_by_all() {
    for is_killed in [false, true] {
        let mut world = World::of(&[Step::Write(0, 6)]);
        world.quiesce();
        take(&mut world, &[Step::Write(0, 6), Step::Scan(0), Step::Tell { from: 0, to: 1 }]);
        take(&mut world, &[Step::Further(1), Step::Write(1, 6)]);
        let edit = world.sites[1].tree[&path("g")].content.clone();
        take(&mut world, &[Step::Further(1)]);
        assert_ne!(world.sites[1].tree[&path("g")].content, edit, "it was displaced");
        if is_killed {
            take(&mut world, &[Step::Restart(1)]);
        }
        world.quiesce();
        assert_alike(&world);
        assert!(world.sites[2].tree.values().any(|found| found.content == edit));
        assert_eq!(names(&world, 2).len(), 2, "{:?}", names(&world, 2));
    }
}

/// A process that is killed between disk and index has published nothing twice, nor forgotten it.
#[test]
fn a_change_that_the_index_did_not_hear_of_is_no_edit_after_a_restart() {
    let mut world = World::of(&[Step::Write(0, 6), Step::Write(0, 4)]);
    world.quiesce();
    take(&mut world, &[Step::Write(0, 6), Step::Delete(0, 4), Step::Scan(0)]);
    take(&mut world, &[Step::Tell { from: 0, to: 1 }]);
    for _ in 0..2 {
        take(&mut world, &[Step::Further(1), Step::Further(1), Step::Restart(1), Step::Scan(1)]);
    }
    assert_eq!(names(&world, 1), ["g"]);
    world.quiesce();
    assert_alike(&world);
    let is_of_1 = |(dot, _): (&Dot, _)| dot.author.site == id(1);
    assert!(!world.dots.iter().any(is_of_1), "site 1 published nothing");
}

/// Events that come late, in another order, or not at all: what is looked at is as it stands.
#[test]
fn looks_at_single_paths_in_any_order_come_to_what_a_scan_comes_to() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
        let mut world = World::of(&[Step::Write(0, 2), Step::Write(0, 3)]);
        world.quiesce();
        // The directory becomes a file.
        take(&mut world, &[Step::Delete(0, 0), Step::Write(0, 0)]);
        take(&mut world, &order.map(|place| Step::Look(0, place)));
        let by_looks: Vec<Content> = live(&world, 0);
        take(&mut world, &[Step::Scan(0)]);
        assert_eq!(live(&world, 0), by_looks, "{order:?}");
        world.quiesce();
        assert_alike(&world);
        assert_eq!(names(&world, 1), ["a"]);
    }
}

fn live(world: &World, at: usize) -> Vec<Content> {
    let index = world.sites[at].state.index();
    let items = index.paths().into_iter().map(|path| index.item(&path).expect("in memory"));
    let versions = items.flat_map(|item| item.versions.iter().cloned().collect::<Vec<_>>());
    versions.map(|version| version.content).filter(|content| *content != Content::Gone).collect()
}
