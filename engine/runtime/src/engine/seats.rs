//! How many sessions peers may hold open: one site must not keep the others out.

use crate::identity::SiteId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Sessions of one site at once.
const PER_SITE_MAX: usize = 16;
/// Sessions of all sites at once.
const TOTAL_MAX: usize = 1024;

/// The sessions that are open, by site.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats {
    taken: Arc<Mutex<HashMap<SiteId, usize>>>,
}

/// A session's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    site: SiteId,
    seats: Seats,
}

impl Seats {
    /// A place for one more session of `site`, if there is one.
    pub(super) fn take(&self, site: SiteId) -> Option<Seat> {
        let mut taken = self.taken();
        let total: usize = taken.values().sum();
        let mine = taken.get(&site).copied().unwrap_or(0);
        if mine >= PER_SITE_MAX || total >= TOTAL_MAX {
            return None;
        }
        taken.insert(site, mine + 1);
        Some(Seat { site, seats: self.clone() })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<SiteId, usize>> {
        // Counts are changed in one statement each.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
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
        let mut held: Vec<Seat> = (0..PER_SITE_MAX).filter_map(|_| seats.take(greedy)).collect();
        assert_eq!(held.len(), PER_SITE_MAX);
        assert!(seats.take(greedy).is_none());
        assert!(seats.take(other).is_some());
        held.pop();
        assert!(seats.take(greedy).is_some());
        drop(held);
        assert!(seats.taken().is_empty());
    }

    #[test]
    fn all_sites_together_are_bounded() {
        let seats = Seats::default();
        let site = |n: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            SiteId(id)
        };
        let held: Vec<Seat> = (0..2 * TOTAL_MAX).filter_map(|n| seats.take(site(n))).collect();
        assert_eq!(held.len(), TOTAL_MAX);
    }
}
