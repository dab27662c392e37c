//! What is known and not taken in yet: looks at the disk and records of others; and what neighbours
//! have of this index, by which tombstones may go.

use super::codec::{Reader, Table, Writer, open};
use super::item::{read_identity, read_meta, write_identity, write_meta};
use super::key::{Key, path_of};
use super::meta::{Field, read_bytes, read_number, write_bytes, write_number};
use super::read::{author_key, blob, limit_of, seq_of};
use super::{IndexError, Kind, Reading, Transaction};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::ranges::RangeSet;
use farhaul_proto::units::Bytes;
use farhaul_sync::folder::{Ack, Aside, CopyOf, Found, Look, Tombstone, Why};
use farhaul_sync::message::Records;
use farhaul_sync::record::Record;
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::{Content, Dot, ManifestId};
use rusqlite::params;

impl Reading<'_> {
    /// What was found at a path and is not taken in yet.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn look(&self, path: &RelPath) -> Result<Option<Look>, IndexError> {
        let mut statement = self.db().prepare_cached("SELECT value FROM looks WHERE key = ?")?;
        let key = Key::of(path);
        let mut rows = statement.query([key.as_bytes()])?;
        rows.next()?.map(|row| read_look(key.as_bytes(), blob(row, 0)?)).transpose()
    }

    /// All of that, in the order of a walk through the tree: from behind `after`, `limit` at most.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn looks(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<(RelPath, Look)>, IndexError> {
        let after = after.map_or_else(Vec::new, |after| Key::of(after).as_bytes().to_vec());
        let sql = "SELECT key, value FROM looks WHERE key > ? ORDER BY key LIMIT ?";
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query(params![after, limit_of(limit)])?;
        let mut looks = Vec::new();
        while let Some(row) = rows.next()? {
            let key = blob(row, 0)?;
            looks.push((path_of(key)?, read_look(key, blob(row, 1)?)?));
        }
        Ok(looks)
    }

    /// How many there are.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn look_count(&self) -> Result<u64, IndexError> {
        let count: i64 = self.db().query_row("SELECT count(*) FROM looks", [], |row| row.get(0))?;
        u64::try_from(count).map_err(|_| IndexError::damaged("a count"))
    }

    /// Records that are set aside: from behind `after`, `limit` at most.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn asides(&self, after: Option<Dot>, limit: usize) -> Result<Vec<Aside>, IndexError> {
        let after = after.map_or_else(Vec::new, |after| dot_key(after).to_vec());
        let sql = "SELECT dot, value FROM asides WHERE dot > ? ORDER BY dot LIMIT ?";
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query(params![after, limit_of(limit)])?;
        let mut asides = Vec::new();
        while let Some(row) = rows.next()? {
            asides.push(read_aside(blob(row, 0)?, blob(row, 1)?, self.folder())?);
        }
        Ok(asides)
    }

    /// How many there are.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn aside_count(&self) -> Result<usize, IndexError> {
        let count: i64 =
            self.db().query_row("SELECT count(*) FROM asides", [], |row| row.get(0))?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Where conflict copies stand at paths that begin with the bytes of `stem`, in its directory.
    pub(super) fn copies_beginning(&self, stem: &RelPath) -> Result<Vec<CopyOf>, IndexError> {
        let first = Key::of(stem).as_bytes().to_vec();
        // No name is longer than 255 bytes.
        let end = [&first[..], &[0xff; 256]].concat();
        let sql = "SELECT key, value FROM copies WHERE key >= ? AND key < ? ORDER BY key";
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query([first, end])?;
        let mut copies = Vec::new();
        while let Some(row) = rows.next()? {
            let key = blob(row, 0)?;
            if path_of(key)?.parent() == stem.parent() {
                copies.push(super::copies::decode(key, blob(row, 1)?)?);
            }
        }
        Ok(copies)
    }

    /// Tombstones of paths behind `after`, in the order of a walk through the tree.
    pub(super) fn tombstones(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<Tombstone>, IndexError> {
        let after = after.map_or_else(Vec::new, |after| Key::of(after).as_bytes().to_vec());
        let sql = "SELECT key, seq FROM paths WHERE live = 0 AND key > ? ORDER BY key, seq LIMIT ?";
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query(params![after, limit_of(limit)])?;
        let mut tombstones = Vec::new();
        while let Some(row) = rows.next()? {
            let (path, seq) = (path_of(blob(row, 0)?)?, seq_of(row.get(1)?)?);
            let dot = self.version(seq)?.record()?.version.dot;
            tombstones.push(Tombstone { path, dot, seq: seq.get() });
        }
        Ok(tombstones)
    }

    /// The highest number of a tombstone that was dropped; 0: none was.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn floor(&self) -> Result<u64, IndexError> {
        read_number(self.db(), Field::Floor)
    }

    /// Numbers of own tombstones that were dropped.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn dropped(&self) -> Result<RangeSet, IndexError> {
        let bytes = read_bytes(self.db(), Field::Dropped)?.unwrap_or_default();
        let mut dropped = RangeSet::new();
        let (ranges, rest) = bytes.as_chunks::<16>();
        for range in ranges {
            let (first, last) = range.split_at(8);
            let number = |bytes: &[u8]| bytes.iter().fold(0, |n, &byte| (n << 8) | u64::from(byte));
            dropped.insert_range(number(first), number(last));
        }
        if rest.is_empty() { Ok(dropped) } else { Err(IndexError::damaged("what was dropped")) }
    }

    /// What a neighbour had of this index when it last said so.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn acked(&self, site: SiteId) -> Result<Option<Ack>, IndexError> {
        let mut statement = self.db().prepare_cached("SELECT value FROM acked WHERE site = ?")?;
        let mut rows = statement.query([&site.0[..]])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let read = || {
            let mut reader = Reader::new(open(Table::Acked, &site.0, blob(row, 0).ok()?)?);
            let (epoch, up_to) = (reader.u64()?, reader.u64()?);
            let (their_epoch, their_head) = (reader.u64()?, reader.u64()?);
            reader.end()?;
            Some(Ack { epoch, up_to, their_epoch, their_head })
        };
        read().map(Some).ok_or_else(|| IndexError::damaged("what a neighbour has"))
    }
}

impl Transaction<'_> {
    pub(super) fn set_look(&self, path: &RelPath, look: Option<&Look>) -> Result<(), IndexError> {
        let key = Key::of(path);
        let Some(look) = look else {
            let sql = "DELETE FROM looks WHERE key = ?";
            self.db().prepare_cached(sql)?.execute([key.as_bytes()])?;
            return Ok(());
        };
        let value = write_look(look, key.as_bytes());
        let sql = "REPLACE INTO looks(key, value) VALUES(?, ?)";
        self.db().prepare_cached(sql)?.execute(params![key.as_bytes(), value])?;
        Ok(())
    }

    pub(super) fn set_aside(&self, dot: Dot, aside: Option<&Aside>) -> Result<(), IndexError> {
        let key = dot_key(dot);
        let Some(aside) = aside else {
            let sql = "DELETE FROM asides WHERE dot = ?";
            self.db().prepare_cached(sql)?.execute([&key[..]])?;
            return Ok(());
        };
        let value = write_aside(aside, &key);
        let sql = "REPLACE INTO asides(dot, value) VALUES(?, ?)";
        self.db().prepare_cached(sql)?.execute(params![&key[..], value])?;
        Ok(())
    }

    pub(super) fn raise_floor(&self, seq: u64) -> Result<(), IndexError> {
        let floor = self.read().floor()?.max(seq);
        write_number(self.db(), Field::Floor, floor)
    }

    /// Keeps numbers of own tombstones that were dropped.
    pub(super) fn set_dropped(&self, dropped: &RangeSet) -> Result<(), IndexError> {
        let numbers = dropped.iter().flat_map(|(first, last)| [first, last]);
        let bytes: Vec<u8> = numbers.flat_map(u64::to_be_bytes).collect();
        write_bytes(self.db(), Field::Dropped, &bytes)
    }

    /// Keeps what a neighbour has of this index.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn set_acked(&self, site: SiteId, ack: Ack) -> Result<(), IndexError> {
        let Ack { epoch, up_to, their_epoch, their_head } = ack;
        let mut writer = Writer::new();
        writer.u64(epoch).u64(up_to).u64(their_epoch).u64(their_head);
        let value = writer.seal(Table::Acked, &site.0);
        let sql = "REPLACE INTO acked(site, value) VALUES(?, ?)";
        self.db().prepare_cached(sql)?.execute(params![&site.0[..], value])?;
        Ok(())
    }
}

pub(super) fn dot_key(dot: Dot) -> [u8; 48] {
    let mut key = [0; 48];
    key[..40].copy_from_slice(&author_key(&dot.author));
    key[40..].copy_from_slice(&dot.serial.get().to_be_bytes());
    key
}

const fn number_of(why: Why) -> u8 {
    match why {
        Why::Listening => 0,
        Why::Crowded => 1,
        Why::NumbersUsedUp => 2,
        Why::Stale => 3,
        Why::ReadOnly => 4,
        Why::Braked => 5,
    }
}

const fn why_of(number: u8) -> Option<Why> {
    match number {
        0 => Some(Why::Listening),
        1 => Some(Why::Crowded),
        2 => Some(Why::NumbersUsedUp),
        3 => Some(Why::Stale),
        4 => Some(Why::ReadOnly),
        5 => Some(Why::Braked),
        _ => None,
    }
}

pub(super) fn write_aside(aside: &Aside, key: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    let records = Records { runs: vec![aside.run.clone()] };
    writer.byte(number_of(aside.why)).raw(&records.encode());
    writer.seal(Table::Asides, key)
}

pub(super) fn read_aside(key: &[u8], value: &[u8], folder: FolderKey) -> Result<Aside, IndexError> {
    let read = || {
        let mut reader = Reader::new(open(Table::Asides, key, value)?);
        let why = why_of(reader.byte()?)?;
        let records = Records::decode(reader.rest(), folder).ok()?;
        let [run] = <[_; 1]>::try_from(records.runs).ok()?;
        let [(_, bytes)] = &run.records[..] else { return None };
        let Record { path, version } = Record::decode(bytes).ok()?;
        Some(Aside { path, dot: version.dot, run, why })
    };
    read().ok_or_else(|| IndexError::damaged("a record that is set aside"))
}

pub(super) fn write_look(look: &Look, key: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u64(look.wall_millis).byte(number_of(look.why));
    let kind = look.found.as_ref().and_then(|found| Kind::of(&found.content));
    writer.byte(kind.map_or(0, Kind::number));
    if let Some(Found { content, meta, identity }) = &look.found {
        match content {
            Content::Symlink { target } => {
                writer.bytes(target);
            }
            Content::File { manifest, size } => {
                writer.raw(&manifest.0).u64(size.get());
            }
            Content::Dir | Content::Gone => {}
        }
        write_identity(&mut writer, identity);
        write_meta(&mut writer, meta);
    }
    writer.seal(Table::Looks, key)
}

pub(super) fn read_look(key: &[u8], value: &[u8]) -> Result<Look, IndexError> {
    let read = || {
        let mut reader = Reader::new(open(Table::Looks, key, value)?);
        let (wall_millis, why) = (reader.u64()?, why_of(reader.byte()?)?);
        let found = match reader.byte()? {
            0 => None,
            kind => {
                let content = match Kind::from_number(kind)? {
                    Kind::Dir => Content::Dir,
                    Kind::Symlink => Content::Symlink { target: reader.bytes()?.into() },
                    Kind::File => {
                        let manifest = ManifestId(reader.array()?);
                        Content::File { manifest, size: Bytes::new(reader.u64()?) }
                    }
                };
                let identity = read_identity(&mut reader)?;
                Some(Found { content, meta: read_meta(&mut reader)?, identity })
            }
        };
        reader.end()?;
        Some(Look { found, wall_millis, why })
    };
    read().ok_or_else(|| IndexError::damaged("what was found and is not taken in"))
}
