//! Where conflict copies and contents stand, where something is to be done, and keys of authors.

use super::codec::{Reader, Table, Writer, open};
use super::key::{Key, path_of};
use super::read::blob;
use super::{IndexError, Reading, Transaction};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::CopyOf;
use farhaul_sync::version::{Author, Dot, Incarnation, ManifestId, Serial, Version};
use rusqlite::params;

impl Reading<'_> {
    /// Which conflict copy has its place at a path.
    pub(super) fn copy_row(&self, key: &Key) -> Result<Option<CopyOf>, IndexError> {
        let mut statement = self.db().prepare_cached("SELECT value FROM copies WHERE key = ?")?;
        let mut rows = statement.query([key.as_bytes()])?;
        rows.next()?.map(|row| decode(key.as_bytes(), blob(row, 0)?)).transpose()
    }

    /// The loser of the conflict that a copy is of.
    pub(super) fn loser_of(&self, copy: CopyOf) -> Result<Option<(CopyOf, Version)>, IndexError> {
        let (versions, _) = self.set_of(&copy.origin, &Key::of(&copy.origin))?;
        Ok(versions.get(copy.dot).cloned().map(|loser| (copy, loser)))
    }

    /// Whether something live is at a path or beneath it, and which copy has its place there. It reads
    /// none of the versions that the copy is one of.
    pub(super) fn taken(&self, path: &RelPath) -> Result<(bool, Option<CopyOf>), IndexError> {
        let key = Key::of(path);
        let sql = "SELECT 1 FROM paths WHERE live = 1 AND key = ? LIMIT 1";
        let is_live = self.db().prepare_cached(sql)?.exists([key.as_bytes()])?;
        let is_taken = is_live || self.has_children(path)?;
        Ok((is_taken, self.copy_row(&key)?))
    }

    /// Where the copies of a path stand.
    pub(crate) fn copies_of(&self, origin: &RelPath) -> Result<Vec<(RelPath, Dot)>, IndexError> {
        let sql = "SELECT key, value FROM copies WHERE origin = ? ORDER BY key";
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query([Key::of(origin).as_bytes()])?;
        let mut copies = Vec::new();
        while let Some(row) = rows.next()? {
            let (key, value) = (blob(row, 0)?, blob(row, 1)?);
            copies.push((path_of(key)?, decode(key, value)?.dot));
        }
        Ok(copies)
    }

    /// A path where a file with that content stands, as far as is known, behind `after`.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn path_of_content(
        &self,
        manifest: ManifestId,
        after: Option<&RelPath>,
    ) -> Result<Option<RelPath>, IndexError> {
        let after = after.map_or_else(Vec::new, |after| Key::of(after).as_bytes().to_vec());
        let sql = "SELECT key FROM contents WHERE manifest = ? AND key > ? ORDER BY key LIMIT 1";
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query(params![&manifest.0[..], after])?;
        rows.next()?.map(|row| path_of(blob(row, 0)?)).transpose()
    }

    /// Paths at which something is to be done, in the order of a walk through the tree: from behind
    /// `after`, `limit` at most.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn unsettled(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<RelPath>, IndexError> {
        let after = after.map_or_else(Vec::new, |after| Key::of(after).as_bytes().to_vec());
        let sql = "SELECT key FROM unsettled WHERE key > ? ORDER BY key LIMIT ?";
        let mut statement = self.db().prepare_cached(sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![after, limit])?;
        let mut paths = Vec::new();
        while let Some(row) = rows.next()? {
            paths.push(path_of(blob(row, 0)?)?);
        }
        Ok(paths)
    }

    /// How many paths there are at which something is to be done.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn unsettled_count(&self) -> Result<u64, IndexError> {
        let count: i64 =
            self.db().query_row("SELECT count(*) FROM unsettled", [], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// The key of a site some of whose statements are held.
    pub(super) fn key_of(&self, site: SiteId) -> Result<Option<[u8; 32]>, IndexError> {
        let mut statement = self.db().prepare_cached("SELECT value FROM keys WHERE site = ?")?;
        let mut rows = statement.query([&site.0[..]])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let read = || {
            let mut reader = Reader::new(open(Table::Keys, &site.0, blob(row, 0).ok()?)?);
            let key = reader.array()?;
            reader.end()?;
            Some(key)
        };
        read().map(Some).ok_or_else(|| IndexError::damaged("the key of a site"))
    }
}

impl Transaction<'_> {
    pub(super) fn set_copy(&self, at: &RelPath, copy: Option<&CopyOf>) -> Result<(), IndexError> {
        let key = Key::of(at);
        self.held.forget(&key);
        let Some(copy) = copy else {
            let sql = "DELETE FROM copies WHERE key = ?";
            self.db().prepare_cached(sql)?.execute([key.as_bytes()])?;
            return Ok(());
        };
        let value = encode(copy, key.as_bytes());
        let origin = Key::of(&copy.origin);
        let sql = "REPLACE INTO copies(key, origin, value) VALUES(?, ?, ?)";
        let row = params![key.as_bytes(), origin.as_bytes(), value];
        self.db().prepare_cached(sql)?.execute(row)?;
        Ok(())
    }

    pub(super) fn set_unsettled(&self, path: &RelPath, unsettled: bool) -> Result<(), IndexError> {
        let sql = match unsettled {
            true => "INSERT OR IGNORE INTO unsettled(key) VALUES(?)",
            false => "DELETE FROM unsettled WHERE key = ?",
        };
        self.db().prepare_cached(sql)?.execute([Key::of(path).as_bytes()])?;
        Ok(())
    }

    pub(super) fn set_key(&self, site: SiteId, key: [u8; 32]) -> Result<(), IndexError> {
        let mut writer = Writer::new();
        writer.raw(&key);
        let value = writer.seal(Table::Keys, &site.0);
        let sql = "REPLACE INTO keys(site, value) VALUES(?, ?)";
        self.db().prepare_cached(sql)?.execute(params![&site.0[..], value])?;
        Ok(())
    }
}

pub(super) fn encode(copy: &CopyOf, key: &[u8]) -> Vec<u8> {
    let Dot { author, serial } = copy.dot;
    let mut writer = Writer::new();
    writer.raw(author.site.as_bytes()).u64(author.incarnation.get()).u64(serial.get());
    writer.raw(Key::of(&copy.origin).as_bytes());
    writer.seal(Table::Copies, key)
}

pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<CopyOf, IndexError> {
    let read = || {
        let mut reader = Reader::new(open(Table::Copies, key, value)?);
        let site = SiteId(reader.array()?);
        let author = Author { site, incarnation: Incarnation::new(reader.u64()?) };
        let dot = Dot { author, serial: Serial::new(reader.u64()?)? };
        Some(CopyOf { origin: path_of(reader.rest()).ok()?, dot })
    };
    read().ok_or_else(|| IndexError::damaged("the place of a conflict copy"))
}
