//! What of a path's metadata the disk did not take: rows beside those of what stands there.

use super::codec::{Reader, Table, Writer, open};
use super::key::Key;
use super::{IndexError, Reading, Transaction};
use crate::store::Shortfall;
use farhaul_proto::path_name::RelPath;
use rusqlite::{OptionalExtension, params};

impl Transaction<'_> {
    /// Keeps what a path lacks of what its version says, or that it lacks nothing.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn set_shortfall(
        &mut self,
        path: &RelPath,
        short: Option<&Shortfall>,
    ) -> Result<(), IndexError> {
        let key = Key::of(path);
        let Some(short) = short else {
            let sql = "DELETE FROM shortfalls WHERE key = ?";
            self.db().prepare_cached(sql)?.execute([key.as_bytes()])?;
            return Ok(());
        };
        let mut writer = Writer::new();
        write(&mut writer, short);
        let value = writer.seal(Table::Shortfalls, key.as_bytes());
        let sql = "REPLACE INTO shortfalls(key, value) VALUES(?, ?)";
        self.db().prepare_cached(sql)?.execute(params![key.as_bytes(), value])?;
        Ok(())
    }
}

impl Reading<'_> {
    /// What a path lacks of what its version says.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn shortfall(&self, path: &RelPath) -> Result<Option<Shortfall>, IndexError> {
        let key = Key::of(path);
        let sql = "SELECT value FROM shortfalls WHERE key = ?";
        let mut statement = self.db().prepare_cached(sql)?;
        let value: Option<Vec<u8>> =
            statement.query_row([key.as_bytes()], |row| row.get(0)).optional()?;
        let Some(value) = value else { return Ok(None) };
        let read = || {
            let mut reader = Reader::new(open(Table::Shortfalls, key.as_bytes(), &value)?);
            let short = read(&mut reader)?;
            reader.end().map(|()| short)
        };
        read().map(Some).ok_or_else(|| IndexError::damaged(format!("what {path} lacks")))
    }
}

/// Each as 0 where nothing is missing, else one more than the number.
pub(super) fn write(writer: &mut Writer, short: &Shortfall) {
    let Shortfall { owner, group, attrs } = short;
    for id in [owner, group] {
        writer.u64(id.map_or(0, |id| u64::from(id) + 1));
    }
    writer.bytes(attrs.as_ref().map_or(&[], |attrs| &attrs[..]));
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<Shortfall> {
    let mut id = || match reader.u64()? {
        0 => Some(None),
        more => Some(Some(u32::try_from(more - 1).ok()?)),
    };
    let (owner, group) = (id()?, id()?);
    let attrs = match reader.bytes()? {
        [] => None,
        attrs => Some(attrs.try_into().ok()?),
    };
    Some(Shortfall { owner, group, attrs })
}
