//! What stood when: single paths, and trees page by page over a real index.

use super::*;
use crate::index::{Durability, Index, Kind};
use crate::sample::{dot, file, index, path, version};
use farhaul_sync::folder::{FileIdentity, Index as _, Placed};
use farhaul_sync::version::Stamp;

/// A version of `content` that was made at `secs`.
fn made(secs: u64, serial: u64, content: Content) -> Version {
    let stamp = Stamp { millis: secs * 1000, count: 0 };
    Version { stamp, ..version(dot(1, serial), &[], content) }
}

fn kept(at: &RelPath, at_secs: u64, version: Option<Version>) -> Kept {
    let name = format!("{at_secs:032x}");
    Kept { path: at.clone(), name, version, kind: Kind::File, size: 3, at_secs }
}

fn item(version: Option<Version>) -> Item {
    let placed = version.map(|version| Placed {
        meta: version.meta.clone(),
        version,
        identity: FileIdentity::default(),
    });
    Item { placed, ..Item::default() }
}

#[test]
fn what_stood_is_what_was_displaced_next_or_what_stands() {
    let a = path("a");
    let (one, two, three) =
        (made(10, 1, file(b"1")), made(20, 2, file(b"2")), made(30, 3, file(b"3")));
    let all = [kept(&a, 20, Some(one)), kept(&a, 30, Some(two))];
    let now = item(Some(three.clone()));
    assert_eq!(stood_at(&now, &all, &[], 9), Stood::Nothing);
    assert_eq!(stood_at(&now, &all, &[], 10), Stood::Kept(&all[0]));
    assert_eq!(stood_at(&now, &all, &[], 19), Stood::Kept(&all[0]));
    assert_eq!(stood_at(&now, &all, &[], 20), Stood::Kept(&all[1]));
    assert_eq!(stood_at(&now, &all, &[], 30), Stood::Still(&three));
}

#[test]
fn between_a_deletion_and_what_came_after_it_stood_nothing() {
    let a = path("a");
    let all = [kept(&a, 20, Some(made(10, 1, file(b"1"))))];
    let now = item(Some(made(40, 2, file(b"2"))));
    assert_eq!(stood_at(&now, &all, &[], 30), Stood::Nothing);
    assert_eq!(stood_at(&item(None), &all, &[], 30), Stood::Nothing);
}

#[test]
fn what_no_version_speaks_of_stood_until_it_was_displaced() {
    let all = [kept(&path("a"), 20, None)];
    assert_eq!(stood_at(&item(None), &all, &[], 3), Stood::Kept(&all[0]));
}

/// spec: S-110
#[test]
fn what_a_disk_made_of_a_version_is_not_what_stood() {
    let a = path("a");
    let one = made(10, 1, file(b"1"));
    let rotten = Version { content: file(b"x"), ..one.clone() };
    let all = [kept(&a, 20, Some(rotten)), kept(&a, 30, Some(one.clone()))];
    let now = item(Some(made(30, 2, file(b"2"))));
    assert_eq!(stood_at(&now, &all, &[], 15), Stood::Kept(&all[1]));
    // It was put right, or is yet to be.
    assert_eq!(stood_at(&item(Some(one.clone())), &all[..1], &[], 15), Stood::Still(&one));
    let mut waits = item(None);
    waits.versions.insert(one).expect("room");
    assert_eq!(stood_at(&waits, &all[..1], &[], 15), Stood::Nothing);
}

#[test]
fn what_was_overwritten_at_another_site_is_not_called_nothing() {
    let a = path("a");
    let mut edit = made(40, 2, file(b"2"));
    edit.context.insert(dot(1, 1));
    assert_eq!(stood_at(&item(Some(edit.clone())), &[], &[], 30), Stood::Unknown);
    let all = [kept(&a, 50, Some(edit))];
    assert_eq!(stood_at(&item(None), &all, &[], 30), Stood::Unknown);
    assert_eq!(stood_at(&item(None), &all, &[], 45), Stood::Kept(&all[0]));
}

fn place(index: &mut Index, at: &str, version: &Version) {
    crate::sample::store(index, &path(at), version);
    let item = item(Some(version.clone()));
    let mut placing = index.begin(Durability::Now).expect("a transaction");
    placing.set_placed(&path(at), item.placed.as_ref()).expect("room");
    placing.commit().expect("room");
}

fn keep(index: &mut Index, what: &Kept) {
    let mut keeping = index.begin(Durability::Now).expect("a transaction");
    keeping.write_kept(what).expect("room");
    keeping.commit().expect("room");
}

fn all(index: &Index, wish: &Wish) -> (Vec<(String, RestoreAction)>, usize) {
    let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let (steps, next) = steps(index.read(), wish, after.as_ref()).expect("read");
        assert!(steps.len() <= 2 * PAGE);
        pages += 1;
        found.extend(
            steps.into_iter().map(|step| {
                (String::from_utf8_lossy(step.path.as_bytes()).into_owned(), step.action)
            }),
        );
        match next {
            Some(next) => after = Some(next),
            None => return (found, pages),
        }
    }
}

#[test]
fn a_tree_comes_back_and_what_came_later_stays_unless_it_is_to_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut index = index(dir.path());
    place(&mut index, "d", &made(1, 1, Content::Dir));
    place(&mut index, "d/changed", &made(50, 2, file(b"new")));
    place(&mut index, "d/later", &made(60, 3, file(b"later")));
    place(&mut index, "d/same", &made(2, 4, file(b"same")));
    place(&mut index, "e", &made(3, 5, file(b"elsewhere")));
    keep(&mut index, &kept(&path("d/changed"), 50, Some(made(4, 6, file(b"old")))));
    keep(&mut index, &kept(&path("d/deleted"), 55, Some(made(5, 7, file(b"gone")))));
    keep(&mut index, &kept(&path("d/unknown"), 55, None));
    let mut wish = Wish { within: Some(path("d")), at_secs: 40, exact: false };
    use RestoreAction::{Newer, Remove, Restore, Same, Unavailable};
    let mut expected = [
        ("d", Same),
        ("d/changed", Restore),
        ("d/deleted", Restore),
        ("d/later", Newer),
        ("d/same", Same),
        ("d/unknown", Unavailable),
    ]
    .map(|(path, action)| (path.to_owned(), action));
    assert_eq!(all(&index, &wish).0, expected);
    wish.exact = true;
    expected[3].1 = Remove;
    assert_eq!(all(&index, &wish).0, expected);
    wish = Wish { within: Some(path("d/deleted")), ..wish };
    assert_eq!(all(&index, &wish).0, expected[2..3]);
}

#[test]
fn no_path_is_left_out_or_told_twice_between_pages() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut index = index(dir.path());
    let mut expected = Vec::new();
    let mut keeping = index.begin(Durability::Now).expect("a transaction");
    for n in 0..700_u64 {
        let at = format!("{n:04}");
        for (serial, secs) in [(2 * n + 1, 50), (2 * n + 2, 60)] {
            let old = made(4, serial, file(&serial.to_be_bytes()));
            keeping.write_kept(&kept(&path(&at), secs, Some(old))).expect("room");
        }
        expected.push((at, RestoreAction::Restore));
    }
    keeping.commit().expect("room");
    let wish = Wish { within: None, at_secs: 40, exact: false };
    let (found, pages) = all(&index, &wish);
    assert_eq!(found, expected);
    assert!(pages > 5, "{pages}");
}

#[test]
fn what_a_user_of_this_site_deleted_is_listed_though_its_bytes_are_not_here() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut index = index(dir.path());
    let (one, two) = (made(10, 1, file(b"1")), made(20, 2, file(b"2")));
    let gone = |version: &Version, at_secs| Elsewhere {
        path: path("d/a"),
        version: version.clone(),
        at_secs,
    };
    let all_gone = [gone(&one, 20), gone(&two, 30)];
    let nothing = item(None);
    let stood = |at| stood_at(&nothing, &[], &all_gone, at);
    assert_eq!(stood(9), Stood::Nothing);
    assert_eq!(stood(15), Stood::Elsewhere(&all_gone[0]));
    assert_eq!(stood(25), Stood::Elsewhere(&all_gone[1]));
    assert_eq!(stood(30), Stood::Nothing);
    // What came back from there was displaced here later.
    let kept_later = [kept(&path("d/a"), 40, Some(made(31, 3, file(b"1"))))];
    assert_eq!(stood_at(&item(None), &kept_later, &all_gone, 25), Stood::Elsewhere(&all_gone[1]));
    assert_eq!(stood_at(&item(None), &kept_later, &all_gone, 35), Stood::Kept(&kept_later[0]));
    for gone in &all_gone {
        let mut adding = index.begin(Durability::Now).expect("a transaction");
        adding.add_elsewhere(gone).expect("room");
        adding.commit().expect("room");
    }
    let wish = Wish { within: Some(path("d")), at_secs: 25, exact: false };
    let (found, next) = steps(index.read(), &wish, None).expect("read");
    assert_eq!((found.len(), next), (1, None));
    let step = &found[0];
    assert_eq!((step.action, step.is_elsewhere), (RestoreAction::Restore, true));
    assert_eq!((&step.version, &step.kept), (&Some(two), &None));
}
