//! Looking into an index. Whatever is read was written by this program, or it is an error.

use super::codec::{Reader, Table, Writer, open};
use super::item::{ItemRow, Shows, decode_head};
use super::key::{Key, path_of};
use super::links::INODE_NAMES;
use super::run::read_statement;
use super::{IndexError, Kind, Run, RunId, Seq, Signature};
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::{FileIdentity, Item, Placed};
use farhaul_sync::record::Record;
use farhaul_sync::seal::{FolderKey, Statement};
use farhaul_sync::version::{Author, Content, Version, VersionSet};
use rusqlite::{Connection, params};

/// Rows that are read at once where many are.
const PAGE: usize = 1024;

/// A version as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredVersion {
    /// The how manyth here.
    pub seq: Seq,
    /// The record exactly as its author signed it.
    pub bytes: Vec<u8>,
    /// The run that it was signed in.
    pub run: RunId,
    /// Its number there.
    pub position: u16,
}

impl StoredVersion {
    /// The record.
    ///
    /// # Errors
    /// [`IndexError::Damaged`]: only valid records are stored.
    pub fn record(&self) -> Result<Record, IndexError> {
        Record::decode(&self.bytes)
            .map_err(|error| IndexError::damaged(format!("version {}: {error}", self.seq.0)))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.i128(self.run.0.into()).u64(self.position.into()).raw(&self.bytes);
        writer.seal(Table::Versions, &self.seq.0.to_be_bytes())
    }

    pub(super) fn decode(seq: Seq, value: &[u8]) -> Result<Self, IndexError> {
        let read = || {
            let mut reader = Reader::new(open(Table::Versions, &seq.0.to_be_bytes(), value)?);
            let run = RunId(i64::try_from(reader.i128()?).ok()?);
            let position = reader.u16()?;
            Some(Self { seq, run, position, bytes: reader.rest().to_vec() })
        };
        read().ok_or_else(|| IndexError::damaged(format!("version {}", seq.0)))
    }
}

/// What stands on disk at a path: what a scan compares with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where.
    pub path: RelPath,
    /// What kind of thing.
    pub kind: Kind,
    /// In which state.
    pub identity: FileIdentity,
}

/// All versions of a path that no other covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The path.
    pub path: RelPath,
    /// Its versions, at least one, in the order in which they came.
    pub versions: Vec<StoredVersion>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Things on disk.
    pub standing: u64,
    /// Versions that say that something stands at a path.
    pub live: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Signed runs.
    pub runs: u64,
}

/// A look into an index.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    db: &'a Connection,
    folder: FolderKey,
    /// Nothing newer is told to others.
    durable: Seq,
}

impl<'a> Reading<'a> {
    pub(super) const fn new(db: &'a Connection, folder: FolderKey, durable: Seq) -> Self {
        Self { db, folder, durable }
    }

    pub(super) const fn folder(&self) -> FolderKey {
        self.folder
    }

    pub(super) fn db(&self) -> &'a Connection {
        self.db
    }

    /// All that is known of a path.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn item(&self, path: &RelPath) -> Result<Item, IndexError> {
        Ok(self.item_at(path, &Key::of(path))?.0)
    }

    /// And whether the place is one of a conflict copy: then it also depends on what is known elsewhere.
    pub(super) fn item_at(&self, path: &RelPath, key: &Key) -> Result<(Item, bool), IndexError> {
        let (versions, _) = self.set_of(path, key)?;
        let placed = match self.item_row(key)? {
            Some(row) => Some(self.placed_of(path, row)?),
            None => None,
        };
        let place = self.copy_row(key)?;
        let is_copys = place.is_some();
        let copy = match place {
            Some(copy) => self.loser_of(copy)?,
            None => None,
        };
        let has_children = self.has_children_of(key)?;
        Ok((Item { versions, placed, has_children, copy }, is_copys))
    }

    /// Whether something live stands beneath a path.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn has_children(&self, path: &RelPath) -> Result<bool, IndexError> {
        self.has_children_of(&Key::of(path))
    }

    fn has_children_of(&self, key: &Key) -> Result<bool, IndexError> {
        let (first, end) = key.beneath();
        let sql = "SELECT 1 FROM paths WHERE live = 1 AND key >= ? AND key < ? LIMIT 1";
        Ok(self.db.prepare_cached(sql)?.exists([first, end])?)
    }

    /// What stands on disk, in the order of a walk through the tree: from behind `after` (or from
    /// the beginning), within `within` (or anywhere), `limit` of it at most. So a scan holds no
    /// more than that, and others may write between two calls.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn standing(
        &self,
        within: Option<&RelPath>,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<Standing>, IndexError> {
        let (first, end) = bounds(within, after);
        let sql = "SELECT key, value FROM items WHERE key >= ? AND key < ? ORDER BY key LIMIT ?";
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query(params![first, end, limit_of(limit)])?;
        let mut standing = Vec::new();
        while let Some(row) = rows.next()? {
            let (key, value) = (blob(row, 0)?, blob(row, 1)?);
            let (_, kind, identity) = decode_head(key, value)?;
            standing.push(Standing { path: path_of(key)?, kind, identity });
        }
        Ok(standing)
    }

    /// The content of a file that stands somewhere in exactly this state, and where. Another name of it, or the
    /// name of a directory above it, changes nothing of that.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn content_in_state(
        &self,
        state: &FileIdentity,
    ) -> Result<Option<(Content, RelPath)>, IndexError> {
        let sql = "SELECT key FROM inodes WHERE inode = ? ORDER BY key LIMIT ?";
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows =
            statement.query(params![state.inode.cast_signed(), limit_of(INODE_NAMES)])?;
        while let Some(row) = rows.next()? {
            let path = path_of(blob(row, 0)?)?;
            match self.item_row(&Key::of(&path))? {
                Some(row) if row.kind == Kind::File && row.identity == *state => {
                    return Ok(Some((self.placed_of(&path, row)?.version.content, path)));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// What stands on disk at a path or beneath it, page by page.
    pub fn all_standing(
        &self,
        within: Option<&RelPath>,
    ) -> impl Iterator<Item = Result<Standing, IndexError>> + use<'a> {
        let (reading, within) = (*self, within.cloned());
        let mut after: Option<RelPath> = None;
        let mut page = Vec::new().into_iter();
        let mut is_last = false;
        core::iter::from_fn(move || {
            if page.len() == 0 && !is_last {
                match reading.standing(within.as_ref(), after.as_ref(), PAGE) {
                    Ok(next) => {
                        is_last = next.len() < PAGE;
                        after = next.last().map(|standing| standing.path.clone());
                        page = next.into_iter();
                    }
                    Err(error) => {
                        is_last = true;
                        return Some(Err(error));
                    }
                }
            }
            page.next().map(Ok)
        })
    }

    /// The versions of paths in the order of a walk through the tree, `limit` paths at most; from
    /// behind `after`, within `within`. For comparing with another site range by range.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn known(
        &self,
        within: Option<&RelPath>,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<Known>, IndexError> {
        let (first, end) = bounds(within, after);
        // Both halves come in order and are merged as they are read: nothing is sorted.
        let sql = "SELECT key, seq FROM paths WHERE live = 0 AND key >= ?1 AND key < ?2
            UNION ALL SELECT key, seq FROM paths WHERE live = 1 AND key >= ?1 AND key < ?2
            ORDER BY 1, 2";
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query(params![first, end])?;
        let mut known: Vec<Known> = Vec::new();
        while let Some(row) = rows.next()? {
            let path = path_of(blob(row, 0)?)?;
            let version = self.version(seq_of(row.get(1)?)?)?;
            let is_another = known.last().is_none_or(|last| last.path != path);
            if is_another && known.len() == limit {
                break;
            } else if is_another {
                known.push(Known { path, versions: vec![version] });
            } else if let Some(last) = known.last_mut() {
                last.versions.push(version);
            }
        }
        Ok(known)
    }

    /// The versions that came after `seq`, in the order in which they came, `limit` at most, and
    /// none that is not durable. What was covered since is not among them (spec: S-042).
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn versions_since(&self, seq: Seq, limit: usize) -> Result<Vec<StoredVersion>, IndexError> {
        let sql = "SELECT seq, value FROM versions WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?";
        let mut statement = self.db.prepare_cached(sql)?;
        let range = (column_of(seq), column_of(self.durable));
        let mut rows = statement.query(params![range.0, range.1, limit_of(limit)])?;
        let mut versions = Vec::new();
        while let Some(row) = rows.next()? {
            versions.push(StoredVersion::decode(seq_of(row.get(0)?)?, blob(row, 1)?)?);
        }
        Ok(versions)
    }

    /// Every version that is stored, in the order in which they came.
    pub(super) fn each_version(
        &self,
        each: &mut dyn FnMut(StoredVersion) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        let mut statement = self.db.prepare("SELECT seq, value FROM versions ORDER BY seq")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(StoredVersion::decode(seq_of(row.get(0)?)?, blob(row, 1)?)?)?;
        }
        Ok(())
    }

    /// The versions of a path, in the order in which they came.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn versions_of(&self, path: &RelPath) -> Result<Vec<StoredVersion>, IndexError> {
        self.versions_at(&Key::of(path))
    }

    /// A signed run.
    ///
    /// # Errors
    /// [`IndexError`]; there is a run for every version.
    pub fn run(&self, id: RunId) -> Result<Run, IndexError> {
        let mut statement = self.db.prepare_cached("SELECT value FROM runs WHERE id = ?")?;
        let mut rows = statement.query([id.0])?;
        let row = rows.next()?.ok_or_else(|| IndexError::damaged("a run is missing"))?;
        Run::decode(id, blob(row, 0)?, self.folder)
    }

    /// The statement of `author` with the highest number that is known.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn head(&self, author: &Author) -> Result<Option<(Statement, Signature)>, IndexError> {
        let key = author_key(author);
        let mut statement = self.db.prepare_cached("SELECT value FROM heads WHERE author = ?")?;
        let mut rows = statement.query([&key[..]])?;
        rows.next()?.map(|row| self.head_of(&key, blob(row, 0)?)).transpose()
    }

    /// The statement with the highest number that is known, of every author, ascending.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn heads(&self) -> Result<Vec<(Statement, Signature)>, IndexError> {
        let sql = "SELECT author, value FROM heads ORDER BY author";
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut heads = Vec::new();
        while let Some(row) = rows.next()? {
            heads.push(self.head_of(blob(row, 0)?, blob(row, 1)?)?);
        }
        Ok(heads)
    }

    fn head_of(&self, key: &[u8], value: &[u8]) -> Result<(Statement, Signature), IndexError> {
        let read = || {
            let mut reader = Reader::new(open(Table::Heads, key, value)?);
            let read = read_statement(&mut reader, self.folder)?;
            reader.end()?;
            (author_key(&read.0.author) == key).then_some(read)
        };
        read().ok_or_else(|| IndexError::damaged("the head of an author"))
    }

    /// How much there is. Goes through all keys.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn counts(&self) -> Result<Counts, IndexError> {
        let count = |sql: &str| {
            let count: i64 = self.db.query_row(sql, [], |row| row.get(0))?;
            u64::try_from(count).map_err(|_| IndexError::damaged("a count"))
        };
        Ok(Counts {
            standing: count("SELECT count(*) FROM items")?,
            live: count("SELECT count(*) FROM paths WHERE live = 1")?,
            tombstones: count("SELECT count(*) FROM paths WHERE live = 0")?,
            runs: count("SELECT count(*) FROM runs")?,
        })
    }

    pub(super) fn version(&self, seq: Seq) -> Result<StoredVersion, IndexError> {
        let mut statement = self.db.prepare_cached("SELECT value FROM versions WHERE seq = ?")?;
        let mut rows = statement.query([column_of(seq)])?;
        let missing = || IndexError::damaged(format!("version {} is missing", seq.0));
        StoredVersion::decode(seq, blob(rows.next()?.ok_or_else(missing)?, 0)?)
    }

    pub(super) fn versions_at(&self, key: &Key) -> Result<Vec<StoredVersion>, IndexError> {
        // Not `live IN (0, 1)`: for that SQLite makes a table, each time.
        let sql = "SELECT seq FROM paths WHERE live = 0 AND key = ?1
            UNION ALL SELECT seq FROM paths WHERE live = 1 AND key = ?1";
        let mut statement = self.db.prepare_cached(sql)?;
        let seqs = statement.query_map([key.as_bytes()], |row| row.get::<_, i64>(0))?;
        let mut versions = Vec::new();
        for seq in seqs {
            versions.push(self.version(seq_of(seq?)?)?);
        }
        versions.sort_unstable_by_key(|version| version.seq);
        Ok(versions)
    }

    /// The versions of a path as a set, and each with the row that it comes from.
    pub(super) fn set_of(
        &self,
        path: &RelPath,
        key: &Key,
    ) -> Result<(VersionSet, Vec<(Version, StoredVersion)>), IndexError> {
        let mut rows = Vec::new();
        for stored in self.versions_at(key)? {
            let record = stored.record()?;
            if record.path != *path {
                return Err(IndexError::damaged(format!("version {} of {path}", stored.seq.0)));
            }
            rows.push((record.version, stored));
        }
        let set = VersionSet::of(rows.iter().map(|(version, _)| version.clone()).collect());
        let set = set.ok_or_else(|| IndexError::damaged(format!("the versions of {path}")))?;
        Ok((set, rows))
    }

    pub(super) fn item_row(&self, key: &Key) -> Result<Option<ItemRow>, IndexError> {
        let mut statement = self.db.prepare_cached("SELECT value FROM items WHERE key = ?")?;
        let mut rows = statement.query([key.as_bytes()])?;
        rows.next()?.map(|row| ItemRow::decode(key.as_bytes(), blob(row, 0)?)).transpose()
    }

    pub(super) fn placed_of(&self, path: &RelPath, row: ItemRow) -> Result<Placed, IndexError> {
        let record = match &row.shows {
            Shows::Held(seq) => self.version(*seq)?.record()?,
            Shows::Covered(bytes) => Record::decode(bytes)
                .map_err(|error| IndexError::damaged(format!("what stands at {path}: {error}")))?,
        };
        if record.path != *path || Kind::of(&record.version.content) != Some(row.kind) {
            return Err(IndexError::damaged(format!("what stands at {path} is something else")));
        }
        Ok(Placed { version: record.version, meta: row.meta, identity: row.identity })
    }
}

/// The keys within `within` behind `after`: from the first to before the second.
fn bounds(within: Option<&RelPath>, after: Option<&RelPath>) -> (Vec<u8>, Vec<u8>) {
    let (mut first, end) = match within {
        Some(path) => (Key::of(path).as_bytes().to_vec(), Key::of(path).beneath().1),
        // No name is longer than 255 bytes.
        None => (Vec::new(), vec![0xff; 256]),
    };
    if let Some(after) = after {
        // What is beneath a path comes directly behind it.
        first = first.max(Key::of(after).beneath().0);
    }
    (first, end)
}

pub(super) fn author_key(author: &Author) -> [u8; 40] {
    let mut key = [0; 40];
    key[..32].copy_from_slice(author.site.as_bytes());
    key[32..].copy_from_slice(&author.incarnation.get().to_be_bytes());
    key
}

pub(super) fn blob<'a>(row: &'a rusqlite::Row<'_>, column: usize) -> Result<&'a [u8], IndexError> {
    let value = row.get_ref(column)?;
    value.as_blob().map_err(|_| IndexError::damaged("a column that is no blob"))
}

pub(super) fn column_of(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

pub(super) fn seq_of(column: i64) -> Result<Seq, IndexError> {
    let seq = u64::try_from(column).ok().filter(|&seq| seq > 0);
    seq.map(Seq).ok_or_else(|| IndexError::damaged("the number of a version"))
}

pub(super) fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
