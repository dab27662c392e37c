//! Sites that hear of each other through one of them alone: who forgot what the hub still has to keep
//! for another is told of it again.

use super::*;

fn with_hub() -> World {
    World { has_hub: true, ..World::new() }
}

/// S-056, L1: site 1 has dropped its tombstone; the hub has not, for site 2 is away.
#[test]
fn a_tombstone_that_its_author_dropped_and_the_hub_tells_again_is_no_sign_of_an_old_index() {
    let mut world = with_hub();
    take(&mut world, &[Step::Write(1, 6), Step::Write(1, 4)]);
    world.quiesce();
    take(&mut world, &[Step::Cut(0, 2), Step::Delete(1, 6), Step::Scan(1)]);
    for _ in 0..3 {
        take(&mut world, &[Step::Tell { from: 1, to: 0 }, Step::Act(0)]);
        take(&mut world, &[Step::Tell { from: 0, to: 1 }, Step::Collect(0), Step::Collect(1)]);
    }
    let kept = |world: &World, at: usize| {
        world.sites[at].state.index().tombstones(None, 9).expect("in memory").len()
    };
    assert_eq!((kept(&world, 0), kept(&world, 1)), (1, 0));
    let name = world.sites[1].state.author();
    for _ in 0..2 {
        // The hub starts, does not hear site 2, and takes a new name.
        world.renew(0);
        take(&mut world, &[Step::Tell { from: 1, to: 0 }, Step::Wait(0)]);
        take(&mut world, &[Step::Tell { from: 0, to: 1 }]);
    }
    assert_eq!((world.sites[1].state.author(), world.needless), (name, 0));
    take(&mut world, &[Step::Write(0, 0), Step::Scan(0), Step::Tell { from: 0, to: 1 }]);
    take(&mut world, &[Step::Act(1)]);
    assert_eq!(names(&world, 1), ["a", "e"], "and it follows on");
    world.quiesce();
    assert_alike(&world);
    assert_eq!((names(&world, 2).len(), world.needless), (2, 0));
}

/// What others told of it and it never had is one all the same.
#[test]
fn a_tombstone_of_its_own_that_a_site_never_dropped_is_one() {
    let mut world = with_hub();
    take(&mut world, &[Step::Write(1, 6)]);
    world.quiesce();
    take(&mut world, &[Step::Save(1), Step::Delete(1, 6), Step::Scan(1)]);
    take(&mut world, &[Step::Tell { from: 1, to: 0 }, Step::Restore(1)]);
    let name = world.sites[1].state.author();
    take(&mut world, &[Step::Tell { from: 0, to: 1 }]);
    assert_ne!(world.sites[1].state.author(), name);
    assert_eq!(world.needless, 0);
    world.quiesce();
    assert_alike(&world);
}

proptest! {
    #![proptest_config(crate::cases::cases(600))]

    #[test]
    fn through_a_hub_all_trees_end_alike_and_nobody_takes_a_new_name_for_nothing(
        steps in proptest::collection::vec(step(), 1..50),
    ) {
        let mut world = with_hub().after(&steps);
        world.quiesce();
        assert_alike(&world);
        prop_assert_eq!(world.needless, 0);
    }
}
