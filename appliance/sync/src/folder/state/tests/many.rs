//! More than three sites.

use super::*;

const MANY: usize = 9;

/// Nine sites with files of each of them, directories, an edit, a deletion and a conflict.
fn nine() -> World {
    let mut world = World::with(MANY);
    for at in 0..MANY {
        world.tick += 1;
        world.write(at, &path(&format!("of {at}/file")), file(world.tick));
        world.write(at, &path(&format!("all/{at}")), file(world.tick + 1000));
    }
    world.quiesce();
    let both = path("both");
    for at in [2, 5, 7] {
        world.tick += 1;
        world.write(at, &both, file(world.tick));
    }
    world.write(3, &path("all/1"), file(5000));
    world.delete(4, &path("of 0"));
    world.quiesce();
    assert_alike(&world);
    world
}

fn versions(world: &mut World) -> usize {
    world.check();
    world.dots.len()
}

fn copies(world: &World, at: usize) -> usize {
    names(world, at).iter().filter(|name| name.contains(".conflict-")).count()
}

/// S-08: of nine sites one after the other is rebuilt, with its files or without them, while the others
/// go on.
#[test]
fn each_of_nine_sites_can_be_rebuilt_without_a_version_or_a_conflict_of_that() {
    let mut world = nine();
    let (before, shown) = (versions(&mut world), world.visible(0));
    assert_eq!(copies(&world, 0), 2, "of three who wrote the same path two have a copy");
    for at in 0..MANY {
        let lost = if at % 2 == 0 { Step::Forget(at) } else { Step::LoseAll(at) };
        take(&mut world, &[lost, Step::Scan(at)]);
        world.quiesce();
        assert_alike(&world);
        assert_eq!((versions(&mut world), world.visible(at)), (before, shown.clone()), "site {at}");
    }
    // And each of them publishes again.
    for at in 0..MANY {
        world.tick += 1;
        world.write(at, &path(&format!("all/{at}")), file(world.tick));
    }
    world.quiesce();
    assert_alike(&world);
    assert_eq!((versions(&mut world), copies(&world, 0)), (before + MANY, 2), "one for each edit");
}

/// F-14: sites that were all apart, each with edits of its own, meet at once: in whatever order they
/// hear each other, what comes of it is the same, and nobody needs a new name.
#[test]
fn nine_sites_that_were_apart_and_meet_at_once_end_alike() {
    let mut ends: Vec<BTreeMap<String, Content>> = Vec::new();
    for turn in 0..3 {
        let mut world = nine();
        for one in 0..MANY {
            (one + 1..MANY).for_each(|other| world.take(&Step::Cut(one, other)));
        }
        world.tick = 10_000;
        for at in 0..MANY {
            world.tick += 1;
            world.write(at, &path(&format!("all/{}", (at + 1) % MANY)), file(world.tick));
            world.write(at, &path("met"), file(world.tick + 1000));
            world.delete(at, &path(&format!("of {}", (at + 2) % MANY)));
            world.scan(at);
        }
        world.cut.clear();
        // All call each other at once; what is on its way comes in pieces.
        let pairs = (0..MANY).flat_map(|from| (0..MANY).map(move |to| (from, to)));
        let mut pairs: Vec<(usize, usize)> = pairs.collect();
        match turn {
            0 => {}
            1 => pairs.reverse(),
            _ => pairs.sort_by_key(|(from, to)| (from * 31 + to * 17) % 41),
        }
        pairs.iter().for_each(|(from, to)| world.send(*from, *to));
        for _ in 0..3 {
            pairs.iter().for_each(|(from, to)| world.receive(*from, *to));
        }
        world.quiesce();
        assert_alike(&world);
        assert_eq!(world.needless, 0);
        let shown = world.visible(0).into_iter();
        ends.push(shown.map(|(name, (content, _))| (name, content)).collect());
    }
    assert_eq!(ends[0], ends[1]);
    assert_eq!(ends[0], ends[2]);
}
