//! Who is asked for a content again, and when: whoever lacked it or gave something else is left alone
//! for a while, twice as long each time (spec: S-074). No clock: the moment comes with each question.

use farhaul_proto::ids::SiteId;
use farhaul_sync::version::ManifestId;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// What is remembered at most: beyond it what is due soonest is forgotten.
const REMEMBERED_MAX: usize = 1 << 16;
/// The longest time that somebody is left alone for.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Why a content did not come from somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// It is not there.
    HasNot,
    /// Something else came, or it cannot be taken from there.
    Bad,
    /// Nothing came for too long.
    Stalled,
    /// The session is over, or has too much to say: nobody's fault, and soon over.
    Busy,
    /// The folder halts there, and is opened again by itself (spec: S-159); or this site has not taken
    /// what it was given before (spec: S-161).
    Halted,
    /// Nobody who was asked said whether it is there: of this site, not of any of them (spec: S-163).
    Unsaid,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HasNot => "it has not got it",
            Self::Bad => "what came is something else, or cannot be taken from there",
            Self::Stalled => "nothing came for too long",
            Self::Busy => "the session ended, or has too much to say",
            Self::Halted => {
                "its folder halts there, or much that was asked for before is on its way"
            }
            Self::Unsaid => "nobody who was asked said whether it is there",
        })
    }
}

impl Miss {
    /// Whether it says nothing of the content: who was asked may have it (spec: S-163).
    pub(super) const fn is_mute(&self) -> bool {
        matches!(self, Self::Busy | Self::Halted)
    }

    /// How long somebody is left alone for after the first time.
    const fn first_wait(&self) -> Duration {
        match self {
            Self::HasNot => Duration::from_millis(250),
            Self::Bad | Self::Unsaid => Duration::from_secs(10),
            Self::Stalled => Duration::from_secs(30),
            Self::Busy => Duration::from_millis(250),
            Self::Halted => Duration::from_secs(2),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Tried {
    times: u32,
    not_before: Instant,
    is_unsaid: bool,
    is_stalled: bool,
}

/// What was tried in vain.
#[derive(Debug, Default)]
pub(super) struct Patience {
    tried: BTreeMap<(ManifestId, SiteId), Tried>,
}

impl Patience {
    /// A content did not come from `site`. `chance` spreads the next attempts of many by a quarter.
    pub(super) fn missed(
        &mut self,
        (content, site): (ManifestId, SiteId),
        why: &Miss,
        now: Instant,
        chance: u64,
    ) {
        let before = self.tried.get(&(content, site)).map_or(0, |tried| tried.times);
        // How often it was lacked before says nothing of how soon somebody speaks again.
        let (times, doubled) =
            if why.is_mute() { (before, 0) } else { (before.saturating_add(1), before.min(16)) };
        let wait = why.first_wait().saturating_mul(1 << doubled).min(WAIT_MAX);
        let spread = u32::try_from(875 + chance % 251).unwrap_or(1000);
        let not_before = now + wait * spread / 1000;
        let is_unsaid = *why == Miss::Unsaid;
        let is_stalled = *why == Miss::Stalled;
        let tried = Tried { times, not_before, is_unsaid, is_stalled };
        self.tried.insert((content, site), tried);
        if self.tried.len() > REMEMBERED_MAX {
            self.forget_due(now);
        }
    }

    /// Somebody may be asked who could not be before: what nobody spoke of may be tried at once.
    pub(super) fn somebody_came(&mut self) {
        self.tried.retain(|_, tried| !tried.is_unsaid);
    }

    /// Something comes from somebody again who gave nothing of any: what was owed may be asked for at
    /// once, of others first.
    pub(super) fn gives_again(&mut self, site: SiteId, now: Instant) {
        let of_it =
            self.tried.iter_mut().filter(|((_, of), tried)| *of == site && tried.is_stalled);
        for (_, tried) in of_it {
            (tried.times, tried.not_before) = (1, tried.not_before.min(now));
        }
    }

    /// It came.
    pub(super) fn came(&mut self, content: ManifestId, site: SiteId) {
        self.tried.remove(&(content, site));
    }

    /// Since when, or from when on, `site` may be asked; `None`: it was never tried in vain.
    pub(super) fn not_before(&self, content: ManifestId, site: SiteId) -> Option<Instant> {
        self.tried.get(&(content, site)).map(|tried| tried.not_before)
    }

    /// How often it was tried in vain.
    pub(super) fn times(&self, content: ManifestId, site: SiteId) -> u32 {
        self.tried.get(&(content, site)).map_or(0, |tried| tried.times)
    }

    fn forget_due(&mut self, now: Instant) {
        self.tried.retain(|_, tried| tried.not_before > now);
        if self.tried.len() > REMEMBERED_MAX {
            let mut dues: Vec<Instant> =
                self.tried.values().map(|tried| tried.not_before).collect();
            let (_, middle, _) = dues.select_nth_unstable(REMEMBERED_MAX / 2);
            let middle = *middle;
            self.tried.retain(|_, tried| tried.not_before > middle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: ManifestId = ManifestId([1; 32]);
    const SITE: SiteId = SiteId([2; 32]);

    fn wait_after(patience: &mut Patience, why: &Miss, now: Instant, chance: u64) -> Duration {
        patience.missed((CONTENT, SITE), why, now, chance);
        patience.not_before(CONTENT, SITE).expect("tried") - now
    }

    #[test]
    fn who_lacks_a_content_is_left_alone_twice_as_long_each_time() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        // The middle of the chance.
        let waits: Vec<_> =
            (0..12).map(|_| wait_after(&mut patience, &Miss::HasNot, now, 125)).collect();
        for (n, wait) in (0..8).zip(&waits) {
            assert_eq!(*wait, Duration::from_millis(250 << n));
        }
        assert_eq!(waits[11], WAIT_MAX);
        patience.came(CONTENT, SITE);
        assert_eq!(wait_after(&mut patience, &Miss::HasNot, now, 125), Duration::from_millis(250));
    }

    /// spec: S-163
    #[test]
    fn what_nobody_spoke_of_is_tried_twice_as_late_each_time_unless_somebody_comes() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        let waits = [10, 20, 40, 80, 160, 300, 300].map(Duration::from_secs);
        for wait in waits {
            assert_eq!(wait_after(&mut patience, &Miss::Unsaid, now, 125), wait);
        }
        patience.missed((ManifestId([2; 32]), SITE), &Miss::HasNot, now, 125);
        patience.somebody_came();
        assert_eq!(patience.not_before(CONTENT, SITE), None);
        assert_eq!(patience.times(ManifestId([2; 32]), SITE), 1);
        assert_eq!(wait_after(&mut patience, &Miss::Unsaid, now, 125), waits[0]);
    }

    #[test]
    fn chance_spreads_attempts_by_an_eighth_to_each_side() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        for chance in [0, 250, u64::MAX] {
            patience.came(CONTENT, SITE);
            let wait = wait_after(&mut patience, &Miss::Bad, now, chance);
            assert!((8_750..=11_250).contains(&wait.as_millis()), "{wait:?}");
        }
    }

    #[test]
    fn a_busy_session_or_a_halt_does_not_make_a_site_one_that_lacks_it() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        for _ in 0..20 {
            wait_after(&mut patience, &Miss::Busy, now, 125);
            let wait = wait_after(&mut patience, &Miss::Halted, now, 125);
            assert_eq!(wait, Duration::from_secs(2));
        }
        assert_eq!(patience.times(CONTENT, SITE), 0);
        // Nor does it wait longer because the content was lacked before.
        for _ in 0..6 {
            wait_after(&mut patience, &Miss::HasNot, now, 125);
        }
        let wait = wait_after(&mut patience, &Miss::Halted, now, 125);
        assert_eq!((wait, patience.times(CONTENT, SITE)), (Duration::from_secs(2), 6));
        let wait = wait_after(&mut patience, &Miss::Busy, now, 125);
        assert_eq!((wait, patience.times(CONTENT, SITE)), (Duration::from_millis(250), 6));
        patience.came(CONTENT, SITE);
        assert_eq!(wait_after(&mut patience, &Miss::HasNot, now, 125), Duration::from_millis(250));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        for n in 0..REMEMBERED_MAX as u64 + 10 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            patience.missed((ManifestId(id), SITE), &Miss::HasNot, now, n);
        }
        assert!(patience.tried.len() <= REMEMBERED_MAX);
    }
}
