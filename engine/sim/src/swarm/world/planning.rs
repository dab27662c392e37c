//! The planner, at the first origin: what it hears, what it says, and how it is gone.

use super::{Event, World};
use farhaul_sync::swarm::Planner;
use farhaul_sync::swarm::planner::{Effect, Input as PlannerInput};
use farhaul_sync::swarm::taker::Input;

impl World {
    pub(super) fn report_to_planner(&mut self, at: usize, runs: usize, input: PlannerInput) {
        if self.planner.is_some() {
            self.send(at, 0, runs, Event::Plan(input));
        }
    }

    pub(super) fn planner_hears(&mut self, input: PlannerInput) {
        let now = self.stamp();
        if let Some(planner) = &mut self.planner {
            planner.handle(input, now);
        }
    }

    pub(super) fn planner_tick(&mut self) {
        let now = self.stamp();
        let Some(planner) = &mut self.planner else { return };
        planner.handle(PlannerInput::Tick, now);
        self.tally.planner_memory = self.tally.planner_memory.max(planner.memory());
        while let Some(effect) = self.planner.as_mut().and_then(Planner::poll_effect) {
            match effect {
                Effect::Direct(to, plan) => {
                    let runs = plan.neighbours.len() + plan.part.len() + plan.leads.len();
                    let to = Self::at(to);
                    self.send(0, to, runs, Event::Hear(to, Input::Plan(plan)));
                }
                Effect::Aside(whom) => {
                    let is_liar = self.sites[Self::at(whom)].lie.is_some();
                    self.tally.liars_aside += usize::from(is_liar);
                    self.tally.honest_aside += usize::from(!is_liar);
                }
            }
        }
        self.sample();
        self.wheel.put(1000, Event::PlannerTick);
    }

    /// How busy uplinks are, each second.
    pub(super) fn sample(&mut self) {
        for (node, sites) in &self.behind {
            if sites.iter().all(|at| *at >= self.cell.origins) {
                let (load, cap) = self.net.load(*node);
                self.tally.busy.0 += load / cap.max(1e-12);
                self.tally.busy.1 += 1.0;
            }
        }
    }
}
