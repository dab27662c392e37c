//! Who hears of whom: a graph of bounded degree, drawn at random, that hangs together.

use crate::swarm::{Dice, NEIGHBOURS_MAX, NEIGHBOURS_WANTED, Peer, Terms};
use std::collections::{BTreeMap, BTreeSet};

/// Candidates among which the one with fewest neighbours is taken.
const CHOICES: usize = 6;

/// Sessions that there shall be.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    links: BTreeMap<Peer, BTreeSet<Peer>>,
    changed: BTreeSet<Peer>,
}

impl Graph {
    /// Two sites shall have a session, if both may have one more.
    pub(super) fn link(&mut self, a: Peer, b: Peer) -> bool {
        if a == b || self.has(a, b) || self.degree(a).max(self.degree(b)) >= NEIGHBOURS_MAX {
            return false;
        }
        self.links.entry(a).or_default().insert(b);
        self.links.entry(b).or_default().insert(a);
        self.changed.extend([a, b]);
        true
    }

    /// A site is gone.
    pub(super) fn remove(&mut self, site: Peer) {
        for other in self.links.remove(&site).unwrap_or_default() {
            if let Some(links) = self.links.get_mut(&other) {
                links.remove(&site);
            }
            self.changed.insert(other);
        }
    }

    /// True if two sites were to have a session.
    pub(super) fn has(&self, a: Peer, b: Peer) -> bool {
        self.links.get(&a).is_some_and(|links| links.contains(&b))
    }

    /// Whom a site has sessions with.
    pub(super) fn of(&self, site: Peer) -> impl Iterator<Item = Peer> + '_ {
        self.links.get(&site).into_iter().flatten().copied()
    }

    /// Whether a site has others than it was told last.
    pub(super) fn is_changed(&self, site: Peer) -> bool {
        self.changed.contains(&site)
    }

    /// Everybody was told.
    pub(super) fn settle(&mut self) {
        self.changed.clear();
    }

    /// Bytes that this takes, nearly.
    pub(super) fn memory(&self) -> usize {
        self.links.values().map(|links| 64 + links.len() * 8).sum()
    }

    /// Links those who have too few: appliances behind one link all with each other, then any.
    pub(super) fn fill(&mut self, sites: &[Peer], terms: &Terms, dice: &mut Dice) {
        if sites.len() < 2 {
            return;
        }
        let wanted = NEIGHBOURS_WANTED.min(sites.len() - 1);
        let mut labels: BTreeMap<u16, Vec<Peer>> = BTreeMap::new();
        for site in sites {
            let label = terms.about(*site).map_or(u16::MAX, |about| about.label);
            labels.entry(label).or_default().push(*site);
        }
        for site in sites {
            if self.degree(*site) >= wanted {
                continue;
            }
            let label = terms.about(*site).map_or(u16::MAX, |about| about.label);
            let mates = labels.get(&label).into_iter().flatten();
            for mate in mates.take(NEIGHBOURS_WANTED) {
                self.link(*site, *mate);
            }
        }
        for site in sites {
            let mut tries = 4 * wanted;
            while self.degree(*site) < wanted && tries > 0 {
                tries -= 1;
                let drawn = (0..CHOICES).map(|_| sites[dice.below(sites.len())]);
                let fitting = drawn.filter(|other| *other != *site && !self.has(*site, *other));
                let Some(other) = fitting.min_by_key(|other| self.degree(*other)) else { continue };
                self.link(*site, other);
            }
        }
    }

    fn degree(&self, site: Peer) -> usize {
        self.links.get(&site).map_or(0, BTreeSet::len)
    }
}
