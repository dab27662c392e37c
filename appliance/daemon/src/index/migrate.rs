//! An index of an older format is read into a new file beside it, which takes its name once it is
//! whole and on the disk. Until then the old one holds what it held, and the program that made it can
//! go on with it: a stop at any moment leaves the old one or the new one, never a mixture (spec:
//! S-167).

use super::key::Key;
use super::meta::{self, Field};
use super::{IndexError, Kind, Reading, Seq, Standing};
use super::{at, beside, close, connect, marks, obey, remove_if_there, schema, sync_dir_of};
use farhaul_engine::files::stop::Stop;
use farhaul_proto::units::Bytes;
use farhaul_sync::seal::FolderKey;
use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, OpenFlags, params, params_from_iter};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

/// Behind the name of the index: the new one, while it is made.
const BESIDE: &str = "-migrating";
/// What a small index takes at least.
const ROOM_MIN: Bytes = Bytes::mib(4);
/// How often it is said how far it is.
const SAID_EVERY: Duration = Duration::from_secs(5);
/// After how many rows somebody is told.
const TOLD_EVERY: u64 = if cfg!(test) { 64 } else { 1 << 14 };
/// Where SQLite keeps the format in a file's head, and what names the kind of file, both big-endian.
const HEAD: usize = 72;
const HEAD_FORMAT: usize = 60;
const HEAD_APPLICATION: usize = 68;

/// Tables whose rows are the same in both formats, and their columns. Those that an index of the old
/// format does not have stay empty.
pub(super) const COPIED: [(&str, &str); 22] = [
    ("meta", "name, value"),
    ("items", "key, value"),
    ("versions", "seq, value"),
    ("paths", "live, key, seq"),
    ("runs", "id, value"),
    ("uses", "run, count"),
    ("intents", "id, value"),
    ("kept", "key, name, value"),
    ("heads", "author, value"),
    ("keys", "site, value"),
    ("contents", "manifest, key"),
    ("kept_contents", "manifest, key, name"),
    ("followed", "site, value"),
    ("unsettled", "key"),
    ("copies", "key, origin, value"),
    ("looks", "key, value"),
    ("asides", "dot, value"),
    ("acked", "site, value"),
    ("loose", "name, value"),
    ("shortfalls", "key, value"),
    ("links", "link, key"),
    ("elsewhere", "key, dot, at, value"),
];
/// Those that format 1 does not have and that follow from the others.
#[cfg(test)]
pub(super) const DERIVED: [&str; 4] = ["inodes", "marks", "sums", "stale"];

/// What was just done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is room for the new file, which is not there yet.
    Begun { size: Bytes },
    /// It has its tables, and nothing in them.
    Made,
    /// So many of the old one's rows are in it.
    Copied { rows: u64, of: u64 },
    /// It says all that the old one says, and what the new format has besides.
    Filled,
    /// It is whole, and on the disk.
    Synced,
    /// All that the old one holds is in the file of its name, and nobody has it open.
    Closed,
    /// The new one has the name.
    Named,
}

/// Refuses an index of a format that only a newer program knows, and does not even open it.
pub(super) fn check_not_newer(path: &Path) -> Result<(), IndexError> {
    let mut head = [0; HEAD];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    match read {
        Ok(()) => {}
        // No database is that short; it is opened to be found damaged.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
        Err(error) => return Err(at(path)(error)),
    }
    let number = |from: usize| head[from..].first_chunk().map(|bytes| i32::from_be_bytes(*bytes));
    let is_ours = number(HEAD_APPLICATION).map(i64::from) == Some(schema::APPLICATION);
    match number(HEAD_FORMAT).map(i64::from) {
        Some(found) if is_ours && found > schema::FORMAT => {
            Err(IndexError::Format { found, known: schema::FORMAT })
        }
        _ => Ok(()),
    }
}

/// Says in the log how far it is.
pub(super) fn in_the_log(path: &Path) -> impl FnMut(Step) {
    let (index, mut said) = (path.display().to_string(), Instant::now());
    move |step| match step {
        Step::Begun { size } => {
            let format = schema::FORMAT;
            tracing::info!(index, %size, format, "is written anew in another format");
        }
        Step::Copied { rows, of } if said.elapsed() >= SAID_EVERY => {
            said = Instant::now();
            tracing::info!(index, rows, of, "of the rows are in the new format");
        }
        Step::Named => tracing::info!(index, "is in the new format"),
        _ => {}
    }
}

/// Removes what a stop in the middle left.
pub(super) fn clear(path: &Path) -> Result<(), IndexError> {
    let new = beside(path, BESIDE);
    for suffix in ["-wal", "-shm", "-journal", ""] {
        remove_if_there(&beside(&new, suffix))?;
    }
    Ok(())
}

/// Reads `old`, the index at `path` in the format before this one, into a new file that takes its
/// place. Nobody else has it open. Ends early once `stop` is set.
///
/// # Errors
/// [`IndexError`]; the old one is as it was.
pub(super) fn bring_up(
    path: &Path,
    (old, stop): (Connection, &Stop),
    folder: FolderKey,
    told: &mut dyn FnMut(Step),
) -> Result<(), IndexError> {
    clear(path)?;
    let done = make_beside(path, (&old, stop), folder, told).and_then(|()| {
        end_old(path, old)?;
        told(Step::Closed);
        std::fs::rename(beside(path, BESIDE), path).map_err(at(path))?;
        sync_dir_of(path)?;
        told(Step::Named);
        Ok(())
    });
    done.inspect_err(|_| {
        // Its room is wanted; what stays is removed before the next try.
        let _ = clear(path);
    })
}

fn make_beside(
    path: &Path,
    (old, stop): (&Connection, &Stop),
    folder: FolderKey,
    told: &mut dyn FnMut(Step),
) -> Result<(), IndexError> {
    let size = size_of(path)? + size_of(&beside(path, "-wal"))?;
    check_room(path, room_for(size))?;
    told(Step::Begun { size });
    let new = beside(path, BESIDE);
    let mut db = make(&new, stop).map_err(unmade(&new))?;
    let filling = db.transaction().map_err(|error| unmade(&new)(error.into()))?;
    schema::make_tables(&filling).map_err(unmade(&new))?;
    told(Step::Made);
    copy(old, (&filling, &new), told)?;
    let completed = complete(&Reading::new(&filling, folder, Seq::default()));
    // A row that cannot be read may have been so before it was copied.
    completed.or_else(|error| check_rows(old, folder).and(Err(unmade(&new)(error))))?;
    filling.commit().map_err(|error| unmade(&new)(error.into()))?;
    told(Step::Filled);
    finish(&new, db).map_err(unmade(&new))?;
    told(Step::Synced);
    Ok(())
}

/// An error of the new file: what its disk makes of it says nothing of the old one, which is moved
/// aside where it is damaged.
fn unmade(new: &Path) -> impl Fn(IndexError) -> IndexError + '_ {
    |error| match error {
        IndexError::Damaged { what } => IndexError::Unmade { path: new.into(), why: what },
        error => error,
    }
}

/// Begins the new file.
fn make(new: &Path, stop: &Stop) -> Result<Connection, IndexError> {
    let flags = OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_READ_WRITE;
    let db = Connection::open_with_flags(new, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    obey(&db, stop)?;
    // A stop makes it worth nothing, whatever is on the disk: it is synced once, as a whole.
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "off", |row| row.get(0))?;
    if mode != "off" {
        return Err(IndexError::damaged(format!("it keeps a journal ({mode})")));
    }
    db.pragma_update(None, "synchronous", "OFF")?;
    db.pragma_update(None, "cache_size", -schema::CACHE_KIB)?;
    #[cfg(test)]
    if let Some(pages) = tests::PAGES.get() {
        db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(db)
}

/// Ends work on the new file: it is whole, and on the disk.
fn finish(new: &Path, db: Connection) -> Result<(), IndexError> {
    schema::check_pages(&db)?;
    close(db)?;
    // From here on as any index is: this sets the log that is written ahead, which stays set.
    close(connect(new, OpenFlags::empty(), schema::CACHE_KIB)?)?;
    File::open(new).and_then(|file| file.sync_all()).map_err(at(new))?;
    sync_dir_of(new)
}

/// Reads what [`complete`] reads, in the old one.
fn check_rows(old: &Connection, folder: FolderKey) -> Result<(), IndexError> {
    let reading = Reading::new(old, folder, Seq::default());
    reading.all_standing(None).try_for_each(|standing| standing.map(drop))?;
    reading.each_version(&mut |stored| stored.record().map(drop))?;
    schema::check_pages(old)
}

/// Copies the rows that are the same in both formats.
fn copy(
    old: &Connection,
    (new, place): (&Connection, &Path),
    told: &mut dyn FnMut(Step),
) -> Result<(), IndexError> {
    let failed = |error: rusqlite::Error| unmade(place)(error.into());
    let mut known = old.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?")?;
    let (mut tables, mut of) = (Vec::new(), 0);
    for (table, columns) in COPIED {
        if known.exists([table])? {
            let sql = format!("SELECT count(*) FROM {table}");
            of += old.query_row(&sql, [], |row| row.get::<_, i64>(0))?.unsigned_abs();
            tables.push((table, columns));
        }
    }
    let mut rows = 0;
    for (table, columns) in tables {
        let count = columns.split(", ").count();
        let marks = vec!["?"; count].join(", ");
        let mut read = old.prepare(&format!("SELECT {columns} FROM {table}"))?;
        let sql = format!("INSERT INTO {table}({columns}) VALUES({marks})");
        let mut write = new.prepare(&sql).map_err(failed)?;
        let mut reading = read.query([])?;
        while let Some(row) = reading.next()? {
            let values: Result<Vec<_>, _> = (0..count).map(|n| row.get_ref(n)).collect();
            let values = values?.into_iter().map(ToSqlOutput::Borrowed);
            write.execute(params_from_iter(values)).map_err(failed)?;
            rows += 1;
            if rows % TOLD_EVERY == 0 {
                told(Step::Copied { rows, of });
            }
        }
    }
    told(Step::Copied { rows, of });
    Ok(())
}

/// What the new format says besides, from what was copied: every item and every version is read for
/// it, so a damaged one is found before the new index has its name.
fn complete(new: &Reading<'_>) -> Result<(), IndexError> {
    if meta::read_bytes(new.db(), Field::Floor)?.is_none() {
        meta::write_number(new.db(), Field::Floor, 0)?;
    }
    let mut inode = new.db().prepare("INSERT OR IGNORE INTO inodes(inode, key) VALUES(?, ?)")?;
    for standing in new.all_standing(None) {
        let Standing { path, kind, identity } = standing?;
        if kind == Kind::File {
            inode.execute(params![identity.inode.cast_signed(), Key::of(&path).as_bytes()])?;
        }
    }
    marks::fill(new)
}

/// Ends work on the old one. What was written ahead goes into its file, and the log is gone, durably:
/// it lies under the name that is about to be the new one's, and would be read as that one's.
fn end_old(path: &Path, old: Connection) -> Result<(), IndexError> {
    let left: i64 = old.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    close(old)?;
    let log = beside(path, "-wal");
    if left != 0 || size_of(&log)? > Bytes::ZERO {
        let source = std::io::Error::other("what was written ahead is still in use");
        return Err(at(&log)(source));
    }
    remove_if_there(&log)?;
    remove_if_there(&beside(path, "-shm"))?;
    sync_dir_of(path)
}

/// What the new file may take: what the old one does, and rows for each path and version besides. Of
/// 200,000 files with short records that was 105 MiB for 80.
fn room_for(size: Bytes) -> Bytes {
    size + Bytes::new(size.get() / 2) + ROOM_MIN
}

/// That there is so much room beside the index.
fn check_room(path: &Path, needed: Bytes) -> Result<(), IndexError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or_else(|| Path::new("."));
    let disk = rustix::fs::statvfs(dir).map_err(|errno| at(dir)(errno.into()))?;
    let free = Bytes::new(disk.f_bavail.saturating_mul(disk.f_frsize));
    #[cfg(test)]
    let free = tests::FREE.get().unwrap_or(free);
    if free >= needed {
        return Ok(());
    }
    Err(IndexError::NoRoom { path: dir.into(), needed, free })
}

fn size_of(path: &Path) -> Result<Bytes, IndexError> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok(Bytes::new(meta.len())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Bytes::ZERO),
        Err(error) => Err(at(path)(error)),
    }
}

#[cfg(test)]
mod tests;
