//! How far other sites' indexes are followed: kept in the transaction that keeps what they told.

use super::codec::{Reader, Table, Writer, open};
use super::read::blob;
use super::{IndexError, Reading, Transaction};
use farhaul_proto::ids::SiteId;
use farhaul_sync::message::Followed;
use rusqlite::params;

impl Reading<'_> {
    /// How far the index of a site is followed.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn followed(&self, site: SiteId) -> Result<Option<Followed>, IndexError> {
        let sql = "SELECT value FROM followed WHERE site = ?";
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query([&site.0[..]])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let read = || {
            let mut reader = Reader::new(open(Table::Followed, &site.0, blob(row, 0).ok()?)?);
            let followed = Followed { epoch: reader.u64()?, up_to: reader.u64()? };
            reader.end()?;
            Some(followed)
        };
        read().map(Some).ok_or_else(|| IndexError::damaged("how far a site is followed"))
    }
}

impl Transaction<'_> {
    /// Keeps how far the index of a site is followed: what it told up to there is in this
    /// transaction, or was in one before.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn follow(&mut self, site: SiteId, followed: Followed) -> Result<(), IndexError> {
        let mut writer = Writer::new();
        writer.u64(followed.epoch).u64(followed.up_to);
        let value = writer.seal(Table::Followed, &site.0);
        let sql = "REPLACE INTO followed(site, value) VALUES(?, ?)";
        self.db().prepare_cached(sql)?.execute(params![&site.0[..], value])?;
        Ok(())
    }
}
