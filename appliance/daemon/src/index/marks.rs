//! What comparisons with other sites need: where each record stands in their order, and the sums of
//! its buckets (`farhaul_sync::reconcile`).
//!
//! A change writes the record's mark and notes that the sum of its bucket is stale. Sums are computed
//! anew when somebody compares: what was not touched since is not read.

use super::codec::{Reader, Table, Writer, open};
use super::key::Key;
use super::read::{blob, column_of, seq_of};
use super::{Durability, Index, IndexError, Reading, Seq, Transaction};
use farhaul_sync::reconcile::{Holdings, ListSum, Place, Range, Sum};
use farhaul_sync::seal::leaf;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;

/// Marks are compared with `versions`, and so are sums unless their bucket is stale.
const TABLES: &str = "
    CREATE TABLE marks(place BLOB PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE sums(bucket INTEGER PRIMARY KEY, value BLOB NOT NULL);
    CREATE TABLE stale(bucket INTEGER PRIMARY KEY);
";

/// Marks that are put in order in memory: some 16 MiB of them.
const FILLED_AT_ONCE: usize = 1 << 18;

/// Makes the tables in a new index.
pub(super) fn make(db: &Connection) -> Result<(), IndexError> {
    Ok(db.execute_batch(TABLES)?)
}

/// Marks all that an index holds that has no marks yet.
pub(super) fn fill(reading: &Reading<'_>) -> Result<(), IndexError> {
    // Some at a time in the order of places: the other way each mark would be written into a page of
    // its own, and all at once they would take as much memory as there are versions.
    let mut marks: BTreeMap<Place, Seq> = BTreeMap::new();
    reading.each_version(&mut |stored| {
        let record = stored.record()?;
        marks.insert(Place::of(&record.path, leaf(&stored.bytes)), stored.seq);
        if marks.len() < FILLED_AT_ONCE {
            return Ok(());
        }
        add_all(reading.db(), &mut marks)
    })?;
    add_all(reading.db(), &mut marks)
}

fn add_all(db: &Connection, marks: &mut BTreeMap<Place, Seq>) -> Result<(), IndexError> {
    std::mem::take(marks).into_iter().try_for_each(|(place, seq)| add(db, place, seq))
}

/// The place of a record at a path.
fn place_of(key: &Key, bytes: &[u8]) -> Place {
    Place::new(&key.parent(), leaf(bytes))
}

fn add(db: &Connection, place: Place, seq: Seq) -> Result<(), IndexError> {
    let sql = "INSERT INTO marks(place, seq) VALUES(?, ?)";
    db.prepare_cached(sql)?.execute(params![&place.0[..], column_of(seq)])?;
    note_stale(db, place.bucket())
}

fn note_stale(db: &Connection, bucket: u16) -> Result<(), IndexError> {
    db.prepare_cached("INSERT OR IGNORE INTO stale(bucket) VALUES(?)")?.execute([bucket])?;
    Ok(())
}

fn bucket_of(column: i64) -> Result<u16, IndexError> {
    u16::try_from(column).map_err(|_| IndexError::damaged("the number of a bucket"))
}

fn sum_of(bucket: u16, value: &[u8]) -> Result<Sum, IndexError> {
    let read = || {
        let mut reader = Reader::new(open(Table::Sums, &bucket.to_be_bytes(), value)?);
        let sum = Sum { digest: reader.array()?, count: reader.u64()? };
        reader.end().map(|()| sum)
    };
    read().ok_or_else(|| IndexError::damaged("the sum of a bucket"))
}

impl Transaction<'_> {
    pub(super) fn mark(&self, key: &Key, bytes: &[u8], seq: Seq) -> Result<(), IndexError> {
        add(self.db(), place_of(key, bytes), seq)
    }

    pub(super) fn unmark(&self, key: &Key, bytes: &[u8], seq: Seq) -> Result<(), IndexError> {
        let place = place_of(key, bytes);
        let sql = "DELETE FROM marks WHERE place = ? AND seq = ?";
        let row = params![&place.0[..], column_of(seq)];
        if self.db().prepare_cached(sql)?.execute(row)? != 1 {
            return Err(IndexError::damaged("the mark of a covered version"));
        }
        note_stale(self.db(), place.bucket())
    }

    /// Computes the sums of those buckets that changed. Returns how many rows it read for that.
    fn sum_up(&self) -> Result<u64, IndexError> {
        let mut stale = self.db().prepare("SELECT bucket FROM stale ORDER BY bucket")?;
        let stale = stale.query_map([], |row| row.get::<_, i64>(0))?;
        let stale = stale.collect::<Result<Vec<i64>, _>>()?;
        let mut rows = stale.len() as u64;
        for bucket in &stale {
            let bucket = bucket_of(*bucket)?;
            let Sum { digest, count } = self.read().list_sum(bucket)?;
            rows = rows.saturating_add(count);
            if count == 0 {
                self.db().prepare_cached("DELETE FROM sums WHERE bucket = ?")?.execute([bucket])?;
                continue;
            }
            let mut writer = Writer::new();
            writer.raw(&digest).u64(count);
            let value = writer.seal(Table::Sums, &bucket.to_be_bytes());
            let sql = "REPLACE INTO sums(bucket, value) VALUES(?, ?)";
            self.db().prepare_cached(sql)?.execute(params![bucket, value])?;
        }
        self.db().execute("DELETE FROM stale", [])?;
        Ok(rows)
    }
}

impl Index {
    /// Brings the sums that comparisons read up to date: they are as of the last call. Returns how many
    /// rows that took.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn sum_up(&mut self) -> Result<u64, IndexError> {
        let mut is_stale = self.db.prepare_cached("SELECT 1 FROM stale LIMIT 1")?;
        if !is_stale.exists([])? {
            return Ok(0);
        }
        drop(is_stale);
        // A power cut that takes it back leaves the buckets stale.
        let summing = self.begin(Durability::Later)?;
        let rows = summing.sum_up()?;
        summing.commit()?;
        Ok(rows)
    }
}

impl Reading<'_> {
    /// How many records are held: a pass over all of their marks.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn held(&self) -> Result<u64, IndexError> {
        let sql = "SELECT count(*) FROM marks";
        let count: i64 = self.db().query_row(sql, [], |row| row.get(0))?;
        u64::try_from(count).map_err(|_| IndexError::damaged("the number of marks"))
    }

    /// The sum of a bucket by its marks.
    fn list_sum(&self, bucket: u16) -> Result<Sum, IndexError> {
        let mut list = ListSum::new();
        self.places(Range::bucket(bucket), &mut |place, _| list.add(place))?;
        Ok(list.finish())
    }

    /// That every version is marked and nothing else is, and that sums are those of the marks.
    pub(super) fn check_marks(&self) -> Result<(), IndexError> {
        let mut count = 0_i64;
        let mut mark = self.db().prepare("SELECT seq FROM marks WHERE place = ?")?;
        self.each_version(&mut |stored| {
            let place = Place::of(&stored.record()?.path, leaf(&stored.bytes));
            let seq: Option<i64> = mark.query_row([&place.0[..]], |row| row.get(0)).optional()?;
            count += 1;
            match seq {
                Some(seq) if seq_of(seq)? == stored.seq => Ok(()),
                _ => Err(IndexError::damaged("a version without its mark")),
            }
        })?;
        let marks: i64 = self.db().query_row("SELECT count(*) FROM marks", [], |row| row.get(0))?;
        if marks != count {
            return Err(IndexError::damaged("a mark without its version"));
        }
        let mut sums: BTreeMap<u16, ListSum> = BTreeMap::new();
        self.places(Range::ALL, &mut |place, _| {
            sums.entry(place.bucket()).or_default().add(place);
        })?;
        let mut stated = BTreeMap::new();
        self.buckets(0, u16::MAX, &mut |bucket, sum| {
            stated.insert(bucket, sum);
        })?;
        let mut stale = self.db().prepare("SELECT 1 FROM stale WHERE bucket = ?")?;
        for bucket in 0..=u16::MAX {
            let is = sums.get(&bucket).map(ListSum::finish);
            if is != stated.get(&bucket).copied() && !stale.exists([bucket])? {
                return Err(IndexError::damaged("the sum of a bucket is that of others"));
            }
        }
        Ok(())
    }
}

impl Holdings for Reading<'_> {
    type Error = IndexError;

    fn buckets(
        &self,
        first: u16,
        last: u16,
        each: &mut dyn FnMut(u16, Sum),
    ) -> Result<(), IndexError> {
        let sql = "SELECT bucket, value FROM sums WHERE bucket BETWEEN ? AND ? ORDER BY bucket";
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query([first, last])?;
        while let Some(row) = rows.next()? {
            let bucket = bucket_of(row.get(0)?)?;
            each(bucket, sum_of(bucket, blob(row, 1)?)?);
        }
        Ok(())
    }

    fn places(&self, range: Range, each: &mut dyn FnMut(Place, u64)) -> Result<(), IndexError> {
        let (first, last) = range.bounds();
        let sql = "SELECT place, seq FROM marks WHERE place BETWEEN ? AND ? ORDER BY place";
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query([&first.0[..], &last.0[..]])?;
        while let Some(row) = rows.next()? {
            let place = <[u8; 32]>::try_from(blob(row, 0)?);
            let place = place.map_err(|_| IndexError::damaged("a place"))?;
            each(Place(place), seq_of(row.get(1)?)?.get());
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests;
