//! What neighbours ask for, given: of files that are what the index knows, and of kept versions. No
//! file is opened before its turn comes.

use super::contents::WHOLE_MAX;
use super::folder::Folder;
use super::swarm::Asked;
use crate::scan::identity_of;
use crate::site::{Opens, Outbox, Outgoing, Owing, Part, PartsSource};
use crate::store::Store;
use farhaul_engine::files::ConfineError;
use farhaul_proto::ids::SiteId;
use farhaul_proto::limits::PATH_MAX;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::FileIdentity;
use farhaul_sync::limits::PAGE_MAX;
use farhaul_sync::message::{ByteRange, Wanted};
use farhaul_sync::version::ManifestId;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of memory that a piece of an answer costs.
const PART_COST: u64 = 128;
/// And a file that pieces are of, whose path is as long as it may be.
const FILE_COST: u64 = 512 + PATH_MAX as u64;

/// A file with a content that somebody wants.
#[derive(Clone)]
pub(super) struct Source {
    store: Store,
    place: SourcePlace,
    pub(super) size: u64,
}

#[derive(Clone)]
enum SourcePlace {
    /// In the tree, as long as it is in this state.
    Tree { path: RelPath, identity: FileIdentity },
    /// In the version store.
    Kept { name: String },
}

impl Source {
    /// Whether something else stands where it stood in the tree, or nothing: it is not found there
    /// again. A kept version that is gone would be, for its row says that it is there.
    pub(super) fn has_moved(&self) -> bool {
        match &self.place {
            SourcePlace::Tree { path, identity } => match self.store.root().stat(path) {
                Ok(now) => identity_of(&now) != *identity,
                Err(error) => matches!(error, ConfineError::NotFound { .. }),
            },
            SourcePlace::Kept { .. } => false,
        }
    }
}

impl Opens for Source {
    fn open(&self) -> io::Result<File> {
        match &self.place {
            SourcePlace::Tree { path, identity } => {
                let (file, meta) =
                    self.store.root().open_file_meta(path).map_err(io::Error::other)?;
                let is_same = identity_of(&meta) == *identity;
                if is_same { Ok(file) } else { Err(io::Error::other(format!("{path}: changed"))) }
            }
            SourcePlace::Kept { name } => self.store.open_kept(name).map_err(io::Error::other),
        }
    }
}

/// One thing of an answer: its length and its pieces. `None`: it is not here.
pub(super) type Given = Option<(u64, Vec<Part>)>;

fn whole(source: Source) -> Given {
    let len = source.size;
    let file = Arc::new(source);
    let part = if len <= WHOLE_MAX.get() {
        Part::Small { file, len }
    } else {
        Part::Run { file, offset: 0, len }
    };
    Some((len, vec![part]))
}

fn ranges(source: Source, ranges: &[ByteRange]) -> Given {
    let size = source.size;
    let file: Arc<dyn Opens> = Arc::new(source);
    let mut total = 0_u64;
    let mut parts = Vec::with_capacity(ranges.len());
    for &ByteRange { offset, len } in ranges {
        // They are ascending and disjoint, so all of them together are no longer than the file.
        if offset.checked_add(len)? > size {
            return None;
        }
        total += len;
        parts.push(Part::Run { file: Arc::clone(&file), offset, len });
    }
    Some((total, parts))
}

pub(super) fn give(id: u64, given: Vec<Given>, owing: Owing, outbox: &Outbox) {
    let lens = given.iter().map(|given| given.as_ref().map(|(len, _)| *len)).collect();
    let parts = given.into_iter().flatten().flat_map(|(_, parts)| parts);
    let source = PartsSource::new(parts.collect()).costing(owing);
    let _ = outbox.send(Outgoing::Give { id, lens, source });
}

/// For folders that are not here.
pub(super) fn give_nothing(id: u64, count: usize, outbox: &Outbox) {
    give(id, (0..count).map(|_| None).collect(), outbox.owing(), outbox);
}

/// Where nobody can say what is here: the folder halts (spec: S-159), or whoever asks has not taken
/// what it was given before (spec: S-161).
pub(super) fn decline(id: u64, outbox: &Outbox) {
    give(id, Vec::new(), outbox.owing(), outbox);
}

/// What it costs in memory to give something, until it was taken.
fn cost(wanted: &Wanted) -> u64 {
    match wanted {
        Wanted::Page { .. } => PART_COST + PAGE_MAX as u64,
        Wanted::Whole { .. } => PART_COST + FILE_COST,
        Wanted::Ranges { ranges, .. } | Wanted::Piece { ranges, .. } => {
            FILE_COST + PART_COST * ranges.len() as u64
        }
    }
}

impl Folder {
    /// A neighbour asks for contents.
    pub(super) fn asked(&mut self, peer: SiteId, id: u64, wanted: &[Wanted], outbox: &Outbox) {
        if !self.setup.peers.contains(&peer) {
            return give_nothing(id, wanted.len(), outbox);
        }
        let mut owing = outbox.owing();
        if !owing.add(wanted.iter().map(cost).sum()) {
            tracing::debug!(folder = %self.setup.name, %peer, "asks for more than it takes");
            return decline(id, outbox);
        }
        if let [Wanted::Piece { manifest, piece, ranges }] = wanted {
            let asked = (*manifest, *piece, ranges.clone());
            return self.asked_piece(peer, asked, Asked::new(id, owing, outbox));
        }
        let given = wanted.iter().map(|wanted| match wanted {
            Wanted::Page { page } => {
                let bytes = self.contents.page(*page)?;
                Some((bytes.len() as u64, vec![Part::Memory(bytes.into())]))
            }
            Wanted::Whole { manifest } => whole(self.find(*manifest)?),
            Wanted::Ranges { manifest, ranges: wanted } => ranges(self.find(*manifest)?, wanted),
            // It is asked for alone (spec: S-223).
            Wanted::Piece { .. } => None,
        });
        let given: Vec<Given> = given.collect();
        let bytes = given.iter().flatten().map(|(len, _)| *len).sum();
        self.fetching.counts().given.fetch_add(bytes, Ordering::Relaxed);
        give(id, given, owing, outbox);
    }

    /// A file of that content that is still as the index knows it, or is kept.
    pub(super) fn find(&self, manifest: ManifestId) -> Option<Source> {
        let (store, mut after) = (self.store.clone(), None);
        while let Ok(Some(path)) = self.index.read().path_of_content(manifest, after.as_ref()) {
            let placed = self.index.read().item(&path).ok().and_then(|item| item.placed);
            if let (Some(placed), Ok(now)) = (placed, self.store.root().stat(&path)) {
                let identity = placed.identity;
                if identity_of(&now) == identity {
                    let place = SourcePlace::Tree { path, identity };
                    return Some(Source { store, place, size: identity.size });
                }
            }
            after = Some(path);
        }
        // What lost its place may be what others lack.
        let kept = self.index.read().kept_with(manifest).ok().flatten()?;
        let place = SourcePlace::Kept { name: kept.name };
        Some(Source { store, place, size: kept.size })
    }
}
