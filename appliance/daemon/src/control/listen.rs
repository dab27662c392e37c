//! What a folder does about its neighbours' knowledge before it publishes, about what could not be
//! taken in, and about tombstones that everybody has.

use super::Event;
use super::folder::{Folder, FolderError};
use crate::index::Durability;
use crate::site::Outgoing;
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Timestamp;
use farhaul_sync::folder::{
    ASIDE_MAX, Ack, Heard, Index as _, Listening, Origin, PATIENCE, Publisher, StateError, Verdict,
    Why, acked_by_all,
};
use farhaul_sync::message::{Followed, Message, Shared};
use farhaul_sync::version::{Content, Dot, Serial};
use std::time::{Duration, Instant};

/// Looks, records and tombstones that are gone through at a time.
const PAGE: usize = 1024;
/// How long looks are left alone of which each waits for a person.
const LOOKS_REST: Duration = Duration::from_secs(60);
/// How often neighbours are told how far they are followed, so that their tombstones may go.
const SHARE_EVERY: Duration = Duration::from_secs(3600);

/// Where these things are.
pub(super) struct Hearing {
    began: Instant,
    shared: Instant,
    /// When it was last said that neighbours are waited for.
    said: Instant,
    /// The incarnation was drawn since the index was opened: it cannot be an old copy of itself, and
    /// who claims to know more of it says what is not so.
    is_drawn: bool,
    /// Neighbours that have to be heard first; `None`: they were.
    listening: Option<Listening>,
    /// Whether looks that wait are to be gone through, and from where.
    looks: Option<Option<RelPath>>,
    /// Directories that are gone, of looks that were gone through: they come after what was in them.
    gone: Vec<RelPath>,
    /// When they are gone through next, unless something calls for it.
    looks_at: Instant,
    asides: Option<Dot>,
    tombstones: Option<RelPath>,
    /// Tombstones up to here were gone through.
    collected: u64,
}

impl Hearing {
    pub(super) fn new(neighbours: impl IntoIterator<Item = SiteId>) -> Self {
        let listening = Some(Listening::new(neighbours, Timestamp::ZERO));
        let (began, shared, said) = (Instant::now(), Instant::now(), Instant::now());
        Self {
            began,
            shared,
            said,
            is_drawn: false,
            listening,
            looks: None,
            gone: Vec::new(),
            looks_at: began,
            asides: None,
            tombstones: None,
            collected: 0,
        }
    }

    fn now(&self) -> Timestamp {
        let millis = u64::try_from(self.began.elapsed().as_millis());
        Timestamp::from_millis(millis.unwrap_or(u64::MAX))
    }
}

impl Folder {
    /// Whom the folder still has to hear before it publishes, if it does: what users do meanwhile is
    /// remembered.
    pub(super) fn listening(&self) -> Option<&Listening> {
        self.hearing.listening.as_ref()
    }

    /// As if all neighbours had been heard.
    #[cfg(test)]
    pub(super) fn hear_all(&mut self) {
        self.hearing.listening = None;
        self.publisher = self.publisher.clone().silent(false);
    }

    /// A neighbour is there.
    pub(super) fn came(&mut self, peer: SiteId, theirs: &Shared) -> Result<(), FolderError> {
        let now = self.hearing.now();
        if let Some(listening) = &mut self.hearing.listening {
            listening.came(peer, theirs.head, now);
        }
        let keeping = self.index.begin(Durability::Later)?;
        keeping.set_acked(peer, Ack::of(theirs))?;
        Ok(keeping.commit()?)
    }

    /// A neighbour that lacks deletions which nobody remembers tells everything again: what it told
    /// before may be what was deleted since (spec: S-066).
    pub(super) fn follow_anew(&mut self, peer: SiteId, epoch: u64) -> Result<(), FolderError> {
        let mut following = self.index.begin(Durability::Later)?;
        following.follow(peer, Followed { epoch, up_to: 0 })?;
        Ok(following.commit()?)
    }

    /// A neighbour went.
    pub(super) fn left(&mut self, peer: SiteId) {
        if let Some(listening) = &mut self.hearing.listening {
            listening.left(peer);
        }
    }

    /// What a neighbour told up to an arrival number of its is kept.
    pub(super) fn heard(&mut self, peer: SiteId, up_to: u64) {
        let now = self.hearing.now();
        if let Some(listening) = &mut self.hearing.listening {
            listening.told(peer, up_to, now);
        }
    }

    /// Begins to publish, if it may (spec: S-024).
    pub(super) fn end_listening(&mut self) -> Result<(), FolderError> {
        let Some(listening) = &self.hearing.listening else { return Ok(()) };
        match listening.verdict(self.hearing.now()) {
            Verdict::Listen => return Ok(()),
            Verdict::Renew if self.publisher.next() != Some(Serial::FIRST) => {
                // Another name costs neighbours a look at everything: not before it is needed.
                if self.index.read().looks(None, 1)?.is_empty() {
                    return Ok(());
                }
                self.rename()?;
                tracing::warn!(
                    folder = %self.setup.name,
                    "not all neighbours were heard: what is published has a new incarnation"
                );
            }
            Verdict::Publish | Verdict::Renew => {}
        }
        self.hearing.listening = None;
        self.publisher = self.publisher.clone().silent(false);
        self.hearing.looks = Some(None);
        Ok(())
    }

    /// This index was put back from a copy: numbers that it would give were given. It goes on under
    /// a new name, its neighbours follow it anew, and it hears them first (spec: S-056). Not twice in
    /// a life: under a name that was drawn since the index was opened nobody can know more.
    pub(super) fn renew(&mut self) -> Result<(), FolderError> {
        if self.hearing.is_drawn {
            return Err(FolderError::Overclaimed);
        }
        tracing::warn!(folder = %self.setup.name, "the index was restored from a copy");
        self.rename()?;
        self.publisher = self.publisher.clone().silent(true);
        let now = self.hearing.now();
        let mut listening = Listening::new(self.setup.peers.iter().copied(), now);
        for (peer, neighbour) in &self.neighbours {
            listening.came(*peer, neighbour.head, now);
        }
        self.hearing.listening = Some(listening);
        Ok(())
    }

    /// Goes on in another incarnation; who did not publish yet still does not (spec: S-024).
    pub(super) fn rename(&mut self) -> Result<(), FolderError> {
        self.index.renew()?;
        let is_silent = self.publisher.is_silent();
        self.publisher = Publisher::new(self.index.author(), Serial::FIRST).silent(is_silent);
        self.hearing.is_drawn = true;
        self.hearing.collected = 0;
        self.share_again();
        Ok(())
    }

    /// Tells all neighbours how far they are followed.
    fn share_again(&mut self) {
        self.hearing.shared = Instant::now();
        let peers: Vec<SiteId> = self.neighbours.keys().copied().collect();
        for peer in peers {
            let folders = self.share_with(peer).into_iter().collect();
            if let Some(neighbour) = self.neighbours.get(&peer) {
                let _ = neighbour.outbox.send(Outgoing::Say(Message::Share { folders }));
            }
        }
    }

    /// Looks that wait are looked at again: a page of them.
    pub(super) fn look_again(&mut self) -> Result<(), FolderError> {
        if self.hearing.listening.is_some() {
            return Ok(());
        }
        let Some(after) = self.hearing.looks.take() else { return Ok(()) };
        if after.is_none() {
            self.hearing.looks_at = Instant::now() + LOOKS_REST;
        }
        let looks = self.index.read().looks(after.as_ref(), PAGE)?;
        let is_last = looks.len() < PAGE;
        if !is_last {
            self.hearing.looks = Some(looks.last().map(|(path, _)| path.clone()));
            // Not before everything else was heard that waits.
            let _ = self.events.try_send(Event::Tick);
        }
        let publishes = self.setup.policy.rights.own().publishes();
        let is_braked = self.braked.contains(&Origin::Disk);
        for (path, look) in looks {
            // A person has to say something first.
            if (look.why == Why::ReadOnly && !publishes) || (look.why == Why::Braked && is_braked) {
                continue;
            }
            self.hearing.looks_at = Instant::now();
            let placed = self.index.read().placed(&path)?;
            let was_dir = placed.is_some_and(|placed| placed.version.content == Content::Dir);
            if was_dir && look.found.is_none() {
                self.hearing.gone.push(path);
            } else {
                self.looked(path, look.found);
            }
        }
        if is_last {
            for path in core::mem::take(&mut self.hearing.gone).into_iter().rev() {
                self.looked(path, None);
            }
        }
        Ok(())
    }

    /// Goes through all looks that wait again: what they wait for may have changed.
    pub(super) fn look_at_all_again(&mut self) {
        self.hearing.looks = Some(None);
        self.hearing.gone.clear();
    }

    /// What takes its time: at every tick a little of it.
    pub(super) fn keep_hearing(&mut self) -> Result<(), FolderError> {
        if self.hearing.looks_at <= Instant::now() {
            self.hearing.looks.get_or_insert(None);
        }
        if self.hearing.said.elapsed() >= PATIENCE
            && let Some(listening) = self.listening()
        {
            let unheard = listening.neighbours().filter(|(_, heard)| *heard != Heard::All);
            let unheard = unheard.map(|(site, _)| site.to_string()).collect::<Vec<_>>().join(" ");
            let folder = &self.setup.name;
            tracing::info!(%folder, unheard, "edits wait until these neighbours were heard");
            self.hearing.said = Instant::now();
        }
        if self.hearing.shared.elapsed() >= SHARE_EVERY {
            self.share_again();
        }
        self.retry_aside()?;
        self.collect()
    }

    /// Records that could not be taken in are tried again; neighbours that had to stop because of
    /// them tell on.
    fn retry_aside(&mut self) -> Result<(), FolderError> {
        if self.index.read().asides(None, 1)?.is_empty() {
            return Ok(());
        }
        let after = self.hearing.asides.take();
        let (next, count) = self.change(Durability::Now, |state| {
            let next = state.retry_aside(after, PAGE)?;
            Ok((next, state.index().aside_count().map_err(StateError::Index)?))
        })?;
        self.hearing.asides = next;
        let held = self.neighbours.iter_mut().filter(|(_, neighbour)| neighbour.is_held);
        let held: Vec<SiteId> = held.map(|(peer, _)| *peer).collect();
        for peer in held.into_iter().filter(|_| count < ASIDE_MAX) {
            if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                (neighbour.is_held, neighbour.asked_again) = (false, false);
            }
            self.ask_again(peer);
        }
        Ok(())
    }

    /// Tombstones that all neighbours have are dropped (spec: S-065).
    fn collect(&mut self) -> Result<(), FolderError> {
        let reading = self.index.read();
        let mut known = Vec::with_capacity(self.setup.peers.len());
        for peer in &self.setup.peers {
            known.push((reading.acked(*peer)?, reading.followed(*peer)?));
        }
        let acked = acked_by_all(known, self.index.author().incarnation);
        if acked <= self.hearing.collected && self.hearing.tombstones.is_none() {
            return Ok(());
        }
        let after = self.hearing.tombstones.take();
        let collected = self
            .change(Durability::Later, |state| Ok(state.collect(acked, after.as_ref(), PAGE)?))?;
        if collected.dropped > 0 {
            tracing::debug!(folder = %self.setup.name, dropped = collected.dropped, "tombstones");
        }
        if after.is_none() {
            self.hearing.collected = acked;
        }
        self.hearing.tombstones = collected.next;
        Ok(())
    }
}
