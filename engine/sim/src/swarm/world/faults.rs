//! What goes wrong in a run: sites that leave and come back, links that flap, deaths.

use super::{Event, SILENT_MS, World};
use crate::swarm::net::Flow;
use crate::swarm::sites::peer;
use farhaul_sync::swarm::Giver;
use farhaul_sync::swarm::planner::Input as PlannerInput;

/// How long a site that leaves stays away, in milliseconds: half a minute.
const AWAY: u64 = 30_000;
/// A flapping link carries nothing for the first of these out of the second, in milliseconds.
const FLAP: (u64, u64) = (3_000, 11_000);

#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Once a second some sites leave.
    Churn,
    /// Its neighbours notice.
    Noticed(usize, u32),
    /// Waits end in steps, for no event may lie far ahead.
    Return(usize, u64),
    Flap(usize, bool),
    PlannerDies(u64),
    OriginDies(u64),
}

impl World {
    pub(super) fn plan_faults(&mut self) {
        let millis = |at: core::time::Duration| u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        if self.cell.churn > 0.0 {
            self.wheel.put(1000, Event::Fault(Fault::Churn));
        }
        if let Some(at) = self.cell.planner_dies {
            self.wheel.put(1, Event::Fault(Fault::PlannerDies(millis(at))));
        }
        if let Some(at) = self.cell.origin_dies {
            self.wheel.put(1, Event::Fault(Fault::OriginDies(millis(at))));
        }
        for at in 0..self.sites.len() {
            if self.ends[at].is_flapping {
                let first = self.rng.below(FLAP.1 / 4);
                self.wheel.put(first, Event::Fault(Fault::Flap(at, true)));
            }
        }
    }

    pub(super) fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Churn => self.churn(),
            Fault::Noticed(at, life) => self.noticed(at, life),
            Fault::Return(at, left) => match left.checked_sub(1000) {
                Some(left) => self.wheel.put(1000, Event::Fault(Fault::Return(at, left))),
                None => self.start(at),
            },
            Fault::Flap(at, is_off) => self.flap(at, is_off),
            Fault::PlannerDies(at) => {
                if self.wheel.now() >= at {
                    self.planner = None;
                } else {
                    self.wheel.put(10, Event::Fault(Fault::PlannerDies(at)));
                }
            }
            Fault::OriginDies(at) => {
                if self.wheel.now() >= at {
                    self.leave(self.cell.origins - 1);
                } else {
                    self.wheel.put(10, Event::Fault(Fault::OriginDies(at)));
                }
            }
        }
    }

    fn churn(&mut self) {
        for at in self.cell.origins..self.sites.len() {
            if self.sites[at].is_up && self.rng.chance(self.cell.churn / 60.0) {
                self.leave(at);
                self.wheel.put(1000, Event::Fault(Fault::Return(at, AWAY)));
            }
        }
        self.wheel.put(1000, Event::Fault(Fault::Churn));
    }

    /// A site falls silent; what it had verified is on its disk.
    fn leave(&mut self, at: usize) {
        let site = &mut self.sites[at];
        (site.is_up, site.has_left) = (false, true);
        site.givers = [(); 2].map(|()| Giver::new(at < self.cell.origins));
        site.taker = None;
        let life = site.life;
        let is_its = |t: &super::Transfer| t.from == at || t.to == at;
        let flows = self.transfers.iter().filter(|(_, transfer)| is_its(transfer));
        let flows: Vec<Flow> = flows.map(|(flow, _)| *flow).collect();
        flows.into_iter().for_each(|flow| self.break_off(flow));
        self.wheel.put(SILENT_MS, Event::Fault(Fault::Noticed(at, life)));
    }

    fn noticed(&mut self, at: usize, life: u32) {
        let sessions: Vec<usize> = self.sites[at].sessions.iter().copied().collect();
        if self.sites[at].life != life {
            return;
        }
        for other in sessions {
            self.part(at, other);
        }
        self.report_to_planner(0, 0, PlannerInput::Left(peer(at)));
    }

    fn flap(&mut self, at: usize, is_off: bool) {
        let (ends, factor) = (self.ends[at].clone(), if is_off { 1e-6 } else { 1.0 });
        self.net.set_cap(ends.up, ends.caps.0 * factor, self.now);
        self.net.set_cap(ends.down, ends.caps.1 * factor, self.now);
        let next = if is_off { FLAP.0 } else { FLAP.1 - FLAP.0 };
        self.wheel.put(next, Event::Fault(Fault::Flap(at, !is_off)));
        self.serve(at);
    }
}
