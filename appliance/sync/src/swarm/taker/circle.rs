//! Whom a site has sessions with: as the planner says, or else a few that everybody can name.

use super::{Effect, Part, Taker};
use crate::swarm::{NEIGHBOURS_MAX, NEIGHBOURS_WANTED, Peer, Plan, RUNS_MAX, Run, elect};
use core::time::Duration;
use farhaul_proto::units::Timestamp;
use std::sync::Arc;

/// A peer that left is not sought for this time.
const SHUN: Duration = Duration::from_secs(30);
/// Chunks that an origin shows before it knows how fast they leave, and later at least.
pub(super) const OPEN_FIRST: usize = 8;

impl Taker {
    pub(super) fn joined(&mut self, peer: Peer, _now: Timestamp) {
        let is_known = self.terms.about(peer).is_some() && peer != self.me;
        if !is_known || self.aside.contains(&peer) || self.neighbours.len() >= NEIGHBOURS_MAX {
            self.effects.push_back(Effect::Unlink(peer));
            return;
        }
        self.gone.remove(&peer);
        self.neighbours.entry(peer).or_default();
        if self.lead.is_some() || self.mine.count() == 0 {
            return;
        }
        let runs: Vec<Run> = self.mine.runs().collect();
        for some in runs.chunks(RUNS_MAX) {
            self.effects.push_back(Effect::Tell(peer, Arc::from(some)));
        }
    }

    pub(super) fn left(&mut self, peer: Peer, now: Timestamp) {
        self.drop_peer(peer, now);
        self.gone.insert(peer, now);
        if let Some(lead) = &mut self.lead {
            lead.left(peer);
            lead.look_again();
        }
        if !self.is_planned(now) {
            self.seek();
        }
    }

    /// A peer is asked for nothing any more, whatever it says.
    pub(super) fn set_aside(&mut self, peer: Peer, now: Timestamp) {
        self.aside.insert(peer);
        self.drop_peer(peer, now);
        if let Some(lead) = &mut self.lead {
            lead.left(peer);
        }
        self.effects.push_back(Effect::Unlink(peer));
    }

    fn drop_peer(&mut self, peer: Peer, now: Timestamp) {
        self.holders.forget(peer);
        self.neighbours.remove(&peer);
        let slices = self.chases.values().flat_map(|chase| &chase.slices);
        let owed = slices.filter(|slice| slice.peer == peer && !slice.is_here);
        let owed: Vec<Part> = owed.map(|slice| slice.part).collect();
        for part in owed {
            self.effects.push_back(Effect::Cancel(peer, part));
            self.redo(peer, part, now);
        }
    }

    pub(super) fn plan(&mut self, plan: &Plan, now: Timestamp) {
        self.planned_at = Some(now);
        for peer in &plan.aside {
            if *peer != self.me && !self.aside.contains(peer) {
                self.set_aside(*peer, now);
            }
        }
        if let Some(lead) = &mut self.lead {
            let chunks = self.terms.chunks();
            let is_fine = |run: &&Run| run.end(chunks).is_ok();
            let part: Vec<Run> = plan.part.iter().filter(is_fine).copied().collect();
            lead.plan(&part, &plan.leads);
        }
        for peer in plan.neighbours.iter().take(NEIGHBOURS_MAX).filter(|peer| **peer != self.me) {
            if !self.neighbours.contains_key(peer) && !self.aside.contains(peer) {
                self.effects.push_back(Effect::Link(*peer));
            }
        }
    }

    /// Each second: sessions, and at an origin without a plan whom it gives to.
    pub(super) fn upkeep(&mut self, now: Timestamp) {
        self.gone.retain(|_, at| now.since(*at) < SHUN);
        let is_planned = self.is_planned(now);
        if !is_planned {
            self.seek();
        }
        let Some(lead) = &mut self.lead else { return };
        lead.forgive();
        // What left within two seconds, and a few more, is shown ahead: the uplink never waits for an ask.
        self.open = 2 * self.left_since + OPEN_FIRST;
        self.left_since = 0;
        if !is_planned {
            let takers = self.neighbours.keys().copied();
            let is_taker = |peer: &Peer| self.terms.about(*peer).is_some_and(|a| !a.is_origin);
            let even: Vec<(Peer, u64)> = takers.filter(is_taker).map(|peer| (peer, 1)).collect();
            lead.weigh(&even);
        }
    }

    /// Without a plan: more neighbours where there are too few.
    fn seek(&mut self) {
        if self.neighbours.len() > NEIGHBOURS_WANTED / 2 {
            return;
        }
        let is_out = |peer| self.aside.contains(&peer) || self.gone.contains_key(&peer);
        let wanted = elect::neighbours(&self.terms, self.me, NEIGHBOURS_WANTED, is_out);
        for peer in wanted {
            let is_origin = self.terms.about(peer).is_some_and(|about| about.is_origin);
            let is_pointless = is_origin && self.lead.is_some();
            if !is_pointless && !self.neighbours.contains_key(&peer) {
                self.effects.push_back(Effect::Link(peer));
            }
        }
    }

    /// At an origin: what goes out next, and to whom.
    pub(super) fn show(&mut self, now: Timestamp) {
        let is_planned = self.is_planned(now);
        let Some(lead) = &mut self.lead else { return };
        let is_alive = |peer: &Peer| !self.gone.contains_key(peer) && !self.aside.contains(peer);
        let origins = self.terms.sites().filter(|(_, about)| about.is_origin).map(|(peer, _)| peer);
        let origins: Vec<Peer> = origins.filter(is_alive).collect();
        let open = self.open;
        let known = (&*self.terms, &self.holders);
        let shows = lead.show(known, (&origins, is_planned), open, &mut self.dice, now);
        for (peer, chunk) in shows {
            self.effects.push_back(Effect::Tell(peer, Arc::from([Run::one(chunk)])));
        }
    }
}
