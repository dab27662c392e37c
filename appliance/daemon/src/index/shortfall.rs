//! What of a path's metadata the disk did not take: rows beside those of what stands there.

use super::codec::{Reader, Table, Writer, open};
use super::key::{Key, path_of};
use super::read::{blob, limit_of};
use super::{IndexError, Reading, Transaction};
use crate::store::{Lacks, Shortfall};
use farhaul_proto::path_name::RelPath;
use farhaul_sync::limits::MODE_MASK;
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
        value.map(|value| decode(key.as_bytes(), &value)).transpose()
    }

    /// What paths lack, in the order of a walk through the tree, from behind `after`; `limit` at most.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn shortfalls_from(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<(RelPath, Shortfall)>, IndexError> {
        let after = after.map(Key::of);
        let after = after.as_ref().map_or(&[][..], |key| key.as_bytes());
        let sql = "SELECT key, value FROM shortfalls WHERE key > ? ORDER BY key LIMIT ?";
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query(params![after, limit_of(limit)])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let key = blob(row, 0)?;
            found.push((path_of(key)?, decode(key, blob(row, 1)?)?));
        }
        Ok(found)
    }

    /// How many paths lack something, and how many of them lack each of [`Lacks::ALL`].
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn lacking(&self) -> Result<(u64, [u64; Lacks::ALL.len()]), IndexError> {
        let mut statement = self.db().prepare_cached("SELECT key, value FROM shortfalls")?;
        let mut rows = statement.query([])?;
        let (mut paths, mut each) = (0, [0; Lacks::ALL.len()]);
        while let Some(row) = rows.next()? {
            let lacks = decode(blob(row, 0)?, blob(row, 1)?)?.lacks;
            paths += u64::from(lacks.is_any());
            for (count, lack) in each.iter_mut().zip(Lacks::ALL) {
                *count += u64::from(lacks.has(lack));
            }
        }
        Ok((paths, each))
    }
}

fn decode(key: &[u8], value: &[u8]) -> Result<Shortfall, IndexError> {
    let read = || {
        let mut reader = Reader::new(open(Table::Shortfalls, key, value)?);
        let short = read(&mut reader)?;
        reader.end().map(|()| short)
    };
    read().ok_or_else(|| IndexError::damaged("what a path lacks"))
}

/// Each as 0 where nothing is missing, else one more than the number. What came later stands behind the
/// rest, where it is not what is presumed without it.
pub(super) fn write(writer: &mut Writer, short: &Shortfall) {
    let Shortfall { owner, group, attrs, mode, lacks } = short;
    for id in [owner, group] {
        writer.u64(id.map_or(0, |id| u64::from(id) + 1));
    }
    writer.bytes(attrs.as_ref().map_or(&[], |attrs| &attrs[..]));
    if mode.is_some() || *lacks != short.presumed() {
        writer.byte(lacks.bits()).u64(mode.map_or(0, |mode| u64::from(mode) + 1));
    }
}

/// All that is left is of it.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Shortfall> {
    let id = |reader: &mut Reader<'_>| match reader.u64()? {
        0 => Some(None),
        more => Some(Some(u32::try_from(more - 1).ok()?)),
    };
    let (owner, group) = (id(reader)?, id(reader)?);
    let attrs = match reader.bytes()? {
        [] => None,
        attrs => Some(attrs.try_into().ok()?),
    };
    let mut short = Shortfall { owner, group, attrs, ..Shortfall::default() };
    short.lacks = short.presumed();
    if reader.end().is_none() {
        short.lacks = Lacks::from_bits(reader.byte()?)?;
        short.mode = id(reader)?.filter(|mode| mode & !MODE_MASK == 0);
        // It is written in one way only.
        (short.mode.is_some() || short.lacks != short.presumed()).then_some(())?;
    }
    Some(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(short: &Shortfall) -> Vec<u8> {
        let mut writer = Writer::new();
        write(&mut writer, short);
        writer.into_payload()
    }

    #[test]
    fn what_was_written_before_modes_were_is_read_and_written_alike() {
        // As an earlier program wrote that the owner is 7 and attributes are others.
        let before = [&[8, 0, 16][..], &[5; 16]].concat();
        let short = read(&mut Reader::new(&before)).unwrap();
        assert_eq!((short.owner, short.group, short.attrs), (Some(7), None, Some([5; 16])));
        assert_eq!(short.lacks, short.presumed());
        assert_eq!(bytes(&short), before);
        // Another form of the same is none.
        let again = [&before[..], &[short.lacks.bits(), 0]].concat();
        assert_eq!(read(&mut Reader::new(&again)), None);
        for more in [
            Shortfall { mode: Some(0o755), ..short },
            Shortfall { lacks: Lacks::UNSAID, ..Shortfall::default() },
            Shortfall { lacks: Lacks::ATTRS, ..short },
        ] {
            assert_eq!(read(&mut Reader::new(&bytes(&more))), Some(more));
        }
    }
}
