//! The catalogue of the version store: what was displaced, from where, when, and as which version.

use super::codec::{Reader, Table, Writer, open};
use super::intent::{read_version, write_version};
use super::key::{Key, path_of};
use super::meta::{Field, read_bytes, write_number};
use super::read::{blob, limit_of};
use super::{IndexError, Kind, Reading, Transaction};
use crate::store::Displaced;
use farhaul_engine::files::dir::FileKind;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::version::{Content, ManifestId, Version};
use rusqlite::params;

/// Something in the version store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where it stood.
    pub path: RelPath,
    /// Its name in the version store.
    pub name: String,
    /// The version that it is. `None`: no version says so yet, and it must not be purged until one
    /// does (or it is broken, and stays for whoever looks into it).
    pub version: Option<Version>,
    /// What kind of thing.
    pub kind: Kind,
    /// Its length in bytes.
    pub size: u64,
    /// When it was displaced, in seconds since 1970 by this site's clock.
    pub at_secs: u64,
}

impl Kept {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.byte(self.kind.number()).u64(self.size).u64(self.at_secs);
        match &self.version {
            None => {
                writer.byte(0);
            }
            Some(version) => {
                writer.byte(1);
                write_version(&mut writer, &self.path, version);
            }
        }
        let key = Key::of(&self.path);
        writer.seal(Table::Kept, &sealed_key(key.as_bytes(), &self.name))
    }
}

impl Transaction<'_> {
    /// Enters something in the catalogue.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn keep(&mut self, displaced: &Displaced, now_secs: u64) -> Result<(), IndexError> {
        let Displaced { name, path, version, kind, size, .. } = displaced.clone();
        let kind = match kind {
            FileKind::Dir => Kind::Dir,
            FileKind::Symlink => Kind::Symlink,
            FileKind::File | FileKind::Special => Kind::File,
        };
        self.write_kept(&Kept { path, name, version, kind, size, at_secs: now_secs })
    }

    /// Enters something in the catalogue, or what is known of it by now.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn write_kept(&mut self, kept: &Kept) -> Result<(), IndexError> {
        let key = Key::of(&kept.path);
        let value = kept.encode();
        let sql = "REPLACE INTO kept(key, name, value) VALUES(?, ?, ?)";
        self.db().prepare_cached(sql)?.execute(params![key.as_bytes(), kept.name, value])?;
        // It may have been something else before: an editor went on writing.
        let sql = "DELETE FROM kept_contents WHERE key = ? AND name = ?";
        self.db().prepare_cached(sql)?.execute(params![key.as_bytes(), kept.name])?;
        if let Some(Content::File { manifest, .. }) = kept.version.as_ref().map(|v| &v.content) {
            let sql = "INSERT OR IGNORE INTO kept_contents(manifest, key, name) VALUES(?, ?, ?)";
            let row = params![&manifest.0[..], key.as_bytes(), kept.name];
            self.db().prepare_cached(sql)?.execute(row)?;
        }
        Ok(())
    }

    /// Up to when what is kept was looked through, in seconds since 1970.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn set_thinned(&mut self, secs: u64) -> Result<(), IndexError> {
        write_number(self.db(), Field::Thinned, secs)
    }

    /// Takes something out of the catalogue whose object is gone.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn forget_kept(&mut self, path: &RelPath, name: &str) -> Result<(), IndexError> {
        let sql = "DELETE FROM kept WHERE key = ? AND name = ?";
        self.db().prepare_cached(sql)?.execute(params![Key::of(path).as_bytes(), name])?;
        let sql = "DELETE FROM kept_contents WHERE key = ? AND name = ?";
        self.db().prepare_cached(sql)?.execute(params![Key::of(path).as_bytes(), name])?;
        self.forget_loose(name)
    }
}

impl Reading<'_> {
    /// What is kept of a path, the oldest first.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn kept_of(&self, path: &RelPath) -> Result<Vec<Kept>, IndexError> {
        let sql = "SELECT key, name, value FROM kept WHERE key = ?";
        let mut kept = self.kept_rows(sql, params![Key::of(path).as_bytes()])?;
        kept.sort_by(|a, b| (a.at_secs, &a.name).cmp(&(b.at_secs, &b.name)));
        Ok(kept)
    }

    /// Up to when what is kept was looked through, in seconds since 1970; `None`: never yet.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn thinned(&self) -> Result<Option<u64>, IndexError> {
        let Some(payload) = read_bytes(self.db(), Field::Thinned)? else { return Ok(None) };
        let number = payload.try_into().map(u64::from_be_bytes);
        number.map(Some).map_err(|_| IndexError::damaged("up to when versions were looked through"))
    }

    /// Something in the version store by its name.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn kept_as(&self, path: &RelPath, name: &str) -> Result<Option<Kept>, IndexError> {
        let sql = "SELECT key, name, value FROM kept WHERE key = ? AND name = ?";
        Ok(self.kept_rows(sql, params![Key::of(path).as_bytes(), name])?.pop())
    }

    /// Something in the version store with that content.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn kept_with(&self, manifest: ManifestId) -> Result<Option<Kept>, IndexError> {
        let sql = "SELECT kept.key, kept.name, kept.value FROM kept_contents
            JOIN kept USING(key, name) WHERE kept_contents.manifest = ? LIMIT 1";
        Ok(self.kept_rows(sql, params![&manifest.0[..]])?.pop())
    }

    /// What is kept of paths behind `after` (or of all), in the order of a walk through the tree:
    /// `limit` at most, and the last path may be incomplete.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn kept_from(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<Kept>, IndexError> {
        let first = after.map_or_else(Vec::new, |after| Key::of(after).beneath().0);
        let sql = "SELECT key, name, value FROM kept WHERE key >= ? ORDER BY key, name LIMIT ?";
        self.kept_rows(sql, params![first, limit_of(limit)])
    }

    fn kept_rows(
        &self,
        sql: &str,
        params: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<Kept>, IndexError> {
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        let mut kept = Vec::new();
        while let Some(row) = rows.next()? {
            let (key, name) = (blob(row, 0)?, row.get(1)?);
            kept.push(decode(key, name, blob(row, 2)?)?);
        }
        Ok(kept)
    }
}

pub(super) fn decode(key: &[u8], name: String, value: &[u8]) -> Result<Kept, IndexError> {
    let path = path_of(key)?;
    let read = || {
        let mut reader = Reader::new(open(Table::Kept, &sealed_key(key, &name), value)?);
        let kind = Kind::from_number(reader.byte()?)?;
        let (size, at_secs) = (reader.u64()?, reader.u64()?);
        let version = match reader.byte()? {
            0 => None,
            1 => Some(read_version(&mut reader)?),
            _ => return None,
        };
        reader.end()?;
        Some((kind, size, at_secs, version))
    };
    let (kind, size, at_secs, version) =
        read().ok_or_else(|| IndexError::damaged(format!("what is kept of {path}")))?;
    Ok(Kept { path, name, version, kind, size, at_secs })
}

/// No key ends with 0, so both parts can be told.
pub(super) fn sealed_key(key: &[u8], name: &str) -> Vec<u8> {
    [key, &[0], name.as_bytes()].concat()
}
