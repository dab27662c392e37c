//! What is known of contents on this disk: which chunk is where, so that whatever is here already
//! crosses no network, and the pages of chunk lists, for who asks for them.
//!
//! Derived from the files, and only a hint: whoever reads a chunk at a place hashes it, and a page
//! has the name that its bytes hash to. So it lies in a file of its own, nothing waits for its disk,
//! and a damaged one is made anew. Places are of a file by number: a file that changed gets another
//! number, and what was known of the old one is dead at once, and swept when that is much.

mod pages;

use super::key::{Key, path_of};
use super::{IndexError, beside, close, connect, remove_if_there};
use crate::index::read::blob;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::chunk::ChunkId;
use farhaul_sync::version::ManifestId;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::path::Path;

/// Places that are kept of one chunk. Some chunk may be everywhere, and a few are enough.
pub const PLACES_MAX: u32 = 8;
/// Places that nobody looks at any more, at which a sweep is worth it; also half of all.
const DEAD_MIN: u64 = 1 << 16;
const FORMAT: i64 = 3;
/// Pages kept in memory, in KiB: chunks come in no order, and the system keeps pages as well.
const CACHE_KIB: i64 = 8 << 10;

const TABLES: &str = "
    CREATE TABLE files(number INTEGER PRIMARY KEY AUTOINCREMENT, home BLOB UNIQUE);
    CREATE TABLE places(chunk BLOB NOT NULL, file INTEGER NOT NULL, offset INTEGER NOT NULL,
        len INTEGER NOT NULL, PRIMARY KEY(chunk, file, offset)) WITHOUT ROWID;
    CREATE TABLE pages(id BLOB PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID;
";

/// Which file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Home {
    /// The one at a path of the tree.
    Tree(RelPath),
    /// The one of that name in the version store.
    Kept(String),
    /// One that is complete and has no place in the tree yet; none to read from.
    Staged(ManifestId),
}

/// Where a chunk is, or was when somebody looked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// In which file.
    pub home: Home,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub len: u32,
}

/// A chunk of the file that is being noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// Its name.
    pub chunk: ChunkId,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u32,
}

/// A file of which chunks are being noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileNumber(i64);

impl Home {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Tree(path) => [b"t", Key::of(path).as_bytes()].concat(),
            Self::Kept(name) => [b"k", name.as_bytes()].concat(),
            Self::Staged(manifest) => [&b"s"[..], &manifest.0].concat(),
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let damaged = || IndexError::damaged("the place of a chunk");
        match bytes.split_first().ok_or_else(damaged)? {
            (b't', key) => Ok(Self::Tree(path_of(key)?)),
            (b'k', name) => String::from_utf8(name.to_vec()).map(Self::Kept).map_err(|_| damaged()),
            (b's', id) => Ok(Self::Staged(ManifestId(id.try_into().map_err(|_| damaged())?))),
            _ => Err(damaged()),
        }
    }
}

/// The map, in an SQLite file.
#[derive(Debug)]
pub struct ContentMap {
    db: Connection,
    /// Places of files that have no number any more, as far as was counted, and all that were
    /// added.
    dead: u64,
    added: u64,
    files: u64,
}

impl ContentMap {
    /// Opens or makes the map at `path`. One that is damaged or of another format is made anew, and
    /// empty: then whoever reads the files fills it.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        match Self::open_there(path) {
            Err(IndexError::Damaged { .. } | IndexError::Format { .. }) => {
                for suffix in ["", "-wal", "-shm"] {
                    remove_if_there(&beside(path, suffix))?;
                }
                Self::open_there(path)
            }
            opened => opened,
        }
    }

    fn open_there(path: &Path) -> Result<Self, IndexError> {
        let db = connect(path, OpenFlags::SQLITE_OPEN_CREATE, CACHE_KIB)?;
        db.pragma_update(None, "synchronous", "OFF")?;
        let found = db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))?;
        match found {
            FORMAT => {
                let whole: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
                if whole != "ok" {
                    return Err(IndexError::damaged(whole));
                }
            }
            0 => {
                db.execute_batch(TABLES)?;
                db.pragma_update(None, "user_version", FORMAT)?;
            }
            found => return Err(IndexError::Format { found, known: FORMAT }),
        }
        // What a process before this one began and did not finish.
        db.execute("DELETE FROM files WHERE home IS NULL", [])?;
        let dead =
            count(&db, "SELECT count(*) FROM places WHERE file NOT IN (SELECT number FROM files)")?;
        let added = count(&db, "SELECT count(*) FROM places")?;
        let files = count(&db, "SELECT count(*) FROM files")?;
        Ok(Self { db, dead, added, files })
    }

    /// Ends work on it.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn close(self) -> Result<(), IndexError> {
        close(self.db)
    }

    /// Begins to note a file. Nobody finds it until it is [`settle`](Self::settle)d.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn begin(&mut self) -> Result<FileNumber, IndexError> {
        self.db.prepare_cached("INSERT INTO files(home) VALUES(NULL)")?.execute([])?;
        self.files += 1;
        Ok(FileNumber(self.db.last_insert_rowid()))
    }

    /// Notes chunks of a file, many at a time. Beyond [`PLACES_MAX`] of a chunk, new ones are left
    /// out.
    ///
    /// # Errors
    /// [`IndexError`]; none of them is noted.
    pub fn add(&mut self, file: FileNumber, chunks: &[At]) -> Result<(), IndexError> {
        // In the order of the tree on disk, neighbours share their pages.
        let mut sorted: Vec<&At> = chunks.iter().collect();
        sorted.sort_unstable();
        let adding = self.db.transaction()?;
        {
            let mut insert = adding.prepare_cached(
                "INSERT OR IGNORE INTO places(chunk, file, offset, len) SELECT ?1, ?2, ?3, ?4
                 WHERE (SELECT count(*) FROM places JOIN files ON number = file
                    WHERE chunk = ?1) < ?5",
            )?;
            for At { chunk, offset, len } in sorted {
                let offset = i64::try_from(*offset).unwrap_or(i64::MAX);
                insert.execute(params![&chunk.0[..], file.0, offset, len, PLACES_MAX])?;
            }
        }
        adding.commit()?;
        self.added += chunks.len() as u64;
        Ok(())
    }

    /// The file that was noted is the one at `home` from now on; what was known of another there
    /// is dead.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn settle(&mut self, file: FileNumber, home: &Home) -> Result<(), IndexError> {
        let home = home.encode();
        self.remove("home = ?", params![home])?;
        let mut naming = self.db.prepare_cached("UPDATE files SET home = ? WHERE number = ?")?;
        naming.execute(params![home, file.0])?;
        drop(naming);
        self.sweep_if_much()
    }

    /// What was noted of a file counts no more.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn abandon(&mut self, file: FileNumber) -> Result<(), IndexError> {
        self.remove("number = ?", params![file.0])
    }

    /// A file went from one place to another, if it was noted.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn moved(&mut self, from: &Home, to: &Home) -> Result<(), IndexError> {
        let from = from.encode();
        let is_known =
            self.db.prepare_cached("SELECT 1 FROM files WHERE home = ?")?.exists([&from])?;
        if is_known {
            let to = to.encode();
            self.remove("home = ?", params![to])?;
            let sql = "UPDATE files SET home = ? WHERE home = ?";
            self.db.prepare_cached(sql)?.execute(params![to, from])?;
        }
        Ok(())
    }

    /// A file is gone.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn forget(&mut self, home: &Home) -> Result<(), IndexError> {
        self.remove("home = ?", params![home.encode()])
    }

    /// Where a chunk may be.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn find(&self, id: ChunkId) -> Result<Vec<Place>, IndexError> {
        let sql = "SELECT home, offset, len FROM places JOIN files ON number = file
            WHERE chunk = ? AND home IS NOT NULL ORDER BY file DESC";
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query([&id.0[..]])?;
        let mut places = Vec::new();
        while let Some(row) = rows.next()? {
            let (offset, len): (i64, i64) = (row.get(1)?, row.get(2)?);
            let place = match (u64::try_from(offset), u32::try_from(len)) {
                (Ok(offset), Ok(len)) => Place { home: Home::decode(blob(row, 0)?)?, offset, len },
                _ => return Err(IndexError::damaged("the place of a chunk")),
            };
            places.push(place);
        }
        Ok(places)
    }

    /// Takes the numbers of files away.
    fn remove(&mut self, which: &str, with: &[&dyn rusqlite::ToSql]) -> Result<(), IndexError> {
        let sql = format!("DELETE FROM files WHERE {which} RETURNING number");
        let number: Option<i64> =
            self.db.prepare_cached(&sql)?.query_row(with, |row| row.get(0)).optional()?;
        // How many it had is not worth a search: a file has as many as the mean.
        if number.is_some() {
            self.dead = self.dead.saturating_add(self.added / self.files.max(1));
            self.files = self.files.saturating_sub(1);
        }
        Ok(())
    }

    fn sweep_if_much(&mut self) -> Result<(), IndexError> {
        if self.dead < DEAD_MIN || self.dead < self.added / 2 {
            return Ok(());
        }
        let sql = "DELETE FROM places WHERE file NOT IN (SELECT number FROM files)";
        self.db.execute(sql, [])?;
        (self.dead, self.added) = (0, count(&self.db, "SELECT count(*) FROM places")?);
        Ok(())
    }
}

fn count(db: &Connection, sql: &str) -> Result<u64, IndexError> {
    let count: i64 = db.query_row(sql, [], |row| row.get(0))?;
    u64::try_from(count).map_err(|_| IndexError::damaged("a count"))
}

#[cfg(test)]
mod tests;
