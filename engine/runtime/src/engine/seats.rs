//! How many sessions peers may hold open: one site must not keep the others out, and one that broke
//! the protocol stays out for a minute.

use crate::identity::SiteId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Sessions of one site at once.
const PER_SITE_MAX: usize = 16;
/// Sessions of all sites at once.
const TOTAL_MAX: usize = 1024;

/// How long a site stays out that broke the protocol.
const PENALTY: Duration = Duration::from_secs(60);

/// The sessions that are open, by site.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats {
    sites: Arc<Mutex<Sites>>,
}

#[derive(Debug, Default)]
struct Sites {
    taken: HashMap<SiteId, usize>,
    /// Until when a site stays out; only sites that are allowed get in here.
    barred: HashMap<SiteId, Instant>,
}

/// Why there is no place for a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSeat {
    /// It has as many as it may have, or all together have.
    Full,
    /// It broke the protocol a moment ago.
    Barred,
}

/// A session's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    site: SiteId,
    seats: Seats,
}

impl Seats {
    /// A place for one more session of `site`, if there is one.
    pub(super) fn take(&self, site: SiteId, now: Instant) -> Result<Seat, NoSeat> {
        let mut sites = self.sites();
        sites.barred.retain(|_, until| *until > now);
        if sites.barred.contains_key(&site) {
            return Err(NoSeat::Barred);
        }
        let total: usize = sites.taken.values().sum();
        let mine = sites.taken.get(&site).copied().unwrap_or(0);
        if mine >= PER_SITE_MAX || total >= TOTAL_MAX {
            return Err(NoSeat::Full);
        }
        sites.taken.insert(site, mine + 1);
        Ok(Seat { site, seats: self.clone() })
    }

    fn sites(&self) -> MutexGuard<'_, Sites> {
        // Each table is changed in one statement at a time.
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// The site broke the protocol: no new session of it for a while.
    pub(super) fn bar(&self, now: Instant) {
        self.seats.sites().barred.insert(self.site, now + PENALTY);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let taken = &mut self.seats.sites().taken;
        let left = taken.get(&self.site).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            taken.remove(&self.site);
        } else {
            taken.insert(self.site, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_has_sixteen_sessions_and_keeps_no_other_out() {
        let seats = Seats::default();
        let (greedy, other) = (SiteId([1; 32]), SiteId([2; 32]));
        let now = Instant::now();
        let take = |site| seats.take(site, now);
        let mut held: Vec<Seat> = (0..PER_SITE_MAX).flat_map(|_| take(greedy)).collect();
        assert_eq!(held.len(), PER_SITE_MAX);
        assert_eq!(take(greedy).err(), Some(NoSeat::Full));
        assert!(take(other).is_ok());
        held.pop();
        assert!(take(greedy).is_ok());
        drop(held);
        assert!(seats.sites().taken.is_empty());
    }

    #[test]
    fn a_site_that_broke_the_protocol_stays_out_for_a_minute_and_no_other_does() {
        let seats = Seats::default();
        let (guilty, other) = (SiteId([1; 32]), SiteId([2; 32]));
        let now = Instant::now();
        seats.take(guilty, now).expect("a free seat").bar(now);
        assert_eq!(seats.take(guilty, now).err(), Some(NoSeat::Barred));
        assert!(seats.take(other, now).is_ok());
        assert!(seats.take(guilty, now + PENALTY).is_ok());
        assert!(seats.sites().barred.is_empty());
    }

    #[test]
    fn all_sites_together_are_bounded() {
        let seats = Seats::default();
        let site = |n: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            SiteId(id)
        };
        let now = Instant::now();
        let held: Vec<Seat> = (0..2 * TOTAL_MAX).flat_map(|n| seats.take(site(n), now)).collect();
        assert_eq!(held.len(), TOTAL_MAX);
    }
}
