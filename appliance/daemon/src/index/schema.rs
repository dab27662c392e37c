//! The tables, and how SQLite is set up for them.

use super::meta::{Field, read_bytes, read_number, write_bytes, write_number};
use super::{IndexError, marks};
use farhaul_proto::ids::SiteId;
use farhaul_sync::chunk::FORM;
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::Incarnation;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

/// The format of the tables below. Who changes them raises it, and has `migrate` read the format before
/// it into a new file beside the old one, which stays readable until the new one has its name; where
/// tables are only added and whoever does not know them may leave them alone, `ADDED` is the place.
pub(super) const FORMAT: i64 = 2;
/// Before comparisons: without the tables of `marks`, and without some of the others.
const FORMAT_UNMARKED: i64 = 1;
/// `fhix`: tells this file from other databases.
pub(super) const APPLICATION: i64 = 0x6668_6978;
/// Pages kept in memory by who writes, in KiB.
pub(super) const CACHE_KIB: i64 = 16 << 10;
/// By who only reads: in order, mostly, and the system keeps pages as well.
pub(super) const CACHE_READING_KIB: i64 = 2 << 10;
/// Statements kept ready.
const STATEMENTS: usize = 64;

/// Values are checked ones (`codec`) but for those of `paths`, which is compared with `versions`,
/// of `uses`, which is counted anew, and of `inodes` and `links`, which only say where to look.
const TABLES: &str = "
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
    CREATE TABLE heads(author BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE keys(site BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE contents(manifest BLOB NOT NULL, key BLOB NOT NULL,
        PRIMARY KEY(manifest, key)) WITHOUT ROWID;
    CREATE TABLE inodes(inode INTEGER NOT NULL, key BLOB NOT NULL,
        PRIMARY KEY(inode, key)) WITHOUT ROWID;
    CREATE TABLE kept_contents(manifest BLOB NOT NULL, key BLOB NOT NULL, name TEXT NOT NULL,
        PRIMARY KEY(manifest, key, name)) WITHOUT ROWID;
    CREATE TABLE followed(site BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE unsettled(key BLOB PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE copies(key BLOB PRIMARY KEY, origin BLOB NOT NULL, value BLOB NOT NULL)
        WITHOUT ROWID;
    CREATE INDEX copies_of ON copies(origin);
    CREATE TABLE looks(key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE asides(dot BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE acked(site BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
";

/// Tables and orders that came later: made where they lack, so that the format stays readable both ways.
const ADDED: &str = "
    CREATE TABLE IF NOT EXISTS loose(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS shortfalls(key BLOB PRIMARY KEY, value BLOB NOT NULL)
        WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS links(link BLOB NOT NULL, key BLOB NOT NULL,
        PRIMARY KEY(link, key)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS elsewhere(key BLOB NOT NULL, dot BLOB NOT NULL, at INTEGER NOT NULL,
        value BLOB NOT NULL, PRIMARY KEY(key, dot)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS elsewhere_at ON elsewhere(at);
    CREATE INDEX IF NOT EXISTS kept_contents_of ON kept_contents(key, name);
";

/// Adds what an index of an earlier program lacks.
pub(super) fn complete(db: &Connection) -> Result<(), IndexError> {
    Ok(db.execute_batch(ADDED)?)
}

/// Makes the tables of this format, with nothing in them, and says that they are of it.
pub(super) fn make_tables(db: &Connection) -> Result<(), IndexError> {
    db.execute_batch(TABLES)?;
    db.execute_batch(ADDED)?;
    marks::make(db)?;
    db.pragma_update(None, "application_id", APPLICATION)?;
    Ok(db.pragma_update(None, "user_version", FORMAT)?)
}

/// Makes a new index.
pub(super) fn make(
    db: &mut Connection,
    folder: FolderKey,
    site: SiteId,
    incarnation: Incarnation,
) -> Result<(), IndexError> {
    let making = db.transaction()?;
    make_tables(&making)?;
    write_bytes(&making, Field::Folder, &folder.0)?;
    write_bytes(&making, Field::Site, &site.0)?;
    write_number(&making, Field::Form, FORM.into())?;
    write_number(&making, Field::Incarnation, incarnation.get())?;
    write_number(&making, Field::LastSeq, 0)?;
    write_number(&making, Field::NextSerial, 1)?;
    write_number(&making, Field::Floor, 0)?;
    write_number(&making, Field::Unclean, 0)?;
    Ok(making.commit()?)
}

/// What a connection needs to know, which keeps so many KiB of pages in memory.
pub(super) fn configure(db: &Connection, cache_kib: i64) -> Result<(), IndexError> {
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    // Else a statement with `LIMIT ?` is planned anew each time that it is used, for the number's sake.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // A reader may have to wait for the end of a checkpoint.
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(IndexError::damaged(format!("it does not take a write-ahead log ({mode})")));
    }
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "cache_size", -cache_kib)?;
    // Tables that were not made here have no triggers and views that could run.
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "cell_size_check", true)?;
    Ok(())
}

/// What is to be done with an index before it can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// Nothing.
    Present,
    /// It is of the format before this one, and has to be read into a new one.
    Older,
}

/// Whether this program can read the file, and names of contents in it are what this program calls them
/// (spec: S-115).
pub(super) fn age_of(db: &Connection) -> Result<Age, IndexError> {
    let number = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if number("application_id")? != APPLICATION {
        return Err(IndexError::damaged("it is no index"));
    }
    let format = number("user_version")?;
    if (FORMAT_UNMARKED..=FORMAT).contains(&format) {
        check_form(db)?;
    }
    match format {
        FORMAT => Ok(Age::Present),
        FORMAT_UNMARKED => Ok(Age::Older),
        found => Err(IndexError::Format { found, known: FORMAT }),
    }
}

/// In another form the same bytes have other names: whoever went on with those would take each file for
/// one that nobody has.
fn check_form(db: &Connection) -> Result<(), IndexError> {
    let found = match read_bytes(db, Field::Form)? {
        Some(_) => read_number(db, Field::Form)?,
        None => 1,
    };
    let known = FORM.into();
    if found == known { Ok(()) } else { Err(IndexError::Form { found, known }) }
}

/// That SQLite finds its own pages in order.
pub(super) fn check_pages(db: &Connection) -> Result<(), IndexError> {
    let found: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(IndexError::damaged(found)) }
}
