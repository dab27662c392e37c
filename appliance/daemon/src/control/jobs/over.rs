//! Jobs that are over for sites that may not have heard of it: who was away when a job was replaced, or
//! left it out, hears so when he returns (spec: S-239).

use super::keep::KeptOver;
use crate::control::Loop;
use crate::moment::now_millis;
use farhaul_proto::ids::SiteId;
use farhaul_sync::job::{JobId, JobMessage, Order, Wish};
use std::collections::BTreeSet;

/// How many are remembered: beyond it the oldest one goes, and who was away for that keeps his part.
const OVER_MAX: usize = 256;

impl Loop {
    /// What a job was is over for some sites. Whoever is there is told now, all of them whenever they
    /// connect.
    pub(super) fn end_for(&mut self, order: Order, sites: BTreeSet<SiteId>) {
        let me = self.identity.id();
        let order = Order { wish: Wish::Stop, ..order };
        if sites.contains(&me) {
            self.ordered(me, order.clone());
        }
        let mut sites: BTreeSet<SiteId> = sites.into_iter().filter(|site| *site != me).collect();
        let message = JobMessage::Order(Box::new(order.clone()));
        sites.iter().for_each(|site| self.say_job(*site, &message));
        let id = order.spec.id;
        if let Some(before) = self.jobs.over.remove(&id) {
            sites.extend(before.sites);
        }
        self.remember_over(id, KeptOver { order, sites, at_millis: now_millis() });
    }

    /// Sites that have a part in a job again are not told any more that it is over.
    pub(super) fn takes_part_again(&mut self, order: &Order) {
        let (id, sites) = (order.spec.id, order.spec.sites());
        let is_any = |over: &KeptOver| !over.sites.is_disjoint(&sites);
        if let Some(mut over) = self.jobs.over.remove(&id) {
            let changes = is_any(&over);
            over.sites.retain(|site| !sites.contains(site));
            if changes {
                self.remember_over(id, over);
            } else {
                self.jobs.over.insert(id, over);
            }
        }
    }

    fn remember_over(&mut self, id: JobId, over: KeptOver) {
        let kept = self.keep().map(|keep| match over.sites.is_empty() {
            true => keep.forget_over(id),
            false => keep.save_over(id, &over),
        });
        if let Some(Err(error)) = kept {
            tracing::error!(job = %id, %error, "that it is over is not remembered over a restart");
        }
        if over.sites.is_empty() {
            return;
        }
        self.jobs.over.insert(id, over);
        while self.jobs.over.len() > OVER_MAX
            && let Some((oldest, _)) = self.jobs.over.iter().min_by_key(|(_, over)| over.at_millis)
        {
            let oldest = *oldest;
            self.jobs.over.remove(&oldest);
            if let Some(Err(error)) = self.keep().map(|keep| keep.forget_over(oldest)) {
                tracing::warn!(job = %oldest, %error, "what was kept of it cannot be removed");
            }
        }
    }

    /// Tells a peer what is over for it.
    pub(super) fn say_over(&self, peer: SiteId) {
        let over = self.jobs.over.values().filter(|over| over.sites.contains(&peer));
        over.for_each(|over| {
            self.say_job(peer, &JobMessage::Order(Box::new(over.order.clone())));
        });
    }
}
