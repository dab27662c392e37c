//! A page of a manifest: its bytes, and every check of them.
//!
//! The layout is fixed, so equal pages have equal bytes: a head of five bytes (form, level, class,
//! number of entries), then the entries. Numbers are big-endian.

use super::class::SizeClass;
use super::key::{ChunkId, PageId};
use crate::limits::{FILE_MAX, LEAF_ENTRIES_MIN, NODE_ENTRIES_MIN};
use crate::limits::{PAGE_ENTRIES_MAX, PAGE_LEVEL_MAX, PAGE_MAX};
use farhaul_proto::units::Bytes;

/// The form of a page that this room knows. It says as well how files are cut and lists divided: the
/// same content has another name in another form, so sites and indexes of different forms have nothing
/// to tell each other (spec: S-115). Form 1 had chunks of 64 KiB at least on average.
pub const FORM: u8 = 2;
const HEAD: usize = 5;

/// What an entry of a page of level 0 begins with.
mod tag {
    pub(super) const CHUNK: u8 = 0;
    pub(super) const ZEROS: u8 = 1;
}

/// A chunk of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chunk {
    /// Its name.
    pub id: ChunkId,
    /// Its length in bytes, from 1.
    pub len: u32,
}

/// What a file consists of, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entry {
    /// A chunk.
    Chunk(Chunk),
    /// A run of zeros: whole blocks, up to a chunk or the end of the file.
    Zeros {
        /// How many bytes.
        len: Bytes,
    },
}

impl Entry {
    /// How many bytes of the file it stands for.
    pub const fn len(&self) -> Bytes {
        match self {
            Self::Chunk(chunk) => Bytes::new(chunk.len as u64),
            Self::Zeros { len } => *len,
        }
    }

    /// Whether it stands for nothing; no entry of a valid page does.
    pub const fn is_empty(&self) -> bool {
        self.len().get() == 0
    }

    pub(super) const fn is_zeros(&self) -> bool {
        matches!(self, Self::Zeros { .. })
    }
}

/// What a page of a higher level lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// A page of the next lower level.
    pub id: PageId,
    /// How many bytes of the file it describes.
    pub span: Bytes,
}

/// What a page lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// Level 0.
    Leaf {
        /// Of the file to which it belongs.
        class: SizeClass,
        /// In file order.
        entries: Vec<Entry>,
    },
    /// Any higher one.
    Node {
        /// From 1.
        level: u8,
        /// Of the file to which it belongs.
        class: SizeClass,
        /// In file order, two or more.
        children: Vec<Child>,
    },
}

/// Why bytes are no page, or not the one that was asked for; who sent them is at fault, or who
/// published the manifest if they have the right name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// More bytes than [`PAGE_MAX`].
    #[error("a manifest page of {len} bytes is refused")]
    TooLong {
        /// How many.
        len: usize,
    },
    /// The hash of the bytes is not the name that was asked for.
    #[error("these bytes are not the manifest page that was asked for")]
    OtherPage,
    /// A form that is not known here.
    #[error("manifest pages of form {form} are not known here, another version may know them")]
    Form {
        /// Its number.
        form: u8,
    },
    /// The bytes end early or go on after the end.
    #[error("the manifest page does not end where it should")]
    Length,
    /// A number breaks a rule.
    #[error("the manifest page's {field} is out of range")]
    Range {
        /// Which.
        field: &'static str,
    },
    /// Nothing is wanted any more.
    #[error("the manifest is complete: no further page belongs to it")]
    Complete,
}

/// How a page begins.
pub(super) fn encode_head(level: u8, class: SizeClass, count: u16) -> [u8; HEAD] {
    let [high, low] = count.to_be_bytes();
    [FORM, level, class.number(), high, low]
}

/// Adds an entry of level 0 to a page.
pub(super) fn encode_entry(page: &mut Vec<u8>, entry: &Entry) {
    match entry {
        Entry::Chunk(Chunk { id, len }) => {
            page.push(tag::CHUNK);
            page.extend_from_slice(&len.to_be_bytes());
            page.extend_from_slice(&id.0);
        }
        Entry::Zeros { len } => {
            page.push(tag::ZEROS);
            page.extend_from_slice(&len.get().to_be_bytes());
        }
    }
}

/// Adds an entry of a higher level to a page.
pub(super) fn encode_child(page: &mut Vec<u8>, child: &Child) {
    page.extend_from_slice(&child.span.get().to_be_bytes());
    page.extend_from_slice(&child.id.0);
}

/// Whether a page of this level ends behind its entry number `count` (from 1), which has this name if
/// it has one (spec: S-034).
///
/// Of an edit a page of chunks travels and one of the next level: short pages of chunks cost little of
/// the first kind, and long ones above keep that level one page, so that nobody waits for a third.
pub(super) fn ends_page(level: u8, count: usize, id: Option<&[u8; 32]>) -> bool {
    let (mask, min) = if level == 0 { (63, LEAF_ENTRIES_MIN) } else { (255, NODE_ENTRIES_MIN) };
    let is_cut = id.is_some_and(|id| id[31] & mask == 0);
    count >= PAGE_ENTRIES_MAX || is_cut && count >= min
}

impl Page {
    /// Its level, from 0.
    pub const fn level(&self) -> u8 {
        match self {
            Self::Leaf { .. } => 0,
            Self::Node { level, .. } => *level,
        }
    }

    /// The class of the file to which it belongs.
    pub const fn class(&self) -> SizeClass {
        match self {
            Self::Leaf { class, .. } | Self::Node { class, .. } => *class,
        }
    }

    /// How many bytes of the file it describes.
    pub fn span(&self) -> Bytes {
        match self {
            Self::Leaf { entries, .. } => entries.iter().map(Entry::len).sum(),
            Self::Node { children, .. } => children.iter().map(|child| child.span).sum(),
        }
    }

    /// The bytes that are hashed, stored and sent; those of an [`Ok`] of [`decode`](Self::decode).
    pub fn encode(&self) -> Vec<u8> {
        let count = match self {
            Self::Leaf { entries, .. } => entries.len(),
            Self::Node { children, .. } => children.len(),
        };
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        let mut bytes = encode_head(self.level(), self.class(), count).to_vec();
        match self {
            Self::Leaf { entries, .. } => entries.iter().for_each(|e| encode_entry(&mut bytes, e)),
            Self::Node { children, .. } => {
                children.iter().for_each(|child| encode_child(&mut bytes, child));
            }
        }
        bytes
    }

    /// Reads and checks what a peer sent or the disk held: everything that can be said of a page
    /// without those around it (spec: S-035).
    ///
    /// # Errors
    /// [`PageError`] names the first rule that it breaks.
    pub fn decode(bytes: &[u8]) -> Result<Self, PageError> {
        if bytes.len() > PAGE_MAX {
            return Err(PageError::TooLong { len: bytes.len() });
        }
        let mut rest = Rest(bytes);
        let [form] = rest.take()?;
        if form != FORM {
            return Err(PageError::Form { form });
        }
        let [level, class, high, low] = rest.take()?;
        let class = SizeClass::from_number(class).ok_or(range("class"))?;
        let count = usize::from(u16::from_be_bytes([high, low]));
        if count > PAGE_ENTRIES_MAX || level > PAGE_LEVEL_MAX {
            return Err(range("number of entries or levels"));
        }
        let page = match level {
            0 => Self::Leaf { class, entries: rest.entries(class, count)? },
            _ => Self::Node { level, class, children: rest.children(count)? },
        };
        if rest.0.is_empty() { Ok(page) } else { Err(PageError::Length) }
    }

    /// Whether it ends where a page ends and nowhere before. The last one of a level may end
    /// anywhere.
    pub(super) fn is_cut_right(&self, is_last: bool) -> bool {
        let id = |n: usize| match self {
            Self::Leaf { entries, .. } => match &entries[n] {
                Entry::Chunk(chunk) => Some(&chunk.id.0),
                Entry::Zeros { .. } => None,
            },
            Self::Node { children, .. } => Some(&children[n].id.0),
        };
        let count = match self {
            Self::Leaf { entries, .. } => entries.len(),
            Self::Node { children, .. } => children.len(),
        };
        let ends = |n: usize| ends_page(self.level(), n, id(n - 1));
        let ends_before = (1..count).any(ends);
        !ends_before && (is_last || count > 0 && ends(count))
    }
}

/// What is left to read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], PageError> {
        let (first, rest) = self.0.split_first_chunk().ok_or(PageError::Length)?;
        self.0 = rest;
        Ok(*first)
    }

    fn entries(&mut self, class: SizeClass, count: usize) -> Result<Vec<Entry>, PageError> {
        let mut entries: Vec<Entry> = Vec::with_capacity(count);
        let (mut span, mut is_short) = (Bytes::ZERO, false);
        for _ in 0..count {
            let entry = self.entry(class)?;
            let follows_zeros = entries.last().is_some_and(Entry::is_zeros);
            if entry.is_zeros() && follows_zeros || !entry.is_zeros() && is_short {
                return Err(range("chunk length"));
            }
            is_short = !entry.is_zeros() && entry.len() < class.min();
            span = checked_span(span, entry.len())?;
            entries.push(entry);
        }
        Ok(entries)
    }

    fn entry(&mut self, class: SizeClass) -> Result<Entry, PageError> {
        let [tag] = self.take()?;
        match tag {
            tag::CHUNK => {
                let len = u32::from_be_bytes(self.take()?);
                let id = ChunkId(self.take()?);
                if len == 0 || u64::from(len) > class.max().get() {
                    return Err(range("chunk length"));
                }
                Ok(Entry::Chunk(Chunk { id, len }))
            }
            tag::ZEROS => {
                let len = Bytes::new(u64::from_be_bytes(self.take()?));
                if len == Bytes::ZERO { Err(range("zeros")) } else { Ok(Entry::Zeros { len }) }
            }
            _ => Err(range("entry kind")),
        }
    }

    fn children(&mut self, count: usize) -> Result<Vec<Child>, PageError> {
        if count < 2 {
            return Err(range("number of entries or levels"));
        }
        let mut children = Vec::with_capacity(count);
        let mut span = Bytes::ZERO;
        for _ in 0..count {
            let child_span = Bytes::new(u64::from_be_bytes(self.take()?));
            if child_span == Bytes::ZERO {
                return Err(range("length"));
            }
            span = checked_span(span, child_span)?;
            children.push(Child { id: PageId(self.take()?), span: child_span });
        }
        Ok(children)
    }
}

/// The sum, as long as a file may have that size.
fn checked_span(span: Bytes, more: Bytes) -> Result<Bytes, PageError> {
    let sum = span + more;
    if sum > FILE_MAX { Err(range("length")) } else { Ok(sum) }
}

pub(super) const fn range(field: &'static str) -> PageError {
    PageError::Range { field }
}
