//! Behaviour of the index as a whole.

use super::*;
use crate::sample::{FOLDER, SITE, dot, file, index, path, run, store, version};
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::{Ack, FileIdentity, Found, Index as _, Item, Look, Placed, Why};
use farhaul_sync::record::Record;
use farhaul_sync::version::{Content, Version};
use proptest::prelude::*;

mod damage;
mod plans;

fn placed(version: &Version, inode: u64) -> Placed {
    let identity =
        FileIdentity { device: 1, inode, mtime: -5, ctime: 1 << 70, ..Default::default() };
    Placed { version: version.clone(), meta: version.meta.clone(), identity }
}

fn place(index: &mut Index, path: &RelPath, placed: Option<&Placed>) {
    let mut placing = index.begin(Durability::Later).unwrap();
    placing.place(path, placed).unwrap();
    placing.commit().unwrap();
}

fn reopen(index: Index) -> Index {
    let path = index.path.clone();
    drop(index);
    Index::open(&path, FOLDER, SITE).unwrap()
}

#[test]
fn what_was_stored_is_there_after_a_reopening() {
    let home = tempfile::tempdir().unwrap();
    let mut index = index(home.path());
    let (a, b) = (path("dir/a"), path("dir/b"));
    let (first, second) =
        (version(dot(2, 1), &[], file(b"1")), version(dot(3, 1), &[], file(b"2")));
    let gone = version(dot(2, 2), &[], Content::Gone);
    for version in [&first, &second] {
        assert!(matches!(store(&mut index, &a, version), Inserted::New { .. }));
    }
    store(&mut index, &b, &gone);
    place(&mut index, &a, Some(&placed(&second, 4)));
    let mut versions = farhaul_sync::version::VersionSet::new();
    versions.insert(first).unwrap();
    versions.insert(second.clone()).unwrap();
    let expected =
        Item { versions, placed: Some(placed(&second, 4)), has_children: false, copy: None };
    for _ in 0..2 {
        index = reopen(index);
        assert_eq!(index.read().item(&a).unwrap(), expected);
        assert!(index.read().item(&path("dir")).unwrap().has_children);
        assert!(!index.read().has_children(&path("di")).unwrap());
        assert_eq!(index.read().standing(None, None, 9).unwrap().len(), 1);
        index.check().unwrap();
    }
    let counts = Counts { standing: 1, live: 2, tombstones: 1, runs: 3 };
    assert_eq!(index.read().counts().unwrap(), counts);
}

#[test]
fn a_content_is_found_by_the_state_in_which_its_file_is_and_no_other() {
    let home = tempfile::tempdir().unwrap();
    let mut index = index(home.path());
    let (one, other) =
        (version(dot(2, 1), &[], file(b"one")), version(dot(2, 2), &[], file(b"other")));
    let dir = version(dot(2, 3), &[], Content::Dir);
    for (at, version) in [("d/a", &one), ("d/b", &other), ("d", &dir)] {
        store(&mut index, &path(at), version);
    }
    place(&mut index, &path("d/a"), Some(&placed(&one, u64::MAX)));
    place(&mut index, &path("d/b"), Some(&placed(&other, 5)));
    place(&mut index, &path("d"), Some(&placed(&dir, 6)));
    let found = |index: &Index, identity| {
        let found = index.read().content_in_state(&identity).unwrap();
        found.map(|(content, _)| content)
    };
    let state = placed(&one, u64::MAX).identity;
    assert_eq!(found(&index, state), Some(one.content.clone()));
    assert_eq!(found(&index, placed(&other, 5).identity), Some(other.content.clone()));
    // A directory has no content, and an inode that was given out again another change time.
    assert_eq!(found(&index, placed(&dir, 6).identity), None);
    assert_eq!(found(&index, FileIdentity { ctime: state.ctime + 1, ..state }), None);
    assert_eq!(found(&index, FileIdentity { device: 2, ..state }), None);
    // What does not stand there any more is not known by it.
    place(&mut index, &path("d/a"), Some(&placed(&one, 7)));
    place(&mut index, &path("d/b"), None);
    index = reopen(index);
    assert_eq!(found(&index, state), None);
    assert_eq!(found(&index, placed(&other, 5).identity), None);
    assert_eq!(found(&index, placed(&one, 7).identity), Some(one.content));
}

#[test]
fn only_what_is_dead_beneath_is_no_child() {
    let home = tempfile::tempdir().unwrap();
    let mut index = index(home.path());
    let live = version(dot(2, 1), &[], Content::Dir);
    let gone = version(dot(2, 2), &[dot(2, 1)], Content::Gone);
    store(&mut index, &path("a/b"), &live);
    store(&mut index, &path("a.b"), &version(dot(2, 3), &[], Content::Dir));
    assert!(index.read().has_children(&path("a")).unwrap());
    store(&mut index, &path("a/b"), &gone);
    assert!(!index.read().has_children(&path("a")).unwrap());
}

#[test]
fn a_covered_version_goes_with_its_run_and_what_stands_on_disk_stays_described() {
    let home = tempfile::tempdir().unwrap();
    let mut index = index(home.path());
    let a = path("a");
    let old = version(dot(2, 1), &[], file(b"old"));
    let new = version(dot(3, 1), &[dot(2, 1)], file(b"new"));
    store(&mut index, &a, &old);
    place(&mut index, &a, Some(&placed(&old, 4)));
    let inserted = store(&mut index, &a, &new);
    assert_eq!(inserted, Inserted::New { seq: Seq(2), covered: vec![old.clone()] });
    assert_eq!(store(&mut index, &a, &old), Inserted::Old);
    let item = index.read().item(&a).unwrap();
    assert_eq!(item.versions.iter().collect::<Vec<_>>(), [&new]);
    assert_eq!(item.placed, Some(placed(&old, 4)));
    assert_eq!(index.read().counts().unwrap().runs, 1);
    assert_eq!(index.read().heads().unwrap().len(), 2);
    index.check().unwrap();
    place(&mut index, &a, None);
    assert_eq!(index.read().item(&a).unwrap().placed, None);
}

#[test]
fn a_run_is_kept_for_as_long_as_one_of_its_versions_is() {
    let home = tempfile::tempdir().unwrap();
    let mut index = index(home.path());
    let record = |n: u64| Record {
        path: path(&format!("p{n}")),
        version: version(dot(2, n), &[], file(&n.to_be_bytes())),
    };
    let records: Vec<Record> = (1..=5).map(record).collect();
    let (run, bytes) = run(&records);
    let mut storing = index.begin(Durability::Now).unwrap();
    let id = storing.add_run(&run).unwrap();
    for (position, bytes) in (0..).zip(&bytes) {
        storing.insert(bytes, id, position).unwrap();
    }
    assert!(matches!(storing.insert(&bytes[0], id, 1), Err(IndexError::NotOfRun)));
    storing.commit().unwrap();
    for n in 1..=5_u64 {
        let stored = index.read().versions_of(&path("p5")).unwrap();
        assert_eq!(index.read().run(stored[0].run).unwrap(), run);
        assert_eq!((stored[0].position, &stored[0].bytes), (4, &bytes[4]));
        let over = version(dot(3, n), &[dot(2, n)], Content::Gone);
        store(&mut index, &path(&format!("p{n}")), &over);
        index.check().unwrap();
    }
    assert!(index.read().run(id).is_err());
}

#[test]
fn numbers_are_never_given_again() {
    let home = tempfile::tempdir().unwrap();
    let mut index = index(home.path());
    let author = index.author();
    let first = index.reserve(10).unwrap();
    assert_eq!((first.first.get(), first.last.get()), (1, 10));
    let own = |serial| {
        let dot = farhaul_sync::version::Dot { author, serial };
        let record = Record { path: path("x"), version: version(dot, &[], Content::Dir) };
        run(&[record])
    };
    let mut index = reopen(index);
    assert!(index.was_unclean());
    assert_eq!(index.author(), author);
    assert_eq!(index.reserve(1).unwrap().first.get(), 11);
    let (run, bytes) = own(Serial::new(12).unwrap());
    let mut storing = index.begin(Durability::Now).unwrap();
    let id = storing.add_run(&run).unwrap();
    let refused = storing.insert(&bytes[0], id, 0);
    assert!(matches!(refused, Err(IndexError::Unreserved { serial: 12 })));
    drop(storing);
    assert!(index.reserve(0).is_err());
    assert_ne!(index.renew().unwrap(), author.incarnation);
    assert_eq!(index.reserve(1).unwrap().first.get(), 1);
    let location = index.path.clone();
    index.close().unwrap();
    assert!(!Index::open(&location, FOLDER, SITE).unwrap().was_unclean());
}

#[test]
fn what_is_not_durable_is_not_told() {
    let home = tempfile::tempdir().unwrap();
    let mut index = index(home.path());
    let reader = index.reader().unwrap();
    store(&mut index, &path("a"), &version(dot(2, 1), &[], Content::Dir));
    let record = Record { path: path("b"), version: version(dot(2, 2), &[], Content::Dir) };
    let (run, bytes) = run(&[record]);
    let mut storing = index.begin(Durability::Later).unwrap();
    let id = storing.add_run(&run).unwrap();
    storing.insert(&bytes[0], id, 0).unwrap();
    storing.commit().unwrap();
    let told = |reading: Reading<'_>| reading.versions_since(Seq(0), 9).unwrap().len();
    assert_eq!((told(index.read()), told(reader.read()), index.last_seq()), (1, 1, Seq(1)));
    assert!(!reader.read().item(&path("b")).unwrap().versions.is_empty());
    // Nor by who looks from within a transaction, as those do who tell neighbours.
    let telling = index.begin(Durability::Later).unwrap();
    assert_eq!((telling.last_arrival().unwrap(), telling.arrivals(0, 9).unwrap().len()), (1, 1));
    drop(telling);
    index.begin(Durability::Now).unwrap().commit().unwrap();
    assert_eq!((told(index.read()), told(reader.read()), index.last_seq()), (2, 2, Seq(2)));
    assert_eq!(index.read().versions_since(Seq(1), 9).unwrap()[0].seq, Seq(2));
}

#[test]
fn a_dropped_transaction_leaves_nothing_and_its_numbers_are_given_again() {
    let home = tempfile::tempdir().unwrap();
    let mut index = index(home.path());
    let record = Record { path: path("b"), version: version(dot(2, 2), &[], Content::Dir) };
    let (run, bytes) = run(&[record]);
    let mut storing = index.begin(Durability::Now).unwrap();
    let id = storing.add_run(&run).unwrap();
    storing.insert(&bytes[0], id, 0).unwrap();
    drop(storing);
    assert_eq!(index.read().counts().unwrap(), Counts::default());
    let inserted = store(&mut index, &path("b"), &version(dot(2, 2), &[], Content::Dir));
    assert_eq!(inserted, Inserted::New { seq: Seq(1), covered: vec![] });
}

#[test]
fn an_index_of_another_folder_or_site_or_in_use_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let index = index(home.path());
    let location = index.path.clone();
    assert!(matches!(Index::open(&location, FOLDER, SITE), Err(IndexError::InUse { .. })));
    drop(index);
    let other = FolderKey([8; 32]);
    assert!(matches!(Index::open(&location, other, SITE), Err(IndexError::OtherFolder)));
    let other = SiteId([8; 32]);
    assert!(matches!(Index::open(&location, FOLDER, other), Err(IndexError::OtherFolder)));
    assert!(matches!(Index::create(&location, FOLDER, SITE), Err(IndexError::Exists { .. })));
    let missing = home.path().join("missing");
    assert!(matches!(Index::open(&missing, FOLDER, SITE), Err(IndexError::Missing { .. })));
}

#[test]
fn a_quarantined_index_makes_room_for_a_new_incarnation() {
    let home = tempfile::tempdir().unwrap();
    let index = index(home.path());
    let (location, author) = (index.path.clone(), index.author());
    drop(index);
    let aside = quarantine(&location).unwrap();
    assert!(aside.exists() && !location.exists());
    let index = Index::create(&location, FOLDER, SITE).unwrap();
    assert_ne!(index.author(), author);
}

#[test]
fn a_reserve_takes_room_and_gives_it_back() {
    use std::os::unix::fs::MetadataExt;
    let home = tempfile::tempdir().unwrap();
    let index = index(home.path());
    let reserve = home.path().join("index-reserve");
    for _ in 0..2 {
        index.take_reserve().unwrap();
    }
    assert!(std::fs::metadata(&reserve).unwrap().blocks() * 512 >= 64 << 20);
    index.release_reserve().unwrap();
    index.release_reserve().unwrap();
    assert!(!reserve.exists());
}

/// Versions and items in disorder, with every kind of row.
fn filled(home: &Path) -> Index {
    let mut index = index(home);
    for n in 1..=60_u64 {
        let at = path(&format!("{}/{n}", n % 3));
        let first = version(dot(2, n), &[], file(&n.to_be_bytes()));
        store(&mut index, &at, &first);
        place(&mut index, &at, Some(&placed(&first, n)));
        if n % 4 == 0 {
            store(&mut index, &at, &version(dot(3, n), &[dot(2, n)], Content::Gone));
        }
    }
    let mut storing = index.begin(Durability::Now).unwrap();
    for n in 1..=200_u32 {
        let stands = placed(&version(dot(2, 1), &[], file(b"x")), 9);
        let Placed { version, meta, identity } = stands;
        let found = Some(Found { content: version.content, meta, identity });
        let (wall_millis, why) = (n.into(), Why::Crowded);
        let look = Look { found, wall_millis, why };
        farhaul_sync::folder::Index::set_look(
            &mut storing,
            &path(&format!("look {n}")),
            Some(&look),
        )
        .unwrap();
    }
    for n in 1..=60_u64 {
        let kept = Kept {
            path: path(&format!("{}/{n}", n % 3)),
            name: format!("{n:032x}"),
            version: Some(version(dot(2, n), &[], file(&n.to_be_bytes()))),
            kind: Kind::File,
            size: 8,
            at_secs: n,
        };
        storing.write_kept(&kept).unwrap();
    }
    storing.commit().unwrap();
    index
}

#[test]
fn looks_and_acknowledgements_are_there_after_a_reopening() {
    let home = tempfile::tempdir().unwrap();
    let mut index = filled(home.path());
    let ack = Ack { epoch: 3, up_to: 60, their_epoch: 4, their_head: 7 };
    let mut storing = index.begin(Durability::Now).unwrap();
    let gone = Look { found: None, wall_millis: 5, why: Why::Listening };
    farhaul_sync::folder::Index::set_look(&mut storing, &path("a"), Some(&gone)).unwrap();
    storing.set_acked(SITE, ack).unwrap();
    storing.commit().unwrap();
    let index = reopen(index);
    assert_eq!(index.read().acked(SITE).unwrap(), Some(ack));
    assert_eq!(index.read().look(&path("a")).unwrap(), Some(gone));
    let looks = index.read().looks(Some(&path("a")), 99).unwrap();
    assert_eq!((looks.len(), looks[0].1.why), (99, Why::Crowded));
    index.check().unwrap();
}

#[test]
fn walks_are_in_the_order_of_paths_page_by_page() {
    let home = tempfile::tempdir().unwrap();
    let index = filled(home.path());
    let all: Vec<RelPath> =
        index.read().all_standing(None).map(|standing| standing.unwrap().path).collect();
    assert_eq!(all.len(), 60);
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
    let one = path("1");
    let within: Vec<RelPath> =
        index.read().all_standing(Some(&one)).map(|standing| standing.unwrap().path).collect();
    assert_eq!(within.len(), 20);
    assert!(within.iter().all(|at| at.starts_with(&one)));
    for limit in [1, 7, 60] {
        let (mut after, mut known) = (None, Vec::new());
        loop {
            let page = index.read().known(None, after.as_ref(), limit).unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.path.clone());
            known.extend(page.into_iter().map(|known| known.path));
        }
        assert_eq!(known, all, "limit {limit}");
    }
    assert_eq!(index.read().known(Some(&one), Some(&within[4]), 99).unwrap().len(), 15);
}

#[test]
fn a_walk_over_versions_sorts_nothing() {
    let home = tempfile::tempdir().unwrap();
    let index = filled(home.path());
    let sql = "EXPLAIN QUERY PLAN SELECT key, seq FROM paths WHERE live = 0 AND key >= 'a'
        UNION ALL SELECT key, seq FROM paths WHERE live = 1 AND key >= 'a' ORDER BY 1, 2";
    let mut plan = index.db.prepare(sql).unwrap();
    let steps = plan.query_map([], |row| row.get::<_, String>(3)).unwrap();
    let steps: Vec<String> = steps.map(Result::unwrap).collect();
    assert!(steps.iter().all(|step| !step.contains("TEMP B-TREE")), "{steps:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn an_index_holds_what_the_core_would(
        steps in proptest::collection::vec((1..4_u8, 0..3_usize, any::<u8>(), 0..8_u32), 1..30),
    ) {
        let home = tempfile::tempdir().unwrap();
        let mut index = index(home.path());
        let mut sets = [(); 3].map(|()| farhaul_sync::version::VersionSet::new());
        let mut serial = 0;
        for (site, at, seen, text) in steps {
            serial += 1;
            let held: Vec<_> = sets[at].iter().map(|version| version.dot).collect();
            let seen: Vec<_> = held.iter().enumerate()
                .filter(|(n, _)| seen >> (n % 8) & 1 == 1).map(|(_, &dot)| dot).collect();
            let content = match text { 0 => Content::Gone, 1 => Content::Dir, n => file(&n.to_be_bytes()) };
            let new = version(dot(site, serial), &seen, content);
            let at_path = path(&format!("p/{at}"));
            store(&mut index, &at_path, &new);
            sets[at].insert(new.clone()).unwrap();
            if text > 4 {
                place(&mut index, &at_path, Some(&placed(&new, serial)));
            }
            prop_assert_eq!(&index.read().item(&at_path).unwrap().versions, &sets[at]);
        }
        index.check().unwrap();
    }
}

/// Its tables are the same, and nothing that it calls a content is one here. spec: S-115
#[test]
fn an_index_that_names_contents_otherwise_is_refused_and_left_as_it_is() {
    for (form, found) in [(None, 1), (Some(1), 1), (Some(3), 3)] {
        let home = tempfile::tempdir().unwrap();
        let mut index = index(home.path());
        store(&mut index, &path("a"), &version(dot(2, 1), &[], file(b"1")));
        match form {
            None => meta::remove(&index.db, Field::Form).unwrap(),
            Some(form) => write_number(&index.db, Field::Form, form).unwrap(),
        }
        let place = index.path.clone();
        index.close().unwrap();
        let before = std::fs::read(&place).unwrap();
        for _ in 0..2 {
            let refused = Index::open(&place, FOLDER, SITE).map(drop);
            let Err(IndexError::Form { found: told, known: 2 }) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(told, found);
            assert_eq!(std::fs::read(&place).unwrap(), before);
        }
    }
}
