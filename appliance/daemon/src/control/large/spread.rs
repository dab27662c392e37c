//! A large file that comes in pieces from whoever has them, and goes to others piece by piece while it
//! comes (spec: S-222): what is missing of a piece, and where its bytes go.

use super::{Filling, LOOK_EVERY, Missing, NOBODY_MAX, NotCome};
use crate::control::swarm::{Body, Disk, StagedFile};
use farhaul_proto::units::Bytes;
use farhaul_sync::message::ByteRange;
use farhaul_sync::swarm::pieces::{Placed, piece_size};
use farhaul_sync::swarm::{CHUNKS_MAX, ChunkSet, Part, Pieces};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// After so long in which nothing was asked for and nothing came it is begun anew: all neighbours are
/// greeted again, and a source shows again what it showed (spec: S-226).
const STANDSTILL_MAX: Duration = Duration::from_secs(60);

/// The list of a file, and which of its chunks are in place.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) chunks: Vec<Placed>,
    pub(super) is_here: Vec<bool>,
}

/// Whether a file of that size has no more pieces than can be told of, even if it has no zeros.
pub(super) const fn can_be(size: Bytes) -> bool {
    size.get() / piece_size(size) < CHUNKS_MAX as u64
}

/// Where the pieces of a file go.
struct Landing<'f, 'a> {
    filling: &'f mut Filling<'a>,
    pieces: Arc<Pieces>,
    is_here: Vec<bool>,
    /// What came of pieces and is not verified.
    loose: BTreeMap<u32, Vec<u8>>,
}

impl Landing<'_, '_> {
    fn has(&self, piece: u32) -> bool {
        self.pieces.within(piece).all(|at| self.is_here[at])
    }
}

impl Disk for Landing<'_, '_> {
    type Error = NotCome;

    fn lacks(&self, part: Part) -> Vec<ByteRange> {
        self.pieces.wanted(part, |at| !self.is_here[at])
    }

    fn came(&mut self, piece: u32, ranges: &[ByteRange], bytes: &[u8]) {
        let len = self.pieces.lengths().get(piece as usize).copied().unwrap_or(0);
        let room = self.loose.entry(piece).or_insert_with(|| vec![0; len as usize]);
        let mut rest = bytes;
        for range in ranges {
            let (from, len) = (Bytes::new(range.offset).as_len(), Bytes::new(range.len).as_len());
            let Some((data, behind)) = rest.split_at_checked(len) else { return };
            if let Some(place) = room.get_mut(from..from + len) {
                place.copy_from_slice(data);
            }
            rest = behind;
        }
    }

    /// Chunks that are right are kept, whatever else came with them.
    fn verify(&mut self, piece: u32) -> Result<bool, NotCome> {
        let bytes = self.loose.remove(&piece).unwrap_or_default();
        let (mut right, mut data) = (Vec::new(), Vec::new());
        let keys = &self.filling.job.shared.keys;
        for (at, start, placed) in self.pieces.of(piece) {
            let (start, len) = (start as usize, placed.chunk.len as usize);
            let Some(came) = bytes.get(start..start + len).filter(|_| !self.is_here[at]) else {
                continue;
            };
            if keys.chunk_id(came) == placed.chunk.id {
                right.push(Missing { chunk: placed.chunk, offset: placed.offset });
                data.extend_from_slice(came);
            }
        }
        let offsets: Vec<u64> = right.iter().map(|missing| missing.offset).collect();
        let again = self.filling.write(right, &data)?;
        for offset in offsets.into_iter().chain(again) {
            if let Some(at) = self.pieces.at(offset) {
                self.is_here[at] = true;
            }
        }
        Ok(self.has(piece))
    }
}

impl Filling<'_> {
    /// Has the rest come in pieces, once the list was gone through.
    pub(super) fn spread(&mut self, listed: Listed) -> Result<(), NotCome> {
        let Listed { chunks, is_here } = listed;
        if is_here.iter().all(|is_here| *is_here) {
            return Ok(());
        }
        let (job, pieces) = (self.job, Arc::new(Pieces::of_list(chunks)));
        let (shared, manifest) = (&job.shared, job.wish.manifest);
        // Another path gets the same content: it is copied from there.
        let place = shared.swarms.enter(manifest, false).ok_or(NotCome::Unsaid)?;
        let file = self.staged.file().try_clone().map_err(NotCome::Write)?;
        let file = Arc::new(StagedFile::new(file));
        let mut disk =
            Landing { filling: self, pieces: Arc::clone(&pieces), is_here, loose: BTreeMap::new() };
        let mut held = ChunkSet::new(pieces.count());
        for piece in (0..pieces.count()).filter(|piece| disk.has(*piece)) {
            held.insert(piece);
        }
        let body = Body::new(shared, place, &pieces, (held, Arc::clone(&file) as _));
        // There are more than can be told of: the next attempt asks as ever.
        let mut body = body.map_err(|_| NotCome::Nobody)?;
        let came = loop {
            if let Err(error) = body.step(&mut disk, LOOK_EVERY) {
                break Err(error);
            }
            if body.is_full() {
                break Ok(());
            }
            if job.is_stopped() {
                break Err(NotCome::Stopped);
            }
            let is_nobody = shared.givers.is_nobody();
            let most = if is_nobody { NOBODY_MAX } else { STANDSTILL_MAX };
            if body.standstill() > most {
                if !is_nobody {
                    shared.swarms.stood_still(manifest);
                }
                break Err(if is_nobody { NotCome::Nobody } else { NotCome::Unsaid });
            }
        };
        file.close();
        match &came {
            Ok(()) => shared.swarms.came(manifest),
            Err(_) => body.say_left(),
        }
        came
    }
}
