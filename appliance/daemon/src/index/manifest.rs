//! Manifests of what stands in the tree or is being fetched, in pages.
//!
//! A page is bytes to the index: what is in it, and that its pages make the manifest of that id, is
//! the business of whoever cuts and checks them.

use super::codec::{Table, Writer, open};
use super::read::{blob, limit_of};
use super::{IndexError, Reading, Transaction};
use farhaul_sync::version::ManifestId;
use rusqlite::params;

/// Bytes of a page at most.
pub const MANIFEST_PAGE_MAX: usize = 1 << 20;

impl Transaction<'_> {
    /// Stores page number `page` of a manifest, in place of what was there of it.
    ///
    /// # Errors
    /// [`IndexError`]; [`IndexError::TooLarge`] beyond [`MANIFEST_PAGE_MAX`].
    pub fn write_manifest_page(
        &mut self,
        id: ManifestId,
        page: u32,
        bytes: &[u8],
    ) -> Result<(), IndexError> {
        if bytes.len() > MANIFEST_PAGE_MAX {
            return Err(IndexError::TooLarge { what: "a page of a manifest" });
        }
        let mut writer = Writer::new();
        writer.raw(bytes);
        let value = writer.seal(Table::Manifests, &sealed_key(&id, page));
        let sql = "REPLACE INTO manifests(id, page, value) VALUES(?, ?, ?)";
        self.db().prepare_cached(sql)?.execute(params![&id.0[..], page, value])?;
        Ok(())
    }

    /// Forgets all pages of a manifest.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn forget_manifest(&mut self, id: ManifestId) -> Result<(), IndexError> {
        let sql = "DELETE FROM manifests WHERE id = ?";
        self.db().prepare_cached(sql)?.execute([&id.0[..]])?;
        Ok(())
    }
}

impl Reading<'_> {
    /// Page number `page` of a manifest, if it is here.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn manifest_page(&self, id: ManifestId, page: u32) -> Result<Option<Vec<u8>>, IndexError> {
        let sql = "SELECT value FROM manifests WHERE id = ? AND page = ?";
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query(params![&id.0[..], page])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let bytes = open(Table::Manifests, &sealed_key(&id, page), blob(row, 0)?);
        Ok(Some(bytes.ok_or_else(|| IndexError::damaged("a page of a manifest"))?.to_vec()))
    }

    /// The ids of manifests behind `after` (or of all), ascending, `limit` at most: for whoever
    /// looks for those that nothing needs any more.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn manifests_from(
        &self,
        after: Option<ManifestId>,
        limit: usize,
    ) -> Result<Vec<ManifestId>, IndexError> {
        let sql = "SELECT DISTINCT id FROM manifests WHERE id > ? ORDER BY id LIMIT ?";
        let after = after.map_or_else(Vec::new, |after| after.0.to_vec());
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query(params![after, limit_of(limit)])?;
        let mut ids = Vec::new();
        while let Some(row) = rows.next()? {
            let id = blob(row, 0)?.try_into().map(ManifestId);
            ids.push(id.map_err(|_| IndexError::damaged("the id of a manifest"))?);
        }
        Ok(ids)
    }

    pub(super) fn check_manifests(&self) -> Result<(), IndexError> {
        let mut statement = self.db().prepare("SELECT id, page, value FROM manifests")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = blob(row, 0)?.try_into().map(ManifestId);
            let page: Result<u32, _> = row.get(1);
            let is_whole = match (id, page) {
                (Ok(id), Ok(page)) => {
                    open(Table::Manifests, &sealed_key(&id, page), blob(row, 2)?).is_some()
                }
                _ => false,
            };
            if !is_whole {
                return Err(IndexError::damaged("a page of a manifest"));
            }
        }
        Ok(())
    }
}

fn sealed_key(id: &ManifestId, page: u32) -> Vec<u8> {
    [&id.0[..], &page.to_be_bytes()].concat()
}
