//! The form of a record on the wire, and every check between it and the types of the brain.

use super::RecordError;
use crate::limits::{
    ACL_ENTRIES_MAX, CONTEXT_RUNS_MAX, FILE_MAX, MODE_MASK, PRINCIPAL_MAX, SYMLINK_TARGET_MAX,
    XATTRS_MAX,
};
use crate::version::{
    Acl, Attrs, Author, Content, Context, Dot, Incarnation, LinkGroup, ManifestId, Meta, Serial,
    Stamp, Unsaid, Version, Who,
};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::{Bytes, FileTime};
use minicbor::bytes::ByteSlice;
use minicbor::{Decode, Encode};
use std::collections::BTreeMap;

/// Kinds of what stands at a path.
mod kind {
    pub(super) const GONE: u8 = 0;
    pub(super) const DIR: u8 = 1;
    pub(super) const SYMLINK: u8 = 2;
    pub(super) const FILE: u8 = 3;
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct Record<'a> {
    #[b(0)]
    path: &'a ByteSlice,
    #[b(1)]
    author: AuthorWire<'a>,
    #[n(2)]
    serial: u64,
    #[b(3)]
    context: Vec<Seen<'a>>,
    #[n(4)]
    millis: u64,
    #[n(5)]
    count: u32,
    #[n(6)]
    kind: u8,
    #[b(7)]
    target: Option<&'a ByteSlice>,
    #[b(8)]
    manifest: Option<&'a ByteSlice>,
    #[n(9)]
    size: Option<u64>,
    #[n(10)]
    mode: u32,
    #[n(11)]
    secs: i64,
    #[n(12)]
    nanos: u32,
    #[b(13)]
    owner: Option<&'a ByteSlice>,
    #[b(14)]
    group: Option<&'a ByteSlice>,
    #[b(15)]
    access: Option<Vec<AclEntry<'a>>>,
    #[b(16)]
    default: Option<Vec<AclEntry<'a>>>,
    #[b(17)]
    xattrs: Option<Vec<Xattr<'a>>>,
    #[b(18)]
    link: Option<&'a ByteSlice>,
    #[n(19)]
    unsaid: Option<u8>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct AclEntry<'a> {
    #[n(0)]
    who: u8,
    #[n(1)]
    perms: u8,
    #[b(2)]
    name: Option<&'a ByteSlice>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Xattr<'a> {
    #[b(0)]
    name: &'a ByteSlice,
    #[b(1)]
    value: &'a ByteSlice,
}

fn xattrs_of(attrs: &Attrs) -> Option<Vec<Xattr<'_>>> {
    let all = attrs.xattrs.iter();
    let all = all.map(|(name, value)| Xattr { name: name[..].into(), value: value[..].into() });
    (!attrs.xattrs.is_empty()).then(|| all.collect())
}

fn acl_of(acl: &Acl) -> Vec<AclEntry<'_>> {
    let entries = acl.entries().iter().map(|(who, perms)| {
        let (who, name) = match who {
            Who::Owner => (0, None),
            Who::User(name) => (1, Some(name[..].into())),
            Who::OwningGroup => (2, None),
            Who::Group(name) => (3, Some(name[..].into())),
            Who::Mask => (4, None),
            Who::Other => (5, None),
        };
        AclEntry { who, perms: *perms, name }
    });
    entries.collect()
}

/// Entries in order, each once, and those that a list needs.
fn check_acl(entries: &[AclEntry<'_>]) -> Result<Acl, RecordError> {
    let wrong = || range("access control list");
    if entries.len() > ACL_ENTRIES_MAX {
        return Err(wrong());
    }
    let mut read = Vec::with_capacity(entries.len());
    for AclEntry { who, perms, name } in entries {
        let who = match (who, name) {
            (0, None) => Who::Owner,
            (1, Some(name)) => Who::User(name[..].into()),
            (2, None) => Who::OwningGroup,
            (3, Some(name)) => Who::Group(name[..].into()),
            (4, None) => Who::Mask,
            (5, None) => Who::Other,
            _ => return Err(wrong()),
        };
        read.push((who, *perms));
    }
    let is_sorted = read.is_sorted();
    Acl::new(read).filter(|_| is_sorted).ok_or_else(wrong)
}

type Xattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

fn check_xattrs(xattrs: &[Xattr<'_>]) -> Result<Xattrs, RecordError> {
    let is_sorted = xattrs.windows(2).all(|pair| pair[0].name[..] < pair[1].name[..]);
    if !is_sorted || xattrs.is_empty() || xattrs.len() > XATTRS_MAX {
        return Err(range("extended attributes"));
    }
    let read = xattrs.iter().map(|Xattr { name, value }| (name[..].into(), value[..].into()));
    Ok(read.collect())
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct AuthorWire<'a> {
    #[b(0)]
    site: &'a ByteSlice,
    #[n(1)]
    incarnation: u64,
}

/// Runs of one author: `[first, last, first, last ..]`.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Seen<'a> {
    #[b(0)]
    author: AuthorWire<'a>,
    #[n(1)]
    runs: Vec<u64>,
}

impl<'a> AuthorWire<'a> {
    fn of(author: &'a Author) -> Self {
        Self { site: author.site.as_bytes()[..].into(), incarnation: author.incarnation.get() }
    }

    fn check(&self) -> Result<Author, RecordError> {
        let site = <[u8; 32]>::try_from(&self.site[..]).map_err(|_| range("author"))?;
        Ok(Author { site: SiteId(site), incarnation: Incarnation::new(self.incarnation) })
    }
}

impl<'a> From<&'a super::Record> for Record<'a> {
    fn from(record: &'a super::Record) -> Self {
        let Version { dot, context, stamp, content, meta } = &record.version;
        let (kind, target, file) = match content {
            Content::Gone => (kind::GONE, None, None),
            Content::Dir => (kind::DIR, None, None),
            Content::Symlink { target } => (kind::SYMLINK, Some(target), None),
            Content::File { manifest, size } => (kind::FILE, None, Some((manifest, size))),
        };
        Self {
            path: record.path.as_bytes().into(),
            author: AuthorWire::of(&dot.author),
            serial: dot.serial.get(),
            context: seen_of(context),
            millis: stamp.millis,
            count: stamp.count,
            kind,
            target: target.map(|target| target[..].into()),
            manifest: file.map(|(manifest, _)| manifest.0[..].into()),
            size: file.map(|(_, size)| size.get()),
            mode: meta.mode,
            secs: meta.mtime.secs,
            nanos: meta.mtime.nanos,
            owner: meta.owner.as_ref().map(|name| name[..].into()),
            group: meta.group.as_ref().map(|name| name[..].into()),
            access: meta.attrs.as_ref().and_then(|attrs| attrs.access.as_ref()).map(acl_of),
            default: meta.attrs.as_ref().and_then(|attrs| attrs.default.as_ref()).map(acl_of),
            xattrs: meta.attrs.as_ref().and_then(|attrs| xattrs_of(attrs)),
            link: meta.link.as_ref().map(|group| group.0[..].into()),
            unsaid: meta.attrs.as_ref().map(|attrs| attrs.unsaid.bits()).filter(|&bits| bits != 0),
        }
    }
}

fn seen_of(context: &Context) -> Vec<Seen<'_>> {
    let seen = context.authors().map(|(author, runs)| Seen {
        author: AuthorWire::of(author),
        runs: runs.iter().flat_map(|(first, last)| [first, last]).collect(),
    });
    seen.collect()
}

impl Record<'_> {
    /// Every rule of a record.
    pub(super) fn check(&self) -> Result<super::Record, RecordError> {
        let path = RelPath::parse(self.path)?;
        let serial = Serial::new(self.serial).ok_or_else(|| range("serial number"))?;
        let dot = Dot { author: self.author.check()?, serial };
        let context = check_context(&self.context)?;
        // An author has seen of itself what it published before.
        let own = context.authors().find(|(author, _)| **author == dot.author);
        if own.and_then(|(_, runs)| runs.max()).is_some_and(|last| last >= dot.serial.get()) {
            return Err(range("context"));
        }
        let stamp = Stamp { millis: self.millis, count: self.count };
        let (content, meta) = (self.check_content()?, self.check_meta()?);
        if content == Content::Dir && meta.mtime != FileTime::default() {
            return Err(range("time"));
        }
        // Only files have several names.
        if meta.link.is_some() && self.kind != kind::FILE {
            return Err(range("link group"));
        }
        Ok(super::Record { path, version: Version { dot, context, stamp, content, meta } })
    }

    fn check_content(&self) -> Result<Content, RecordError> {
        match (self.kind, self.target, self.manifest, self.size) {
            (kind::GONE, None, None, None) => Ok(Content::Gone),
            (kind::DIR, None, None, None) => Ok(Content::Dir),
            (kind::SYMLINK, Some(target), None, None) => {
                let fits = (1..=SYMLINK_TARGET_MAX).contains(&target.len()) && !target.contains(&0);
                let target: &[u8] = if fits { target } else { return Err(range("target")) };
                Ok(Content::Symlink { target: target.into() })
            }
            (kind::FILE, None, Some(manifest), Some(size)) => {
                let manifest = <[u8; 32]>::try_from(&manifest[..]);
                let manifest = ManifestId(manifest.map_err(|_| range("manifest"))?);
                let size = Bytes::new(size);
                if size > FILE_MAX {
                    return Err(range("size"));
                }
                Ok(Content::File { manifest, size })
            }
            (kind::GONE..=kind::FILE, ..) => Err(range("content")),
            (kind, ..) => Err(RecordError::Kind { kind }),
        }
    }

    fn check_meta(&self) -> Result<Meta, RecordError> {
        if self.mode & !MODE_MASK != 0 {
            return Err(range("mode"));
        }
        if self.nanos >= 1_000_000_000 {
            return Err(range("time"));
        }
        let mtime = FileTime { secs: self.secs, nanos: self.nanos };
        let owner = self.owner.map(check_principal).transpose()?;
        let group = self.group.map(check_principal).transpose()?;
        let attrs = self.check_attrs()?.boxed();
        let link = self.link.map(|group| <[u8; 16]>::try_from(&group[..])).transpose();
        let link = link.map_err(|_| range("link group"))?.map(LinkGroup);
        Ok(Meta { mode: self.mode, mtime, owner, group, attrs, link })
    }

    fn check_attrs(&self) -> Result<Attrs, RecordError> {
        let access = self.access.as_deref().map(check_acl).transpose()?;
        let default = self.default.as_deref().map(check_acl).transpose()?;
        let xattrs = self.xattrs.as_deref().map(check_xattrs).transpose()?.unwrap_or_default();
        // Nothing that is unsaid is how it is written, not a zero.
        let unsaid = match self.unsaid {
            None => Some(Unsaid::default()),
            Some(bits) => Unsaid::from_bits(bits).filter(|unsaid| !unsaid.is_none()),
        };
        let unsaid = unsaid.ok_or_else(|| range("list of what is unsaid"))?;
        let attrs = Attrs { access, default, xattrs, unsaid };
        if attrs.fits() { Ok(attrs) } else { Err(range("extended attributes")) }
    }
}

fn check_principal(name: &ByteSlice) -> Result<Box<[u8]>, RecordError> {
    let fits = (1..=PRINCIPAL_MAX).contains(&name.len());
    let fits = fits && !name.iter().any(|&byte| byte < b' ' || byte == b':' || byte == 0x7f);
    if fits { Ok(name[..].into()) } else { Err(range("owner or group")) }
}

/// Authors ascending, each once; runs ascending, apart from each other and not from 0.
fn check_context(seen: &[Seen<'_>]) -> Result<Context, RecordError> {
    let wrong = || range("context");
    let mut context = Context::new();
    let (mut before, mut count) = (None, 0);
    for Seen { author, runs } in seen {
        let author = author.check()?;
        count += runs.len() / 2;
        let is_in_order = before.is_none_or(|before| before < author);
        if !is_in_order || runs.is_empty() || runs.len() % 2 != 0 || count > CONTEXT_RUNS_MAX {
            return Err(wrong());
        }
        before = Some(author);
        let mut end = 0_u64;
        for run in runs.chunks_exact(2) {
            let is_apart = if end == 0 { run[0] > 0 } else { run[0] > end.saturating_add(1) };
            if !is_apart || run[1] < run[0] {
                return Err(wrong());
            }
            end = run[1];
            context.insert_run(author, run[0], run[1]);
        }
    }
    Ok(context)
}

const fn range(field: &'static str) -> RecordError {
    RecordError::Range { field }
}
