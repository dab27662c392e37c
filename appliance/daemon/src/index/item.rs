//! The row of what stands on disk at a path.
//!
//! Which version that is stands there as its arrival number, or, where that version is covered and
//! gone, as the record itself: an edit of what stands there has to name what its user saw.

use super::codec::{Reader, Table, Writer, open};
use super::{IndexError, Seq};
use farhaul_proto::units::FileTime;
use farhaul_sync::folder::{FileIdentity, Placed};
use farhaul_sync::limits::{MODE_MASK, PRINCIPAL_MAX};
use farhaul_sync::version::{Content, LinkGroup, Meta};

/// What kind of thing stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A regular file.
    File,
}

impl Kind {
    /// The kind of a content; `None` for [`Content::Gone`].
    pub const fn of(content: &Content) -> Option<Self> {
        match content {
            Content::Gone => None,
            Content::Dir => Some(Self::Dir),
            Content::Symlink { .. } => Some(Self::Symlink),
            Content::File { .. } => Some(Self::File),
        }
    }

    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Dir => 1,
            Self::Symlink => 2,
            Self::File => 3,
        }
    }

    pub(super) const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Dir),
            2 => Some(Self::Symlink),
            3 => Some(Self::File),
            _ => None,
        }
    }
}

/// Which version stands on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// One of those in the index.
    Held(Seq),
    /// One that is covered; its record.
    Covered(Vec<u8>),
}

/// A row of `items`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ItemRow {
    pub(super) kind: Kind,
    pub(super) identity: FileIdentity,
    pub(super) meta: Meta,
    pub(super) shows: Shows,
}

impl ItemRow {
    /// `None` where `placed` says that nothing stands there.
    pub(super) fn of(placed: &Placed, shows: Shows) -> Option<Self> {
        let kind = Kind::of(&placed.version.content)?;
        Some(Self { kind, identity: placed.identity, meta: placed.meta.clone(), shows })
    }

    pub(super) fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.byte(self.kind.number());
        write_identity(&mut writer, &self.identity);
        match &self.shows {
            Shows::Held(seq) => writer.byte(0).u64(seq.get()),
            Shows::Covered(record) => writer.byte(1).bytes(record),
        };
        write_meta(&mut writer, &self.meta);
        writer.seal(Table::Items, key)
    }

    pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Self, IndexError> {
        let (mut reader, kind, identity) = decode_head(key, value)?;
        let read = || {
            let shows = match reader.byte()? {
                0 => Shows::Held(Seq::new(reader.u64()?)),
                1 => Shows::Covered(reader.bytes()?.to_vec()),
                _ => return None,
            };
            let meta = read_meta(&mut reader)?;
            reader.end()?;
            Some(Self { kind, identity, meta, shows })
        };
        read_or_damaged(read)
    }
}

fn read_or_damaged<T>(read: impl FnOnce() -> Option<T>) -> Result<T, IndexError> {
    read().ok_or_else(|| IndexError::damaged("an item"))
}

/// What a scan needs of a row, without reading the rest.
pub(super) fn decode_head<'a>(
    key: &[u8],
    value: &'a [u8],
) -> Result<(Reader<'a>, Kind, FileIdentity), IndexError> {
    read_or_damaged(|| {
        let mut reader = Reader::new(open(Table::Items, key, value)?);
        let kind = Kind::from_number(reader.byte()?)?;
        let identity = read_identity(&mut reader)?;
        Some((reader, kind, identity))
    })
}

pub(super) fn write_identity(writer: &mut Writer, identity: &FileIdentity) {
    let FileIdentity { device, inode, generation, size, mtime, ctime } = *identity;
    writer.u64(device).u64(inode).u64(generation).u64(size).i128(mtime).i128(ctime);
}

pub(super) fn read_identity(reader: &mut Reader<'_>) -> Option<FileIdentity> {
    Some(FileIdentity {
        device: reader.u64()?,
        inode: reader.u64()?,
        generation: reader.u64()?,
        size: reader.u64()?,
        mtime: reader.i128()?,
        ctime: reader.i128()?,
    })
}

/// Beside the permission bits: that lists or attributes follow.
const HAS_ATTRS: u32 = 1 << 16;
/// And that the group of a file's names does, behind them.
const HAS_LINK: u32 = 1 << 17;

pub(super) fn write_meta(writer: &mut Writer, meta: &Meta) {
    let Meta { mode, mtime, owner, group, attrs, link } = meta;
    let flag = if attrs.is_some() { HAS_ATTRS } else { 0 };
    let flag = flag | if link.is_some() { HAS_LINK } else { 0 };
    writer.u64((*mode | flag).into()).i128(mtime.secs.into()).u64(mtime.nanos.into());
    for name in [owner, group] {
        writer.bytes(name.as_deref().unwrap_or_default());
    }
    if let Some(attrs) = attrs {
        super::attrs::write(writer, attrs);
    }
    if let Some(link) = link {
        writer.bytes(&link.0);
    }
}

pub(super) fn read_meta(reader: &mut Reader<'_>) -> Option<Meta> {
    let mode = reader.u32().filter(|mode| mode & !(MODE_MASK | HAS_ATTRS | HAS_LINK) == 0)?;
    let secs = i64::try_from(reader.i128()?).ok()?;
    let nanos = reader.u32().filter(|&nanos| nanos < 1_000_000_000)?;
    let mut name = || {
        let name = reader.bytes().filter(|name| name.len() <= PRINCIPAL_MAX)?;
        Some((!name.is_empty()).then(|| name.into()))
    };
    let (owner, group) = (name()?, name()?);
    let has_attrs = mode & HAS_ATTRS != 0;
    let attrs = if has_attrs { Some(Box::new(super::attrs::read(reader)?)) } else { None };
    let has_link = mode & HAS_LINK != 0;
    let link = if has_link { Some(LinkGroup(reader.bytes()?.try_into().ok()?)) } else { None };
    let mtime = FileTime { secs, nanos };
    Some(Meta { mode: mode & MODE_MASK, mtime, owner, group, attrs, link })
}
