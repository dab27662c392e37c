//! Histories with a name: what somebody lost once, or what a reader may ask about first. Numbers are
//! those of the list of scenarios.

use super::*;
use crate::folder::Aside;

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
    assert_eq!(files, world.written.difference(&world.seen_off()).cloned().collect());
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

/// What another site put there has the content that a user put in place of something else: nobody
/// has that any more, so nobody may go on to ask for it.
#[test]
fn who_puts_the_same_as_another_site_in_place_of_a_file_has_seen_the_file_off() {
    let mut world = World::of(&[Step::Write(0, 6), Step::Scan(0)]);
    take(&mut world, &[Step::Tell { from: 0, to: 1 }, Step::MakeDir(1, 6), Step::Scan(1)]);
    take(&mut world, &[Step::Delete(0, 6), Step::MakeDir(0, 6), Step::Tell { from: 1, to: 0 }]);
    world.quiesce();
    assert_alike(&world);
    assert_eq!(names(&world, 2), ["g"]);
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

/// How many versions there are, known to anybody.
fn count(world: &mut World) -> usize {
    world.check();
    world.dots.len()
}

#[test]
fn a_record_of_ours_that_this_index_never_wrote_is_noticed_even_below_its_numbers() {
    let mut world = settled(&[Step::Write(0, 6)]);
    world.sites[0].state = state_of(0, 0);
    world.take(&Step::Delete(0, 6));
    world.take(&Step::Write(0, 4));
    world.scan(0);
    world.take(&Step::Write(0, 4));
    world.scan(0);
    let fed = Feed::default().next(world.sites[1].state.index()).expect("whole");
    let run = &fed.expect("one record").records.runs[0];
    let learned = world.sites[0].state.learn(run, &run.open().expect("sealed"));
    assert!(matches!(learned, Err(StateError::RolledBack)), "{learned:?}");
}

/// S-07, F-25: the numbers of the lost state are with site 1 alone.
#[test]
fn an_index_that_was_put_back_gives_no_number_twice() {
    let mut world = settled(&[Step::Write(0, 6)]);
    take(&mut world, &[Step::Save(0), Step::Write(0, 6), Step::Scan(0)]);
    take(&mut world, &[Step::Tell { from: 0, to: 1 }]);
    take(&mut world, &[Step::Restore(0), Step::Write(0, 4), Step::Scan(0)]);
    take(&mut world, &[Step::Tell { from: 2, to: 0 }, Step::Wait(0), Step::Scan(0)]);
    world.quiesce();
    assert_alike(&world);
    let lives = world.dots.keys().filter(|dot| dot.author.site == id(0));
    let lives: BTreeSet<Incarnation> = lives.map(|dot| dot.author.incarnation).collect();
    assert_eq!(lives.len(), 2, "site 1 was not heard: another name");
}

#[test]
fn numbers_of_which_every_witness_lost_everything_do_no_harm_when_they_are_given_again() {
    let steps = [
        Step::Save(1),
        Step::MakeDir(1, 3),
        Step::Scan(1),
        Step::Tell { from: 1, to: 2 },
        Step::Restore(1),
        Step::LoseAll(2),
        Step::Write(0, 1),
    ];
    assert_alike(&settled(&steps));
}

#[test]
fn an_index_that_heard_everybody_goes_on_under_its_name() {
    let mut world = settled(&[Step::Write(0, 6)]);
    take(&mut world, &[Step::Save(0), Step::Restore(0), Step::Write(0, 4), Step::Scan(0)]);
    let before = count(&mut world);
    let look = world.sites[0].state.index().look(&path("e")).expect("in memory");
    assert_eq!(look.map(|look| look.why), Some(Why::Listening));
    world.quiesce();
    assert_alike(&world);
    assert_eq!(count(&mut world), before + 1);
    assert!(world.dots.keys().all(|dot| dot.author.incarnation == Incarnation::new(0)));
}

/// S-08, L3, I7: what stood beside a file is no file of its own to an index that is new.
#[test]
fn a_site_that_lost_its_index_makes_no_version_and_no_copy_of_a_copy() {
    let mut world = settled(&[Step::Write(0, 6), Step::Write(1, 6), Step::Write(2, 2)]);
    let (before, shown) = (count(&mut world), world.visible(2));
    take(&mut world, &[Step::Forget(2), Step::Scan(2)]);
    world.quiesce();
    assert_alike(&world);
    assert_eq!((count(&mut world), world.visible(2)), (before, shown));
}

/// F-24: an empty tree with a new index is no deletion.
#[test]
fn a_site_that_lost_everything_gets_it_back_and_deletes_nothing() {
    let mut world = settled(&[Step::Write(0, 6), Step::Write(0, 2)]);
    let (before, shown) = (count(&mut world), world.visible(0));
    take(&mut world, &[Step::LoseAll(1), Step::Scan(1)]);
    world.quiesce();
    assert_alike(&world);
    assert_eq!((count(&mut world), world.visible(1)), (before, shown));
}

/// I6: the copy of the index still knows the file, and nobody else does.
#[test]
fn what_all_deleted_does_not_come_back_with_an_old_index() {
    let mut world = settled(&[Step::Write(0, 6)]);
    take(&mut world, &[Step::Save(1), Step::Delete(0, 6)]);
    world.quiesce();
    take(&mut world, &[Step::Collect(0), Step::Collect(1), Step::Collect(2)]);
    world.quiesce();
    take(&mut world, &[Step::Restore(1), Step::Scan(1), Step::Act(1)]);
    world.quiesce();
    assert_alike(&world);
    assert!(world.visible(0).is_empty());
}

/// Site 2 is removed, what it has is deleted elsewhere and forgotten, and it comes back.
fn brought_back(world: &mut World) -> Aside {
    remove(world);
    take(world, &[Step::Cut(0, 2), Step::Cut(1, 2), Step::Tell { from: 2, to: 0 }]);
    take(world, &[Step::Act(0)]);
    assert!(world.visible(0).is_empty(), "what was deleted is not shown");
    let asides = world.sites[0].state.index().asides(None, 9).expect("in memory");
    assert_eq!(asides.iter().map(|aside| aside.why).collect::<Vec<_>>(), [Why::Stale]);
    asides[0].clone()
}

/// S-09: a site that was removed comes back, and still has what was deleted and forgotten.
#[test]
fn what_a_member_that_was_removed_brings_back_comes_back_if_a_person_says_so() {
    let mut world = settled(&[Step::Write(1, 6)]);
    let aside = brought_back(&mut world);
    world.sites[0].state.accept_aside(&aside).expect("in memory");
    world.quiesce();
    assert_alike(&world);
    assert_eq!(names(&world, 1), ["g"]);
}

#[test]
fn what_a_member_that_was_removed_brings_back_goes_there_too_if_a_person_says_so() {
    let mut world = settled(&[Step::Write(1, 6)]);
    let aside = brought_back(&mut world);
    assert!(world.sites[0].state.refuse_aside(&aside, 1).expect("in memory"));
    seal(&mut world.sites[0].state);
    world.quiesce();
    assert_alike(&world);
    assert!(world.visible(2).is_empty());
}

#[test]
fn a_tombstone_stays_as_long_as_one_member_has_not_heard_of_it() {
    let mut world = settled(&[Step::Write(0, 6)]);
    take(&mut world, &[Step::Cut(0, 2), Step::Cut(1, 2), Step::Delete(0, 6), Step::Scan(0)]);
    for _ in 0..3 {
        take(&mut world, &[Step::Tell { from: 0, to: 1 }, Step::Tell { from: 1, to: 0 }]);
        take(&mut world, &[Step::Act(1), Step::Collect(0), Step::Collect(1)]);
    }
    let kept = |world: &World| {
        let of = |at: usize| world.sites[at].state.index().tombstones(None, 9).expect("in memory");
        (0..SITES).map(|at| of(at).len()).collect::<Vec<_>>()
    };
    assert_eq!(kept(&world), [1, 1, 0]);
    world.quiesce();
    take(&mut world, &[Step::Collect(0), Step::Collect(1), Step::Collect(2)]);
    assert_eq!(kept(&world), [0, 0, 0]);
    world.quiesce();
    assert_alike(&world);
    assert!(world.visible(2).is_empty());
}

/// S-01.
#[test]
fn what_is_written_deleted_and_written_again_between_two_looks_is_what_stands() {
    let mut world = settled(&[Step::Write(0, 6)]);
    take(&mut world, &[Step::Cut(0, 1), Step::Delete(0, 6), Step::Write(0, 6), Step::Scan(0)]);
    let newest = world.sites[0].tree[&path("g")].content.clone();
    world.quiesce();
    assert_alike(&world);
    assert_eq!(names(&world, 2), ["g"]);
    assert_eq!(world.sites[2].tree[&path("g")].content, newest);
}

/// S-02: in whichever order the three hear of it.
#[test]
fn an_edit_survives_a_deletion_elsewhere_in_every_order() {
    for order in ORDERS {
        let mut world = settled(&[Step::Write(0, 6)]);
        take(&mut world, &[Step::Delete(0, 6), Step::Write(1, 6), Step::Scan(0), Step::Scan(1)]);
        for from in order {
            others(from).for_each(|to| world.tell(from, to));
        }
        world.quiesce();
        assert_alike(&world);
        assert_eq!(names(&world, 2), ["g"]);
    }
}

/// S-03.
#[test]
fn a_deletion_that_only_one_other_site_heard_of_reaches_the_third_through_it() {
    let mut world = settled(&[Step::Write(0, 6)]);
    take(&mut world, &[Step::Cut(0, 1), Step::Cut(1, 2), Step::Delete(0, 6), Step::Scan(0)]);
    take(&mut world, &[Step::Tell { from: 0, to: 2 }]);
    take(&mut world, &[Step::Cut(0, 2), Step::Cut(1, 2), Step::Tell { from: 2, to: 1 }]);
    take(&mut world, &[Step::Tell { from: 1, to: 2 }, Step::Act(1), Step::Act(2), Step::Scan(1)]);
    assert_eq!((names(&world, 1), names(&world, 2)), (vec![], vec![]));
}

/// S-05: it holds the newer file, and meets a site with the older one.
#[test]
fn a_newer_file_of_a_site_that_lost_its_index_is_not_overwritten() {
    let mut world = settled(&[Step::Write(0, 6)]);
    take(&mut world, &[Step::Write(0, 6), Step::Forget(0), Step::Scan(0)]);
    let newer = world.sites[0].tree[&path("g")].content.clone();
    world.quiesce();
    assert_alike(&world);
    assert!(world.visible(1).into_values().any(|(content, _)| content == newer));
}

/// S-37.
#[test]
fn a_clock_that_is_wrong_by_days_does_not_decide_what_came_after_what() {
    let mut world = settled(&[Step::Clock(0, 120), Step::Write(0, 6)]);
    take(&mut world, &[Step::Clock(0, 0), Step::Write(1, 6)]);
    let newest = world.sites[1].tree[&path("g")].content.clone();
    world.quiesce();
    assert_alike(&world);
    assert_eq!(names(&world, 0), ["g"]);
    assert_eq!(world.sites[0].tree[&path("g")].content, newest);
}

/// S-20, I5: the name is a function of what there is, not of what was there once.
#[test]
fn a_copy_takes_the_shorter_name_again_when_it_is_free() {
    let conflict = [Step::Write(0, 6), Step::Write(1, 6)];
    let short = names(&settled(&conflict), 0).remove(1);
    let mut world = World::of(&conflict);
    world.write(2, &path(&short), file(9999));
    world.quiesce();
    assert_alike(&world);
    let taken = names(&world, 1);
    assert_eq!((taken.len(), taken[1].len()), (3, short.len()), "{taken:?}");
    let longer = short.len() + 4;
    assert!(taken.iter().any(|name| name.len() == longer), "{taken:?}");
    world.delete(2, &path(&short));
    world.quiesce();
    assert_alike(&world);
    assert_eq!(names(&world, 0), ["g".to_owned(), short]);
}

/// S-04: two edits nobody saw of each other, and a deletion of one of them, in every order.
#[test]
fn a_deletion_of_one_side_of_a_conflict_leaves_the_other_one_in_every_order() {
    for order in ORDERS {
        let mut world = World::of(&[Step::Write(0, 6), Step::Scan(0)]);
        take(&mut world, &[Step::Tell { from: 0, to: 2 }, Step::Act(2), Step::Write(1, 6)]);
        let other = world.sites[1].tree[&path("g")].content.clone();
        take(&mut world, &[Step::Delete(2, 6), Step::Scan(1), Step::Scan(2)]);
        for from in order {
            others(from).for_each(|to| world.tell(from, to));
        }
        world.quiesce();
        assert_alike(&world);
        assert_eq!(names(&world, 0), ["g"]);
        assert_eq!(world.sites[0].tree[&path("g")].content, other);
    }
}

/// S-06: who made it lost its index before it heard of the deletion.
#[test]
fn a_deletion_that_meets_a_site_without_its_index_loses_no_byte_and_ends_alike() {
    let mut world = World::of(&[Step::Write(0, 6), Step::Scan(0), Step::Tell { from: 0, to: 1 }]);
    take(&mut world, &[Step::Act(1), Step::Delete(1, 6), Step::Scan(1)]);
    let content = world.sites[0].tree[&path("g")].content.clone();
    take(&mut world, &[Step::Forget(0), Step::Scan(0)]);
    world.quiesce();
    assert_alike(&world);
    let is_shown = names(&world, 1) == ["g"];
    assert!(is_shown || world.sites[0].aside.contains(&content), "{:?}", names(&world, 1));
}

/// S-18, S-22: a release that reads more of a file than the one before finds nobody's edit in it that
/// would be a conflict, and no deletion, at whichever sites it runs.
#[test]
fn what_sites_read_of_a_file_for_the_first_time_makes_no_conflict() {
    for sites in [1, 2, 3] {
        let mut world = settled(&[Step::Write(0, 6), Step::MakeDir(0, 4)]);
        for at in 0..sites {
            for found in world.sites[at].tree.values_mut() {
                found.meta.owner = Some(Box::from(&b"anna"[..]));
            }
        }
        world.quiesce();
        assert_alike(&world);
        assert_eq!(names(&world, 2), ["e", "g"]);
        assert!(world.dots.values().all(|(_, version)| version.is_live()));
    }
}

/// S-36: whoever puts an old file back means it.
#[test]
fn an_old_file_with_an_old_time_that_is_put_back_goes_everywhere() {
    let mut world = settled(&[Step::Write(0, 6)]);
    let old = world.sites[0].tree[&path("g")].clone();
    take(&mut world, &[Step::Write(1, 6)]);
    world.quiesce();
    world.tick += 1;
    let identity = FileIdentity { inode: u64::from(world.tick), ..FileIdentity::default() };
    let newer = world.sites[0].tree.insert(path("g"), Found { identity, ..old.clone() });
    world.sites[0].seen_off.extend(newer.map(|found| found.content));
    world.quiesce();
    assert_alike(&world);
    assert_eq!(world.visible(2)["g"], (old.content, old.meta));
}
