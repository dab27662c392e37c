//! Pages of chunk lists by their names: lists that share a stretch share pages.

use super::{ContentMap, IndexError};
use crate::index::read::blob;
use farhaul_sync::chunk::PageId;
use farhaul_sync::limits::PAGE_MAX;
use rusqlite::params;

impl ContentMap {
    /// Keeps pages; each has the name that its bytes hash to.
    ///
    /// # Errors
    /// [`IndexError`]; none is kept. [`IndexError::TooLarge`] beyond [`PAGE_MAX`].
    pub fn add_pages(&mut self, pages: &[(PageId, Vec<u8>)]) -> Result<(), IndexError> {
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

    /// A page, if it is here. Who takes it in checks its name.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn page(&self, id: PageId) -> Result<Option<Vec<u8>>, IndexError> {
        let mut statement = self.db.prepare_cached("SELECT bytes FROM pages WHERE id = ?")?;
        let mut rows = statement.query([&id.0[..]])?;
        rows.next()?.map(|row| Ok(blob(row, 0)?.to_vec())).transpose()
    }

    /// Whether a page is here.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn has_page(&self, id: PageId) -> Result<bool, IndexError> {
        Ok(self.db.prepare_cached("SELECT 1 FROM pages WHERE id = ?")?.exists([&id.0[..]])?)
    }

    /// Forgets a page: one whose bytes are not what its name says.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn forget_page(&mut self, id: PageId) -> Result<(), IndexError> {
        self.db.prepare_cached("DELETE FROM pages WHERE id = ?")?.execute([&id.0[..]])?;
        Ok(())
    }
}
