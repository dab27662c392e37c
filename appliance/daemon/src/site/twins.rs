//! Two live machines with the key of one site: a copy of a virtual machine, or of a state directory.
//!
//! Each of them has a session with a peer for as long as the other one does not call. Who sees that
//! again and again says so (spec: S-147). What both publish is kept: it goes under different
//! incarnations as soon as one of them hears of the other (spec: S-056).

use farhaul_proto::ids::SiteId;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a sign counts.
pub(crate) const COUNTS_FOR: Duration = Duration::from_mins(10);
/// A session that a newer one of this site replaced, although this process called no other, may be a
/// call that was given up and came late: not so often.
const REPLACED_MIN: usize = 3;
/// Who comes back to a place that it left, from another one, may have moved; not so often.
const RETURNS_MIN: usize = 2;
/// Signs that are kept of a peer.
const SIGNS_MAX: usize = 16;

/// Who is there twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twice {
    /// This site: another machine calls a peer with its key.
    Us,
    /// The peer: it calls from these two places in turn.
    Them(SocketAddr, SocketAddr),
}

/// What was seen of each peer.
#[derive(Debug, Default)]
pub(super) struct Twins {
    seen: BTreeMap<SiteId, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// When a peer said that a newer session of this site replaced the one that it had.
    replaced: VecDeque<Instant>,
    /// From where to where a peer went that called while it had a session.
    moves: VecDeque<(Instant, SocketAddr, SocketAddr)>,
}

impl Twins {
    /// A peer replaced the session that this site has with it by one that this site is to have called,
    /// and this process has no other.
    pub(super) fn replaced(&mut self, peer: SiteId, now: Instant) -> Option<Twice> {
        let seen = self.seen.entry(peer).or_default();
        seen.forget(now);
        seen.replaced.push_back(now);
        (seen.replaced.len() >= REPLACED_MIN).then_some(Twice::Us)
    }

    /// A peer that has a session from one place called from another one.
    pub(super) fn moved(
        &mut self,
        peer: SiteId,
        (from, to): (SocketAddr, SocketAddr),
        now: Instant,
    ) -> Option<Twice> {
        if from == to {
            return None;
        }
        let seen = self.seen.entry(peer).or_default();
        seen.forget(now);
        seen.moves.push_back((now, from, to));
        let has_left =
            |n: usize, place| seen.moves.iter().take(n).any(|(_, left, _)| *left == place);
        let returns = seen.moves.iter().enumerate().filter(|(n, (_, _, to))| has_left(*n, *to));
        (returns.count() >= RETURNS_MIN).then_some(Twice::Them(from, to))
    }
}

impl Seen {
    fn forget(&mut self, now: Instant) {
        let counts = |at: &Instant| now.saturating_duration_since(*at) < COUNTS_FOR;
        self.replaced.retain(counts);
        self.moves.retain(|(at, ..)| counts(at));
        self.replaced.truncate(SIGNS_MAX - 1);
        while self.moves.len() >= SIGNS_MAX {
            self.moves.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: SiteId = SiteId([7; 32]);

    fn place(n: u8) -> SocketAddr {
        ([10, 0, 0, n], 7411).into()
    }

    #[test]
    fn who_calls_from_two_places_in_turn_is_there_twice_and_who_moves_is_not() {
        let (mut twins, now) = (Twins::default(), Instant::now());
        let mut goes = |from, to, after| {
            twins.moved(PEER, (place(from), place(to)), now + Duration::from_secs(after))
        };
        // From place to place, and home in the end; and a process that is restarted again and again.
        for (from, to) in [(1, 2), (2, 3), (3, 4), (4, 4), (4, 4), (4, 1)] {
            assert_eq!(goes(from, to, 1), None);
        }
        assert_eq!(goes(1, 2, 2), Some(Twice::Them(place(1), place(2))));
        // What is long over does not count.
        assert_eq!(goes(2, 1, 700), None);
        assert_eq!(goes(1, 2, 701), None);
        assert!(goes(2, 1, 702).is_some());
    }

    #[test]
    fn one_session_that_was_replaced_is_no_sign_and_three_within_ten_minutes_are() {
        let (mut twins, now) = (Twins::default(), Instant::now());
        let mut at = |after| twins.replaced(PEER, now + Duration::from_secs(after));
        assert_eq!((at(0), at(1), at(700), at(701)), (None, None, None, None));
        assert_eq!(at(702), Some(Twice::Us));
        for after in 703..800 {
            assert_eq!(at(after), Some(Twice::Us));
        }
    }
}
