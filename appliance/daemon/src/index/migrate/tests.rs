//! An index of format 1 comes into this format whatever stops the process meanwhile, and stays what it
//! was until then; one of a newer format is left alone.

use super::*;
use crate::index::marks::tests::{compare, fill};
use crate::index::{Counts, Index};
use crate::sample::{FOLDER, SITE, dot, file, index, path, store, version};
use farhaul_proto::ids::SiteId;
use farhaul_sync::folder::{FileIdentity, Placed};
use farhaul_sync::message::Followed;
use farhaul_sync::version::{Author, Content};
use std::cell::Cell;
use std::collections::BTreeMap;
use tempfile::TempDir;

thread_local! {
    /// What is free on the disk, if a test says so.
    pub(super) static FREE: Cell<Option<Bytes>> = const { Cell::new(None) };
    /// How many pages the new file may have at most, if a test says so: then its disk is full.
    pub(super) static PAGES: Cell<Option<u32>> = const { Cell::new(None) };
}

/// The tables of format 1, as the last program that made them had them.
const FORMAT_1: &str = "
    CREATE TABLE meta(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE items(key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE versions(seq INTEGER PRIMARY KEY, value BLOB NOT NULL);
    CREATE TABLE paths(live INTEGER NOT NULL, key BLOB NOT NULL, seq INTEGER NOT NULL,
        PRIMARY KEY(live, key, seq)) WITHOUT ROWID;
    CREATE TABLE runs(id INTEGER PRIMARY KEY, value BLOB NOT NULL);
    CREATE TABLE uses(run INTEGER PRIMARY KEY, count INTEGER NOT NULL);
    CREATE TABLE intents(id INTEGER PRIMARY KEY, value BLOB NOT NULL);
    CREATE TABLE kept(key BLOB NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY(key, name)) WITHOUT ROWID;
    CREATE TABLE manifests(id BLOB NOT NULL, page INTEGER NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY(id, page)) WITHOUT ROWID;
    CREATE TABLE heads(author BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE keys(site BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE contents(manifest BLOB NOT NULL, key BLOB NOT NULL,
        PRIMARY KEY(manifest, key)) WITHOUT ROWID;
    CREATE TABLE kept_contents(manifest BLOB NOT NULL, key BLOB NOT NULL, name TEXT NOT NULL,
        PRIMARY KEY(manifest, key, name)) WITHOUT ROWID;
    CREATE TABLE followed(site BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE unsettled(key BLOB PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE copies(key BLOB PRIMARY KEY, origin BLOB NOT NULL, value BLOB NOT NULL)
        WITHOUT ROWID;
    CREATE INDEX copies_of ON copies(origin);
";

const FILES: u64 = 150;

/// All that the two formats say alike.
#[derive(Debug, PartialEq)]
struct Told {
    author: Author,
    last: u64,
    counts: Counts,
    versions: Vec<(u64, Vec<u8>)>,
    standing: Vec<(String, FileIdentity)>,
    heads: usize,
    followed: Option<Followed>,
    floor: u64,
}

fn told(index: &Index) -> Told {
    let reading = index.read();
    let versions = reading.versions_since(Seq::new(0), 9999).unwrap().into_iter();
    let standing = reading.all_standing(None).map(|standing| standing.unwrap());
    Told {
        author: index.author(),
        last: index.last_seq().get(),
        counts: reading.counts().unwrap(),
        versions: versions.map(|stored| (stored.seq.get(), stored.bytes)).collect(),
        standing: standing.map(|at| (at.path.to_string(), at.identity)).collect(),
        heads: reading.heads().unwrap().len(),
        followed: reading.followed(SiteId([3; 32])).unwrap(),
        floor: reading.floor().unwrap(),
    }
}

/// An index with versions of two authors, covered ones, files that stand, and a neighbour.
fn filled(home: &Path) -> Index {
    let mut index = index(home);
    fill(&mut index, FILES);
    let gone = version(dot(3, 1), &[dot(2, 9)], Content::Gone);
    store(&mut index, &path("dir 2/9"), &gone);
    for n in [3, 4, 5] {
        let placed = version(dot(2, n), &[], file(&n.to_be_bytes()));
        let identity = FileIdentity { inode: 70 + n, ..FileIdentity::default() };
        let placed = Placed { meta: placed.meta.clone(), version: placed, identity };
        let mut placing = index.begin(crate::index::Durability::Now).unwrap();
        placing.place(&path(&format!("dir {}/{n}", n % 7)), Some(&placed)).unwrap();
        placing.follow(SiteId([3; 32]), Followed { epoch: 4, up_to: 7 }).unwrap();
        placing.commit().unwrap();
    }
    index
}

/// The same index as the last program of format 1 had it when it was killed: some of it is only in
/// its log. And what it says.
fn old_index() -> (TempDir, Told) {
    let (made, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let index = filled(made.path());
    let expected = told(&index);
    drop(index);
    let db = Connection::open(home.path().join("index")).unwrap();
    db.execute_batch(&format!("PRAGMA journal_mode = wal; {FORMAT_1}")).unwrap();
    let set = format!("PRAGMA application_id = {}; PRAGMA user_version = 1", schema::APPLICATION);
    db.execute_batch(&format!("{set}; PRAGMA wal_checkpoint(TRUNCATE)")).unwrap();
    db.execute("ATTACH ? AS made", [made.path().join("index").to_str().unwrap()]).unwrap();
    let tables = db.prepare("SELECT name FROM main.sqlite_master WHERE type = 'table'").unwrap();
    for table in names(tables).into_iter().filter(|table| table != "manifests") {
        db.execute(&format!("INSERT INTO main.{table} SELECT * FROM made.{table}"), []).unwrap();
    }
    db.execute("DELETE FROM main.meta WHERE name = 'floor'", []).unwrap();
    (image_of(home.path()), expected)
}

fn names(mut statement: rusqlite::Statement<'_>) -> Vec<String> {
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    names.collect::<Result<_, _>>().unwrap()
}

/// What a kill at this moment leaves of the files in a directory.
fn image_of(dir: &Path) -> TempDir {
    let image = tempfile::tempdir().unwrap();
    for (name, bytes) in files_of(dir) {
        std::fs::write(image.path().join(name), bytes).unwrap();
    }
    image
}

/// The files of a directory but for the lock, which has nothing in it, and what readers share.
fn files_of(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let files = entries.map(|entry| {
        (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
    });
    files.filter(|(name, _)| !name.ends_with(".lock") && !name.ends_with("-shm")).collect()
}

/// The format of the index in a directory, and how many versions it holds, as SQLite reads it.
fn as_it_is(dir: &Path) -> (i64, i64) {
    let image = image_of(dir);
    let db = Connection::open(image.path().join("index")).unwrap();
    let format = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    (format, db.query_row("SELECT count(*) FROM versions", [], |row| row.get(0)).unwrap())
}

fn open(dir: &Path) -> Result<Index, IndexError> {
    Index::open(&dir.join("index"), FOLDER, SITE)
}

/// spec: S-167
#[test]
fn an_index_of_the_older_format_says_the_same_in_this_one() {
    let (home, expected) = old_index();
    let mut opened = open(home.path()).unwrap();
    assert_eq!(told(&opened), expected);
    assert!(opened.was_unclean(), "that it was killed is not forgotten");
    opened.check().unwrap();
    let sql = "SELECT count(*) FROM inodes WHERE inode = 73";
    assert_eq!(opened.db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    // What it says is compared with others as that of an index that was never old.
    let never = tempfile::tempdir().unwrap();
    let mut never_old = filled(never.path());
    assert_eq!(compare(&mut opened, &mut never_old), (vec![], vec![]));
    opened.check().unwrap();
    opened.close().unwrap();
    // And it is done once.
    let again = Index::open_telling(
        &home.path().join("index"),
        (FOLDER, SITE),
        &Stop::default(),
        &mut |step| {
            panic!("{step:?} of an index of this format");
        },
    );
    assert_eq!(told(&again.unwrap()), expected);
}

/// As where the process stops while a folder is opened. spec: S-181
#[test]
fn who_is_told_to_stop_leaves_the_old_index_and_begins_anew() {
    let (home, expected) = old_index();
    let (place, stop) = (home.path().join("index"), Stop::default());
    let stops = stop.clone();
    let opened = Index::open_telling(&place, (FOLDER, SITE), &stop, &mut |step| {
        if matches!(step, Step::Filled) {
            stops.set();
        }
    });
    let error = opened.expect_err("somebody stopped it");
    assert!(!error.is_damage(), "{error}");
    assert_eq!(told(&open(home.path()).unwrap()), expected);
}

/// spec: S-167
#[test]
fn a_stop_after_any_step_leaves_the_old_index_or_the_new_one() {
    let (home, expected) = old_index();
    let mut images = Vec::new();
    let opened = Index::open_telling(
        &home.path().join("index"),
        (FOLDER, SITE),
        &Stop::default(),
        &mut |step| {
            images.push((step, image_of(home.path())));
        },
    );
    drop(opened.unwrap());
    let copied = images.iter().filter(|(step, _)| matches!(step, Step::Copied { .. })).count();
    assert!(copied > 5, "stopped {copied} times amid the rows");
    assert_eq!(images.len(), copied + 6);
    let held = i64::try_from(expected.versions.len()).unwrap();
    for (step, image) in images {
        let format = if step == Step::Named { 2 } else { 1 };
        assert_eq!(as_it_is(image.path()), (format, held), "{step:?}");
        let opened = open(image.path()).unwrap();
        opened.check().unwrap();
        assert_eq!(told(&opened), expected, "{step:?}");
        opened.close().unwrap();
        let left: Vec<String> = files_of(image.path()).into_keys().collect();
        assert_eq!(left, ["index"], "{step:?}");
    }
}

#[test]
fn without_room_for_it_nothing_is_begun_and_the_error_says_what_to_do() {
    let (home, expected) = old_index();
    let before = files_of(home.path());
    FREE.set(Some(Bytes::mib(1)));
    let error = open(home.path()).unwrap_err();
    assert!(matches!(error, IndexError::NoRoom { .. }));
    let told_so = error.to_string();
    assert!(told_so.contains("make room there") && told_so.contains("1.0 MiB are free"), "{error}");
    assert!(!error.is_damage());
    assert_eq!(as_it_is(home.path()).0, 1);
    assert_eq!(files_of(home.path()).keys().next(), before.keys().next());
    FREE.set(None);
    assert_eq!(told(&open(home.path()).unwrap()), expected);
}

#[test]
fn the_new_file_takes_no_more_room_than_was_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let mut index = index(home.path());
    fill(&mut index, 3000);
    index.close().unwrap();
    let old = Connection::open(home.path().join("index")).unwrap();
    let drop_new = "DROP TABLE marks; DROP TABLE sums; DROP TABLE stale; DROP TABLE inodes;
        PRAGMA user_version = 1; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)";
    old.execute_batch(drop_new).unwrap();
    drop(old);
    let before = size_of(&home.path().join("index")).unwrap();
    open(home.path()).unwrap().close().unwrap();
    let after = size_of(&home.path().join("index")).unwrap();
    assert!(after > before, "{after} of {before}");
    assert!(after + ROOM_MIN <= room_for(before), "{after} of {before}");
}

#[test]
fn a_damaged_index_of_the_older_format_is_as_it_was_and_nothing_lies_beside_it() {
    let (home, _) = old_index();
    let db = Connection::open(home.path().join("index")).unwrap();
    let damage = "UPDATE versions SET value = zeroblob(9) WHERE seq = 70;
        PRAGMA wal_checkpoint(TRUNCATE)";
    db.execute_batch(damage).unwrap();
    drop(db);
    let before = files_of(home.path());
    assert!(open(home.path()).unwrap_err().is_damage());
    assert_eq!(files_of(home.path()), before);
}

/// What the disk makes of the new file is no damage of the old one, which would be moved aside for it.
#[test]
fn a_new_file_that_is_damaged_while_it_is_made_leaves_the_old_index_alone() {
    // All of it, what it begins with, and its end: a disk that drops what it was given.
    for damage in 0..3 {
        let (home, expected) = old_index();
        let before = as_it_is(home.path());
        let new = home.path().join("index-migrating");
        let (path, ids, stop) = (home.path().join("index"), (FOLDER, SITE), Stop::default());
        let damaged = Index::open_telling(&path, ids, &stop, &mut |step| {
            if step == Step::Filled {
                let mut bytes = std::fs::read(&new).unwrap();
                match damage {
                    0 => bytes.fill(0xa5),
                    1 => bytes[..4096].fill(0),
                    _ => bytes.truncate(bytes.len() / 2),
                }
                std::fs::write(&new, bytes).unwrap();
            }
        });
        let error = damaged.unwrap_err();
        assert!(matches!(error, IndexError::Unmade { .. }), "{damage}: {error:?}");
        assert!(!error.is_damage() && error.to_string().contains("is as it was"), "{error}");
        assert_eq!(as_it_is(home.path()), before);
        assert!(!new.exists(), "its room is wanted");
        assert_eq!(told(&open(home.path()).unwrap()), expected);
    }
}

#[test]
fn a_disk_that_becomes_full_while_the_new_file_is_made_leaves_the_old_index_alone() {
    let (home, expected) = old_index();
    let before = as_it_is(home.path());
    let other = image_of(home.path());
    let whole =
        open(other.path()).unwrap().db.pragma_query_value(None, "page_count", |row| row.get(0));
    let whole: u32 = whole.unwrap();
    for pages in [whole / 4, whole / 2, whole * 3 / 4, whole - 1] {
        PAGES.set(Some(pages));
        let error = open(home.path()).unwrap_err();
        assert!(matches!(error, IndexError::Full), "{pages}: {error:?}");
        assert_eq!(as_it_is(home.path()), before);
    }
    PAGES.set(None);
    assert_eq!(told(&open(home.path()).unwrap()), expected);
}

#[test]
fn an_index_of_another_site_is_not_brought_up() {
    let (home, _) = old_index();
    let other = Index::open(&home.path().join("index"), FOLDER, SiteId([8; 32]));
    assert!(matches!(other, Err(IndexError::OtherFolder)));
    assert_eq!(as_it_is(home.path()).0, 1);
}

/// spec: S-167
#[test]
fn an_index_of_a_newer_format_is_left_alone_to_the_last_byte() {
    let made = tempfile::tempdir().unwrap();
    let index = filled(made.path());
    index.db.execute_batch("PRAGMA user_version = 3; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    index.db.execute("CREATE TABLE newer(x)", []).unwrap();
    // What the newer program has not written into its file yet stays its own.
    let home = image_of(made.path());
    let before = files_of(home.path());
    assert_eq!(before.keys().collect::<Vec<_>>(), ["index", "index-wal"]);
    assert!(!before["index-wal"].is_empty());
    for _ in 0..2 {
        let error = open(home.path()).unwrap_err();
        assert!(matches!(error, IndexError::Format { found: 3, known: 2 }), "{error}");
        assert!(error.to_string().contains("use the newer program") && !error.is_damage());
        assert_eq!(files_of(home.path()), before);
    }
    // Nor is one that lies only in the log of an index of this format.
    let made = tempfile::tempdir().unwrap();
    let late = filled(made.path());
    late.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA user_version = 3").unwrap();
    let home = image_of(made.path());
    assert!(matches!(open(home.path()), Err(IndexError::Format { found: 3, .. })));
    assert_eq!(as_it_is(home.path()).0, 3);
}

#[test]
fn every_table_and_column_is_copied_or_follows_from_others() {
    let db = Connection::open_in_memory().unwrap();
    schema::make_tables(&db).unwrap();
    let tables = db.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").unwrap();
    let copied = BTreeMap::from(COPIED);
    let mut seen = 0;
    for table in names(tables) {
        let columns = db.prepare(&format!("SELECT name FROM pragma_table_info('{table}')"));
        let columns = names(columns.unwrap()).join(", ");
        let is_derived = DERIVED.contains(&table.as_str());
        let expected = (!is_derived).then_some(columns);
        assert_eq!(copied.get(table.as_str()).map(ToString::to_string), expected, "{table}");
        seen += 1;
    }
    assert_eq!(seen, COPIED.len() + DERIVED.len());
}
