//! Displaced objects that are not done with: edits that no version says anything of yet, and files
//! that an editor may have held open while they were displaced and may still write into (F-08; spec: S-047).

use super::codec::{Reader, Table, Writer, open};
use super::intent::{read_version, write_version};
use super::item::{read_identity, write_identity};
use super::read::{blob, limit_of};
use super::{IndexError, Reading, Transaction};
use crate::store::{Displaced, Origin, Shortfall};
use farhaul_engine::files::dir::FileKind;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::FileIdentity;
use farhaul_sync::version::Version;
use rusqlite::{OptionalExtension, params};

/// Something in the version store that is to be looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loose {
    /// Its name there.
    pub name: String,
    /// Where it stood.
    pub path: RelPath,
    /// The version that its next edit is made over: what stood there, or what was last published of
    /// it.
    pub over: Option<Version>,
    /// The state of which everything is said. `None`: nothing is said of it yet.
    pub said: Option<FileIdentity>,
    /// What the disk had in place of what `over` says.
    pub shortfall: Option<Shortfall>,
    /// When it was displaced, in seconds since 1970 by this site's clock.
    pub at_secs: u64,
}

impl Loose {
    /// What is to be looked at of something displaced: files and links that somebody wrote.
    pub(super) fn of(
        displaced: &Displaced,
        shortfall: Option<Shortfall>,
        at_secs: u64,
    ) -> Option<Self> {
        let said = match (displaced.origin, displaced.kind) {
            (Origin::Edit, FileKind::File | FileKind::Symlink) => None,
            (Origin::Recorded, FileKind::File) => Some(displaced.identity),
            _ => return None,
        };
        let Displaced { name, path, over, .. } = displaced.clone();
        Some(Self { name, path, over, said, shortfall, at_secs })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.bytes(self.path.as_bytes()).u64(self.at_secs);
        match &self.over {
            None => {
                writer.byte(0);
            }
            Some(version) => {
                writer.byte(1);
                write_version(&mut writer, &self.path, version);
            }
        }
        match &self.said {
            None => {
                writer.byte(0);
            }
            Some(identity) => {
                writer.byte(1);
                write_identity(&mut writer, identity);
            }
        }
        match &self.shortfall {
            None => {
                writer.byte(0);
            }
            Some(short) => {
                writer.byte(1);
                super::shortfall::write(&mut writer, short);
            }
        }
        writer.seal(Table::Loose, self.name.as_bytes())
    }

    pub(super) fn decode(name: &str, value: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(open(Table::Loose, name.as_bytes(), value)?);
        let path = RelPath::parse(reader.bytes()?).ok()?;
        let at_secs = reader.u64()?;
        let over = if is_there(&mut reader)? { Some(read_version(&mut reader)?) } else { None };
        let said = if is_there(&mut reader)? { Some(read_identity(&mut reader)?) } else { None };
        let shortfall =
            if is_there(&mut reader)? { Some(super::shortfall::read(&mut reader)?) } else { None };
        reader.end()?;
        Some(Self { name: name.to_owned(), path, over, said, shortfall, at_secs })
    }
}

fn is_there(reader: &mut Reader<'_>) -> Option<bool> {
    match reader.byte()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

impl Transaction<'_> {
    /// Keeps that something is to be looked at again, or what is said of it by now.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn write_loose(&mut self, loose: &Loose) -> Result<(), IndexError> {
        let sql = "REPLACE INTO loose(name, value) VALUES(?, ?)";
        self.db().prepare_cached(sql)?.execute(params![loose.name, loose.encode()])?;
        Ok(())
    }

    /// Something needs no further look.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn forget_loose(&mut self, name: &str) -> Result<(), IndexError> {
        self.db().prepare_cached("DELETE FROM loose WHERE name = ?")?.execute([name])?;
        Ok(())
    }
}

impl Reading<'_> {
    /// What is to be looked at again, by name, behind `after`: `limit` at most.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn loose(&self, after: &str, limit: usize) -> Result<Vec<Loose>, IndexError> {
        let sql = "SELECT name, value FROM loose WHERE name > ? ORDER BY name LIMIT ?";
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query(params![after, limit_of(limit)])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            let loose = Loose::decode(&name, blob(row, 1)?);
            all.push(loose.ok_or_else(|| IndexError::damaged("something that was displaced"))?);
        }
        Ok(all)
    }

    /// Whether something is to be looked at again, and what is said of it.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn loose_one(&self, name: &str) -> Result<Option<Loose>, IndexError> {
        let mut statement = self.db().prepare_cached("SELECT value FROM loose WHERE name = ?")?;
        let value: Option<Vec<u8>> = statement.query_row([name], |row| row.get(0)).optional()?;
        let Some(value) = value else { return Ok(None) };
        let loose = Loose::decode(name, &value);
        loose.map(Some).ok_or_else(|| IndexError::damaged("something that was displaced"))
    }
}
