//! What neighbours tell of a folder: taken in, durable, and called so.

use super::folder::{Folder, FolderError, SEALED, wall_millis};
use crate::events::Said;
use crate::index::Durability;
use crate::site::Outgoing;
use farhaul_api::EventKind;
use farhaul_engine::identity::PublicKey;
use farhaul_proto::ids::SiteId;
use farhaul_sync::folder::{StateError, Teller};
use farhaul_sync::message::{Followed, Message, Records};
use farhaul_sync::record::Record;
use std::collections::BTreeSet;

impl Folder {
    /// Records of a peer: all of them are durable here before the peer hears so.
    pub(super) fn told(&mut self, peer: SiteId, (epoch, after, to): (u64, u64, u64), bytes: &[u8]) {
        if !self.neighbours.contains_key(&peer) {
            return;
        }
        let known = self.index.read().followed(peer).unwrap_or(None);
        let known = known.filter(|known| known.epoch == epoch).map_or(0, |known| known.up_to);
        // Without what comes before, it would look as if that had been told.
        if after > known {
            return self.ask_again(peer);
        }
        // What was told before, and is told once more (spec: S-182).
        let is_again = after == to;
        let to = to.max(known);
        let stale_until = self.neighbours.get(&peer).map_or(0, |known| known.stale_until);
        let teller = if after < stale_until { Teller::Stale } else { Teller::Current };
        let learned = self.learn(bytes, peer, Followed { epoch, up_to: to }, teller);
        if let Err(FolderError::State(StateError::RolledBack)) = &learned {
            let renewed = self.renew();
            return self.note_once("no new incarnation", renewed);
        }
        let is_learned = learned.is_ok();
        let is_held = matches!(&learned, Err(FolderError::State(StateError::TooManyAside)));
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.is_held |= is_held;
        }
        if is_learned {
            self.heard(peer, to);
        }
        let ((records, new), mut learned) = match learned {
            Ok(learned) => (learned, Ok(())),
            Err(error) => ((Vec::new(), 0), Err(error)),
        };
        if is_again && is_learned {
            learned = self.told_again(peer, &records, new);
        }
        self.note_once("records cannot be taken in", learned);
        let Some(neighbour) = self.neighbours.get_mut(&peer).filter(|_| is_learned) else { return };
        if teller == Teller::Current {
            neighbour.feed.heard_of(records.iter().map(|record| record.version.dot));
        }
        neighbour.asked_again = false;
        let stored = Message::Stored { folder: self.setup.key, epoch, up_to: to };
        let _ = neighbour.outbox.send(Outgoing::Say(stored));
    }

    /// Has a neighbour tell again from where it is followed.
    pub(super) fn ask_again(&mut self, peer: SiteId) {
        let folders = self.share_with(peer).into_iter().collect();
        if let Some(neighbour) = self.neighbours.get_mut(&peer)
            && !neighbour.asked_again
        {
            let share = Outgoing::Say(Message::Share { folders });
            neighbour.asked_again = neighbour.outbox.send(share).is_ok();
        }
    }

    /// Takes in what a peer told. Which records that were, and how many of them are new here.
    fn learn(
        &mut self,
        bytes: &[u8],
        peer: SiteId,
        followed: Followed,
        teller: Teller,
    ) -> Result<(Vec<Record>, usize), FolderError> {
        let records = Records::decode(bytes, self.setup.key)?;
        let mut opened = Vec::with_capacity(records.runs.len());
        for run in &records.runs {
            let key = PublicKey(run.key);
            let is_signed = key.site() == run.statement.author.site
                && key.has_signed(SEALED, &run.statement.to_bytes(), &run.signature);
            opened.push(if is_signed { run.open()? } else { return Err(FolderError::Forged) });
        }
        let (learned, refused) = self.change(Durability::Now, |state| {
            let (mut learned, mut refused) = (Vec::new(), BTreeSet::new());
            for (run, opened) in records.runs.iter().zip(&opened) {
                let taken = state.learn_from(run, opened, teller)?;
                for path in &taken.aside {
                    tracing::warn!(%path, "what a neighbour told of it is set aside");
                }
                learned.extend(taken.changed);
                if taken.refused > 0 {
                    refused.insert(run.statement.author.site);
                }
            }
            state.weigh_learned(wall_millis())?;
            state.index_mut().follow(peer, followed)?;
            Ok((learned, refused))
        })?;
        self.note_refused(&refused);
        self.doubt_clocks(opened.iter().flatten());
        self.note_brake()?;
        for path in &learned {
            self.fetching.changed(path);
            self.health.say(Said::that(EventKind::Learned).peer(peer).path(path));
        }
        Ok((opened.into_iter().flatten().collect(), learned.len()))
    }
}
