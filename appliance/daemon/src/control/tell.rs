//! What neighbours are told: parts of the index's stream, a few ahead of what they call durable, and no
//! more than there is room for in their sessions.

use super::folder::{Folder, FolderError, Neighbour};
use crate::index::{Durability, Index};
use crate::site::Outgoing;
use farhaul_sync::seal::FolderKey;

/// Parts of the index's stream that a peer is sent before it has said that one is durable.
const UNSTORED_MAX: usize = 4;

impl Folder {
    /// Tells all of them what they have not been told.
    pub(super) fn tell_neighbours(&mut self) -> Result<(), FolderError> {
        let epoch = self.index.author().incarnation.get();
        let gives = self.gives();
        let last = if gives { self.index.last_seq().get() } else { 0 };
        let (folder, index) = (self.setup.key, &mut self.index);
        let mut told = Ok(());
        for neighbour in self.neighbours.values_mut() {
            let telling = neighbour.tell(index, (folder, epoch), gives.then_some(last));
            if telling.is_err() {
                neighbour.in_line = None;
            }
            told = told.and(telling);
        }
        told
    }
}

impl Neighbour {
    /// Tells as much as there is room for, of an index that has given numbers up to `last`; `None`: one
    /// that is told of no versions.
    fn tell(
        &mut self,
        index: &mut Index,
        (folder, epoch): (FolderKey, u64),
        last: Option<u64>,
    ) -> Result<(), FolderError> {
        while !self.waits()
            && self.feed.in_flight() < UNSTORED_MAX
            && self.feed.has_more(last.unwrap_or(0))
        {
            // Before it is made up: what there is no room for costs nothing (spec: S-162).
            if !self.outbox.may_tell(&mut self.in_line) {
                return Ok(());
            }
            let begun = index.begin(Durability::Later)?;
            let mut feed = self.feed.clone();
            let fed = if last.is_some() { feed.next(&begun) } else { feed.greet(&begun) };
            let fed = fed.map_err(|error| FolderError::Feed(error.to_string()))?;
            let Some(fed) = fed else { break };
            let (after, to, mut bytes) = (fed.after, fed.to, fed.records.encode());
            bytes.shrink_to_fit();
            let told = self.outbox.told(bytes.len());
            let records = Outgoing::Records { folder, epoch, after, to, bytes, told };
            // What was not taken is not told.
            if self.outbox.send(records).is_err() {
                break;
            }
            self.feed = feed;
        }
        self.in_line = None;
        Ok(())
    }
}
