//! Sites that follow each other compare what they hold all the same, about once an hour: what one of
//! them lost without noticing is found and told again (spec: S-182).
//!
//! Two sets may differ for good reasons: something is on its way, or one of the two has dropped a
//! tombstone and the other has not yet. So a comparison during which anything changed counts for
//! nothing, and tombstones are told again only where the neighbour shows that it does not know them.

use super::super::folder::{Folder, FolderError, Neighbour};
use super::{Comparison, Role};
use crate::index::{IndexError, Seq};
use crate::moment::now_millis;
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::Role as Duty;
use farhaul_sync::message::Followed;
use farhaul_sync::reconcile::{Asker, Outcome};
use farhaul_sync::record::Record;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// How long after one comparison the next one is, in the mean.
const EVERY: Duration = Duration::from_hours(1);
/// After one during which something changed.
const SOON: Duration = Duration::from_mins(5);
/// Records that are looked at after one comparison, for those to be told again: the loop does so between
/// its other work, and the next comparison goes on from there.
const LOOKED_MAX: usize = if cfg!(test) { 16 } else { 1 << 13 };
/// Records read at a time.
const PAGE: usize = if cfg!(test) { 4 } else { 1024 };

/// What came of the last comparison with a neighbour that is followed and follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// When it was, in milliseconds since 1970.
    pub at_millis: u64,
    /// Records that the neighbour had called durable and did not hold.
    pub lacked: u64,
    /// Records that this site had followed and did not hold, and that the neighbour told again since.
    pub regained: u64,
}

/// When neighbours are compared with, and what came of it; over all sessions.
#[derive(Debug, Default)]
pub(in super::super) struct Checks(BTreeMap<SiteId, Check>);

#[derive(Debug)]
struct Check {
    next: Instant,
    last: Option<Agreement>,
    /// A hash of what was told again first.
    told: Option<u64>,
    /// Up to where records were looked at, if the last comparison found more than can be at a time.
    after: u64,
}

impl Check {
    fn new(peer: SiteId) -> Self {
        Self { next: Instant::now() + spread(EVERY, peer) / 2, last: None, told: None, after: 0 }
    }
}

impl Checks {
    fn of(&mut self, peer: SiteId) -> &mut Check {
        self.0.entry(peer).or_insert_with(|| Check::new(peer))
    }

    /// What came of the last one.
    pub(in super::super) fn last(&self, peer: SiteId) -> Option<Agreement> {
        self.0.get(&peer).and_then(|check| check.last)
    }

    #[cfg(test)]
    pub(super) fn is_due_now(&mut self, peer: SiteId) {
        self.of(peer).next = Instant::now();
    }
}

/// A quarter more or less, by chance: many neighbours are not compared with at once.
fn spread(mean: Duration, peer: SiteId) -> Duration {
    let chance = u32::try_from(RandomState::new().hash_one(peer) % 501).unwrap_or(250);
    mean * (750 + chance) / 1000
}

/// What is known of both sides: a comparison counts if it is the same at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    last: u64,
    followed: Option<Followed>,
}

impl Folder {
    pub(super) fn known_of(&self, peer: SiteId) -> Known {
        let followed = self.index.read().followed(peer).unwrap_or(None);
        Known { last: self.index.last_seq().get(), followed }
    }

    /// Begins to compare with a neighbour whose time has come, one at a time.
    pub(in super::super) fn keep_checking(&mut self) {
        let (us, now) = (self.identity.id(), Instant::now());
        let is_nothing_told = self.setup.policy.rights.own() == Duty::SourceOnly;
        if is_nothing_told || self.listening().is_some() {
            return;
        }
        let last = if self.gives() { self.index.last_seq().get() } else { 0 };
        let is_quiet = |neighbour: &Neighbour| {
            neighbour.comparison.is_none()
                && neighbour.outbox.compares()
                && neighbour.feed.in_flight() == 0
                && !neighbour.feed.has_more(last)
        };
        let quiet = self.neighbours.iter().filter(|(peer, it)| us < **peer && is_quiet(it));
        let quiet: Vec<SiteId> = quiet.map(|(peer, _)| *peer).collect();
        for peer in quiet {
            let is_source = self.setup.policy.rights.of(peer) == Duty::SourceOnly;
            if is_source || self.checks.of(peer).next > now || self.check_left(peer).is_err() {
                continue;
            }
            self.checks.of(peer).next = now + spread(EVERY, peer);
            let (Some(salt), known) = (super::salt(), self.known_of(peer)) else { return };
            let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
            let role = Role::Asking(Box::new(Asker::new(salt, known.last)));
            neighbour.comparison =
                Some(Comparison { known: Some(known), ..Comparison::new(role, None) });
            let asked = self.compare_on(peer);
            return self.end_if_faulty(peer, asked);
        }
    }

    /// A comparison with a neighbour that is followed and follows came to its end.
    pub(super) fn checked(&mut self, peer: SiteId, began: Known, outcome: &Outcome) {
        if self.known_of(peer) != began {
            let next = Instant::now() + spread(SOON, peer);
            let check = self.checks.of(peer);
            check.next = check.next.min(next);
            return;
        }
        let began_at = self.checks.of(peer).after;
        let looked = self.lost_there(peer, outcome, began_at);
        let (lacking, after) = looked.unwrap_or_else(|error| {
            tracing::error!(%error, "it is not known what a neighbour lost");
            (Vec::new(), None)
        });
        let last = Agreement { at_millis: now_millis(), lacked: lacking.len() as u64, regained: 0 };
        let soon = Instant::now() + spread(SOON, peer);
        let check = self.checks.of(peer);
        check.last = Some(last);
        let told = (!lacking.is_empty()).then(|| hash_of(&lacking));
        // What it does not take in, because it is not for it, say, it is not told for ever.
        let is_new = told.is_some() && (began_at > 0 || told != check.told);
        if began_at == 0 {
            check.told = told;
        }
        check.after = after.filter(|_| is_new || lacking.is_empty()).unwrap_or(0);
        if check.after > 0 {
            check.next = check.next.min(soon);
        }
        if let Some(neighbour) = self.neighbours.get_mut(&peer).filter(|_| is_new) {
            let lacked = lacking.len();
            tracing::warn!(folder = %self.setup.name, %peer, lacked, "lost records: told again");
            neighbour.feed.tell_again(lacking);
        }
    }

    /// What a neighbour called durable and does not hold, of the arrival numbers behind `after`: no
    /// tombstones, which it may have dropped. Also up to where was looked, if there are more.
    fn lost_there(
        &mut self,
        peer: SiteId,
        outcome: &Outcome,
        after: u64,
    ) -> Result<(Vec<u64>, Option<u64>), IndexError> {
        let gives = self.gives();
        let Some(neighbour) = self.neighbours.get(&peer).filter(|_| gives) else {
            return Ok((Vec::new(), None));
        };
        let (stored, reading) = (neighbour.stored, self.index.read());
        let (mut lost, mut looked, mut upto) = (Vec::new(), 0, after);
        let mut look = |found: &crate::index::StoredVersion| {
            if found.seq.get() <= stored && found.record()?.version.is_live() {
                lost.push(found.seq.get());
            }
            Ok::<_, IndexError>(())
        };
        let is_all = match outcome {
            Outcome::Lacking(lacking) => {
                let mut left = lacking.seqs.iter().copied().filter(|seq| *seq > after);
                for seq in left.by_ref().take(LOOKED_MAX) {
                    let found = reading.versions_since(Seq::new(seq.saturating_sub(1)), 1)?;
                    found.iter().filter(|found| found.seq.get() == seq).try_for_each(&mut look)?;
                    (looked, upto) = (looked + 1, seq);
                }
                left.next().is_none()
            }
            Outcome::Everything => loop {
                let page = reading.versions_since(Seq::new(upto), PAGE)?;
                page.iter().try_for_each(&mut look)?;
                looked += page.len();
                match page.last().map(|last| last.seq.get()) {
                    Some(last) if last < stored => upto = last,
                    _ => break true,
                }
                if looked >= LOOKED_MAX {
                    break false;
                }
            },
        };
        self.allowances.spend(peer, looked as u64, Instant::now());
        Ok((lost, (!is_all).then_some(upto)))
    }

    /// A neighbour told records again that this site did not hold. Where it does not know what covers
    /// one here, it is told that: it may be the deletion of what stands there still.
    pub(in super::super) fn told_again(
        &mut self,
        peer: SiteId,
        records: &[Record],
        regained: usize,
    ) -> Result<(), FolderError> {
        if let Some(last) = &mut self.checks.of(peer).last {
            last.regained += regained as u64;
        }
        // Whoever tells again without end has this site read no more than by comparing.
        if self.check_left(peer).is_err() {
            return Ok(());
        }
        let mut paths: BTreeMap<&RelPath, Vec<&Record>> = BTreeMap::new();
        for record in records.iter().filter(|record| record.version.is_live()) {
            paths.entry(&record.path).or_default().push(record);
        }
        let (mut covering, mut looked) = (Vec::new(), 0);
        for (path, records) in paths {
            for stored in self.index.read().versions_of(path)? {
                looked += 1;
                let held = stored.record()?.version;
                let covers = |record: &&&Record| {
                    held.dot != record.version.dot && held.covers(&record.version)
                };
                if records.iter().any(|record| covers(&record)) {
                    covering.push(stored.seq.get());
                }
            }
        }
        self.allowances.spend(peer, looked, Instant::now());
        let gives = self.gives();
        if let Some(neighbour) = self.neighbours.get_mut(&peer).filter(|_| gives) {
            neighbour.feed.tell_again(covering);
        }
        Ok(())
    }
}

fn hash_of(seqs: &[u64]) -> u64 {
    let bytes: Vec<u8> = seqs.iter().flat_map(|seq| seq.to_be_bytes()).collect();
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(&bytes).as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests;
