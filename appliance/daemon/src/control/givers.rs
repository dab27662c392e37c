//! The neighbours of a folder as those who give contents: who may be asked for one now, and who gives
//! nothing any more.

use super::patience::{Miss, Patience};
use crate::site::Outbox;
use farhaul_proto::ids::SiteId;
use farhaul_sync::version::ManifestId;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Somebody who owes an answer and gives nothing of any for so long is not waited for.
pub(super) const STALL: Duration = Duration::from_secs(30);
/// Whoever wrote a content has it, others may: one of those is asked in its place only when the author
/// owes so many answers more.
const LESS_LIKELY: usize = 8;
/// Stands for this site: what failed here, at its own disk.
pub(super) const HERE: SiteId = SiteId([0; 32]);

/// Who gives, shared by all who ask.
#[derive(Clone, Default)]
pub(super) struct Givers(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    live: BTreeMap<SiteId, Giver>,
    patience: Patience,
}

struct Giver {
    outbox: Outbox,
    /// What had come when it was last looked at, and since when it is that.
    seen: (u64, Instant),
    /// What had come when it was last given up.
    stalled: Option<u64>,
    open: usize,
}

/// Somebody who may be asked.
#[derive(Clone)]
pub(super) struct Picked {
    pub(super) outbox: Outbox,
}

impl Picked {
    pub(super) fn site(&self) -> SiteId {
        self.outbox.peer()
    }

    /// Grows with whatever comes from there.
    pub(super) fn came(&self) -> Arc<AtomicU64> {
        Arc::clone(self.outbox.came())
    }
}

impl Givers {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A neighbour shares the folder.
    pub(super) fn join(&self, outbox: Outbox) {
        let seen = (0, Instant::now());
        let giver = Giver { seen, stalled: None, open: 0, outbox };
        let mut known = self.lock();
        known.live.insert(giver.outbox.peer(), giver);
        known.patience.somebody_came();
    }

    /// It is gone.
    pub(super) fn leave(&self, site: SiteId) {
        self.lock().live.remove(&site);
    }

    /// Who is asked for a content of `author`'s now: of those who may be, the one that lacked it least
    /// often, is likely to have it, and owes the fewest answers.
    pub(super) fn pick(&self, content: ManifestId, author: SiteId) -> Option<Picked> {
        let now = Instant::now();
        let known = self.lock();
        let Known { live, patience } = &*known;
        let may = |site: &SiteId| patience.not_before(content, *site).is_none_or(|at| at <= now);
        let order = |site: SiteId, giver: &Giver| {
            let unlikely = if site == author { 0 } else { LESS_LIKELY };
            (patience.times(content, site), giver.open + unlikely)
        };
        let able = live.iter().filter(|(site, _)| may(site));
        let (_, giver) = able.min_by_key(|(site, giver)| order(**site, giver))?;
        Some(Picked { outbox: giver.outbox.clone() })
    }

    /// Whether anybody may be asked for a content now.
    pub(super) fn may_ask(&self, content: ManifestId) -> bool {
        let now = Instant::now();
        let Known { live, patience } = &*self.lock();
        let mut sites = live.keys();
        sites.any(|site| patience.not_before(content, *site).is_none_or(|at| at <= now))
    }

    /// Somebody was asked: the question counts as open until it is [`answered`](Self::answered).
    pub(super) fn asked(&self, site: SiteId) {
        if let Some(giver) = self.lock().live.get_mut(&site) {
            giver.open += 1;
        }
    }

    /// Whether a content did not come from somebody when it was last tried.
    pub(super) fn was_missed(&self, content: ManifestId, site: SiteId) -> bool {
        self.lock().patience.times(content, site) > 0
    }

    /// Whether a content may be brought now, as far as this site's own disk is concerned.
    pub(super) fn may_try(&self, content: ManifestId) -> bool {
        let not_before = self.lock().patience.not_before(content, HERE);
        not_before.is_none_or(|at| at <= Instant::now())
    }

    /// From when on a content may be brought, if anybody may be asked for it at all.
    pub(super) fn again_at(&self, content: ManifestId) -> Option<Instant> {
        let Known { live, patience } = &*self.lock();
        let dues = live.keys().map(|site| patience.not_before(content, *site));
        dues.min()?.max(patience.not_before(content, HERE))
    }

    /// Whether a neighbour shares the folder at the moment.
    pub(super) fn is_live(&self, site: SiteId) -> bool {
        self.lock().live.contains_key(&site)
    }

    /// Whether no neighbour shares the folder at the moment.
    pub(super) fn is_nobody(&self) -> bool {
        self.lock().live.is_empty()
    }

    /// A question is open no more.
    pub(super) fn answered(&self, site: SiteId) {
        if let Some(giver) = self.lock().live.get_mut(&site) {
            giver.open = giver.open.saturating_sub(1);
        }
    }

    /// A content came from somebody.
    pub(super) fn came(&self, content: ManifestId, site: SiteId) {
        self.lock().patience.came(content, site);
    }

    /// A content did not come from somebody.
    pub(super) fn missed(&self, content: ManifestId, site: SiteId, why: &Miss) {
        let chance = RandomState::new().hash_one(site);
        let mut known = self.lock();
        if let Some(giver) = known.live.get_mut(&site).filter(|_| *why == Miss::Stalled) {
            giver.stalled = Some(giver.outbox.came().load(Ordering::Relaxed));
        }
        known.patience.missed((content, site), why, Instant::now(), chance);
    }

    /// Whether somebody gives again who gave nothing of any: what a calendar held there goes on with what
    /// was asked for last (spec: S-255).
    pub(super) fn give_again(&self) -> bool {
        let (mut known, now) = (self.lock(), Instant::now());
        let Known { live, patience } = &mut *known;
        let mut is_any = false;
        for (site, giver) in live {
            let came = giver.outbox.came().load(Ordering::Relaxed);
            if giver.stalled.take_if(|before| *before != came).is_some() {
                patience.gives_again(*site, now);
                is_any = true;
            }
        }
        is_any
    }

    /// Whether somebody who was asked at `asked` has given nothing at all for too long.
    pub(super) fn is_stalled(&self, site: SiteId, asked: Instant) -> bool {
        let now = Instant::now();
        let mut known = self.lock();
        let Some(giver) = known.live.get_mut(&site) else { return false };
        let came = giver.outbox.came().load(Ordering::Relaxed);
        if came != giver.seen.0 {
            giver.seen = (came, now);
        }
        now.duration_since(giver.seen.1.max(asked)) > STALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: ManifestId = ManifestId([1; 32]);

    /// Whoever is asked next for a content of `author`'s.
    fn next(givers: &Givers, author: SiteId) -> SiteId {
        let picked = givers.pick(CONTENT, author).expect("somebody may be asked").site();
        givers.asked(picked);
        picked
    }

    /// Somebody whom a calendar held for a night was asked again minutes after it.
    /// spec: S-255
    #[test]
    fn who_gives_again_is_asked_at_once_for_what_it_owed() {
        let givers = Givers::default();
        let (held, lacking) = (SiteId([2; 32]), SiteId([3; 32]));
        let outbox = Outbox::scripted(held).0;
        givers.join(outbox.clone());
        givers.join(Outbox::scripted(lacking).0);
        for _ in 0..8 {
            givers.missed(CONTENT, held, &Miss::Stalled);
            givers.missed(CONTENT, lacking, &Miss::HasNot);
        }
        assert!(!givers.give_again() && !givers.may_ask(CONTENT), "nothing came of any");
        outbox.came().fetch_add(1, Ordering::Relaxed);
        assert!(givers.give_again());
        assert_eq!(next(&givers, lacking), held, "the other one lacks it");
        assert!(!givers.give_again(), "once");
        // It gives something and then nothing: it is left alone again, and what it lacks it still lacks.
        givers.missed(CONTENT, held, &Miss::HasNot);
        outbox.came().fetch_add(1, Ordering::Relaxed);
        assert!(!givers.give_again() && !givers.may_ask(CONTENT));
    }

    #[test]
    fn the_author_is_asked_first_and_others_when_it_owes_much_or_lacks_it() {
        let givers = Givers::default();
        let [first, author, stranger] = [2, 3, 4].map(|n| SiteId([n; 32]));
        for site in [first, author] {
            givers.join(Outbox::scripted(site).0);
        }
        for _ in 0..=LESS_LIKELY {
            assert_eq!(next(&givers, stranger), first, "of those who may have it, whoever comes");
            givers.answered(first);
        }
        for _ in 0..LESS_LIKELY {
            assert_eq!(next(&givers, author), author);
        }
        assert_eq!(next(&givers, author), first, "as likely by then, and first");
        assert_eq!(next(&givers, author), author);
        givers.missed(CONTENT, author, &Miss::HasNot);
        assert_eq!(next(&givers, author), first);
    }
}
