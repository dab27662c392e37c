//! What users of this site wrote over or deleted themselves: this site displaced nothing then, so its
//! bytes are at other sites, if anywhere. It is remembered what that was, so that it can be named, and
//! brought back by whoever still has it.

use super::aside::dot_key;
use super::codec::{Reader, Table, Writer, open};
use super::intent::{read_version, write_version};
use super::key::{Key, path_of};
use super::read::{blob, limit_of};
use super::{IndexError, Reading, Transaction};
use farhaul_proto::path_name::RelPath;
use farhaul_sync::version::Version;
use rusqlite::params;

/// Of one path: the newest ones stay.
const OF_PATH_MAX: i64 = 16;
/// Of a folder, after each round in which versions are thinned out.
const OF_FOLDER_MAX: i64 = 100_000;

/// A version that stood here until a user of this site wrote over it or deleted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Where it stood.
    pub path: RelPath,
    /// What it was.
    pub version: Version,
    /// When this site saw that it was gone, in seconds since 1970 by its clock.
    pub at_secs: u64,
}

impl Elsewhere {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u64(self.at_secs);
        write_version(&mut writer, &self.path, &self.version);
        let key = Key::of(&self.path);
        writer.seal(Table::Elsewhere, &row_key(key.as_bytes(), &dot_key(self.version.dot)))
    }
}

impl Transaction<'_> {
    /// Remembers what a user of this site wrote over or deleted.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn add_elsewhere(&mut self, gone: &Elsewhere) -> Result<(), IndexError> {
        let key = Key::of(&gone.path);
        let (dot, at) = (dot_key(gone.version.dot), column_of(gone.at_secs));
        let sql = "REPLACE INTO elsewhere(key, dot, at, value) VALUES(?, ?, ?, ?)";
        let row = params![key.as_bytes(), &dot[..], at, gone.encode()];
        self.db().prepare_cached(sql)?.execute(row)?;
        let sql = "DELETE FROM elsewhere WHERE key = ?1 AND dot NOT IN
            (SELECT dot FROM elsewhere WHERE key = ?1 ORDER BY at DESC, dot LIMIT ?2)";
        self.db().prepare_cached(sql)?.execute(params![key.as_bytes(), OF_PATH_MAX])?;
        Ok(())
    }

    /// Forgets what was seen to be gone before a moment, in seconds since 1970, and of the rest the
    /// oldest where that is more than a folder remembers.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn thin_elsewhere(&mut self, before_secs: Option<u64>) -> Result<(), IndexError> {
        let before = before_secs.map_or(i64::MIN, column_of);
        self.db().prepare_cached("DELETE FROM elsewhere WHERE at < ?")?.execute([before])?;
        let sql = "DELETE FROM elsewhere WHERE at <
            (SELECT at FROM elsewhere ORDER BY at DESC LIMIT 1 OFFSET ?)";
        self.db().prepare_cached(sql)?.execute([OF_FOLDER_MAX])?;
        Ok(())
    }
}

impl Reading<'_> {
    /// What users of this site wrote over or deleted at a path, the oldest first.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn elsewhere_of(&self, path: &RelPath) -> Result<Vec<Elsewhere>, IndexError> {
        let sql = "SELECT key, dot, value FROM elsewhere WHERE key = ? ORDER BY at, dot";
        self.elsewhere_rows(sql, params![Key::of(path).as_bytes()])
    }

    /// The same for paths beneath `after` and behind it (or for all), in the order of a walk through
    /// the tree: `limit` at most, and the last path may be incomplete.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn elsewhere_from(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<Elsewhere>, IndexError> {
        let first = after.map_or_else(Vec::new, |after| Key::of(after).beneath().0);
        let sql = "SELECT key, dot, value FROM elsewhere WHERE key >= ? ORDER BY key, dot LIMIT ?";
        self.elsewhere_rows(sql, params![first, limit_of(limit)])
    }

    fn elsewhere_rows(
        &self,
        sql: &str,
        params: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<Elsewhere>, IndexError> {
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(decode(blob(row, 0)?, blob(row, 1)?, blob(row, 2)?)?);
        }
        Ok(all)
    }
}

fn decode(key: &[u8], dot: &[u8], value: &[u8]) -> Result<Elsewhere, IndexError> {
    let path = path_of(key)?;
    let read = || {
        let mut reader = Reader::new(open(Table::Elsewhere, &row_key(key, dot), value)?);
        let at_secs = reader.u64()?;
        let version = read_version(&mut reader)?;
        reader.end()?;
        (dot_key(version.dot)[..] == *dot).then_some((at_secs, version))
    };
    let (at_secs, version) =
        read().ok_or_else(|| IndexError::damaged(format!("what was at {path} before")))?;
    Ok(Elsewhere { path, version, at_secs })
}

/// No key ends with 0, so both parts can be told.
fn row_key(key: &[u8], dot: &[u8]) -> Vec<u8> {
    [key, &[0], dot].concat()
}

fn column_of(secs: u64) -> i64 {
    i64::try_from(secs).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Durability, Index};
    use crate::sample::{dot, file, index, path, version};

    fn add(index: &mut Index, at: &str, serial: u64, at_secs: u64) {
        let version = version(dot(1, serial), &[], file(b"x"));
        let gone = Elsewhere { path: path(at), version, at_secs };
        let mut writing = index.begin(Durability::Now).unwrap();
        writing.add_elsewhere(&gone).unwrap();
        writing.commit().unwrap();
    }

    fn serials(found: &[Elsewhere]) -> Vec<u64> {
        found.iter().map(|one| one.version.dot.serial.get()).collect()
    }

    #[test]
    fn the_newest_of_a_path_stay_and_what_is_old_goes() {
        let dir = tempfile::tempdir().unwrap();
        let mut index = index(dir.path());
        for serial in 1..=20 {
            add(&mut index, "a", serial, 100 + serial);
        }
        add(&mut index, "a/b", 30, 50);
        let of_a = index.read().elsewhere_of(&path("a")).unwrap();
        assert_eq!(serials(&of_a), (5..=20).collect::<Vec<_>>());
        let first = index.read().elsewhere_from(None, 3).unwrap();
        assert_eq!((first.len(), &first[0].path), (3, &path("a")));
        let beneath = index.read().elsewhere_from(Some(&path("a")), 99).unwrap();
        assert_eq!(serials(&beneath), [30]);
        let mut writing = index.begin(Durability::Now).unwrap();
        writing.thin_elsewhere(Some(119)).unwrap();
        writing.commit().unwrap();
        assert_eq!(serials(&index.read().elsewhere_from(None, 99).unwrap()), [19, 20]);
    }

    #[test]
    fn a_row_under_another_key_or_with_another_byte_is_damage() {
        let gone =
            Elsewhere { path: path("a"), version: version(dot(1, 3), &[], file(b"x")), at_secs: 7 };
        let (key, dot) = (Key::of(&gone.path), dot_key(gone.version.dot));
        let mut value = gone.encode();
        assert_eq!(decode(key.as_bytes(), &dot, &value).unwrap(), gone);
        assert!(decode(b"b", &dot, &value).is_err());
        assert!(decode(key.as_bytes(), &[0; 48], &value).is_err());
        let last = value.len() - 1;
        value[last] ^= 1;
        assert!(decode(key.as_bytes(), &dot, &value).is_err());
    }
}
