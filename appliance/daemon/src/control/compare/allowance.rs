//! How much a neighbour may have this site compare: a question of a few bytes may cost a pass over
//! all of the index, and nothing keeps a member from asking it again and again (spec: S-146).

use farhaul_proto::ids::SiteId;
use std::collections::BTreeMap;
use std::time::Instant;

/// Passes over what is held that may be asked for at once. A comparison takes one to three.
const PASSES: u64 = 16;
/// What is taken for held at least: there are so many buckets.
const HELD_MIN: u64 = 1 << 16;
/// Rows a second that may be asked for without an end: some hundredths of what a processor reads.
const PER_SECOND: u64 = 20_000;

/// What each neighbour had this site read of its index, in sessions that were and that are.
#[derive(Debug, Default)]
pub(in super::super) struct Allowances {
    spent: BTreeMap<SiteId, (u64, Instant)>,
    /// How many records were held when they were counted, and the arrival number then.
    held: Option<(u64, u64)>,
}

impl Allowances {
    /// How many records are held, about, of an index that has given arrival numbers up to `last`: one
    /// with a long history has given many more than it holds. Counting is a pass over all of them, so
    /// it is done anew when there may be an eighth more.
    ///
    /// # Errors
    /// Those of `count`.
    pub(super) fn held<E>(
        &mut self,
        last: u64,
        count: impl FnOnce() -> Result<u64, E>,
    ) -> Result<u64, E> {
        if last <= HELD_MIN {
            return Ok(last);
        }
        if let Some((held, then)) = self.held
            && last.saturating_sub(then) <= (held / 8).max(HELD_MIN)
        {
            return Ok(held);
        }
        let held = count()?;
        self.held = Some((held, last));
        Ok(held)
    }

    /// Whether a neighbour may ask on, of a site that holds about `held` records.
    pub(super) fn has_left(&mut self, peer: SiteId, held: u64, now: Instant) -> bool {
        let Some((spent, since)) = self.spent.get_mut(&peer) else { return true };
        let seconds = now.saturating_duration_since(*since).as_secs();
        *spent = spent.saturating_sub(seconds.saturating_mul(PER_SECOND));
        // What is left of a second counts with the next one.
        *since += std::time::Duration::from_secs(seconds);
        *spent < held.max(HELD_MIN).saturating_mul(PASSES)
    }

    #[cfg(test)]
    pub(super) fn spent(&self, peer: SiteId) -> u64 {
        self.spent.get(&peer).map_or(0, |(spent, _)| *spent)
    }

    /// A neighbour had so many rows read.
    pub(super) fn spend(&mut self, peer: SiteId, rows: u64, now: Instant) {
        let (spent, _) = self.spent.entry(peer).or_insert((0, now));
        *spent = spent.saturating_add(rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const A: SiteId = SiteId([1; 32]);
    const B: SiteId = SiteId([2; 32]);

    #[test]
    fn what_is_held_is_counted_and_not_what_once_came() {
        let mut allowances = Allowances::default();
        let nobody = || -> Result<u64, ()> { panic!("it is known") };
        assert_eq!(allowances.held(HELD_MIN, nobody), Ok(HELD_MIN), "no more than that");
        // Three million versions came, of which others cover all but 100,000.
        let held = allowances.held(3_000_000, || Ok::<_, ()>(100_000)).expect("counted");
        assert_eq!(held, 100_000);
        assert_eq!(allowances.held(3_000_000 + HELD_MIN, nobody), Ok(100_000));
        let more = allowances.held(3_000_001 + HELD_MIN, || Ok::<_, ()>(160_000));
        assert_eq!(more, Ok(160_000));
        assert_eq!(allowances.held(9_000_000, || Err(())), Err(()));
    }

    #[test]
    fn sixteen_passes_at_once_and_then_as_many_as_time_allows() {
        let (mut allowances, now) = (Allowances::default(), Instant::now());
        let held = 1_000_000;
        for _ in 0..16 {
            assert!(allowances.has_left(A, held, now));
            allowances.spend(A, held, now);
        }
        assert!(!allowances.has_left(A, held, now));
        assert!(allowances.has_left(B, held, now), "it has asked nothing");
        let later = now + Duration::from_millis(900);
        assert!(!allowances.has_left(A, held, later));
        assert!(allowances.has_left(A, held, now + Duration::from_secs(1)));
        allowances.spend(A, held, now + Duration::from_secs(1));
        // A pass in 50 seconds from then on.
        assert!(!allowances.has_left(A, held, now + Duration::from_secs(50)));
        assert!(allowances.has_left(A, held, now + Duration::from_secs(51)));
    }
}
