//! What a stop in the middle of a change left behind, decided before anything else happens.

use super::fetching::note_places;
use super::folder::{Folder, FolderError, wall_millis};
use crate::index::Durability;
use crate::scan::{ContentSink, Digester, SinkError};
use crate::store::{Hashing, Recovered};
use farhaul_engine::files::dir::Meta;
use farhaul_engine::files::stop::Stop;
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::{Chunk, ContentKeys, PageId};
use farhaul_sync::version::ManifestId;
use std::fs::File;
use std::io;

/// Names contents with the folder's keys.
struct Hasher<'a>(&'a ContentKeys);

impl Hashing for Hasher<'_> {
    fn manifest_of(&mut self, file: &File) -> io::Result<ManifestId> {
        let before = Meta::of(file)?;
        let digested = Digester::new(self.0, Stop::default()).digest(file, &before, &mut Nowhere);
        Ok(digested.map_err(io::Error::other)?.manifest)
    }
}

/// Only the name is wanted: what is known of the file is noted when it is read for another reason.
pub(super) struct Nowhere;

impl ContentSink for Nowhere {
    fn begin(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn chunk(&mut self, _offset: Bytes, _chunk: &Chunk) -> Result<(), SinkError> {
        Ok(())
    }

    fn page(&mut self, _id: PageId, _bytes: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }
}

impl Folder {
    /// Decides every intent, and removes what nobody goes on with.
    pub(super) fn recover(&mut self) -> Result<(), FolderError> {
        self.decide_intents()?;
        let swept = self.store.sweep((wall_millis() / 1000).cast_signed())?;
        if swept > 0 {
            tracing::info!(swept, "staged files that nobody went on with were removed");
        }
        Ok(())
    }

    /// Finds out what became of each change that was begun (spec: S-044).
    pub(super) fn decide_intents(&mut self) -> Result<(), FolderError> {
        let now = wall_millis() / 1000;
        // Where there was no power cut, the disk holds what was written, by whomever.
        let cut = self.upkeep.cut.map(|boot| i128::from(boot.at_secs) * 1_000_000_000);
        for (id, intent) in self.index.read().intents()? {
            let keys = std::sync::Arc::clone(&self.keys);
            let recovered = self.store.recover(id, &intent, cut, &mut Hasher(&keys));
            let path = &intent.path;
            let recovered = recovered
                .map_err(|source| FolderError::Undecided { path: path.clone(), source })?;
            let became = match &recovered {
                Recovered::Done(_) => "done",
                Recovered::Undone(_) => "not done",
                Recovered::Edited(_) => "done and edited by somebody since, and is looked at",
                Recovered::Broken(_) => "half-done, and is fetched again",
                Recovered::Foreign(_) => "overtaken by somebody else, and is looked at",
            };
            tracing::info!(path = %intent.path, "a change before the stop was {became}");
            let committed = recovered.committed();
            note_places(&self.contents, committed);
            self.change(Durability::Now, |state| {
                state.index_mut().settle(committed, now)?;
                for (path, placed) in &committed.placed {
                    state.placed(path, placed.as_ref())?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}
