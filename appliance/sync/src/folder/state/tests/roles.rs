//! Sites that may not do everything: what they write never leaves them, what others may not say has
//! no effect, and nothing of it is lost.

use super::*;
use crate::folder::{Rights, Role};

/// A world in which each site has a role and all know of it.
fn world_of(roles: [Role; SITES]) -> World {
    let mut world = World::new();
    for at in 0..SITES {
        let known = others(at).map(|other| (id(other), roles[other]));
        world.govern(at, Policy { rights: Rights::new(roles[at], known), ..Policy::default() });
    }
    world
}

impl World {
    pub(super) fn govern(&mut self, at: usize, policy: Policy) {
        let site = &mut self.sites[at];
        site.policy = Arc::new(policy);
        let state = core::mem::replace(&mut site.state, state_of(at, 0));
        let (index, publisher) = state.into_parts();
        site.state = FolderState::new(index, FOLDER, publisher).under(&site.policy);
    }

    /// A person takes back all edits of a site that it may not publish.
    fn revert_all(&mut self, at: usize) -> usize {
        let looks = self.sites[at].state.index().looks(None, 1000).expect("in memory");
        let edits = looks.into_iter().filter(|(_, look)| look.why == Why::ReadOnly);
        let state = &mut self.sites[at].state;
        edits.filter(|(path, _)| state.revert(path).expect("in memory")).count()
    }

    fn edits(&self, at: usize) -> Vec<String> {
        let looks = self.sites[at].state.index().looks(None, 1000).expect("in memory");
        let edits = looks.into_iter().filter(|(_, look)| look.why == Why::ReadOnly);
        edits.map(|(path, _)| path.to_string()).collect()
    }

    /// I13: nothing that this site made is known to, or stands at, any other.
    fn i13_nothing_leaks_from(&self, at: usize) {
        for other in others(at) {
            let index = self.sites[other].state.index();
            for path in index.paths() {
                let item = index.item(&path).expect("in memory");
                let is_theirs = |version: &Version| version.dot.author.site == id(at);
                assert!(!item.versions.iter().any(is_theirs), "I13: {path} leaked");
            }
        }
    }
}

const RW: Role = Role::ReadWrite;
const RO: Role = Role::ReadOnly;

/// S-35: what a receiver's user writes is listed, stays, and never leaves it.
#[test]
fn an_edit_of_a_read_only_site_is_listed_and_stays_and_nobody_else_hears_of_it() {
    let mut world = world_of([RW, RW, RO]);
    take(&mut world, &[Step::Write(0, 6), Step::Write(0, 4)]);
    world.quiesce();
    take(&mut world, &[Step::Write(2, 6), Step::Delete(2, 4), Step::Write(2, 0), Step::Scan(2)]);
    let edited = world.sites[2].tree[&path("g")].content.clone();
    world.quiesce();
    assert_eq!(world.edits(2), ["a", "e", "g"]);
    assert_eq!(
        (names(&world, 0), names(&world, 1)),
        (vec!["e".into(), "g".into()], names(&world, 0))
    );
    assert_eq!(world.sites[2].tree[&path("g")].content, edited, "it stays");
    world.i13_nothing_leaks_from(2);
}

#[test]
fn an_edit_of_a_read_only_site_gives_way_to_what_is_newer_and_is_kept() {
    let mut world = world_of([RW, RW, RO]);
    take(&mut world, &[Step::Write(0, 6), Step::Write(0, 4)]);
    world.quiesce();
    take(&mut world, &[Step::Write(2, 6), Step::Delete(2, 4), Step::Scan(2)]);
    let edited = world.sites[2].tree[&path("g")].content.clone();
    take(&mut world, &[Step::Write(1, 6), Step::Write(1, 4)]);
    world.quiesce();
    assert_alike(&world);
    assert!(world.sites[2].aside.contains(&edited), "it is kept");
    assert_eq!(world.edits(2), [""; 0]);
    world.i13_nothing_leaks_from(2);
}

#[test]
fn what_is_reverted_comes_back_as_it_was_and_what_was_new_goes_where_it_is_kept() {
    let mut world = world_of([RW, RW, RO]);
    take(&mut world, &[Step::Write(0, 6), Step::Write(0, 4)]);
    world.quiesce();
    take(&mut world, &[Step::Write(2, 6), Step::Delete(2, 4), Step::Write(2, 2), Step::Scan(2)]);
    let new = world.sites[2].tree[&path("a/b/c")].content.clone();
    assert_eq!(world.revert_all(2), 5);
    world.quiesce();
    assert_alike(&world);
    assert!(world.sites[2].aside.contains(&new));
    assert_eq!(names(&world, 2), ["e", "g"]);
}

/// An edit that was reverted is no version of anybody: a later edit of a site that may publish by then
/// names no such version.
#[test]
fn a_site_that_may_publish_again_says_nothing_of_what_nobody_published() {
    let mut world = world_of([RW, RW, RO]);
    take(&mut world, &[Step::Write(0, 6)]);
    world.quiesce();
    take(&mut world, &[Step::Write(2, 6), Step::Scan(2)]);
    assert_eq!(world.revert_all(2), 1);
    for at in 0..SITES {
        world.govern(at, Policy::default());
    }
    take(&mut world, &[Step::Write(2, 6), Step::Scan(2)]);
    world.quiesce();
    assert_alike(&world);
    let nobody = Dot::NOBODY.author;
    for (_, version) in world.dots.values() {
        assert!(
            version.dot.author != nobody && version.context.authors().all(|(a, _)| *a != nobody)
        );
    }
}

#[test]
fn what_was_edited_is_published_once_the_role_is_wider() {
    let mut world = world_of([RW, RW, RO]);
    take(&mut world, &[Step::Write(2, 6), Step::Scan(2)]);
    world.quiesce();
    assert_eq!(names(&world, 0), [""; 0]);
    for at in 0..SITES {
        world.govern(at, Policy::default());
    }
    world.quiesce();
    assert_alike(&world);
    assert_eq!(names(&world, 0), ["g"]);
}

/// I9: it says of itself that it may write, and publishes; the others know better.
#[test]
fn what_a_read_only_site_publishes_all_the_same_changes_nothing_anywhere() {
    let mut world = world_of([RW, RW, RO]);
    take(&mut world, &[Step::Write(0, 6), Step::Write(1, 4)]);
    world.quiesce();
    let before = (world.visible(0), world.visible(1));
    world.govern(2, Policy::default());
    take(&mut world, &[Step::Write(2, 6), Step::Delete(2, 4), Step::Write(2, 1), Step::Scan(2)]);
    for _ in 0..3 {
        take(&mut world, &[Step::Tell { from: 2, to: 0 }, Step::Act(0)]);
        take(&mut world, &[Step::Tell { from: 2, to: 1 }, Step::Act(1)]);
        take(&mut world, &[Step::Tell { from: 0, to: 1 }, Step::Tell { from: 1, to: 0 }]);
    }
    assert_eq!((world.visible(0), world.visible(1)), before);
    world.i13_nothing_leaks_from(2);
    // What others publish over it names its versions, and is taken in.
    take(&mut world, &[Step::Write(1, 6)]);
    world.quiesce();
    assert_eq!(world.visible(0), world.visible(1));
}

#[test]
fn a_source_takes_nothing_of_others_and_what_it_says_stands_everywhere() {
    let mut world = world_of([Role::SourceOnly, RW, RO]);
    take(&mut world, &[Step::Write(0, 6), Step::Write(1, 4), Step::Write(1, 6), Step::Scan(1)]);
    world.quiesce();
    assert_eq!(names(&world, 0), ["g"]);
    let index = world.sites[0].state.index();
    assert!(index.paths().iter().all(|path| {
        let versions = index.item(path).expect("in memory").versions;
        versions.iter().all(|version| version.dot.author.site == id(0))
    }));
    assert_eq!(world.visible(1), world.visible(2));
    assert_eq!(names(&world, 1).len(), 3, "a conflict: both are there");
    take(&mut world, &[Step::Delete(1, 6), Step::Delete(1, 4)]);
    world.quiesce();
    assert_eq!(names(&world, 0), ["g"], "nobody deletes anything at a source");
}

/// I6: it refuses the deletion, tells its file again under another name, and nobody takes that for new.
#[test]
fn what_others_deleted_of_a_source_does_not_come_back_when_it_tells_all_again() {
    let mut world = world_of([Role::SourceOnly, RW, RO]);
    take(&mut world, &[Step::Write(0, 6), Step::Write(0, 4)]);
    world.quiesce();
    take(&mut world, &[Step::Delete(1, 6)]);
    world.quiesce();
    take(&mut world, &[Step::Collect(0), Step::Collect(1), Step::Collect(2)]);
    let kept = |world: &World| world.sites[1].state.index().tombstones(None, 9).expect("there");
    assert_eq!(kept(&world).len(), 1);
    world.renew(0);
    world.quiesce();
    assert_eq!((names(&world, 1), names(&world, 2)), (vec!["e".into()], vec!["e".into()]));
    assert_eq!(names(&world, 0), ["e", "g"], "there it stays");
    // What the source itself deletes is taken by all, and forgotten.
    take(&mut world, &[Step::Delete(0, 4)]);
    world.quiesce();
    take(&mut world, &[Step::Collect(0), Step::Collect(1), Step::Collect(2)]);
    assert!(kept(&world).iter().all(|tombstone| tombstone.path == path("g")));
}

/// F-24 of a source: what it published itself it gets back.
#[test]
fn a_source_that_lost_everything_gets_back_what_it_published() {
    let mut world = world_of([Role::SourceOnly, RW, RO]);
    take(&mut world, &[Step::Write(0, 6), Step::Write(0, 2)]);
    world.quiesce();
    let shown = world.visible(0);
    take(&mut world, &[Step::LoseAll(0), Step::Scan(0)]);
    world.quiesce();
    assert_eq!(world.visible(0), shown);
    assert_eq!(world.visible(1), shown);
}

/// S-39: deleted at its source, kept in the archive.
#[test]
fn an_archive_keeps_what_others_delete_and_passes_nothing_on() {
    let mut world = world_of([RW, RW, Role::SinkOnly]);
    let rights = world.sites[2].policy.rights.clone();
    world.govern(2, Policy { rights, keeps_deleted: true, ..Policy::default() });
    take(&mut world, &[Step::Write(0, 6), Step::Write(0, 2), Step::Cut(0, 1)]);
    for _ in 0..3 {
        take(
            &mut world,
            &[Step::Scan(0), Step::Tell { from: 0, to: 2 }, Step::Act(2), Step::Scan(2)],
        );
        take(&mut world, &[Step::Tell { from: 2, to: 1 }, Step::Act(1)]);
    }
    assert_eq!(names(&world, 1), [""; 0], "it is told of nothing by a sink");
    world.quiesce();
    take(&mut world, &[Step::Delete(0, 0), Step::Delete(0, 6)]);
    world.quiesce();
    assert_eq!((names(&world, 0), names(&world, 1)), (vec![], vec![]));
    assert_eq!(names(&world, 2), ["a", "a/b", "a/b/c", "g"]);
    // What stands there keeps its tombstone, however often those are collected.
    take(&mut world, &[Step::Collect(2), Step::Act(2), Step::Scan(2), Step::Act(2)]);
    world.quiesce();
    assert_eq!(names(&world, 2), ["a", "a/b", "a/b/c", "g"]);
    // And what is written again takes its place.
    take(&mut world, &[Step::Write(1, 6)]);
    world.quiesce();
    assert_eq!(world.sites[2].tree[&path("g")].content, world.sites[1].tree[&path("g")].content);
    world.i13_nothing_leaks_from(2);
}

#[test]
fn nothing_is_ordered_where_nothing_may_be_published() {
    let mut world = world_of([RW, RW, RO]);
    take(&mut world, &[Step::Write(0, 6), Step::Write(1, 6)]);
    world.quiesce();
    let copy = names(&world, 2).remove(1);
    let state = &mut world.sites[2].state;
    let ended = state.end_conflict(&path(&copy), true, 1);
    assert!(matches!(ended, Err(StateError::ReadOnly)), "{ended:?}");
    let revised = state.revise(&path("g"), Content::Gone, Meta::default(), 1);
    assert!(matches!(revised, Err(StateError::ReadOnly)), "{revised:?}");
    // Nor does a user end a conflict there: the copy is missed and comes back.
    world.delete(2, &path(&copy));
    take(&mut world, &[Step::Scan(2)]);
    assert_eq!(world.edits(2), std::slice::from_ref(&copy));
    assert_eq!(world.revert_all(2), 1);
    world.quiesce();
    assert_alike(&world);
    assert!(names(&world, 2).contains(&copy));
}

fn roles() -> impl Strategy<Value = [Role; SITES]> {
    let role = proptest::sample::select(&Role::ALL[..]);
    // Somebody has to read and write, or nothing is alike anywhere.
    (role, Just(RW), 0..SITES).prop_map(|(role, rw, at)| {
        let mut roles = [rw; SITES];
        roles[at] = role;
        roles
    })
}

proptest! {
    #![proptest_config(crate::cases::cases(600))]

    /// Invariants after every step; in the end, those who read and write are alike, and so is a
    /// receiver once its own edits are taken back.
    #[test]
    fn with_any_role_nothing_leaks_and_nothing_is_lost(
        roles in roles(), steps in proptest::collection::vec(step(), 1..40),
    ) {
        let mut world = world_of(roles);
        take(&mut world, &steps);
        world.quiesce();
        let special = roles.iter().position(|role| *role != RW);
        if let Some(at) = special.filter(|at| !roles[*at].publishes()) {
            world.i13_nothing_leaks_from(at);
            // An edit is listed or gave way: what stands and is neither is what all have.
            for _ in 0..3 {
                world.revert_all(at);
                world.quiesce();
            }
        }
        // A sink gives nobody back what all others lost.
        let is_one = |at: &usize| roles[*at].receives() && roles[*at].gives();
        let alike: Vec<usize> = (0..SITES).filter(is_one).collect();
        for pair in alike.windows(2) {
            prop_assert_eq!(world.visible(pair[0]), world.visible(pair[1]));
        }
        if let Some(at) = special.filter(|at| !roles[*at].receives()) {
            let index = world.sites[at].state.index();
            for path in index.paths() {
                let versions = index.item(&path).expect("in memory").versions;
                prop_assert!(versions.iter().all(|version| version.dot.author.site == id(at)));
            }
        }
    }
}
