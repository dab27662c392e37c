//! The map in an SQLite file of its own: nothing waits for its disk, and a damaged one is made anew.

use super::{At, ChunkMap, FileNumber, Home, PLACES_MAX, Place};
use crate::index::read::blob;
use crate::index::{IndexError, beside, close, connect, obey, remove_if_there};
use farhaul_engine::files::stop::Stop;
use farhaul_sync::chunk::{ChunkId, PageId};
use farhaul_sync::limits::PAGE_MAX;
use farhaul_sync::version::ManifestId;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::path::{Path, PathBuf};

/// Places that nobody looks at any more, at which a sweep is worth it; also half of all.
pub(super) const DEAD_MIN: u64 = 1 << 16;
pub(super) const FORMAT: i64 = 4;
/// Pages kept in memory, in KiB: chunks come in no order, and the system keeps pages as well.
const CACHE_KIB: i64 = 8 << 10;

const TABLES: &str = "
    CREATE TABLE files(number INTEGER PRIMARY KEY AUTOINCREMENT, home BLOB UNIQUE, content BLOB);
    CREATE INDEX displaced ON files(content) WHERE home IS NULL AND content IS NOT NULL;
    CREATE TABLE places(chunk BLOB NOT NULL, file INTEGER NOT NULL, offset INTEGER NOT NULL,
        len INTEGER NOT NULL, PRIMARY KEY(chunk, file, offset)) WITHOUT ROWID;
    CREATE TABLE pages(id BLOB PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID;
";

/// The map, in an SQLite file.
#[derive(Debug)]
pub struct ContentMap {
    pub(super) db: Connection,
    path: PathBuf,
    counts: Counts,
    /// Whether what was there when it was opened is among them.
    is_counted: bool,
    /// [`DEAD_MIN`], or less in a test.
    pub(super) dead_min: u64,
}

/// How much there is, by which it is told when a sweep is worth it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Places of files that have no number any more, as far as was counted.
    dead: u64,
    /// All places that were added.
    added: u64,
    files: u64,
}

impl Counts {
    /// A file has no place any more. How many chunks it had is not worth a search: as many as the mean.
    const fn lose_one(&mut self) {
        let files = if self.files == 0 { 1 } else { self.files };
        self.dead = self.dead.saturating_add(self.added / files);
        self.files = self.files.saturating_sub(1);
    }

    /// Counts what is in the map at `path`, which somebody has open: a pass over all of it, minutes
    /// where there are terabytes. Ends early, with an error, once `stop` is set.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn of(path: &Path, stop: &Stop) -> Result<Self, IndexError> {
        let db = connect(path, OpenFlags::empty(), CACHE_KIB)?;
        obey(&db, stop)?;
        let sql = "SELECT count(*) FROM places WHERE file NOT IN (SELECT number FROM files)";
        let (dead, added) = (count(&db, sql)?, count(&db, "SELECT count(*) FROM places")?);
        let files = count(&db, "SELECT count(*) FROM files")?;
        close(db)?;
        Ok(Self { dead, added, files })
    }
}

impl ContentMap {
    /// Opens or makes the map at `path`. One that is damaged or of another format is made anew, and
    /// empty: then whoever reads the files fills it.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        Self::open_under(path, &Stop::default())
    }

    /// The same; ends early, with an error, once `stop` is set.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) fn open_under(path: &Path, stop: &Stop) -> Result<Self, IndexError> {
        match Self::open_there(path, stop) {
            Err(IndexError::Damaged { .. } | IndexError::Format { .. }) if !stop.is_set() => {
                for suffix in ["", "-wal", "-shm"] {
                    remove_if_there(&beside(path, suffix))?;
                }
                Self::open_there(path, stop)
            }
            opened => opened,
        }
    }

    fn open_there(path: &Path, stop: &Stop) -> Result<Self, IndexError> {
        let db = connect(path, OpenFlags::SQLITE_OPEN_CREATE, CACHE_KIB)?;
        obey(&db, stop)?;
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
        db.progress_handler(0, None::<fn() -> bool>)?;
        let (path, counts, is_counted) = (path.to_path_buf(), Counts::default(), found == 0);
        Ok(Self { db, path, counts, is_counted, dead_min: DEAD_MIN })
    }

    /// Where it is to be counted what was there when it was opened ([`Counts::of`]), by somebody who does
    /// not hold the map meanwhile; until then nothing is swept. `None`: that was done.
    pub(crate) fn uncounted(&self) -> Option<PathBuf> {
        (!self.is_counted).then(|| self.path.clone())
    }

    /// It was counted. What came meanwhile may count twice: what follows is a guess as it is.
    pub(crate) fn counted(&mut self, counts: Counts) {
        self.counts.dead = self.counts.dead.saturating_add(counts.dead);
        self.counts.added = self.counts.added.saturating_add(counts.added);
        self.counts.files = self.counts.files.saturating_add(counts.files);
        self.is_counted = true;
    }

    /// Counts anew, as if it had just been opened.
    #[cfg(test)]
    pub(super) fn recount(&mut self) {
        self.counts = Counts::of(&self.path, &Stop::default()).expect("readable");
        self.counts.dead = self.counts.dead.max(self.counts.added);
    }

    /// Ends work on it.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn close(self) -> Result<(), IndexError> {
        close(self.db)
    }

    /// Another file takes the place: what was noted of the one there is remembered, and counts as dead.
    fn displace(&mut self, home: &[u8]) -> Result<(), IndexError> {
        let sql = "UPDATE files SET home = NULL WHERE home = ? AND content IS NOT NULL";
        if self.db.prepare_cached(sql)?.execute([home])? > 0 {
            self.counts.lose_one();
        }
        Ok(())
    }

    /// The file with that content at that place.
    fn number_at(&self, home: &[u8], content: &[u8]) -> Result<Option<i64>, IndexError> {
        let sql = "SELECT number FROM files WHERE home = ? AND content = ?";
        let mut there = self.db.prepare_cached(sql)?;
        Ok(there.query_row(params![home, content], |row| row.get(0)).optional()?)
    }

    /// A file with that content whose place another one took.
    fn displaced(&self, content: &[u8]) -> Result<Option<i64>, IndexError> {
        let sql = "SELECT max(number) FROM files WHERE home IS NULL AND content = ?";
        Ok(self.db.prepare_cached(sql)?.query_row([content], |row| row.get(0))?)
    }

    /// Takes the numbers of files away.
    fn remove(&mut self, which: &str, with: &[&dyn rusqlite::ToSql]) -> Result<(), IndexError> {
        let sql = format!("DELETE FROM files WHERE {which} RETURNING number");
        let number: Option<i64> =
            self.db.prepare_cached(&sql)?.query_row(with, |row| row.get(0)).optional()?;
        if number.is_some() {
            self.counts.lose_one();
        }
        Ok(())
    }
}

impl ChunkMap for ContentMap {
    fn begin(&mut self) -> Result<FileNumber, IndexError> {
        self.db.prepare_cached("INSERT INTO files(home) VALUES(NULL)")?.execute([])?;
        self.counts.files += 1;
        Ok(FileNumber(self.db.last_insert_rowid()))
    }

    fn add(&mut self, file: FileNumber, chunks: &[At]) -> Result<(), IndexError> {
        // In the order of the tree on disk, neighbours share their pages.
        let mut sorted: Vec<&At> = chunks.iter().collect();
        sorted.sort_unstable();
        let adding = self.db.transaction()?;
        {
            let mut insert = adding.prepare_cached(
                "INSERT OR IGNORE INTO places(chunk, file, offset, len) SELECT ?1, ?2, ?3, ?4
                 WHERE (SELECT count(*) FROM places JOIN files ON number = file
                    WHERE chunk = ?1 AND (home IS NOT NULL OR content IS NULL)) < ?5",
            )?;
            for At { chunk, offset, len } in sorted {
                let offset = i64::try_from(*offset).unwrap_or(i64::MAX);
                insert.execute(params![&chunk.0[..], file.0, offset, len, PLACES_MAX])?;
            }
        }
        adding.commit()?;
        self.counts.added += chunks.len() as u64;
        Ok(())
    }

    fn settle(
        &mut self,
        file: FileNumber,
        home: &Home,
        content: ManifestId,
    ) -> Result<(), IndexError> {
        let home = home.encode();
        self.displace(&home)?;
        let sql = "UPDATE files SET home = ?, content = ? WHERE number = ?";
        self.db.prepare_cached(sql)?.execute(params![home, &content.0[..], file.0])?;
        Ok(())
    }

    fn found_at(&mut self, content: ManifestId, from: &Home, to: &Home) -> Result<(), IndexError> {
        let (from, to, content) = (from.encode(), to.encode(), &content.0[..]);
        if from == to {
            return Ok(());
        }
        let number = match self.number_at(&from, content)? {
            Some(number) => Some(number),
            None => {
                let number = self.displaced(content)?;
                self.counts.files += u64::from(number.is_some());
                number
            }
        };
        let Some(number) = number else { return Ok(()) };
        self.displace(&to)?;
        let sql = "UPDATE files SET home = ? WHERE number = ?";
        self.db.prepare_cached(sql)?.execute(params![to, number])?;
        Ok(())
    }

    fn abandon(&mut self, file: FileNumber) -> Result<(), IndexError> {
        self.remove("number = ?", params![file.0])
    }

    fn moved(&mut self, from: &Home, to: &Home) -> Result<(), IndexError> {
        if from == to {
            return Ok(());
        }
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

    fn forget(&mut self, home: &Home) -> Result<(), IndexError> {
        self.remove("home = ?", params![home.encode()])
    }

    fn find(&self, id: ChunkId) -> Result<Vec<Place>, IndexError> {
        let sql = "SELECT home, offset, len FROM places JOIN files ON number = file
            WHERE chunk = ? AND home IS NOT NULL ORDER BY file DESC, offset";
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

    fn add_pages(&mut self, pages: &[(PageId, Vec<u8>)]) -> Result<(), IndexError> {
        if pages.iter().any(|(_, bytes)| bytes.len() > PAGE_MAX) {
            return Err(IndexError::TooLarge { what: "a page of a manifest" });
        }
        let adding = self.db.transaction()?;
        {
            let sql = "INSERT OR IGNORE INTO pages(id, bytes) VALUES(?, ?)";
            let mut insert = adding.prepare_cached(sql)?;
            for (id, bytes) in pages {
                insert.execute(params![&id.0[..], bytes])?;
            }
        }
        Ok(adding.commit()?)
    }

    fn page(&self, id: PageId) -> Result<Option<Vec<u8>>, IndexError> {
        let mut statement = self.db.prepare_cached("SELECT bytes FROM pages WHERE id = ?")?;
        let mut rows = statement.query([&id.0[..]])?;
        rows.next()?.map(|row| Ok(blob(row, 0)?.to_vec())).transpose()
    }

    fn has_page(&self, id: PageId) -> Result<bool, IndexError> {
        Ok(self.db.prepare_cached("SELECT 1 FROM pages WHERE id = ?")?.exists([&id.0[..]])?)
    }

    fn forget_page(&mut self, id: PageId) -> Result<(), IndexError> {
        self.db.prepare_cached("DELETE FROM pages WHERE id = ?")?.execute([&id.0[..]])?;
        Ok(())
    }

    fn sweep(&mut self) -> Result<(), IndexError> {
        let Counts { dead, added, .. } = self.counts;
        if !self.is_counted || dead < self.dead_min || dead < added / 2 {
            return Ok(());
        }
        self.db.execute("DELETE FROM files WHERE home IS NULL AND content IS NOT NULL", [])?;
        let sql = "DELETE FROM places WHERE file NOT IN (SELECT number FROM files)";
        self.db.execute(sql, [])?;
        let added = count(&self.db, "SELECT count(*) FROM places")?;
        self.counts = Counts { dead: 0, added, ..self.counts };
        Ok(())
    }
}

pub(super) fn count(db: &Connection, sql: &str) -> Result<u64, IndexError> {
    let count: i64 = db.query_row(sql, [], |row| row.get(0))?;
    u64::try_from(count).map_err(|_| IndexError::damaged("a count"))
}
