//! A file of which all is here, given away for as long as somebody speaks of it (spec: S-224).

use super::Place;
use super::body::{Body, Disk};
use crate::control::fetch::Shared;
use crate::control::give::Source;
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::{Entry, ManifestReader};
use farhaul_sync::message::ByteRange;
use farhaul_sync::swarm::pieces::Placed;
use farhaul_sync::swarm::{ChunkSet, Part, Pieces};
use farhaul_sync::version::ManifestId;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// After so long without a word it ends.
const SILENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Nothing is missing, so nothing is asked for.
struct Complete;

impl Disk for Complete {
    type Error = Infallible;

    fn lacks(&self, _part: Part) -> Vec<ByteRange> {
        Vec::new()
    }

    fn came(&mut self, _piece: u32, _ranges: &[ByteRange], _bytes: &[u8]) {}

    fn verify(&mut self, _piece: u32) -> Result<bool, Infallible> {
        Ok(false)
    }
}

/// Runs in a thread of its own.
pub(super) fn run(shared: &Shared, place: Place, source: Source) {
    let size = Bytes::new(source.size);
    let Some(pieces) = pieces_of(shared, (place.manifest, size)) else {
        // Whoever asked is told that it may ask again, and asks others.
        tracing::debug!("a chunk list is not here: its file is given away whole only");
        return;
    };
    let (pieces, file) = (Arc::new(pieces), Arc::new(source));
    let held = ChunkSet::full(pieces.count());
    let mut body = match Body::new(shared, place, &pieces, (held, file)) {
        Ok(body) => body,
        Err(error) => return tracing::debug!(%error, "a file is not given away in pieces"),
    };
    while !shared.stop.is_set() && !body.is_over() && body.silence() < SILENCE {
        let Ok(()) = body.step(&mut Complete, LOOK_EVERY);
        if body.all_have_all() {
            return;
        }
    }
    if body.is_over() || shared.stop.is_set() {
        body.say_left();
    }
}

/// The pieces of a file whose list is here.
fn pieces_of(shared: &Shared, (manifest, size): (ManifestId, Bytes)) -> Option<Pieces> {
    let mut reader = ManifestReader::new(&shared.keys, manifest, size);
    let mut chunks = Vec::new();
    loop {
        let Some(next) = reader.wanted().next() else { break };
        let leaf = reader.take(&shared.contents.page(next)?).ok()?;
        let Some(leaf) = leaf else { continue };
        let mut offset = leaf.offset;
        for entry in &leaf.entries {
            if let Entry::Chunk(chunk) = entry {
                chunks.push(Placed { offset: offset.get(), chunk: *chunk });
            }
            offset += entry.len();
        }
    }
    Some(Pieces::of_list(chunks)).filter(Pieces::is_spreadable)
}
