//! Transfers as fluids: each link end shares its rate among its transfers by max-min fairness.
//!
//! A change at one end is carried on to ends whose share it moves by more than a hundredth, not to
//! the whole network; afterwards no end that was touched carries more than it can.

use core::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// Ends that one change is carried on to at most.
const TOUCH_MAX: usize = 48;
/// A share that moves by less is not carried on.
const TOLERANCE: f64 = 0.01;

/// One end of a link.
pub type Node = usize;
/// A transfer.
pub type Flow = usize;

#[derive(Clone, Debug)]
struct End {
    /// Bytes per nanosecond.
    cap: f64,
    level: f64,
    flows: Vec<Flow>,
    /// The last change that touched it, and the one in whose queue it waits.
    touched: u64,
    queued: u64,
    /// What of the wanted rates fits, by that change.
    scale: f64,
}

#[derive(Clone, Debug)]
struct Fluid {
    ends: (Node, Node),
    left: f64,
    rate: f64,
    /// What of the rate arrives.
    yields: f64,
    most: f64,
    since: u64,
    stamp: u32,
    is_live: bool,
}

/// All link ends and transfers.
#[derive(Debug, Default)]
pub struct Net {
    ends: Vec<End>,
    flows: Vec<Fluid>,
    free: Vec<Flow>,
    done: BinaryHeap<Reverse<(u64, Flow, u32)>>,
    /// Ends that carry less than they could since the last look.
    slack: BTreeSet<Node>,
    /// Changes so far.
    changes: u64,
}

/// Bytes per nanosecond of a rate in bits per second.
#[expect(clippy::cast_precision_loss, reason = "rates below 2^53")]
pub fn per_nano(bits: u64) -> f64 {
    bits as f64 / 8e9
}

impl Net {
    /// A new end that carries so many bytes per nanosecond.
    pub fn end(&mut self, cap: f64) -> Node {
        let (level, flows) = (f64::INFINITY, Vec::new());
        self.ends.push(End { cap, level, flows, touched: 0, queued: 0, scale: 1.0 });
        self.ends.len() - 1
    }

    /// From now on an end carries so much.
    pub fn set_cap(&mut self, node: Node, cap: f64, now: u64) {
        self.ends[node].cap = cap;
        self.settle(&[node], now);
    }

    /// How much an end carries, and how much it could.
    pub fn load(&self, node: Node) -> (f64, f64) {
        let end = &self.ends[node];
        (end.flows.iter().map(|flow| self.flows[*flow].rate).sum(), end.cap)
    }

    /// How many transfers an end has.
    pub fn degree(&self, node: Node) -> usize {
        self.ends[node].flows.len()
    }

    /// Begins a transfer of `bytes`, of whose rate `yields` arrives and which is never faster than `most`.
    pub fn start(
        &mut self,
        ends: (Node, Node),
        bytes: f64,
        (yields, most): (f64, f64),
        now: u64,
    ) -> Flow {
        let fluid = Fluid {
            ends,
            left: bytes,
            rate: 0.0,
            yields,
            most,
            since: now,
            stamp: 0,
            is_live: true,
        };
        let flow = match self.free.pop() {
            Some(flow) => {
                let stamp = self.flows[flow].stamp + 1;
                self.flows[flow] = Fluid { stamp, ..fluid };
                flow
            }
            None => {
                self.flows.push(fluid);
                self.flows.len() - 1
            }
        };
        self.ends[ends.0].flows.push(flow);
        self.ends[ends.1].flows.push(flow);
        self.settle(&[ends.0, ends.1], now);
        flow
    }

    /// Bytes of a transfer that are still to come.
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of one rate")]
    pub fn left(&self, flow: Flow, now: u64) -> f64 {
        let fluid = &self.flows[flow];
        (fluid.left - fluid.rate * fluid.yields * now.saturating_sub(fluid.since) as f64).max(0.0)
    }

    /// True if a transfer comes forward at all.
    pub fn is_moving(&self, flow: Flow) -> bool {
        self.flows[flow].rate * 1e9 > 100.0
    }

    /// So many bytes fewer are to be transferred; what is over already ends at once.
    pub fn shorten(&mut self, flow: Flow, bytes: f64, now: u64) {
        let left = self.left(flow, now);
        let fluid = &mut self.flows[flow];
        (fluid.left, fluid.since) = ((left - bytes).max(0.0), now);
        self.schedule(flow, now);
    }

    /// A transfer is over, or broken off.
    pub fn stop(&mut self, flow: Flow, now: u64) {
        let (a, b) = self.flows[flow].ends;
        for node in [a, b] {
            self.ends[node].flows.retain(|held| *held != flow);
        }
        self.flows[flow].is_live = false;
        self.free.push(flow);
        self.slack.insert(a);
        self.settle(&[a, b], now);
    }

    /// The next transfer that ends before `until`, and when.
    pub fn next_done(&mut self, until: u64) -> Option<(u64, Flow)> {
        while let Some(Reverse((at, flow, stamp))) = self.done.peek().copied() {
            if at >= until {
                return None;
            }
            self.done.pop();
            if self.flows[flow].is_live && self.flows[flow].stamp == stamp {
                return Some((at, flow));
            }
        }
        None
    }

    /// Ends that carry less than they could, each once since it was asked last.
    pub fn take_slack(&mut self) -> BTreeSet<Node> {
        core::mem::take(&mut self.slack)
    }

    /// By how much the worst end carries more than it can: 0 if none does.
    pub fn excess(&self) -> f64 {
        let over = (0..self.ends.len()).map(|node| {
            let (load, cap) = self.load(node);
            if cap > 0.0 { load / cap - 1.0 } else { 0.0 }
        });
        over.fold(0.0, f64::max)
    }

    /// What an end gives each of its transfers at most, so that all fit.
    fn level(&self, node: Node) -> f64 {
        let end = &self.ends[node];
        let mut limits: Vec<f64> = end.flows.iter().map(|flow| self.limit(*flow, node)).collect();
        limits.sort_unstable_by(f64::total_cmp);
        let mut left = end.cap;
        for (at, limit) in limits.iter().enumerate() {
            let share = left / f64::from(u32::try_from(limits.len() - at).unwrap_or(u32::MAX));
            if *limit > share {
                return share;
            }
            left -= limit;
        }
        f64::INFINITY
    }

    /// What the other end, and the transfer itself, allow.
    fn limit(&self, flow: Flow, node: Node) -> f64 {
        let fluid = &self.flows[flow];
        let other = if fluid.ends.0 == node { fluid.ends.1 } else { fluid.ends.0 };
        self.ends[other].level.min(fluid.most)
    }

    fn settle(&mut self, nodes: &[Node], now: u64) {
        self.changes += 1;
        let change = self.changes;
        let mut queue: Vec<Node> = nodes.to_vec();
        let mut touched: Vec<Node> = nodes.to_vec();
        for node in nodes {
            (self.ends[*node].touched, self.ends[*node].queued) = (change, change);
        }
        let mut at = 0;
        while at < queue.len() && at < TOUCH_MAX {
            let node = queue[at];
            at += 1;
            let (old, new) = (self.ends[node].level, self.level(node));
            (self.ends[node].level, self.ends[node].queued) = (new, 0);
            let is_same = old == new || (old - new).abs() <= TOLERANCE * old.min(new);
            if is_same {
                continue;
            }
            for held in 0..self.ends[node].flows.len() {
                let fluid = &self.flows[self.ends[node].flows[held]];
                let at = if fluid.ends.0 == node { fluid.ends.1 } else { fluid.ends.0 };
                let other = &mut self.ends[at];
                let is_bound = other.level.min(old) > new || other.level >= old;
                if is_bound && other.queued != change {
                    other.queued = change;
                    queue.push(at);
                }
                if other.touched != change {
                    other.touched = change;
                    touched.push(at);
                }
            }
        }
        self.apply(&touched, now);
    }

    /// Rates follow from shares, scaled where an end would carry too much.
    fn apply(&mut self, touched: &[Node], now: u64) {
        for node in touched {
            let end = &self.ends[*node];
            let wanted: f64 = end.flows.iter().map(|flow| self.wanted(*flow)).sum();
            let scale = if wanted > end.cap { end.cap / wanted } else { 1.0 };
            self.ends[*node].scale = scale;
        }
        let scale = |node: Node| {
            let end = &self.ends[node];
            if end.touched == self.changes { end.scale } else { 1.0 }
        };
        let mut changes: Vec<(Flow, f64)> = Vec::new();
        for node in touched {
            for flow in &self.ends[*node].flows {
                let (a, b) = self.flows[*flow].ends;
                let rate = self.wanted(*flow) * scale(a).min(scale(b));
                let old = self.flows[*flow].rate;
                if (rate - old).abs() > 0.002 * old.max(rate) {
                    changes.push((*flow, rate));
                }
            }
        }
        for (flow, rate) in changes {
            if self.flows[flow].rate == rate {
                continue;
            }
            if rate < self.flows[flow].rate {
                self.slack.insert(self.flows[flow].ends.0);
            }
            let left = self.left(flow, now);
            let fluid = &mut self.flows[flow];
            (fluid.left, fluid.since, fluid.rate) = (left, now, rate);
            self.schedule(flow, now);
        }
    }

    fn wanted(&self, flow: Flow) -> f64 {
        let fluid = &self.flows[flow];
        self.ends[fluid.ends.0].level.min(self.ends[fluid.ends.1].level).min(fluid.most)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    fn schedule(&mut self, flow: Flow, now: u64) {
        let fluid = &mut self.flows[flow];
        fluid.stamp += 1;
        let speed = fluid.rate * fluid.yields;
        if fluid.left <= 0.0 {
            self.done.push(Reverse((now, flow, fluid.stamp)));
        } else if speed > 0.0 {
            let at = now + (fluid.left / speed).ceil() as u64;
            self.done.push(Reverse((at, flow, fluid.stamp)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_fair_and_what_one_cannot_use_is_lent() {
        let mut net = Net::default();
        let (up, slow, fast) = (net.end(10.0), net.end(2.0), net.end(100.0));
        let a = net.start((up, slow), 1e6, (1.0, f64::INFINITY), 0);
        let b = net.start((up, fast), 1e6, (1.0, f64::INFINITY), 0);
        assert!((net.flows[a].rate - 2.0).abs() < 0.1 && (net.flows[b].rate - 8.0).abs() < 0.1);
        net.stop(a, 10);
        assert!((net.flows[b].rate - 10.0).abs() < 0.1);
    }

    #[test]
    fn no_end_carries_more_than_it_can() {
        let mut net = Net::default();
        let mut rng = crate::rng::Rng::new(5);
        let nodes: Vec<Node> = (0..40).map(|_| net.end(1.0 + 9.0 * rng.f64())).collect();
        let mut live: Vec<Flow> = Vec::new();
        let (mut carried, mut looks) = (0.0, 0.0);
        for step in 0..20_000u64 {
            if live.len() < 80 || rng.chance(0.5) {
                let pick = |rng: &mut crate::rng::Rng| usize::try_from(rng.below(20)).unwrap();
                let (a, b) = (nodes[pick(&mut rng)], nodes[20 + pick(&mut rng)]);
                live.push(net.start((a, b), 1e9, (1.0, f64::INFINITY), step));
            } else {
                let at = usize::try_from(rng.below(live.len() as u64)).unwrap();
                net.stop(live.swap_remove(at), step);
            }
            assert!(net.excess() < 0.02, "step {step}: {}", net.excess());
            // Each transfer is bound by an end that is nearly full.
            let is_full = |node: Node| {
                let (load, cap) = net.load(node);
                load > 0.9 * cap
            };
            let bound = live
                .iter()
                .filter(|f| is_full(net.flows[**f].ends.0) || is_full(net.flows[**f].ends.1));
            (carried, looks) = (carried + bound.count() as f64, looks + live.len() as f64);
        }
        assert!(carried / looks > 0.9, "{}", carried / looks);
    }
}
