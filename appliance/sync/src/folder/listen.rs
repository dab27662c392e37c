//! Whether an index that was just opened may publish.
//!
//! An index cannot know whether it is the newest that its site ever had: it may have been put back
//! from a copy, with all that stands beside it. Its neighbours know. So it listens first: until then
//! what is found on disk is remembered, and nothing is published (spec: S-024).

use core::time::Duration;
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::Timestamp;
use std::collections::BTreeMap;

/// How long neighbours that are not there are waited for once one was heard, and one that is there
/// and says nothing.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long after the index was opened one is waited for that goes on telling: who names a head that
/// it never comes to would silence everybody else's site for ever.
pub(super) const PATIENCE_TELLING: Duration = Duration::from_secs(600);

/// What was heard of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is not there.
    Away,
    /// It tells what it has.
    Telling {
        /// Its arrival number up to which it has to tell.
        head: u64,
        /// When it last said something.
        last: Timestamp,
    },
    /// All that it had when it came.
    All,
}

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Listen on.
    Listen,
    /// Publish: every neighbour was heard, or there is none.
    Publish,
    /// Publish, under a new incarnation: some neighbour was not heard, and may know of numbers that
    /// this index does not know it gave.
    Renew,
}

/// An index that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    neighbours: BTreeMap<SiteId, Heard>,
    since: Timestamp,
}

impl Listening {
    /// An index that is shared with `neighbours`, from `now` on.
    pub fn new(neighbours: impl IntoIterator<Item = SiteId>, now: Timestamp) -> Self {
        let neighbours = neighbours.into_iter().map(|site| (site, Heard::Away)).collect();
        Self { neighbours, since: now }
    }

    /// A neighbour is there, and has given arrival numbers up to `head`.
    pub fn came(&mut self, site: SiteId, head: u64, now: Timestamp) {
        if let Some(heard) = self.neighbours.get_mut(&site)
            && *heard != Heard::All
        {
            *heard = Heard::Telling { head, last: now };
        }
    }

    /// A neighbour told everything up to an arrival number of its, and that is kept.
    pub fn told(&mut self, site: SiteId, up_to: u64, now: Timestamp) {
        if let Some(heard) = self.neighbours.get_mut(&site)
            && let Heard::Telling { head, .. } = *heard
        {
            *heard = if up_to >= head { Heard::All } else { Heard::Telling { head, last: now } };
        }
    }

    /// A neighbour went.
    pub fn left(&mut self, site: SiteId) {
        if let Some(heard) = self.neighbours.get_mut(&site)
            && *heard != Heard::All
        {
            *heard = Heard::Away;
        }
    }

    /// What may be done now. As long as no neighbour was heard at all nothing is lost by listening
    /// on: there is nobody who would hear what is published.
    pub fn verdict(&self, now: Timestamp) -> Verdict {
        if self.neighbours.values().all(|heard| *heard == Heard::All) {
            return Verdict::Publish;
        }
        let is_over = |since: Timestamp| now >= since + PATIENCE;
        let is_any_heard = self.neighbours.values().any(|heard| *heard == Heard::All);
        let is_too_long = now >= self.since + PATIENCE_TELLING;
        let is_any_telling = self.neighbours.values().any(|heard| match heard {
            Heard::Telling { last, .. } => !is_over(*last) && !is_too_long,
            Heard::Away | Heard::All => false,
        });
        if is_any_heard && !is_any_telling && is_over(self.since) {
            Verdict::Renew
        } else {
            Verdict::Listen
        }
    }

    /// What was heard of each neighbour, to be shown.
    pub fn neighbours(&self) -> impl Iterator<Item = (SiteId, Heard)> + '_ {
        self.neighbours.iter().map(|(site, heard)| (*site, *heard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SiteId = SiteId([1; 32]);
    const B: SiteId = SiteId([2; 32]);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn without_neighbours_there_is_nobody_to_listen_to() {
        assert_eq!(Listening::new([], at(0)).verdict(at(0)), Verdict::Publish);
    }

    #[test]
    fn who_has_heard_everybody_publishes_under_its_name() {
        let mut listening = Listening::new([A, B], at(0));
        listening.came(A, 7, at(1));
        listening.came(B, 0, at(1));
        listening.told(A, 6, at(2));
        listening.told(B, 0, at(2));
        assert_eq!(listening.verdict(at(2)), Verdict::Listen);
        listening.told(A, 7, at(3));
        assert_eq!(listening.verdict(at(3)), Verdict::Publish);
    }

    #[test]
    fn as_long_as_nobody_was_heard_it_listens() {
        let mut listening = Listening::new([A, B], at(0));
        assert_eq!(listening.verdict(at(1_000_000)), Verdict::Listen);
        listening.came(A, 7, at(1_000_000));
        listening.left(A);
        assert_eq!(listening.verdict(at(2_000_000)), Verdict::Listen);
    }

    #[test]
    fn who_is_away_is_waited_for_and_not_for_ever() {
        let mut listening = Listening::new([A, B], at(0));
        listening.came(A, 0, at(1));
        listening.told(A, 0, at(2));
        assert_eq!(listening.verdict(at(59)), Verdict::Listen);
        assert_eq!(listening.verdict(at(60)), Verdict::Renew);
        listening.came(B, 9, at(61));
        assert_eq!(listening.verdict(at(61)), Verdict::Listen);
        listening.told(B, 4, at(100));
        assert_eq!(listening.verdict(at(159)), Verdict::Listen);
        assert_eq!(listening.verdict(at(160)), Verdict::Renew);
        listening.told(B, 9, at(161));
        assert_eq!(listening.verdict(at(161)), Verdict::Publish);
    }

    #[test]
    fn who_tells_without_an_end_is_waited_for_ten_minutes() {
        let mut listening = Listening::new([A, B], at(0));
        listening.came(A, 0, at(1));
        listening.told(A, 0, at(1));
        listening.came(B, u64::MAX, at(1));
        for second in (10..600).step_by(10) {
            listening.told(B, second, at(second));
            assert_eq!(listening.verdict(at(second)), Verdict::Listen);
        }
        listening.told(B, 600, at(600));
        assert_eq!(listening.verdict(at(600)), Verdict::Renew);
        // It comes again, and so do those words.
        listening.left(B);
        listening.came(B, u64::MAX, at(601));
        listening.told(B, 1, at(601));
        assert_eq!(listening.verdict(at(601)), Verdict::Renew);
    }

    #[test]
    fn what_was_heard_stays_heard_when_the_neighbour_goes() {
        let mut listening = Listening::new([A], at(0));
        listening.came(A, 3, at(1));
        listening.told(A, 3, at(1));
        listening.left(A);
        listening.came(A, 9, at(5));
        assert_eq!(listening.verdict(at(5)), Verdict::Publish);
    }
}
