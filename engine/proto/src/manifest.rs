//! The list of everything a transfer carries: paths, metadata, and where files hold data.
//!
//! Entries stand in tree order (see [`RelPath`]), each once, and an entry with a parent path has
//! that parent in the list as a directory. So a symbolic link or a file can never be a parent,
//! and a receiver can create entries in list order. A transfer of one file is a manifest of one
//! entry whose path is the file's name.
//!
//! Encoded as CBOR (RFC 8949), definite lengths only: `[version, [entry ..]]` with
//! `entry = [kind, shared, suffix, mode, mtime seconds, nanoseconds, ..]`. `shared` counts the
//! leading bytes taken over from the path of the entry before. What follows depends on the kind:
//! 0 directory: nothing; 1 file: size; 2 file with holes: size, `[gap, length, gap, length ..]`;
//! 3 symbolic link: target. It holds no content and no hashes.

use crate::limits::{OBJECT_MAX, SYMLINK_TARGET_MAX};
use crate::path_name::{PathError, RelPath};
use core::convert::Infallible;
use minicbor::{Decoder, Encoder, decode, encode};

pub use crate::units::FileTime;

/// Version of the encoding.
const VERSION: u32 = 1;
/// Encoded bytes of a manifest.
pub const ENCODED_MAX: usize = 32 << 20;
/// What the entries of a manifest weigh in memory, see [`Entry::weight`]. With the encoded bytes
/// it makes the 128 MiB that a peer may have us hold.
pub const WEIGHT_MAX: usize = 96 << 20;
/// Entries of one manifest: as many as the weight allows.
pub const ENTRIES_MAX: usize = WEIGHT_MAX / ENTRY_WEIGHT;
/// Data extents of one file; a scan merges what exceeds it.
pub const EXTENTS_MAX: usize = 65_536;
/// Permission bits that travel: set-user-id and set-group-id are stripped on both sides.
pub const MODE_MASK: u32 = 0o1777;

/// Encoded bytes of the smallest entry: array head, five one-byte integers, a one-byte suffix.
const ENTRY_LEN_MIN: usize = 8;
/// What an entry weighs beside its path, its target and its extents.
const ENTRY_WEIGHT: usize = 96;
/// What an extent weighs: it stands in the manifest, and in the map of its file.
const EXTENT_WEIGHT: usize = 48;

const _: () = {
    assert!(size_of::<Entry>() <= ENTRY_WEIGHT);
    assert!(2 * size_of::<Extent>() + size_of::<u64>() <= EXTENT_WEIGHT);
};

/// A run of bytes in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

impl Extent {
    /// The byte after the last; saturates.
    pub const fn end(self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// Where a file holds data; everything else in it reads as zeros and stays a hole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Extents {
    /// Everywhere.
    Full,
    /// In these runs: not empty, ascending, disjoint, at most [`EXTENTS_MAX`]. No run at all is
    /// a file that is one hole.
    List(Vec<Extent>),
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Length in bytes, at most [`OBJECT_MAX`].
        size: u64,
        /// Where it holds data.
        extents: Extents,
    },
    /// A directory.
    Dir,
    /// A symbolic link: carried as data, never followed.
    Symlink {
        /// What it points to; any bytes but NUL, 1 to [`SYMLINK_TARGET_MAX`].
        target: Vec<u8>,
    },
}

/// One file, directory or symbolic link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Where, beneath the destination.
    pub path: RelPath,
    /// Permission bits; only those in [`MODE_MASK`] travel.
    pub mode: u32,
    /// Time of last modification.
    pub mtime: FileTime,
    /// What it is.
    pub kind: EntryKind,
}

impl Entry {
    /// The runs of bytes that a transfer of this entry carries, ascending.
    pub fn data_extents(&self) -> impl Iterator<Item = Extent> + '_ {
        let (whole, list): (_, &[Extent]) = match &self.kind {
            EntryKind::File { size, extents: Extents::Full } if *size > 0 => {
                (Some(Extent { offset: 0, len: *size }), &[])
            }
            EntryKind::File { extents: Extents::List(list), .. } => (None, list),
            EntryKind::File { .. } | EntryKind::Dir | EntryKind::Symlink { .. } => (None, &[]),
        };
        whole.into_iter().chain(list.iter().copied())
    }

    /// The bytes in [`data_extents`](Self::data_extents).
    pub fn data_len(&self) -> u64 {
        self.data_extents().fold(0, |sum, extent| sum.saturating_add(extent.len))
    }

    /// What the entry takes in memory, as both sides reckon it.
    pub fn weight(&self) -> usize {
        let more = match &self.kind {
            EntryKind::File { extents: Extents::List(list), .. } => {
                list.len().saturating_mul(EXTENT_WEIGHT)
            }
            EntryKind::Symlink { target } => target.len(),
            EntryKind::File { extents: Extents::Full, .. } | EntryKind::Dir => 0,
        };
        ENTRY_WEIGHT.saturating_add(self.path.as_bytes().len()).saturating_add(more)
    }

    /// The length of a file; 0 for everything else.
    pub fn size(&self) -> u64 {
        match self.kind {
            EntryKind::File { size, .. } => size,
            EntryKind::Dir | EntryKind::Symlink { .. } => 0,
        }
    }

    /// True for a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, EntryKind::Dir)
    }

    fn check(&self) -> Result<(), Fault> {
        if self.mtime.nanos >= 1_000_000_000 {
            return Err(Fault::Time);
        }
        match &self.kind {
            EntryKind::Dir => Ok(()),
            EntryKind::Symlink { target } => check_target(target),
            EntryKind::File { size, .. } if *size > OBJECT_MAX.get() => Err(Fault::Size),
            EntryKind::File { extents: Extents::Full, .. } => Ok(()),
            EntryKind::File { size, extents: Extents::List(list) } => check_extents(list, *size),
        }
    }
}

fn check_target(target: &[u8]) -> Result<(), Fault> {
    let fits = (1..=SYMLINK_TARGET_MAX).contains(&target.len()) && !target.contains(&0);
    if fits { Ok(()) } else { Err(Fault::Target) }
}

fn check_extents(list: &[Extent], size: u64) -> Result<(), Fault> {
    if list.len() > EXTENTS_MAX {
        return Err(Fault::Extents);
    }
    let mut end = 0;
    for extent in list {
        if extent.len == 0 || extent.offset < end {
            return Err(Fault::Extents);
        }
        end = extent.offset.checked_add(extent.len).ok_or(Fault::Extents)?;
    }
    if end > size { Err(Fault::Extents) } else { Ok(()) }
}

/// A run of entries, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
pub struct EntryRange {
    /// Index of the first.
    #[n(0)]
    pub first: u32,
    /// How many; at least one on the wire.
    #[n(1)]
    pub count: u32,
}

/// What is wrong with one entry; the peer that wrote it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The path breaks a rule.
    #[error(transparent)]
    Path(#[from] PathError),
    /// More leading bytes are shared than the path before has.
    #[error("it shares more than the whole path before it")]
    Shared,
    /// With it the manifest weighs more than [`WEIGHT_MAX`].
    #[error("the manifest takes too much memory from here on")]
    TooHeavy,
    /// The path does not come after the one before.
    #[error("it is out of order or there twice")]
    Order,
    /// The parent is not in the list as a directory.
    #[error("its parent is no directory of the manifest")]
    Parent,
    /// An unknown kind, or a wrong number of fields for it.
    #[error("it is of no known form")]
    Form,
    /// Larger than [`OBJECT_MAX`].
    #[error("its size is out of range")]
    Size,
    /// Empty, overlapping, descending or too many extents, or some beyond the end of the file.
    #[error("its extents are not ascending runs within the file")]
    Extents,
    /// A billion nanoseconds or more.
    #[error("its time is out of range")]
    Time,
    /// Bits other than permission bits.
    #[error("its mode is out of range")]
    Mode,
    /// An empty or too long symlink target, or one with NUL.
    #[error("its target is no symlink target")]
    Target,
}

/// Why a manifest was refused; the peer that wrote it is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not the CBOR that is expected here.
    #[error("malformed manifest")]
    Malformed(#[from] decode::Error),
    /// Not an array of definite length, or of another length.
    #[error("malformed manifest structure")]
    Structure,
    /// Written in an encoding that this side does not know.
    #[error("unknown manifest version {found}")]
    Version {
        /// The version it claims.
        found: u32,
    },
    /// More encoded bytes than [`ENCODED_MAX`].
    #[error("a manifest of {len} bytes is refused")]
    TooLong {
        /// How many bytes.
        len: usize,
    },
    /// More entries than [`ENTRIES_MAX`], or than its bytes can hold.
    #[error("a manifest of {count} entries is refused")]
    TooManyEntries {
        /// How many it claims.
        count: u64,
    },
    /// An entry is wrong.
    #[error("manifest entry {index}: {fault}")]
    Entry {
        /// Its index.
        index: usize,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Bytes after the end.
    #[error("bytes after the end of the manifest")]
    TrailingBytes,
}

/// Everything a transfer carries, in tree order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The entries; see the head of this file for their rules.
    pub entries: Vec<Entry>,
}

impl Manifest {
    /// Sorts `entries` and checks them.
    ///
    /// # Errors
    /// [`ManifestError::TooManyEntries`] or [`ManifestError::Entry`]; its index is that after
    /// sorting.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, ManifestError> {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let manifest = Self { entries };
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks every rule of a manifest; [`decode`](Self::decode) does so by itself.
    ///
    /// # Errors
    /// [`ManifestError::TooManyEntries`] or [`ManifestError::Entry`] for the first wrong entry.
    pub fn check(&self) -> Result<(), ManifestError> {
        if self.entries.len() > ENTRIES_MAX {
            return Err(ManifestError::TooManyEntries { count: self.entries.len() as u64 });
        }
        let (mut order, mut scale) = (Order::default(), Scale::default());
        for (index, entry) in self.entries.iter().enumerate() {
            let checked = entry.check().and_then(|()| order.admit(&self.entries[..index], entry));
            let checked = checked.and_then(|()| scale.add(entry.weight()));
            checked.map_err(|fault| ManifestError::Entry { index, fault })?;
        }
        Ok(())
    }

    /// The number of entries.
    pub fn len(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    /// True when there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry at `index`.
    pub fn entry(&self, index: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(index).ok()?)
    }

    /// The index of the entry at `path`.
    pub fn find(&self, path: &RelPath) -> Option<u32> {
        let index = self.entries.binary_search_by(|entry| entry.path.cmp(path)).ok()?;
        u32::try_from(index).ok()
    }

    /// The sum of all data bytes; saturates.
    pub fn data_len(&self) -> u64 {
        self.entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.data_len()))
    }

    /// The wire form. A manifest that breaks the rules encodes to bytes that decoding refuses.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::with_capacity(64 + self.entries.len() * 48));
        let written = self.write(&mut encoder);
        written.expect("writing to a Vec cannot fail: its error type is Infallible");
        encoder.into_writer()
    }

    fn write(&self, e: &mut Encoder<Vec<u8>>) -> Result<(), encode::Error<Infallible>> {
        e.array(2)?.u32(VERSION)?.array(self.entries.len() as u64)?;
        let mut before: &[u8] = &[];
        for entry in &self.entries {
            let path = entry.path.as_bytes();
            write_entry(e, entry, common_prefix(before, path))?;
            before = path;
        }
        Ok(())
    }

    /// Reads the wire form; allocates at most in proportion to the length of `bytes`, and no
    /// more than [`WEIGHT_MAX`].
    ///
    /// # Errors
    /// [`ManifestError`] for everything that [`encode`](Self::encode) does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > ENCODED_MAX {
            return Err(ManifestError::TooLong { len: bytes.len() });
        }
        let mut d = Decoder::new(bytes);
        if d.array()? != Some(2) {
            return Err(ManifestError::Structure);
        }
        let found = d.u32()?;
        if found != VERSION {
            return Err(ManifestError::Version { found });
        }
        let count = entry_count(&mut d)?;
        let mut manifest = Self { entries: Vec::with_capacity(count) };
        let (mut order, mut scale) = (Order::default(), Scale::default());
        for index in 0..count {
            let at = |fault| ManifestError::Entry { index, fault };
            let entry = read_entry(&mut d, &manifest.entries, &mut scale, index)?;
            entry.check().map_err(at)?;
            order.admit(&manifest.entries, &entry).map_err(at)?;
            manifest.entries.push(entry);
        }
        if d.position() != bytes.len() {
            return Err(ManifestError::TrailingBytes);
        }
        Ok(manifest)
    }
}

fn entry_count(d: &mut Decoder<'_>) -> Result<usize, ManifestError> {
    let count = d.array()?.ok_or(ManifestError::Structure)?;
    let room = d.input().len().saturating_sub(d.position()) / ENTRY_LEN_MIN;
    match usize::try_from(count) {
        Ok(len) if len <= ENTRIES_MAX.min(room) => Ok(len),
        Ok(_) | Err(_) => Err(ManifestError::TooManyEntries { count }),
    }
}

/// Checks that entries come in tree order, below directories only. Keeps the open directories.
#[derive(Default)]
struct Order {
    /// Indices of the directories that lead to the entry before; at most `DEPTH_MAX`.
    open: Vec<usize>,
}

impl Order {
    fn admit(&mut self, before: &[Entry], entry: &Entry) -> Result<(), Fault> {
        if before.last().is_some_and(|last| last.path >= entry.path) {
            return Err(Fault::Order);
        }
        while self.open.last().is_some_and(|&dir| !entry.path.starts_with(&before[dir].path)) {
            self.open.pop();
        }
        let parent = self.open.last().map(|&dir| before[dir].path.as_bytes());
        if parent != entry.path.parent_bytes() {
            return Err(Fault::Parent);
        }
        if entry.is_dir() {
            self.open.push(before.len());
        }
        Ok(())
    }
}

/// Weighs the entries of a manifest, for its writer and its reader alike (`spec: W-067`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Scale {
    weight: usize,
}

impl Scale {
    /// Takes `weight` more.
    ///
    /// # Errors
    /// [`Fault::TooHeavy`] beyond [`WEIGHT_MAX`].
    pub const fn add(&mut self, weight: usize) -> Result<(), Fault> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > WEIGHT_MAX { Err(Fault::TooHeavy) } else { Ok(()) }
    }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

const KIND_DIR: u8 = 0;
const KIND_FILE: u8 = 1;
const KIND_SPARSE: u8 = 2;
const KIND_SYMLINK: u8 = 3;

fn write_entry(
    e: &mut Encoder<Vec<u8>>,
    entry: &Entry,
    shared: usize,
) -> Result<(), encode::Error<Infallible>> {
    let (kind, fields) = match &entry.kind {
        EntryKind::Dir => (KIND_DIR, 6),
        EntryKind::File { extents: Extents::Full, .. } => (KIND_FILE, 7),
        EntryKind::File { extents: Extents::List(_), .. } => (KIND_SPARSE, 8),
        EntryKind::Symlink { .. } => (KIND_SYMLINK, 7),
    };
    e.array(fields)?.u8(kind)?.u64(shared as u64)?.bytes(&entry.path.as_bytes()[shared..])?;
    e.u32(entry.mode & MODE_MASK)?.i64(entry.mtime.secs)?.u32(entry.mtime.nanos)?;
    match &entry.kind {
        EntryKind::Dir => Ok(()),
        EntryKind::File { size, extents: Extents::Full } => e.u64(*size)?.ok(),
        EntryKind::File { size, extents: Extents::List(list) } => {
            e.u64(*size)?;
            write_extents(e, list)
        }
        EntryKind::Symlink { target } => e.bytes(target)?.ok(),
    }
}

fn write_extents(
    e: &mut Encoder<Vec<u8>>,
    list: &[Extent],
) -> Result<(), encode::Error<Infallible>> {
    e.array(list.len() as u64 * 2)?;
    let mut end = 0u64;
    for extent in list {
        e.u64(extent.offset.saturating_sub(end))?.u64(extent.len)?;
        end = extent.end();
    }
    Ok(())
}

fn read_entry(
    d: &mut Decoder<'_>,
    before: &[Entry],
    scale: &mut Scale,
    index: usize,
) -> Result<Entry, ManifestError> {
    let at = |fault| ManifestError::Entry { index, fault };
    let fields = d.array()?;
    let kind = d.u8()?;
    let expected = match kind {
        KIND_DIR => 6,
        KIND_FILE | KIND_SYMLINK => 7,
        KIND_SPARSE => 8,
        _ => return Err(at(Fault::Form)),
    };
    if fields != Some(expected) {
        return Err(at(Fault::Form));
    }
    scale.add(ENTRY_WEIGHT).map_err(at)?;
    let of = |error| match error {
        Misread::Malformed(error) => ManifestError::Malformed(error),
        Misread::Fault(fault) => at(fault),
    };
    let path = read_path(d, before.last(), scale).map_err(of)?;
    let mode = d.u32()?;
    if mode & !0o7777 != 0 {
        return Err(at(Fault::Mode));
    }
    let mtime = FileTime { secs: d.i64()?, nanos: d.u32()? };
    let kind = match kind {
        KIND_DIR => EntryKind::Dir,
        KIND_FILE => EntryKind::File { size: d.u64()?, extents: Extents::Full },
        KIND_SPARSE => {
            let size = d.u64()?;
            EntryKind::File { size, extents: read_extents(d, scale).map_err(of)? }
        }
        _ => {
            let target = d.bytes()?;
            check_target(target).and_then(|()| scale.add(target.len())).map_err(at)?;
            EntryKind::Symlink { target: target.to_vec() }
        }
    };
    Ok(Entry { path, mode: mode & MODE_MASK, mtime, kind })
}

enum Misread {
    Malformed(decode::Error),
    Fault(Fault),
}

impl From<decode::Error> for Misread {
    fn from(error: decode::Error) -> Self {
        Self::Malformed(error)
    }
}

impl From<Fault> for Misread {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<PathError> for Misread {
    fn from(error: PathError) -> Self {
        Self::Fault(error.into())
    }
}

fn read_path(
    d: &mut Decoder<'_>,
    before: Option<&Entry>,
    scale: &mut Scale,
) -> Result<RelPath, Misread> {
    let (shared, suffix) = (d.u64()?, d.bytes()?);
    let before = before.map_or(&[][..], |entry| entry.path.as_bytes());
    let prefix = usize::try_from(shared).ok().and_then(|shared| before.get(..shared));
    let prefix = prefix.ok_or(Fault::Shared)?;
    let len = prefix.len() + suffix.len();
    if len > crate::limits::PATH_MAX {
        return Err(PathError::TooLong { len }.into());
    }
    scale.add(len)?;
    Ok(RelPath::parse(&[prefix, suffix].concat())?)
}

fn read_extents(d: &mut Decoder<'_>, scale: &mut Scale) -> Result<Extents, Misread> {
    let numbers = d.array()?.ok_or(Fault::Extents)?;
    let room = d.input().len().saturating_sub(d.position());
    let count = match usize::try_from(numbers) {
        Ok(n) if n % 2 == 0 && n <= room && n / 2 <= EXTENTS_MAX => n / 2,
        Ok(_) | Err(_) => return Err(Fault::Extents.into()),
    };
    scale.add(count * EXTENT_WEIGHT)?;
    let mut list = Vec::with_capacity(count);
    let mut end = 0u64;
    for _ in 0..count {
        let (gap, len) = (d.u64()?, d.u64()?);
        let offset = end.checked_add(gap).ok_or(Fault::Extents)?;
        let next = offset.checked_add(len).ok_or(Fault::Extents)?;
        list.push(Extent { offset, len });
        end = next;
    }
    Ok(Extents::List(list))
}

#[cfg(test)]
mod tests;
