//! Where on this disk chunks are: so that whatever is here already crosses no network.
//!
//! Derived from the tree and its manifests, and only a hint: whoever reads a chunk at a place hashes
//! it. So it lies in a file of its own, nothing waits for its disk, and a damaged one is made anew.

use super::key::{Key, path_of};
use super::{IndexError, beside, close, connect, remove_if_there};
use crate::index::read::blob;
use farhaul_proto::path_name::RelPath;
use rusqlite::{Connection, OpenFlags, params};
use std::path::Path;

/// Places that are kept of one chunk. A chunk of zeros may have millions, and one is enough.
pub const PLACES_MAX: u32 = 8;
const FORMAT: i64 = 1;

/// The name of a chunk: its keyed hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub [u8; 32]);

/// Where a chunk is, or was when somebody looked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// In which file.
    pub path: RelPath,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub len: u32,
}

/// A map from chunks to places.
pub trait ChunkMap {
    /// Notes places, many at a time. Beyond [`PLACES_MAX`] of a chunk, new ones are left out.
    ///
    /// # Errors
    /// [`IndexError`]; any part of them may be noted.
    fn add(&mut self, places: &[(ChunkId, Place)]) -> Result<(), IndexError>;

    /// Forgets places: those of a file that changed or went.
    ///
    /// # Errors
    /// [`IndexError`].
    fn remove(&mut self, places: &[(ChunkId, Place)]) -> Result<(), IndexError>;

    /// Where a chunk may be.
    ///
    /// # Errors
    /// [`IndexError`].
    fn find(&self, id: ChunkId) -> Result<Vec<Place>, IndexError>;
}

/// A chunk map in an SQLite file.
#[derive(Debug)]
pub struct SqliteChunks {
    db: Connection,
}

impl SqliteChunks {
    /// Opens or makes the map at `path`. One that is damaged or of another format is made anew, and
    /// empty: then whoever knows the manifests fills it.
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
        let db = connect(path, OpenFlags::SQLITE_OPEN_CREATE)?;
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
                db.execute_batch(
                    "CREATE TABLE IF NOT EXISTS places(chunk BLOB NOT NULL, key BLOB NOT NULL,
                        offset INTEGER NOT NULL, len INTEGER NOT NULL,
                        PRIMARY KEY(chunk, key, offset)) WITHOUT ROWID",
                )?;
                db.pragma_update(None, "user_version", FORMAT)?;
            }
            found => return Err(IndexError::Format { found, known: FORMAT }),
        }
        Ok(Self { db })
    }

    /// Ends work on it.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn close(self) -> Result<(), IndexError> {
        close(self.db)
    }
}

/// A column for an offset: files end before the numbers of the database do.
fn column(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

impl ChunkMap for SqliteChunks {
    fn add(&mut self, places: &[(ChunkId, Place)]) -> Result<(), IndexError> {
        // In the order of the tree on disk, neighbours share their pages.
        let mut sorted: Vec<&(ChunkId, Place)> = places.iter().collect();
        sorted.sort_unstable();
        let adding = self.db.transaction()?;
        {
            let mut insert = adding.prepare_cached(
                "INSERT OR REPLACE INTO places(chunk, key, offset, len) SELECT ?1, ?2, ?3, ?4
                 WHERE (SELECT count(*) FROM places WHERE chunk = ?1) < ?5",
            )?;
            for (id, place) in sorted {
                let key = Key::of(&place.path);
                let offset = column(place.offset);
                let row = params![&id.0[..], key.as_bytes(), offset, place.len, PLACES_MAX];
                insert.execute(row)?;
            }
        }
        Ok(adding.commit()?)
    }

    fn remove(&mut self, places: &[(ChunkId, Place)]) -> Result<(), IndexError> {
        let removing = self.db.transaction()?;
        {
            let sql = "DELETE FROM places WHERE chunk = ? AND key = ? AND offset = ?";
            let mut delete = removing.prepare_cached(sql)?;
            for (id, place) in places {
                let key = Key::of(&place.path);
                delete.execute(params![&id.0[..], key.as_bytes(), column(place.offset)])?;
            }
        }
        Ok(removing.commit()?)
    }

    fn find(&self, id: ChunkId) -> Result<Vec<Place>, IndexError> {
        let sql = "SELECT key, offset, len FROM places WHERE chunk = ?";
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query([&id.0[..]])?;
        let mut places = Vec::new();
        while let Some(row) = rows.next()? {
            let (offset, len): (i64, i64) = (row.get(1)?, row.get(2)?);
            let place = match (u64::try_from(offset), u32::try_from(len)) {
                (Ok(offset), Ok(len)) => Place { path: path_of(blob(row, 0)?)?, offset, len },
                _ => return Err(IndexError::damaged("the place of a chunk")),
            };
            places.push(place);
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::path;

    fn place(at: &str, offset: u64) -> Place {
        Place { path: path(at), offset, len: 65_536 }
    }

    #[test]
    fn places_of_a_chunk_are_found_until_they_are_removed() {
        let home = tempfile::tempdir().unwrap();
        let location = home.path().join("chunks");
        let mut map = SqliteChunks::open(&location).unwrap();
        let ids = [1, 2].map(|n| ChunkId([n; 32]));
        let places =
            [(ids[0], place("a", 0)), (ids[1], place("a", 65_536)), (ids[0], place("b/c", 7))];
        map.add(&places).unwrap();
        map.add(&places).unwrap();
        assert_eq!(map.find(ids[0]).unwrap(), [place("a", 0), place("b/c", 7)]);
        map.remove(&places[..2]).unwrap();
        map.close().unwrap();
        let map = SqliteChunks::open(&location).unwrap();
        assert_eq!(map.find(ids[0]).unwrap(), [place("b/c", 7)]);
        assert_eq!(map.find(ids[1]).unwrap(), []);
    }

    #[test]
    fn a_chunk_that_is_everywhere_has_a_few_places() {
        let home = tempfile::tempdir().unwrap();
        let mut map = SqliteChunks::open(&home.path().join("chunks")).unwrap();
        let zeros = ChunkId([0; 32]);
        let places: Vec<_> = (0..100).map(|n| (zeros, place("a", n << 16))).collect();
        map.add(&places).unwrap();
        assert_eq!(map.find(zeros).unwrap().len(), PLACES_MAX as usize);
    }

    #[test]
    fn a_damaged_map_is_made_anew() {
        let home = tempfile::tempdir().unwrap();
        let location = home.path().join("chunks");
        let mut map = SqliteChunks::open(&location).unwrap();
        map.add(&[(ChunkId([1; 32]), place("a", 0))]).unwrap();
        map.close().unwrap();
        let len = std::fs::metadata(&location).unwrap().len();
        for junk in [vec![0x55; 5000], vec![0; usize::try_from(len).unwrap()]] {
            std::fs::write(&location, junk).unwrap();
            let mut map = SqliteChunks::open(&location).unwrap();
            assert_eq!(map.find(ChunkId([1; 32])).unwrap(), []);
            map.add(&[(ChunkId([1; 32]), place("a", 0))]).unwrap();
            map.close().unwrap();
        }
    }
}
