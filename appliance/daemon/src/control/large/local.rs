//! Chunks that are on this disk already: in what was staged before, in other files of the folder, in
//! the version store. Whatever is read is hashed before it counts.

use crate::control::contents::Contents;
use crate::control::fetch::Shared;
use crate::index::chunks::{Home, Place};
use crate::store::{Staged, Store};
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::{Chunk, ChunkId, ContentKeys};
use rustix::fs::{SeekFrom, seek};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Files held open at a time.
const OPEN_MAX: usize = 8;
/// Chunks of the file itself that are remembered, in case that they come again in it.
const PLACED_MAX: usize = 1 << 16;
/// Chunks that a file has not any more, after which it is not looked into again.
const WRONG_MAX: u32 = 16;

/// Finds chunks for one file.
pub(super) struct Local<'a> {
    staged: &'a Staged,
    store: Store,
    contents: Contents,
    keys: Arc<ContentKeys>,
    open: VecDeque<(Home, File)>,
    wrong: BTreeMap<Home, u32>,
    /// Where the last chunk that was found elsewhere ended: the next one is there, most of the time.
    behind: Option<(Home, u64)>,
    /// Where in the staged file chunks are that came over the network.
    placed: BTreeMap<ChunkId, u64>,
    buffer: Vec<u8>,
}

impl<'a> Local<'a> {
    pub(super) fn new(shared: &Shared, staged: &'a Staged) -> Self {
        let (store, contents) = (shared.store.clone(), shared.contents.clone());
        let keys = Arc::clone(&shared.keys);
        Self {
            staged,
            store,
            contents,
            keys,
            open: VecDeque::new(),
            wrong: BTreeMap::new(),
            behind: None,
            placed: BTreeMap::new(),
            buffer: Vec::new(),
        }
    }

    /// A chunk that came is in the staged file.
    pub(super) fn placed(&mut self, chunk: &Chunk, offset: u64) {
        if self.placed.len() < PLACED_MAX {
            self.placed.insert(chunk.id, offset);
        }
    }

    /// Whether a chunk is in its place already.
    pub(super) fn is_staged(&mut self, offset: u64, chunk: &Chunk) -> bool {
        self.staged.is_resumed() && self.is_at(offset, chunk)
    }

    fn is_at(&mut self, offset: u64, chunk: &Chunk) -> bool {
        // What was never written need not be hashed.
        let end = offset + u64::from(chunk.len);
        if seek(self.staged.file(), SeekFrom::Data(offset)).is_ok_and(|data| data >= end) {
            return false;
        }
        let buffer = room(&mut self.buffer, chunk);
        let is_read = self.staged.read_at(buffer, offset).unwrap_or(false);
        is_read && self.keys.chunk_id(buffer) == chunk.id
    }

    /// The bytes of a chunk, if they are anywhere.
    pub(super) fn find(&mut self, chunk: &Chunk) -> Option<&[u8]> {
        let placed = self.placed.get(&chunk.id).copied();
        let is_placed = placed.is_some_and(|offset| self.is_at(offset, chunk));
        if !is_placed && !self.is_behind(chunk) {
            let places = self.contents.find(chunk.id);
            let place = places.into_iter().find(|place| self.is_there(place, chunk))?;
            self.behind = Some((place.home, place.offset + u64::from(place.len)));
        }
        Some(room(&mut self.buffer, chunk))
    }

    /// Whether the chunk follows the last one that was found, as it does in a file of which a part
    /// was changed: that spares asking the map. Then the buffer holds it.
    fn is_behind(&mut self, chunk: &Chunk) -> bool {
        let Some((home, offset)) = self.behind.take() else { return false };
        let Some((_, file)) = self.open.iter().find(|(open, _)| *open == home) else {
            return false;
        };
        let buffer = room(&mut self.buffer, chunk);
        let is_read = file.read_exact_at(buffer, offset).is_ok();
        let is_it = is_read && self.keys.chunk_id(buffer) == chunk.id;
        if is_it {
            self.behind = Some((home, offset + u64::from(chunk.len)));
        }
        is_it
    }

    /// Whether the chunk is at a place; then the buffer holds it.
    fn is_there(&mut self, place: &Place, chunk: &Chunk) -> bool {
        let Place { home, offset, len } = place;
        let is_worth = self.wrong.get(home).is_none_or(|&wrong| wrong < WRONG_MAX);
        if *len != chunk.len || !is_worth || matches!(home, Home::Staged(_)) {
            return false;
        }
        let at = match self.open.iter().position(|(open, _)| open == home) {
            Some(at) => at,
            None => match self.open(home) {
                Some(file) => {
                    self.open.truncate(OPEN_MAX - 1);
                    self.open.push_front((home.clone(), file));
                    0
                }
                None => {
                    self.contents.forget(home);
                    return false;
                }
            },
        };
        let buffer = room(&mut self.buffer, chunk);
        let is_read = self.open[at].1.read_exact_at(buffer, *offset).is_ok();
        let is_it = is_read && self.keys.chunk_id(buffer) == chunk.id;
        if !is_it {
            *self.wrong.entry(home.clone()).or_default() += 1;
        }
        is_it
    }

    fn open(&self, home: &Home) -> Option<File> {
        match home {
            Home::Tree(path) => self.store.root().open_file(path).ok(),
            Home::Kept(name) => self.store.open_kept(name).ok(),
            Home::Staged(_) => None,
        }
    }
}

/// The part of a buffer for a chunk; its length was checked by the list that it is in.
fn room<'b>(buffer: &'b mut Vec<u8>, chunk: &Chunk) -> &'b mut [u8] {
    let len = Bytes::new(u64::from(chunk.len)).as_len();
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    &mut buffer[..len]
}
