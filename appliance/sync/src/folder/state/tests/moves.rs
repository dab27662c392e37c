//! Renames, which are a deletion here and a creation there: whatever two sites move at once, no
//! content goes, nothing turns in circles, and all trees are alike. Numbers are those of the list of
//! scenarios.

use super::*;

impl World {
    /// A user renames what stands at a path, and all beneath.
    pub(super) fn rename_path(&mut self, at: usize, from: &str, to: &str) {
        self.tick += 1;
        let tree = &mut self.sites[at].tree;
        let place = path(from);
        let moved: Tree = tree.extract_if(.., |path, _| path.starts_with(&place)).collect();
        assert!(!moved.is_empty(), "{from} is there");
        for (old, found) in moved {
            let beneath = &old.to_string()[from.len()..];
            let new = path(&format!("{to}{beneath}"));
            assert!(tree.insert(new.clone(), found).is_none(), "{new} is free");
            self.touched.insert(new);
        }
    }

    /// A user writes at a path that no step has; the content.
    fn put(&mut self, at: usize, place: &str) -> Content {
        self.tick += 1;
        let content = file(self.tick);
        self.write(at, &path(place), content.clone());
        content
    }

    /// All trees are alike, and these contents are in them.
    fn assert_shows(&self, contents: &[&Content]) {
        assert_alike(self);
        let shown: BTreeSet<Content> =
            self.visible(0).into_values().map(|(what, _)| what).collect();
        for content in contents {
            assert!(shown.contains(content), "{content:?} is in no tree: {:?}", names(self, 0));
        }
    }
}

/// S-12: into a new directory, and renamed there, each told at another moment or not at all.
#[test]
fn a_file_that_is_moved_and_renamed_at_once_stands_under_its_last_name() {
    for looks in 0..4 {
        let mut world = World::new();
        let content = world.put(0, "f");
        world.quiesce();
        world.write(0, &path("new"), Content::Dir);
        world.rename_path(0, "f", "new/f");
        if looks & 1 != 0 {
            take(&mut world, &[Step::Scan(0), Step::Tell { from: 0, to: 1 }, Step::Act(1)]);
        }
        world.rename_path(0, "new/f", "new/last");
        if looks & 2 != 0 {
            take(&mut world, &[Step::Scan(0), Step::Tell { from: 0, to: 2 }]);
        }
        world.quiesce();
        world.assert_shows(&[&content]);
        assert_eq!(names(&world, 1), ["new", "new/last"]);
    }
}

/// S-13: both places hold all of it, and the old one is gone.
#[test]
fn a_directory_that_is_moved_to_two_places_is_whole_at_both() {
    let mut world = World::new();
    let (one, two) = (world.put(0, "d/1"), world.put(0, "d/2"));
    world.quiesce();
    world.rename_path(0, "d", "p");
    world.rename_path(1, "d", "q");
    world.quiesce();
    world.assert_shows(&[&one, &two]);
    assert_eq!(names(&world, 2), ["p", "p/1", "p/2", "q", "q/1", "q/2"]);
}

/// S-14.
#[test]
fn directories_that_are_moved_into_each_other_make_no_circle() {
    let mut world = World::new();
    let (one, two) = (world.put(0, "x/1"), world.put(0, "y/2"));
    world.quiesce();
    world.rename_path(0, "x", "y/x");
    world.rename_path(1, "y", "x/y");
    world.quiesce();
    world.assert_shows(&[&one, &two]);
    assert_eq!(names(&world, 2), ["x", "x/y", "x/y/2", "y", "y/x", "y/x/1"]);
}

/// S-15: it is renamed at one site, a file in it edited at another, and one made at a third.
#[test]
fn what_happens_in_a_directory_while_it_is_renamed_elsewhere_stays() {
    let mut world = World::new();
    let (old, beside) = (world.put(0, "d/1"), world.put(0, "d/2"));
    world.quiesce();
    world.rename_path(0, "d", "p");
    let (edited, new) = (world.put(1, "d/1"), world.put(2, "d/new"));
    world.quiesce();
    world.assert_shows(&[&old, &beside, &edited, &new]);
    assert_eq!(names(&world, 1), ["d", "d/1", "d/new", "p", "p/1", "p/2"]);
}

/// S-16: two names are swapped while another site edits what was under one of them.
#[test]
fn names_that_are_swapped_while_one_is_edited_keep_every_content_apart() {
    let mut world = World::new();
    let (one, two) = (world.put(0, "one"), world.put(0, "two"));
    world.quiesce();
    world.rename_path(0, "one", "between");
    world.rename_path(0, "two", "one");
    world.rename_path(0, "between", "two");
    let edited = world.put(1, "one");
    world.quiesce();
    world.assert_shows(&[&one, &two, &edited]);
    assert_eq!(world.visible(2)["two"].0, one);
    assert_eq!(names(&world, 2).len(), 3, "one of them is a copy: {:?}", names(&world, 2));
}
