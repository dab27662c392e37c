//! Intents: what is about to be done to the tree, written down before.

use super::codec::{Reader, Table, Writer, open};
use super::item::{read_identity, read_meta, write_identity, write_meta};
use super::read::blob;
use super::{Durability, Index, IndexError, Loose, Reading, Transaction};
use crate::store::{Action, Committed, Intent, IntentId, Recorded};
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::Placed;
use farhaul_sync::record::Record;
use farhaul_sync::version::Version;
use rusqlite::params;

impl Index {
    /// Writes intents down, durably: with what this returns, the tree may be changed
    /// ([`crate::store::Prepared::swap`]).
    ///
    /// # Errors
    /// [`IndexError`]; none of them is written down.
    pub fn record(&mut self, intents: &[&Intent]) -> Result<Vec<Recorded>, IndexError> {
        let recording = self.begin(Durability::Now)?;
        let mut recorded = Vec::with_capacity(intents.len());
        for intent in intents {
            recorded.push(Recorded::new(recording.write_intent(intent)?, intent));
        }
        recording.commit()?;
        Ok(recorded)
    }
}

impl Transaction<'_> {
    fn write_intent(&self, intent: &Intent) -> Result<IntentId, IndexError> {
        let next = "SELECT ifnull(max(id), 0) + 1 FROM intents";
        let id: i64 = self.db().prepare_cached(next)?.query_row([], |row| row.get(0))?;
        let value = encode(id, intent);
        let sql = "INSERT INTO intents(id, value) VALUES(?, ?)";
        self.db().prepare_cached(sql)?.execute(params![id, value])?;
        Ok(IntentId(id))
    }

    /// Takes in what became of a change: what stands where now, what was displaced `now_secs`
    /// seconds after 1970, and that its intent is over.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn settle(&mut self, committed: &Committed, now_secs: u64) -> Result<(), IndexError> {
        if let Some(displaced) = &committed.displaced {
            self.keep(displaced, now_secs)?;
            let short = self.read().shortfall(&displaced.path)?;
            if let Some(loose) = Loose::of(displaced, short, now_secs) {
                self.write_loose(&loose)?;
            }
        }
        for (path, placed) in &committed.placed {
            self.place(path, placed.as_ref())?;
            self.set_shortfall(path, None)?;
        }
        for (path, short) in &committed.shortfalls {
            self.set_shortfall(path, Some(short))?;
        }
        self.forget_intent(committed.intent)
    }

    /// Forgets an intent of which nothing was done.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn forget_intent(&mut self, id: IntentId) -> Result<(), IndexError> {
        self.db().prepare_cached("DELETE FROM intents WHERE id = ?")?.execute([id.0])?;
        Ok(())
    }
}

impl Reading<'_> {
    /// What was about to be done, in the order in which it was written down: after a kill, to be
    /// recovered before anything else ([`crate::store::Store::recover`]).
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn intents(&self) -> Result<Vec<(IntentId, Intent)>, IndexError> {
        let sql = "SELECT id, value FROM intents ORDER BY id";
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut intents = Vec::new();
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let intent = decode(id, blob(row, 1)?);
            intents.push((IntentId(id), intent.ok_or_else(|| IndexError::damaged("an intent"))?));
        }
        Ok(intents)
    }
}

pub(super) fn encode(id: i64, intent: &Intent) -> Vec<u8> {
    let Intent { path, action, old, new, kept } = intent;
    let mut writer = Writer::new();
    writer.bytes(path.as_bytes()).bytes(kept.as_bytes());
    match action {
        Action::Put { staged, inode } => writer.byte(0).bytes(staged.as_bytes()).u64(*inode),
        Action::Describe => writer.byte(1),
        Action::Remove => writer.byte(2),
        Action::Move { to } => writer.byte(3).bytes(to.as_bytes()),
    };
    match old {
        None => {
            writer.byte(0);
        }
        Some(Placed { version, meta, identity }) => {
            writer.byte(1);
            write_version(&mut writer, path, version);
            write_meta(&mut writer, meta);
            write_identity(&mut writer, identity);
        }
    }
    match new {
        None => {
            writer.byte(0);
        }
        Some(version) => {
            writer.byte(1);
            write_version(&mut writer, path, version);
        }
    }
    writer.seal(Table::Intents, &id.to_be_bytes())
}

pub(super) fn decode(id: i64, value: &[u8]) -> Option<Intent> {
    let mut reader = Reader::new(open(Table::Intents, &id.to_be_bytes(), value)?);
    let path = RelPath::parse(reader.bytes()?).ok()?;
    let kept = text(reader.bytes()?)?;
    let action = match reader.byte()? {
        0 => Action::Put { staged: text(reader.bytes()?)?, inode: reader.u64()? },
        1 => Action::Describe,
        2 => Action::Remove,
        3 => Action::Move { to: RelPath::parse(reader.bytes()?).ok()? },
        _ => return None,
    };
    let old = match reader.byte()? {
        0 => None,
        1 => {
            let version = read_version(&mut reader)?;
            let meta = read_meta(&mut reader)?;
            Some(Placed { version, meta, identity: read_identity(&mut reader)? })
        }
        _ => return None,
    };
    let new = match reader.byte()? {
        0 => None,
        1 => Some(read_version(&mut reader)?),
        _ => return None,
    };
    reader.end()?;
    Some(Intent { path, action, old, new, kept })
}

pub(super) fn write_version(writer: &mut Writer, path: &RelPath, version: &Version) {
    let record = Record { path: path.clone(), version: version.clone() };
    writer.bytes(&record.encode());
}

pub(super) fn read_version(reader: &mut Reader<'_>) -> Option<Version> {
    Some(Record::decode(reader.bytes()?).ok()?.version)
}

fn text(bytes: &[u8]) -> Option<String> {
    core::str::from_utf8(bytes).ok().map(str::to_owned)
}
