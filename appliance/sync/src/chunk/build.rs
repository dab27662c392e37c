//! From a list of chunks to pages and the name of the whole.
//!
//! The list is divided into pages where the names of chunks say so, the list of these pages again,
//! until one page is left: its name is that of the manifest. An edit changes one or two pages of
//! each level, and two files that share chunks share pages. No more than one unfinished page of each
//! level is held, at most seven of 40 KiB, however long the file.

use super::class::SizeClass;
use super::cut::{Cut, Cutter};
use super::key::{ContentKeys, PageId};
use super::page::{Child, Chunk, Entry, encode_child, encode_entry, encode_head, ends_page};
use crate::version::ManifestId;
use farhaul_proto::units::Bytes;

/// The ordered list of what a file consists of, in one piece; for files that are not large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The class in which it was cut.
    pub class: SizeClass,
    /// In file order.
    pub entries: Vec<Entry>,
}

impl Manifest {
    /// That of a file whose bytes are all in memory.
    pub fn of(keys: &ContentKeys, data: &[u8]) -> Self {
        let mut cutter = Cutter::new(keys, Bytes::of_len(data.len()));
        let mut entries: Vec<Entry> = Vec::new();
        let mut rest = data;
        while let Some(cut) = cutter.cut(rest) {
            let len = match cut {
                Cut::Chunk { len } => len,
                Cut::Zeros { len } => len.as_len(),
            };
            let (bytes, behind) = rest.split_at(len);
            match (cut, entries.last_mut()) {
                // A run of zeros may come in parts.
                (Cut::Zeros { len }, Some(Entry::Zeros { len: before })) => *before += len,
                (Cut::Zeros { len }, _) => entries.push(Entry::Zeros { len }),
                (Cut::Chunk { .. }, _) => {
                    let len = u32::try_from(len).unwrap_or(u32::MAX);
                    entries.push(Entry::Chunk(Chunk { id: keys.chunk_id(bytes), len }));
                }
            }
            rest = behind;
        }
        Self { class: cutter.class(), entries }
    }

    /// How many bytes the file has.
    pub fn size(&self) -> Bytes {
        self.entries.iter().map(Entry::len).sum()
    }

    /// Its name.
    pub fn id(&self, keys: &ContentKeys) -> ManifestId {
        let mut builder = ManifestBuilder::new(keys, self.class);
        for entry in &self.entries {
            builder.push(*entry, &mut |_, _| ());
        }
        builder.finish(&mut |_, _| ())
    }
}

/// Takes entries in file order and gives pages, each with its name, those of a level in file order
/// and each behind what it lists (spec: S-034).
#[derive(Clone, Debug)]
pub struct ManifestBuilder<'a> {
    keys: &'a ContentKeys,
    class: SizeClass,
    /// Zeros that no entry stands for yet: more may follow.
    zeros: Bytes,
    levels: Vec<Level>,
}

/// The unfinished page of a level.
#[derive(Clone, Debug, Default)]
struct Level {
    entries: Vec<u8>,
    count: u16,
    span: Bytes,
    /// How many pages there were, and the last of them.
    done: u64,
    last: Option<Child>,
}

/// A level as pages have it.
fn height_of(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// Where pages go.
type Emit<'e> = dyn FnMut(PageId, &[u8]) + 'e;

impl<'a> ManifestBuilder<'a> {
    /// For a file that is cut in this class.
    pub fn new(keys: &'a ContentKeys, class: SizeClass) -> Self {
        Self { keys, class, zeros: Bytes::ZERO, levels: vec![Level::default()] }
    }

    /// Adds what comes next. Zeros may come in pieces.
    pub fn push(&mut self, entry: Entry, emit: &mut Emit<'_>) {
        match entry {
            Entry::Zeros { len } => self.zeros += len,
            Entry::Chunk(_) => {
                self.push_zeros(emit);
                self.push_entry(&entry, emit);
            }
        }
    }

    /// The name of the manifest, after the pages that were still open.
    pub fn finish(mut self, emit: &mut Emit<'_>) -> ManifestId {
        self.push_zeros(emit);
        let mut number = 0;
        loop {
            let level = &self.levels[number];
            if level.count > 0 || level.done == 0 {
                self.end_page(number, emit);
            }
            let level = &self.levels[number];
            match level.last {
                // What the level above was told of a single page has no use.
                Some(root) if level.done == 1 => return root.id.as_manifest(),
                _ => number += 1,
            }
        }
    }

    fn push_zeros(&mut self, emit: &mut Emit<'_>) {
        let len = core::mem::take(&mut self.zeros);
        if len > Bytes::ZERO {
            self.push_entry(&Entry::Zeros { len }, emit);
        }
    }

    fn push_entry(&mut self, entry: &Entry, emit: &mut Emit<'_>) {
        let level = &mut self.levels[0];
        encode_entry(&mut level.entries, entry);
        level.count += 1;
        level.span += entry.len();
        let id = match entry {
            Entry::Chunk(chunk) => Some(&chunk.id.0),
            Entry::Zeros { .. } => None,
        };
        let mut is_end = ends_page(0, usize::from(level.count), id);
        let mut number = 0;
        while is_end {
            let child = self.end_page(number, emit);
            number += 1;
            let count = usize::from(self.levels[number].count);
            is_end = ends_page(height_of(number), count, Some(&child.id.0));
        }
    }

    /// Gives out the open page of a level and lists it on the next one.
    fn end_page(&mut self, number: usize, emit: &mut Emit<'_>) -> Child {
        if self.levels.len() == number + 1 {
            self.levels.push(Level::default());
        }
        let level = &mut self.levels[number];
        let mut page = encode_head(height_of(number), self.class, level.count).to_vec();
        page.append(&mut level.entries);
        let child = Child { id: self.keys.page_id(&page), span: level.span };
        (level.count, level.span) = (0, Bytes::ZERO);
        level.done += 1;
        level.last = Some(child);
        emit(child.id, &page);
        let above = &mut self.levels[number + 1];
        encode_child(&mut above.entries, &child);
        above.count += 1;
        above.span += child.span;
        child
    }
}
