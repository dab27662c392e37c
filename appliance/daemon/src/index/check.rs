//! Whether what an index says twice is the same both times.

use super::item::ItemRow;
use super::key::{Key, path_of};
use super::read::{blob, column_of, seq_of};
use super::{IndexError, Reading, StoredVersion};
use farhaul_sync::seal::leaf;
use farhaul_sync::version::Content;
use rusqlite::{OptionalExtension as _, params};

impl Reading<'_> {
    /// Reads everything and compares what is said twice.
    pub(super) fn check(&self) -> Result<(), IndexError> {
        self.check_versions()?;
        self.check_items()?;
        self.check_links()?;
        self.heads()?;
        self.intents()?;
        self.check_kept()?;
        self.elsewhere_from(None, usize::MAX)?;
        self.loose("", usize::MAX)?;
        self.looks(None, usize::MAX)?;
        self.asides(None, usize::MAX)?;
        self.floor()?;
        self.dropped()?;
        self.brake()?;
        self.check_marks()
    }

    fn check_versions(&self) -> Result<(), IndexError> {
        let mut by_run = std::collections::BTreeMap::new();
        let mut statement = self.db().prepare("SELECT seq, value FROM versions")?;
        let mut listed =
            self.db().prepare("SELECT 1 FROM paths WHERE live = ? AND key = ? AND seq = ?")?;
        let mut rows = statement.query([])?;
        let mut count = 0_u64;
        while let Some(row) = rows.next()? {
            let stored = StoredVersion::decode(seq_of(row.get(0)?)?, blob(row, 1)?)?;
            let record = stored.record()?;
            let (live, key) = (record.version.is_live(), Key::of(&record.path));
            if !listed.exists(params![live, key.as_bytes(), column_of(stored.seq)])? {
                let what = format!("version {} is not listed at its path", stored.seq.0);
                return Err(IndexError::damaged(what));
            }
            let of_run: &mut Vec<_> = by_run.entry(stored.run).or_default();
            of_run.push((stored.position, leaf(&stored.bytes)));
            count += 1;
        }
        let counts = self.counts()?;
        if counts.live + counts.tombstones != count || counts.runs != by_run.len() as u64 {
            return Err(IndexError::damaged("paths or runs without versions"));
        }
        for (id, leaves) in by_run {
            let run = self.run(id)?;
            let sql = "SELECT count FROM uses WHERE run = ?";
            let uses: Option<i64> =
                self.db().query_row(sql, [id.0], |row| row.get(0)).optional()?;
            let is_counted = uses.and_then(|uses| usize::try_from(uses).ok()) == Some(leaves.len());
            if !is_counted || leaves.iter().any(|&(at, leaf)| run.leaf(at) != Some(leaf)) {
                return Err(IndexError::damaged("a run does not fit its versions"));
            }
        }
        Ok(())
    }

    fn check_items(&self) -> Result<(), IndexError> {
        let mut statement = self.db().prepare("SELECT key, value FROM items")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (key, value) = (blob(row, 0)?, blob(row, 1)?);
            self.placed_of(&path_of(key)?, ItemRow::decode(key, value)?)?;
        }
        Ok(())
    }

    /// That what is kept is what is listed by its content, and nothing else is listed.
    fn check_kept(&self) -> Result<(), IndexError> {
        let mut listed = self
            .db()
            .prepare("SELECT 1 FROM kept_contents WHERE manifest = ? AND key = ? AND name = ?")?;
        let mut count = 0_u64;
        for kept in self.kept_from(None, usize::MAX)? {
            let Some(Content::File { manifest, .. }) = kept.version.map(|v| v.content) else {
                continue;
            };
            let key = Key::of(&kept.path);
            if !listed.exists(params![&manifest.0[..], key.as_bytes(), kept.name])? {
                let what = format!("what is kept of {} is not listed by its content", kept.path);
                return Err(IndexError::damaged(what));
            }
            count += 1;
        }
        let sql = "SELECT count(*) FROM kept_contents";
        let rows: i64 = self.db().query_row(sql, [], |row| row.get(0))?;
        if u64::try_from(rows) == Ok(count) {
            Ok(())
        } else {
            Err(IndexError::damaged("a content is listed as kept that is not"))
        }
    }
}
