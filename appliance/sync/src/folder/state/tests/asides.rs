//! Records that were set aside: what is known when it is told waits for a person, and whoever refuses
//! it loses nothing else.

use super::*;
use crate::folder::Aside;

/// Others have heard how far its numbers go, and of nothing that it gave them to.
fn announce(world: &mut World) {
    let author = world.sites[2].state.author();
    let word = world.sites[2].state.index().statement(author).expect("in memory").expect("signed");
    for at in 0..2 {
        world.sites[at].state.learn(&word, &[]).expect("in memory");
        world.sites[at].state.weigh_learned(0).expect("in memory");
    }
}

/// It comes back, and tells.
fn bring_back(world: &mut World) -> Vec<Aside> {
    take(world, &[Step::Cut(0, 2), Step::Cut(1, 2), Step::Tell { from: 2, to: 0 }]);
    world.sites[0].state.index().asides(None, 99).expect("in memory")
}

fn refuse_all(world: &mut World, asides: &[Aside]) {
    for aside in asides {
        let wall = world.wall(0);
        assert!(world.sites[0].state.refuse_aside(aside, wall).expect("in memory"));
        seal(&mut world.sites[0].state);
        world.check();
    }
}

/// What its user does meanwhile at "e", which stands everywhere, and what becomes of the two once
/// that is refused.
fn refused_over_what_stands(deed: &Step) {
    let mut world = settled(&[Step::Write(1, 6), Step::Write(0, 4)]);
    let stood = world.sites[0].tree[&path("e")].content.clone();
    remove(&mut world);
    take(&mut world, &[deed.clone(), Step::Scan(2)]);
    announce(&mut world);
    let asides = bring_back(&mut world);
    assert!(asides.iter().any(|aside| aside.path == path("e") && aside.why == Why::Stale));
    refuse_all(&mut world, &asides);
    world.quiesce();
    assert_alike(&world);
    assert_eq!(names(&world, 2), ["e"]);
    assert_eq!(world.sites[2].tree[&path("e")].content, stood);
}

#[test]
fn who_refuses_an_edit_of_a_member_that_was_removed_keeps_what_stands() {
    refused_over_what_stands(&Step::Write(2, 4));
}

#[test]
fn who_refuses_a_deletion_of_a_member_that_was_removed_keeps_what_stands() {
    refused_over_what_stands(&Step::Delete(2, 4));
}

/// It covers a conflict: both sides stay, under the names that they have.
#[test]
fn who_refuses_the_end_of_a_conflict_keeps_both_sides_of_it() {
    let mut world = settled(&[Step::Write(1, 6), Step::Write(0, 4), Step::Write(1, 4)]);
    let before: BTreeSet<Content> = world.visible(0).into_values().map(|(c, _)| c).collect();
    let shown = world.sites[0].tree[&path("e")].content.clone();
    remove(&mut world);
    take(&mut world, &[Step::TouchCopy(2, true), Step::Scan(2), Step::Delete(2, 4)]);
    take(&mut world, &[Step::Scan(2)]);
    announce(&mut world);
    let asides = bring_back(&mut world);
    refuse_all(&mut world, &asides);
    world.quiesce();
    assert_alike(&world);
    let mut after: BTreeSet<Content> = world.visible(2).into_values().map(|(c, _)| c).collect();
    assert_eq!(world.sites[2].tree[&path("e")].content, shown);
    // "g" went with what was refused of it.
    let gone = before.difference(&after).cloned().collect::<Vec<_>>();
    assert_eq!(gone.len(), 1, "{gone:?}");
    after.extend(gone);
    assert_eq!(after, before);
}

#[test]
fn who_refuses_what_another_wrote_as_well_keeps_that() {
    let mut world = settled(&[Step::Write(1, 6)]);
    remove(&mut world);
    world.take(&Step::Write(0, 4));
    let same = world.sites[0].tree[&path("e")].clone();
    world.sites[2].tree.insert(path("e"), same);
    world.sites[2].tree.remove(&path("g"));
    take(&mut world, &[Step::Scan(0), Step::Scan(2), Step::Tell { from: 0, to: 1 }]);
    announce(&mut world);
    let asides = bring_back(&mut world);
    assert!(asides.iter().any(|aside| aside.path == path("e")));
    refuse_all(&mut world, &asides);
    world.quiesce();
    assert_alike(&world);
    assert_eq!(names(&world, 1), ["e"]);
}

/// S-066: numbers that its own message is the first to speak of were not known before.
#[test]
fn what_a_member_that_was_removed_edited_twice_meanwhile_is_new_and_taken_in() {
    let mut world = settled(&[Step::Write(1, 6), Step::Write(0, 4)]);
    remove(&mut world);
    take(&mut world, &[Step::Write(2, 4), Step::Scan(2), Step::Write(2, 4), Step::Scan(2)]);
    let newest = world.sites[2].tree[&path("e")].content.clone();
    let asides = bring_back(&mut world);
    let waiting: Vec<_> = asides.iter().map(|aside| aside.path.to_string()).collect();
    assert_eq!(waiting, ["g"]);
    take(&mut world, &[Step::Act(0)]);
    assert_eq!(world.sites[0].tree[&path("e")].content, newest);
}
