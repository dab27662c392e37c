//! What a folder's content is cut and named with. Derived from the folder's key, so that chunks of
//! different folders never share a name, and one folder's cuts say nothing about another's.

use super::class::SizeClass;
use crate::seal::FolderKey;
use crate::version::ManifestId;
use core::fmt;
use farhaul_proto::units::Bytes;
use fastcdc::v2020::{Normalization, cut_gear, select_masks};

const CHUNK_CONTEXT: &str = "farhaul chunk id v1";
const PAGE_CONTEXT: &str = "farhaul manifest page v1";
const GEAR_CONTEXT: &str = "farhaul gear table v1";

/// The name of a chunk: the keyed hash of its bytes (spec: S-030).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub [u8; 32]);

/// The name of a page of a manifest: the keyed hash of its bytes (spec: S-034).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(pub [u8; 32]);

impl PageId {
    /// The manifest of which this is the topmost page.
    pub const fn as_manifest(self) -> ManifestId {
        ManifestId(self.0)
    }
}

impl From<ManifestId> for PageId {
    fn from(id: ManifestId) -> Self {
        Self(id.0)
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, "chunk", &self.0)
    }
}

impl fmt::Debug for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, "page", &self.0)
    }
}

fn shown(f: &mut fmt::Formatter<'_>, what: &str, id: &[u8; 32]) -> fmt::Result {
    write!(f, "{what} {}", data_encoding::HEXLOWER.encode(&id[..8]))
}

/// The keys and the gear table of one folder; some 4 KiB, made once and shared.
#[derive(Clone)]
pub struct ContentKeys {
    chunk: [u8; 32],
    page: [u8; 32],
    gear: Box<[u64; 256]>,
    /// The same, shifted left by one, for the odd one of two bytes.
    gear_shifted: Box<[u64; 256]>,
}

impl fmt::Debug for ContentKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentKeys").finish_non_exhaustive()
    }
}

impl ContentKeys {
    /// Those of `folder`.
    pub fn of(folder: &FolderKey) -> Self {
        let mut gear = Box::new([0; 256]);
        let mut bytes = blake3::Hasher::new_derive_key(GEAR_CONTEXT);
        let mut bytes = bytes.update(&folder.0).finalize_xof();
        for value in gear.iter_mut() {
            let mut next = [0; 8];
            bytes.fill(&mut next);
            *value = u64::from_be_bytes(next);
        }
        let gear_shifted = Box::new(gear.map(|value| value << 1));
        let (chunk, page) = (CHUNK_CONTEXT, PAGE_CONTEXT);
        let [chunk, page] = [chunk, page].map(|context| blake3::derive_key(context, &folder.0));
        Self { chunk, page, gear, gear_shifted }
    }

    /// The name of a chunk that consists of `bytes`.
    pub fn chunk_id(&self, bytes: &[u8]) -> ChunkId {
        ChunkId(*blake3::keyed_hash(&self.chunk, bytes).as_bytes())
    }

    /// The name of an encoded page.
    pub fn page_id(&self, bytes: &[u8]) -> PageId {
        PageId(*blake3::keyed_hash(&self.page, bytes).as_bytes())
    }

    /// The length of the chunk that `data` begins with. `data` is all that follows in the file up
    /// to zeros or the end, or at least as much as a chunk may have.
    pub(super) fn first_cut(&self, data: &[u8], class: SizeClass) -> usize {
        let [min, average, max] = [class.min(), class.average(), class.max()].map(Bytes::as_len);
        let (strict, loose) = select_masks(average, Normalization::Level1);
        let (gear, shifted) = (&self.gear[..], &self.gear_shifted[..]);
        let masks = (strict, loose, strict << 1, loose << 1);
        cut_gear(data, min, average, max, masks.0, masks.1, masks.2, masks.3, gear, shifted).1
    }
}
