//! What a site's body does for its brain: sessions, serving, verification.

use super::{Event, ORIGIN_SERVED_MAX, SERVED_MAX, Transfer, World};
use crate::swarm::liar::Lie;
use crate::swarm::net::Flow;
use crate::swarm::sites::peer;
use farhaul_sync::swarm::planner::Input as PlannerInput;
use farhaul_sync::swarm::taker::{Effect, Input, Why};
use farhaul_sync::swarm::{Answer, ChunkSet, Fault, Giver, Part, Run, Taker};
use std::sync::Arc;

impl World {
    /// A brain takes something in, and what follows is done.
    pub(super) fn hear(&mut self, at: usize, input: Input) {
        let now = self.stamp();
        let site = &mut self.sites[at];
        let Some(taker) = site.taker.as_mut().filter(|_| site.is_up) else { return };
        taker.handle(input, now);
        while let Some(effect) = self.sites[at].taker.as_mut().and_then(Taker::poll_effect) {
            self.act(at, effect);
        }
    }

    fn act(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Ask(to, part) => {
                self.send(at, Self::at(to), 1, Event::Ask(at, Self::at(to), part));
            }
            Effect::Trim(to, part, end) => {
                self.send(at, Self::at(to), 1, Event::Trim(at, Self::at(to), part, end));
            }
            Effect::Cancel(to, part) => {
                self.send(at, Self::at(to), 1, Event::Cancel(at, Self::at(to), part));
            }
            Effect::Verify(chunk) => self.verify(at, chunk),
            Effect::Announce(run) => self.announce(at, run),
            Effect::Tell(to, runs) => self.tell(at, Self::at(to), runs),
            Effect::Blame(whom, fault) => {
                let by = peer(at);
                self.report_to_planner(at, 1, PlannerInput::Blame { by, peer: whom, fault });
            }
            Effect::Link(to) => self.send(at, Self::at(to), 0, Event::Meet(at, Self::at(to))),
            Effect::Unlink(to) => self.part(at, Self::at(to)),
            Effect::Report(have, given) => {
                let (load, cap) = self.net.load(self.ends[at].up);
                let free = bytes_per_second(cap - load);
                let report = PlannerInput::Report { site: peer(at), have, given, free };
                self.report_to_planner(at, 8, report);
            }
            Effect::Done => {
                let now = self.now;
                self.sites[at].done_at.get_or_insert(now);
            }
        }
    }

    /// A chunk was hashed: bytes that a liar sent are wrong.
    fn verify(&mut self, at: usize, chunk: u32) {
        let is_right = !self.sites[at].tainted.remove(&chunk);
        if is_right {
            self.sites[at].held.insert(chunk);
        } else {
            self.tally.bad += 1;
        }
        self.wheel.put(1, Event::Hear(at, Input::Checked { chunk, is_right }));
    }

    fn announce(&mut self, at: usize, run: Run) {
        self.must_hold(at, run);
        let runs: Arc<[Run]> = Arc::from([run]);
        let to: Vec<usize> = self.sites[at].sessions.iter().copied().collect();
        for other in to {
            self.tell(at, other, Arc::clone(&runs));
        }
    }

    fn tell(&mut self, at: usize, to: usize, runs: Arc<[Run]>) {
        runs.iter().for_each(|run| self.must_hold(at, *run));
        let life = self.sites[at].life;
        self.send(at, to, runs.len(), Event::Said(at, to, life, runs));
    }

    /// Nothing is offered that was not verified.
    fn must_hold(&mut self, at: usize, run: Run) {
        let held = &self.sites[at].held;
        if (run.first..run.first + run.len).any(|chunk| !held.contains(chunk)) {
            self.tally.believed += 1;
            self.broken.push(format!("site {at} offers {run:?}, which it has not verified"));
        }
    }

    /// Words of a peer: an origin's are heard by whom they are for, be there a session or not.
    pub(super) fn said(&mut self, from: usize, to: usize, runs: Arc<[Run]>) {
        if from < self.cell.origins {
            self.sites[from].sessions.insert(to);
            self.sites[to].sessions.insert(from);
        }
        if let Some(lie) = self.sites[to].lie.filter(|_| to >= self.cell.origins) {
            if from < self.cell.origins && lie != Lie::Silence {
                // It takes what it is shown, and keeps it.
                for run in runs.iter() {
                    let part = self.terms.whole(run.first);
                    self.send(to, from, 1, Event::Ask(to, from, part));
                }
            }
            return;
        }
        self.hear(to, Input::Have(peer(from), runs));
    }

    pub(super) fn meet(&mut self, a: usize, b: usize) {
        if a == b || !self.sites[a].is_up || !self.sites[b].is_up || self.is_linked(a, b) {
            return;
        }
        self.sites[a].sessions.insert(b);
        self.sites[b].sessions.insert(a);
        for (one, other) in [(a, b), (b, a)] {
            self.hear(one, Input::Joined(peer(other)));
            if self.sites[one].lie.is_some() && one >= self.cell.origins {
                self.claim(one, other);
            }
        }
    }

    /// What a liar says at first.
    fn claim(&mut self, liar: usize, to: usize) {
        let chunks = self.terms.chunks();
        let run = match self.sites[liar].lie {
            Some(Lie::Nonsense) => Run { first: chunks - 1, len: u32::MAX },
            _ => Run { first: 0, len: chunks },
        };
        let life = self.sites[liar].life;
        self.send(liar, to, 1, Event::Said(liar, to, life, Arc::from([run])));
        if self.sites[liar].lie == Some(Lie::Slander) {
            let (by, accused) = (peer(liar), peer(to));
            let fault = Fault::BadBytes;
            self.report_to_planner(liar, 1, PlannerInput::Blame { by, peer: accused, fault });
        }
    }

    /// A session ends, and what was under way in it.
    pub(super) fn part(&mut self, a: usize, b: usize) {
        if !self.sites[a].sessions.remove(&b) {
            return;
        }
        self.sites[b].sessions.remove(&a);
        for (one, other) in [(a, b), (b, a)] {
            self.sites[one].givers.iter_mut().for_each(|giver| giver.left(peer(other)));
            self.hear(one, Input::Left(peer(other)));
        }
        let is_between = |t: &Transfer| (t.from, t.to) == (a, b) || (t.from, t.to) == (b, a);
        let flows = self.transfers.iter().filter(|(_, transfer)| is_between(transfer));
        let flows: Vec<Flow> = flows.map(|(flow, _)| *flow).collect();
        flows.into_iter().for_each(|flow| self.break_off(flow));
    }

    pub(super) fn lane(&self, a: usize, b: usize) -> usize {
        usize::from(self.terms.cost(peer(a), peer(b)) == 0)
    }

    pub(super) fn asked(&mut self, from: usize, to: usize, part: Part) {
        let site = &mut self.sites[to];
        if !site.is_up || site.lie == Some(Lie::Silence) {
            return;
        }
        let lane = usize::from(self.terms.cost(peer(from), peer(to)) == 0);
        let terms = Arc::clone(&self.terms);
        let giver = &mut site.givers[lane];
        let taker = site.taker.as_mut();
        let answer = giver.ask(peer(from), part, &terms, |chunk| {
            taker.is_none_or(|taker| taker.may_give(peer(from), chunk))
        });
        let why = match answer {
            Answer::Queued => return self.serve(to),
            Answer::Busy => Why::Busy,
            Answer::Lacking | Answer::Nonsense => Why::Lacking,
        };
        self.send(to, from, 1, Event::Hear(from, Input::Failed(peer(to), part, why)));
    }

    pub(super) fn trimmed(&mut self, from: usize, to: usize, part: Part, end: u32) {
        let lane = self.lane(from, to);
        if self.sites[to].givers[lane].trim(peer(from), part, end) {
            return;
        }
        let Some(flow) = self.flow(from, to, part) else { return };
        let Some(transfer) = self.transfers.get_mut(&flow) else { return };
        transfer.part.to = end;
        self.net.shorten(flow, f64::from(part.to - end), self.now);
    }

    pub(super) fn cancelled(&mut self, from: usize, to: usize, part: Part) {
        let lane = self.lane(from, to);
        if !self.sites[to].givers[lane].cancel(peer(from), part)
            && let Some(flow) = self.flow(from, to, part)
        {
            self.break_off(flow);
        }
    }

    fn flow(&self, to: usize, from: usize, part: Part) -> Option<Flow> {
        let served = self.sites[from].served.iter().flatten();
        let is_it = |t: &Transfer| t.to == to && t.part == part;
        served.copied().find(|flow| self.transfers.get(flow).is_some_and(is_it))
    }

    /// Ends that carry less than they could begin with what waits for them.
    pub(super) fn serve_slack(&mut self) {
        for node in self.net.take_slack() {
            let Some(sites) = self.behind.get(&node) else { continue };
            for at in sites.clone() {
                self.serve(at);
            }
        }
    }

    /// An appliance gives the next chunks as long as its uplink has room.
    pub(super) fn serve(&mut self, at: usize) {
        let most = if at < self.cell.origins { ORIGIN_SERVED_MAX } else { SERVED_MAX };
        for lane in 0..2 {
            loop {
                let site = &mut self.sites[at];
                let ends = &self.ends[at];
                let node = if lane == 0 { ends.up } else { ends.lan_up };
                let (load, cap) = self.net.load(node);
                let is_room = site.served[lane].is_empty() || load < 0.97 * cap;
                if !site.is_up || site.served[lane].len() >= most || !is_room {
                    break;
                }
                let taker = site.taker.as_ref();
                let count = |chunk| taker.map_or(0, |taker| taker.count(chunk));
                let Some((to, part)) = Giver::next(&mut site.givers[lane], count) else { break };
                self.begin(at, Self::at(to), part, lane);
            }
        }
    }

    fn begin(&mut self, from: usize, to: usize, part: Part, lane: usize) {
        if !self.sites[to].is_up {
            return;
        }
        let (a, b) = (&self.ends[from], &self.ends[to]);
        let ends = if lane == 0 { (a.up, b.down) } else { (a.lan_up, b.lan_down) };
        let yields = if lane == 0 { (1.0 - a.loss) * (1.0 - b.loss) } else { 1.0 };
        let most = if lane == 0 && self.cell.mesh {
            a.caps.0 * (0.2 + 0.8 * crate::rng::at(self.seed, (from * 4096 + to) as u64))
        } else {
            f64::INFINITY
        };
        let flow = self.net.start(ends, f64::from(part.bytes()), (yields, most), self.now);
        let is_bad = self.sites[from].lie.is_some();
        self.transfers.insert(flow, Transfer { from, to, part, is_bad, lane });
        self.sites[from].served[lane].push(flow);
    }

    /// All bytes of a transfer have left; they are there half a round trip later.
    pub(super) fn finish(&mut self, flow: Flow) {
        let Some(transfer) = self.close(flow, 0.0) else { return };
        let Transfer { from, to, part, is_bad, .. } = transfer;
        if is_bad && self.sites[to].taker.is_some() {
            self.sites[to].tainted.insert(part.chunk);
        }
        let is_whole = part == self.terms.whole(part.chunk);
        let sent = Input::Sent { peer: peer(to), chunk: part.chunk, is_whole };
        if from < self.cell.origins {
            self.hear(from, sent);
        }
        let way = self.way(from, to);
        self.wheel.put(way, Event::Hear(to, Input::Arrived(peer(from), part)));
        self.serve(from);
    }

    pub(super) fn break_off(&mut self, flow: Flow) {
        let left = self.net.left(flow, self.now);
        let Some(transfer) = self.close(flow, left) else { return };
        if transfer.from < self.cell.origins {
            let chunk = transfer.part.chunk;
            let sent = Input::Sent { peer: peer(transfer.to), chunk, is_whole: false };
            self.hear(transfer.from, sent);
        }
        self.serve(transfer.from);
    }

    /// A transfer is over with so many bytes left: what came is counted.
    fn close(&mut self, flow: Flow, left: f64) -> Option<Transfer> {
        let transfer = self.transfers.remove(&flow)?;
        self.net.stop(flow, self.now);
        self.sites[transfer.from].served[transfer.lane].retain(|served| *served != flow);
        let came = f64::from(transfer.part.bytes()) - left;
        if self.sites[transfer.to].lie.is_none() {
            self.tally.came += came;
        }
        if transfer.from < self.cell.origins {
            self.tally.egress += came;
            self.tally.egress_at = self.now;
        }
        if transfer.lane == 0 {
            self.count_wan(transfer.to, came);
        }
        Some(transfer)
    }

    /// A site starts, or starts again with what is on its disk.
    pub(super) fn start(&mut self, at: usize) {
        let site = &mut self.sites[at];
        (site.is_up, site.life) = (true, site.life + 1);
        site.tainted.clear();
        let is_taker = site.lie.is_none() || at < self.cell.origins;
        if is_taker {
            let dice = farhaul_sync::swarm::Dice::new(
                self.seed ^ (at as u64) << 20 ^ u64::from(site.life),
            );
            let held: ChunkSet = site.held.clone();
            let terms = Arc::clone(&self.terms);
            site.taker = Some(Taker::new(peer(at), terms, held, dice));
        }
        let first = 1 + self.rng.below(20);
        self.wheel.put(first, Event::Tick(at));
        self.report_to_planner(at, 0, PlannerInput::Joined(peer(at)));
        let runs: Vec<Run> = self.sites[at].held.runs().take(512).collect();
        if at >= self.cell.origins && !runs.is_empty() {
            let report =
                PlannerInput::Report { site: peer(at), have: runs, given: Vec::new(), free: 0 };
            self.report_to_planner(at, 8, report);
        }
    }

    pub(super) fn tick(&mut self, at: usize) {
        if !self.sites[at].is_up {
            return;
        }
        if self.sites[at].taker.is_some() {
            let owing = self.transfers_to(at);
            owing.into_iter().for_each(|from| self.hear(at, Input::Progress(peer(from))));
            self.hear(at, Input::Tick);
            self.look_after(at);
        } else if self.sites[at].lie == Some(Lie::Slander) {
            let free = u64::MAX;
            let site = peer(at);
            let report = PlannerInput::Report { site, have: Vec::new(), given: Vec::new(), free };
            self.report_to_planner(at, 1, report);
        }
        self.serve(at);
        self.wheel.put(500, Event::Tick(at));
    }

    /// What must hold of a site at any time.
    fn look_after(&mut self, at: usize) {
        let now = self.stamp();
        let Some(taker) = &self.sites[at].taker else { return };
        let waiting: usize = self.sites[at].givers.iter().map(Giver::waiting).sum();
        self.tally.taker_memory = self.tally.taker_memory.max(taker.memory());
        if taker.first_due().is_some_and(|due| due < now) {
            self.broken.push(format!("an ask of site {at} has no answer and goes on"));
        }
        if taker.under_way() > 80 || waiting > 256 {
            self.broken.push(format!("site {at} has {} chunks under way", taker.under_way()));
        }
    }

    fn transfers_to(&self, at: usize) -> std::collections::BTreeSet<usize> {
        let sessions = self.sites[at].sessions.iter().copied();
        sessions
            .filter(|from| {
                let served = self.sites[*from].served.iter().flatten();
                served.clone().any(|flow| {
                    self.transfers.get(flow).is_some_and(|transfer| transfer.to == at)
                        && self.net.is_moving(*flow)
                })
            })
            .collect()
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn bytes_per_second(per_nano: f64) -> u64 {
    (per_nano.max(0.0) * 1e9) as u64
}
