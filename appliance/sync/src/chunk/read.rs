//! From the name of a manifest to its list of chunks, page by page, each checked as it comes.
//!
//! Pages are wanted from the top down, in file order; what is below a page is wanted when the page
//! is there. At most one page of each level is held.

use super::class::SizeClass;
use super::key::{ContentKeys, PageId};
use super::page::{Child, Entry, Page, PageError, range};
use crate::limits::{PAGE_LEVEL_MAX, PAGE_MAX, ZERO_BLOCK};
use crate::version::ManifestId;
use farhaul_proto::units::Bytes;
use std::vec;

/// A part of the list of chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The number of its first entry, from 0.
    pub first: u64,
    /// Where in the file that begins.
    pub offset: Bytes,
    /// In file order.
    pub entries: Vec<Entry>,
}

/// Takes the pages of one manifest in order and checks all that can be checked of them
/// (spec: S-035).
#[derive(Clone, Debug)]
pub struct ManifestReader<'a> {
    keys: &'a ContentKeys,
    class: SizeClass,
    size: Bytes,
    /// Of each page above, from the top: what is left to read of it.
    open: Vec<Open>,
    /// How far the list of chunks is read.
    next: u64,
    offset: Bytes,
    /// What it ended with until now.
    last: Option<Entry>,
}

#[derive(Clone, Debug)]
struct Open {
    /// The level of the pages that it lists; `None` where that is not known yet.
    level: Option<u8>,
    /// Whether nothing of its level comes behind it.
    is_last: bool,
    children: vec::IntoIter<Child>,
}

impl<'a> ManifestReader<'a> {
    /// For the content of this name and size.
    pub fn new(keys: &'a ContentKeys, manifest: ManifestId, size: Bytes) -> Self {
        let root = Child { id: manifest.into(), span: size };
        let open = vec![Open { level: None, is_last: true, children: vec![root].into_iter() }];
        let class = SizeClass::of(size);
        Self { keys, class, size, open, next: 0, offset: Bytes::ZERO, last: None }
    }

    /// The pages that are wanted next, in order, as far as that is known: the first of them is the
    /// one to [`take`](Self::take), the others may be asked for already.
    pub fn wanted(&self) -> impl Iterator<Item = PageId> {
        let deepest = self.open.iter().rev().find(|open| !open.children.as_slice().is_empty());
        let children = deepest.map_or(&[][..], |open| open.children.as_slice());
        children.iter().map(|child| child.id)
    }

    /// Whether the whole list was read.
    pub fn is_complete(&self) -> bool {
        self.wanted().next().is_none()
    }

    /// Takes the page that is wanted next; its part of the list if it is one of level 0.
    ///
    /// # Errors
    /// [`PageError`]; the reader is as it was. [`PageError::OtherPage`] says that the bytes are not
    /// that page, and another source may have it. After any other one the manifest itself is bad.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Option<Leaf>, PageError> {
        if bytes.len() > PAGE_MAX {
            return Err(PageError::TooLong { len: bytes.len() });
        }
        let depth = self.open.iter().rposition(|open| !open.children.as_slice().is_empty());
        let depth = depth.ok_or(PageError::Complete)?;
        let open = &self.open[depth];
        let siblings = open.children.as_slice();
        let child = siblings[0];
        if self.keys.page_id(bytes) != child.id {
            return Err(PageError::OtherPage);
        }
        let page = Page::decode(bytes)?;
        let is_last = open.is_last && siblings.len() == 1;
        let is_at_level = open.level.is_none_or(|level| level == page.level());
        if page.class() != self.class || !is_at_level || page.level() > PAGE_LEVEL_MAX {
            return Err(range("class or level"));
        }
        if page.span() != child.span || !page.is_cut_right(is_last) {
            return Err(range("length"));
        }
        let leaf = match page {
            Page::Leaf { entries, .. } => Some(self.take_leaf(entries)?),
            Page::Node { .. } if depth + 1 > usize::from(PAGE_LEVEL_MAX) => {
                return Err(range("class or level"));
            }
            Page::Node { level, children, .. } => {
                self.open.truncate(depth + 1);
                let (level, children) = (Some(level - 1), children.into_iter());
                self.open.push(Open { level, is_last, children });
                None
            }
        };
        self.open[depth].children.next();
        Ok(leaf)
    }

    /// Checks what a part of the list cannot say alone.
    fn take_leaf(&mut self, entries: Vec<Entry>) -> Result<Leaf, PageError> {
        let (mut offset, mut last) = (self.offset, self.last);
        for entry in &entries {
            let end = offset + entry.len();
            let is_right = match entry {
                Entry::Zeros { .. } => {
                    let is_block = |at: Bytes| at.get().is_multiple_of(ZERO_BLOCK);
                    let is_run = is_block(offset) && (is_block(end) || end == self.size);
                    let is_first = !last.is_some_and(|last| last.is_zeros());
                    is_run && is_first && entry.len() >= self.class.average()
                }
                Entry::Chunk(_) => {
                    last.is_none_or(|last| last.is_zeros() || last.len() >= self.class.min())
                }
            };
            if !is_right {
                return Err(range("chunk length"));
            }
            (offset, last) = (end, Some(*entry));
        }
        let leaf = Leaf { first: self.next, offset: self.offset, entries };
        self.next += Bytes::of_len(leaf.entries.len()).get();
        (self.offset, self.last) = (offset, last);
        Ok(leaf)
    }
}
