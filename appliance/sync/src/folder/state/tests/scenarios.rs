//! Histories with a name: what somebody lost once, or what a reader may ask about first. Numbers are
//! those of the list of scenarios.

use super::*;

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
