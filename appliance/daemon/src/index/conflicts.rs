//! Conflicts, for those who ask for them: where copies stand, page by page.

use super::copies::decode;
use super::key::{Key, path_of};
use super::read::{blob, limit_of};
use super::{IndexError, Reading};
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::CopyOf;
use rusqlite::params;

impl Reading<'_> {
    /// Where conflict copies stand or are to stand, and of what: from behind `after`, `limit` at
    /// most.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn conflicts(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<(RelPath, CopyOf)>, IndexError> {
        let after = after.map_or_else(Vec::new, |after| Key::of(after).as_bytes().to_vec());
        let sql = "SELECT key, value FROM copies WHERE key > ? ORDER BY key LIMIT ?";
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query(params![after, limit_of(limit)])?;
        let mut conflicts = Vec::new();
        while let Some(row) = rows.next()? {
            let (key, value) = (blob(row, 0)?, blob(row, 1)?);
            conflicts.push((path_of(key)?, decode(key, value)?));
        }
        Ok(conflicts)
    }

    /// How many there are.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn conflict_count(&self) -> Result<u64, IndexError> {
        let count: i64 =
            self.db().query_row("SELECT count(*) FROM copies", [], |row| row.get(0))?;
        u64::try_from(count).map_err(|_| IndexError::damaged("a count"))
    }
}
