//! What guards a folder's files: what is counted of mass changes, who may do what, and by which
//! patterns paths are left out, as it was when that was last taken up.

use super::key::{Key, path_of};
use super::meta::{Field, read_bytes, write_bytes};
use super::read::{blob, limit_of};
use super::{IndexError, Reading, Transaction};
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::{Brake, Placed};
use farhaul_sync::version::ManifestId;
use rusqlite::params;

impl Reading<'_> {
    /// What stands on disk at a path, as far as is known.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn placed(&self, path: &RelPath) -> Result<Option<Placed>, IndexError> {
        self.item_row(&Key::of(path))?.map(|row| self.placed_of(path, row)).transpose()
    }

    /// At how many paths something stands; not more than `limit` is counted.
    pub(super) fn standing_count(&self, limit: u64) -> Result<u64, IndexError> {
        let sql = "SELECT count(*) FROM (SELECT 1 FROM items LIMIT ?)";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let count: i64 = self.db().prepare_cached(sql)?.query_row([limit], |row| row.get(0))?;
        u64::try_from(count).map_err(|_| IndexError::damaged("a count"))
    }

    /// Where a content stands: some of the paths.
    pub(super) fn standing_with(
        &self,
        manifest: ManifestId,
        limit: usize,
    ) -> Result<Vec<RelPath>, IndexError> {
        let sql = "SELECT key FROM contents WHERE manifest = ? LIMIT ?";
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query(params![&manifest.0[..], limit_of(limit)])?;
        let mut paths = Vec::new();
        while let Some(row) = rows.next()? {
            paths.push(path_of(blob(row, 0)?)?);
        }
        Ok(paths)
    }

    /// Paths beneath one at which something live stands: some of them.
    pub(super) fn live_beneath(
        &self,
        path: &RelPath,
        limit: usize,
    ) -> Result<Vec<RelPath>, IndexError> {
        let key = Key::of(path);
        let (first, end) = key.beneath();
        let sql = "SELECT DISTINCT key FROM paths WHERE live = 1 AND key >= ? AND key < ?
            ORDER BY key LIMIT ?";
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query(params![first, end, limit_of(limit)])?;
        let mut paths = Vec::new();
        while let Some(row) = rows.next()? {
            paths.push(path_of(blob(row, 0)?)?);
        }
        Ok(paths)
    }

    /// What is counted of changes, and what waits.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn brake(&self) -> Result<Brake, IndexError> {
        match read_bytes(self.db(), Field::Brake)? {
            None => Ok(Brake::default()),
            Some(bytes) => {
                Brake::decode(&bytes).ok_or_else(|| IndexError::damaged("what is counted"))
            }
        }
    }

    /// Who might do what when that was last taken up, as whoever kept it wrote it; `None`: nobody
    /// did.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn rights_print(&self) -> Result<Option<Vec<u8>>, IndexError> {
        read_bytes(self.db(), Field::Rights)
    }

    /// The same of the patterns by which paths are left out.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn rules_print(&self) -> Result<Option<Vec<u8>>, IndexError> {
        read_bytes(self.db(), Field::Rules)
    }
}

impl Transaction<'_> {
    pub(super) fn set_brake(&self, brake: &Brake) -> Result<(), IndexError> {
        write_bytes(self.db(), Field::Brake, &brake.encode())
    }

    /// Keeps who may do what.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn set_rights_print(&self, print: &[u8]) -> Result<(), IndexError> {
        write_bytes(self.db(), Field::Rights, print)
    }

    /// Keeps by which patterns paths are left out.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn set_rules_print(&self, print: &[u8]) -> Result<(), IndexError> {
        write_bytes(self.db(), Field::Rules, print)
    }
}
