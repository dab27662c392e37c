//! Changing an index: all of a transaction, or nothing of it.

use super::codec::{Table, Writer};
use super::held::Held;
use super::item::{ItemRow, Shows};
use super::key::Key;
use super::meta::{Field, write_number};
use super::read::{author_key, column_of};
use super::run::write_statement;
use super::{
    Counters, Durability, Index, IndexError, Reading, Reserved, Run, RunId, Seq, Signature,
    StoredVersion,
};
use farhaul_proto::path_name::RelPath;
use farhaul_proto::ranges::RangeSet;
use farhaul_sync::folder::Placed;
use farhaul_sync::record::Record;
use farhaul_sync::seal::{Statement, leaf};
use farhaul_sync::version::{
    self, Author, Content, Incarnation, LinkGroup, Serial, TooManyVersions, Version,
};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// What became of a version that was to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It was there, or one that is there covers it.
    Old,
    /// It is there now.
    New {
        /// As the how manyth.
        seq: Seq,
        /// What it covers, which is no longer there.
        covered: Vec<Version>,
    },
    /// Its path has as many versions as a path may have: it is not stored.
    Crowded(TooManyVersions),
}

/// A transaction. What it did is seen by itself at once and by others when it was committed.
#[derive(Debug)]
pub struct Transaction<'a> {
    index: &'a mut Index,
    durability: Durability,
    counters: Counters,
    /// Runs that were added, or lost a version, and by how much their use grew.
    uses: BTreeMap<RunId, i64>,
    /// The run that was last stored with: many versions come of one.
    run: Option<(RunId, Run)>,
    /// What was read of late.
    pub(super) held: Held,
    is_open: bool,
}

impl<'a> Transaction<'a> {
    pub(super) fn begin(index: &'a mut Index, durability: Durability) -> Result<Self, IndexError> {
        let synchronous = match durability {
            Durability::Now => "FULL",
            Durability::Later => "NORMAL",
        };
        index.db.pragma_update(None, "synchronous", synchronous)?;
        index.db.execute_batch("BEGIN IMMEDIATE")?;
        let counters = index.counters;
        let (uses, run, held) = (BTreeMap::new(), None, Held::default());
        Ok(Self { index, durability, counters, uses, run, held, is_open: true })
    }

    pub(super) fn db(&self) -> &Connection {
        &self.index.db
    }

    /// A look at what is there, with what this transaction did.
    pub fn read(&self) -> Reading<'_> {
        Reading::new(&self.index.db, self.index.folder, self.counters.last_seq)
    }

    /// Stores a run. It goes when the transaction ends if no version was stored with it, and
    /// otherwise with the last of its versions.
    ///
    /// # Errors
    /// [`IndexError`]; the caller is at fault if it is no run.
    pub fn add_run(&mut self, run: &Run) -> Result<RunId, IndexError> {
        if run.statement.folder != self.index.folder {
            return Err(IndexError::OtherFolder);
        }
        let id = self.name_run()?;
        self.add_named_run(id, run)?;
        Ok(id)
    }

    /// A name for a run that is stored before the transaction ends.
    pub(super) fn name_run(&mut self) -> Result<RunId, IndexError> {
        let sql = "INSERT INTO uses(run, count)
            VALUES((SELECT ifnull(max(run), 0) + 1 FROM uses), 0) RETURNING run";
        let id = RunId(self.db().prepare_cached(sql)?.query_row([], |row| row.get(0))?);
        self.uses.insert(id, 0);
        Ok(id)
    }

    pub(super) fn add_named_run(&mut self, id: RunId, run: &Run) -> Result<(), IndexError> {
        let value = run.encode(id)?;
        let mut statement = self.db().prepare_cached("INSERT INTO runs(id, value) VALUES(?, ?)")?;
        statement.execute(params![id.0, value])?;
        drop(statement);
        self.note_head(&run.statement, &run.signature)
    }

    /// Notes how far the numbers of an author go, by its own signed word. Anything lower than what
    /// is known is left alone.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn note_head(
        &mut self,
        statement: &Statement,
        signature: &Signature,
    ) -> Result<(), IndexError> {
        let known = self.read().head(&statement.author)?;
        if known.is_some_and(|(known, _)| known.head >= statement.head) {
            return Ok(());
        }
        let key = author_key(&statement.author);
        let mut writer = Writer::new();
        write_statement(&mut writer, statement, signature);
        let value = writer.seal(Table::Heads, &key);
        let sql = "REPLACE INTO heads(author, value) VALUES(?, ?)";
        self.db().prepare_cached(sql)?.execute(params![&key[..], value])?;
        Ok(())
    }

    /// Stores the record `bytes`, which is number `position` of `run`, in place of what it covers.
    ///
    /// # Errors
    /// [`IndexError`]; the caller is at fault if it is no record, not of that run, or has a number of
    /// this index that was not reserved.
    pub fn insert(
        &mut self,
        bytes: &[u8],
        run: RunId,
        position: u16,
    ) -> Result<Inserted, IndexError> {
        let Record { path, version } = Record::decode(bytes)?;
        self.check_origin(bytes, &version, run, position)?;
        let key = Key::of(&path);
        let (mut set, rows) = self.read().set_of(&path, &key)?;
        let live = version.is_live();
        let covered = match set.insert(version) {
            Ok(version::Inserted::Old) => return Ok(Inserted::Old),
            Ok(version::Inserted::New { covered }) => covered,
            Err(crowded) => return Ok(Inserted::Crowded(crowded)),
        };
        for (gone, stored) in rows.iter().filter(|(version, _)| covered.contains(version)) {
            self.remove_covered(&key, gone, stored)?;
        }
        let seq = self.put(&key, live, bytes, (run, position))?;
        Ok(Inserted::New { seq, covered })
    }

    /// Keeps a record with the next number.
    pub(super) fn put(
        &mut self,
        key: &Key,
        live: bool,
        bytes: &[u8],
        (run, position): (RunId, u16),
    ) -> Result<Seq, IndexError> {
        let next = self.counters.last_seq.0.checked_add(1).filter(|&next| next < i64::MAX as u64);
        let seq = Seq(next.ok_or(IndexError::TooLarge { what: "the number of versions" })?);
        let stored = StoredVersion { seq, bytes: bytes.to_vec(), run, position };
        if live {
            self.held.comes_alive(key);
        } else {
            self.held.forget(key);
        }
        let sql = "INSERT INTO versions(seq, value) VALUES(?, ?)";
        self.db().prepare_cached(sql)?.execute(params![column_of(seq), stored.encode()])?;
        let sql = "INSERT INTO paths(live, key, seq) VALUES(?, ?, ?)";
        let row = params![live, key.as_bytes(), column_of(seq)];
        self.db().prepare_cached(sql)?.execute(row)?;
        self.mark(key, bytes, seq)?;
        self.counters.last_seq = seq;
        *self.uses.entry(run).or_default() += 1;
        Ok(seq)
    }

    fn check_origin(
        &mut self,
        bytes: &[u8],
        version: &Version,
        id: RunId,
        position: u16,
    ) -> Result<(), IndexError> {
        let run = match self.run.take() {
            Some((held, run)) if held == id => run,
            _ => self.read().run(id)?,
        };
        let (author, serial) = (version.dot.author, version.dot.serial);
        let is_of_run = run.statement.author == author && run.leaf(position) == Some(leaf(bytes));
        self.run = Some((id, run));
        let is_reserved = serial.get() < self.counters.next_serial;
        match (is_of_run, author == self.author() && !is_reserved) {
            (false, _) => Err(IndexError::NotOfRun),
            (true, true) => Err(IndexError::Unreserved { serial: serial.get() }),
            (true, false) => Ok(()),
        }
    }

    pub(super) fn remove_covered(
        &mut self,
        key: &Key,
        gone: &Version,
        stored: &StoredVersion,
    ) -> Result<(), IndexError> {
        self.held.goes(key);
        // What stands on disk stays described until something else does.
        if let Some(mut row) = self.read().item_row(key)?
            && row.shows == Shows::Held(stored.seq)
        {
            row.shows = Shows::Covered(stored.bytes.clone());
            self.write_item(key, &row)?;
        }
        let seq = column_of(stored.seq);
        let sql = "DELETE FROM paths WHERE live = ? AND key = ? AND seq = ?";
        let listed = params![gone.is_live(), key.as_bytes(), seq];
        let removed = self.db().prepare_cached(sql)?.execute(listed)?
            + self.db().prepare_cached("DELETE FROM versions WHERE seq = ?")?.execute([seq])?;
        if removed != 2 {
            return Err(IndexError::damaged("a covered version"));
        }
        self.unmark(key, &stored.bytes, stored.seq)?;
        *self.uses.entry(stored.run).or_default() -= 1;
        Ok(())
    }

    /// Notes what stands on disk at a path, or that nothing does.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn place(&mut self, path: &RelPath, placed: Option<&Placed>) -> Result<(), IndexError> {
        let key = Key::of(path);
        self.held.forget(&key);
        let linked = self.unlist(path, &key)?;
        self.relist(&key, linked, placed)?;
        let row = match placed {
            Some(placed) => ItemRow::of(placed, self.shows_of(path, &key, &placed.version)?),
            None => None,
        };
        match row {
            Some(row) => self.write_item(&key, &row)?,
            None => {
                let sql = "DELETE FROM items WHERE key = ?";
                self.db().prepare_cached(sql)?.execute([key.as_bytes()])?;
            }
        }
        if let Some(Content::File { manifest, .. }) = placed.map(|placed| &placed.version.content) {
            let sql = "INSERT OR IGNORE INTO contents(manifest, key) VALUES(?, ?)";
            let row = params![&manifest.0[..], key.as_bytes()];
            self.db().prepare_cached(sql)?.execute(row)?;
            let sql = "INSERT OR IGNORE INTO inodes(inode, key) VALUES(?, ?)";
            let inode = placed.map_or(0, |placed| placed.identity.inode).cast_signed();
            self.db().prepare_cached(sql)?.execute(params![inode, key.as_bytes()])?;
        }
        Ok(())
    }

    /// What stood at a path is not found there any more. Returns the group of names in which it is listed.
    fn unlist(&self, path: &RelPath, key: &Key) -> Result<Option<LinkGroup>, IndexError> {
        let Some(row) = self.read().item_row(key)? else { return Ok(None) };
        let linked = row.meta.link;
        let listed = params![row.identity.inode.cast_signed(), key.as_bytes()];
        let sql = "DELETE FROM inodes WHERE inode = ? AND key = ?";
        self.db().prepare_cached(sql)?.execute(listed)?;
        if let Content::File { manifest, .. } = self.read().placed_of(path, row)?.version.content {
            let sql = "DELETE FROM contents WHERE key = ? AND manifest = ?";
            self.db().prepare_cached(sql)?.execute(params![key.as_bytes(), &manifest.0[..]])?;
        }
        Ok(linked)
    }

    fn shows_of(&self, path: &RelPath, key: &Key, version: &Version) -> Result<Shows, IndexError> {
        let (_, rows) = self.read().set_of(path, key)?;
        Ok(match rows.iter().find(|(held, _)| held == version) {
            Some((_, stored)) => Shows::Held(stored.seq),
            None => {
                let record = Record { path: path.clone(), version: version.clone() };
                Shows::Covered(record.encode())
            }
        })
    }

    fn write_item(&self, key: &Key, row: &ItemRow) -> Result<(), IndexError> {
        let value = row.encode(key.as_bytes());
        let mut statement =
            self.db().prepare_cached("REPLACE INTO items(key, value) VALUES(?, ?)")?;
        statement.execute(params![key.as_bytes(), value])?;
        Ok(())
    }

    pub(super) fn reserve(&mut self, count: u32) -> Result<Reserved, IndexError> {
        let first = self.counters.next_serial;
        // Numbers of versions and of rows have the same end: that of the database's integers.
        let end = first.checked_add(count.into()).filter(|&end| end <= i64::MAX as u64);
        let end = end.ok_or(IndexError::TooLarge { what: "the number of this site's versions" })?;
        let last = Serial::new(end - 1).filter(|last| last.get() >= first);
        match (Serial::new(first), last) {
            (Some(first), Some(last)) => {
                self.counters.next_serial = end;
                Ok(Reserved { first, last })
            }
            _ => Err(IndexError::TooLarge { what: "a reservation of no numbers" }),
        }
    }

    /// The newest version that may be announced: it was durable before this transaction.
    pub(super) fn durable_seq(&self) -> Seq {
        self.index.last_seq()
    }

    /// A look that lists no versions but those.
    pub(super) fn read_durable(&self) -> Reading<'_> {
        Reading::new(&self.index.db, self.index.folder, self.durable_seq())
    }

    /// The next number that this site gives; `None`: there are none left.
    ///
    /// # Errors
    /// [`IndexError::TooLarge`].
    pub fn next_serial(&self) -> Option<Serial> {
        Serial::new(self.counters.next_serial)
    }

    pub(super) fn set_next_serial(&mut self, next: Option<Serial>) -> Result<(), IndexError> {
        let what = "the number of this site's versions";
        let next = next.map(Serial::get).filter(|&next| next < i64::MAX as u64);
        self.counters.next_serial = next.ok_or(IndexError::TooLarge { what })?;
        Ok(())
    }

    pub(super) fn renew(&mut self, incarnation: Incarnation) -> Result<(), IndexError> {
        write_number(self.db(), Field::Incarnation, incarnation.get())?;
        // Neighbours follow anew: what they had of the life before says nothing of this one.
        write_number(self.db(), Field::Floor, 0)?;
        self.set_dropped(&RangeSet::new())?;
        self.counters.incarnation = incarnation;
        self.counters.next_serial = 1;
        Ok(())
    }

    fn author(&self) -> Author {
        Author { site: self.index.site, incarnation: self.counters.incarnation }
    }

    /// Does all of it, and says up to which version it is durable by then.
    ///
    /// # Errors
    /// [`IndexError`]; nothing of it is done, or, after a failure of the disk, nobody knows until
    /// the index was opened anew.
    pub fn commit(mut self) -> Result<(), IndexError> {
        self.count_uses()?;
        let before = self.index.counters;
        if self.counters.last_seq != before.last_seq {
            write_number(self.db(), Field::LastSeq, self.counters.last_seq.0)?;
        }
        if self.counters.next_serial != before.next_serial {
            write_number(self.db(), Field::NextSerial, self.counters.next_serial)?;
        }
        self.db().execute_batch("COMMIT")?;
        self.is_open = false;
        self.index.counters = self.counters;
        if self.durability == Durability::Now {
            self.index.durable.store(self.counters.last_seq.0, Ordering::Release);
        }
        Ok(())
    }

    fn count_uses(&mut self) -> Result<(), IndexError> {
        for (run, change) in core::mem::take(&mut self.uses) {
            let sql = "UPDATE uses SET count = count + ? WHERE run = ? RETURNING count";
            let mut statement = self.db().prepare_cached(sql)?;
            let left: i64 = statement.query_row([change, run.0], |row| row.get(0))?;
            match left {
                0 => {
                    self.db().prepare_cached("DELETE FROM runs WHERE id = ?")?.execute([run.0])?;
                    self.db().prepare_cached("DELETE FROM uses WHERE run = ?")?.execute([run.0])?;
                }
                1.. => {}
                _ => return Err(IndexError::damaged("a run with fewer than no versions")),
            }
        }
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // SQLite may have undone it itself, after an error.
        if self.is_open && !self.index.db.is_autocommit() {
            let _ = self.index.db.execute_batch("ROLLBACK");
        }
    }
}
