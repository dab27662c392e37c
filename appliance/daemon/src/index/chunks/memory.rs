//! The map in memory: as plain as can be, for tests to compare others with.

use super::{At, ChunkMap, FileNumber, Home, PLACES_MAX, Place};
use crate::index::IndexError;
use farhaul_sync::chunk::{ChunkId, PageId};
use farhaul_sync::limits::PAGE_MAX;
use farhaul_sync::version::ManifestId;
use std::collections::BTreeMap;

/// The map, in memory. Nothing is ever lost but by a stop ([`MemoryMap::stop`]).
#[derive(Debug, Default)]
pub(super) struct MemoryMap {
    /// The number that was given last.
    last: i64,
    /// Files that are here: those that are being noted have no home yet.
    files: BTreeMap<i64, Option<Home>>,
    places: BTreeMap<(ChunkId, i64, u64), u32>,
    pages: BTreeMap<PageId, Vec<u8>>,
}

impl MemoryMap {
    /// What a stop leaves: what was begun and not settled is gone.
    pub(super) fn stop(&mut self) {
        let open = self.files.iter().filter(|(_, home)| home.is_none());
        let open: Vec<i64> = open.map(|(number, _)| *number).collect();
        open.into_iter().for_each(|number| self.remove(number));
    }

    fn remove(&mut self, number: i64) {
        self.files.remove(&number);
        self.places.retain(|(_, file, _), _| *file != number);
    }

    fn at(&self, home: &Home) -> Option<i64> {
        let mut files = self.files.iter();
        files.find(|(_, at)| at.as_ref() == Some(home)).map(|(number, _)| *number)
    }
}

impl ChunkMap for MemoryMap {
    fn begin(&mut self) -> Result<FileNumber, IndexError> {
        self.last += 1;
        self.files.insert(self.last, None);
        Ok(FileNumber(self.last))
    }

    fn add(&mut self, file: FileNumber, chunks: &[At]) -> Result<(), IndexError> {
        let mut sorted = chunks.to_vec();
        sorted.sort_unstable();
        for At { chunk, offset, len } in sorted {
            let known = self.places.keys().filter(|(id, ..)| *id == chunk).count();
            if known < PLACES_MAX as usize {
                self.places.entry((chunk, file.0, offset)).or_insert(len);
            }
        }
        Ok(())
    }

    fn settle(&mut self, file: FileNumber, home: &Home, _: ManifestId) -> Result<(), IndexError> {
        self.forget(home)?;
        self.files.insert(file.0, Some(home.clone()));
        Ok(())
    }

    fn found_at(&mut self, _: ManifestId, from: &Home, to: &Home) -> Result<(), IndexError> {
        self.moved(from, to)
    }

    fn abandon(&mut self, file: FileNumber) -> Result<(), IndexError> {
        self.remove(file.0);
        Ok(())
    }

    fn moved(&mut self, from: &Home, to: &Home) -> Result<(), IndexError> {
        if let Some(number) = self.at(from).filter(|_| from != to) {
            self.forget(to)?;
            self.files.insert(number, Some(to.clone()));
        }
        Ok(())
    }

    fn forget(&mut self, home: &Home) -> Result<(), IndexError> {
        self.at(home).into_iter().for_each(|number| self.remove(number));
        Ok(())
    }

    fn find(&self, id: ChunkId) -> Result<Vec<Place>, IndexError> {
        let mut found: Vec<(i64, Place)> = Vec::new();
        for ((chunk, file, offset), len) in &self.places {
            let home = self.files.get(file).cloned().flatten();
            if let Some(home) = home.filter(|_| *chunk == id) {
                found.push((*file, Place { home, offset: *offset, len: *len }));
            }
        }
        found.sort_by_key(|(file, place)| (std::cmp::Reverse(*file), place.offset));
        Ok(found.into_iter().map(|(_, place)| place).collect())
    }

    fn add_pages(&mut self, pages: &[(PageId, Vec<u8>)]) -> Result<(), IndexError> {
        if pages.iter().any(|(_, bytes)| bytes.len() > PAGE_MAX) {
            return Err(IndexError::TooLarge { what: "a page of a manifest" });
        }
        for (id, bytes) in pages {
            self.pages.entry(*id).or_insert_with(|| bytes.clone());
        }
        Ok(())
    }

    fn page(&self, id: PageId) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.pages.get(&id).cloned())
    }

    fn has_page(&self, id: PageId) -> Result<bool, IndexError> {
        Ok(self.pages.contains_key(&id))
    }

    fn forget_page(&mut self, id: PageId) -> Result<(), IndexError> {
        self.pages.remove(&id);
        Ok(())
    }

    fn sweep(&mut self) -> Result<(), IndexError> {
        Ok(())
    }
}
