//! Several appliances behind one link: each has its part, and they lend it to each other.
//!
//! The parts are fixed and sum up to the link, so that whoever hears of nobody can use its own and
//! no more. Everything above that is lent by one member to another, for a time: the lender counts
//! it as gone before it says so, and for longer than the borrower counts it as there. So the sum of
//! what all may use is never above the link, whatever is lost, late, twice or out of order, and
//! whoever is cut off (spec: S-192). How much is lent follows from what all told last, and is
//! computed by everybody alike (spec: S-193): nobody leads.

mod peer;

use super::fill::{Want, fill};
use super::{Demand, ShareError, Weight, clamp};
use core::time::Duration;
use farhaul_proto::units::{BitRate, Timestamp};
use peer::Peer;
use std::collections::BTreeMap;

/// The longest time for which something is lent.
pub const LEASE_MAX: Duration = Duration::from_secs(5);

/// A run of a member's program. Later ones are higher: what is lent is not remembered beyond one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life(u64);

impl Life {
    /// The run of that number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The plain number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Which announcement of the one that reads this was heard last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// In which run of it.
    pub life: Life,
    /// Its number.
    pub number: u64,
}

/// What one member tells another: soft state, each replaces all that were sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The run of who tells.
    pub life: Life,
    /// Above that of each earlier one of this run to this member.
    pub number: u64,
    /// What who tells could use.
    pub demand: Demand,
    /// What that counts beside others.
    pub weight: Weight,
    /// What who tells may use of itself. Whoever has another number for that neither borrows of it
    /// nor lends to it: they do not have the same configuration, or not yet.
    pub part: BitRate,
    /// What was heard of the other.
    pub heard: Option<Heard>,
    /// What is lent to the other, instead of what was lent before.
    pub lend: BitRate,
    /// For how long all this holds, from when the announcement was sent that was `heard`.
    pub valid: Duration,
}

/// Who shares a link, and what each may use without asking.
#[derive(Clone, Debug)]
pub struct LeaseConfig<K> {
    /// The link, in one direction.
    pub link: BitRate,
    /// All members, with the weights of their parts of the link. The same at each of them.
    pub members: BTreeMap<K, Weight>,
    /// For how long something is lent.
    pub lease: Duration,
}

/// One direction of a shared link, as one of its members sees it.
#[derive(Clone, Debug)]
pub struct Lease<K> {
    own: K,
    life: Life,
    lease: Duration,
    members: BTreeMap<K, Weight>,
    /// What each member may use of itself.
    parts: BTreeMap<K, u64>,
    demand: Demand,
    weight: Weight,
    number: u64,
    peers: BTreeMap<K, Peer>,
}

impl<K: Ord + Clone> Lease<K> {
    /// A member at its start. Until each other one answered, or could not use any more what an
    /// earlier run lent it, it may use nothing.
    pub fn new(
        own: K,
        life: Life,
        config: &LeaseConfig<K>,
        now: Timestamp,
    ) -> Result<Self, ShareError> {
        if config.lease.is_zero() || config.lease > LEASE_MAX {
            let (millis, most) = (config.lease.as_millis(), LEASE_MAX.as_millis());
            return Err(ShareError::LeaseSpan { millis, most });
        }
        let parts = parts(config.link, &config.members);
        let part = *parts.get(&own).ok_or(ShareError::NotMember)?;
        let others = parts.keys().filter(|&member| *member != own);
        let peers = others.map(|member| (member.clone(), Peer::new(part, now + held(LEASE_MAX))));
        Ok(Self {
            peers: peers.collect(),
            own,
            life,
            lease: config.lease,
            members: config.members.clone(),
            parts,
            demand: Demand::Rate(BitRate::ZERO),
            weight: Weight::ONE,
            number: 0,
        })
    }

    /// What this member could use from now on, and what that counts beside others. Worth telling
    /// all at once.
    pub fn set_demand(&mut self, demand: Demand, weight: Weight) {
        (self.demand, self.weight) = (demand, weight);
    }

    /// Another room of the link, at the same moment at all members, as a calendar has it. Where parts
    /// become smaller, so does what was lent of them, at both ends (spec: S-193).
    pub fn set_link(&mut self, link: BitRate) {
        let old = core::mem::replace(&mut self.parts, parts(link, &self.members));
        let part = |parts: &BTreeMap<K, u64>, of: &K| parts.get(of).copied().unwrap_or(0);
        let own = part(&self.parts, &self.own);
        for (member, peer) in &mut self.peers {
            peer.rescale(own, (part(&old, member), part(&self.parts, member)));
        }
    }

    /// The next announcement to a member; `None` if it is none. What it lends is gone from this
    /// moment on, whether or not it arrives. To be sent several times within a lease, and at once
    /// when something was heard that lends otherwise.
    pub fn announce(&mut self, to: &K, now: Timestamp) -> Option<Announcement> {
        let targets = self.targets(now);
        let lend = self.room_for(to, &targets, now).min(self.wish(to, &targets));
        let part = self.part();
        let peer = self.peers.get_mut(to)?;
        self.number = self.number.saturating_add(1);
        peer.lend(self.number, lend, now + held(self.lease), now);
        Some(Announcement {
            life: self.life,
            number: self.number,
            demand: self.demand,
            weight: self.weight,
            part: BitRate::bps(part),
            heard: peer.heard(),
            lend: BitRate::bps(lend),
            valid: self.lease,
        })
    }

    /// Takes in what a member tells. False if it is none, or told something later already.
    pub fn hear(&mut self, from: &K, said: &Announcement, now: Timestamp) -> bool {
        let echo = said.heard.filter(|heard| heard.life == self.life).map(|heard| heard.number);
        let agreed = self.parts.get(from).is_some_and(|&part| part == said.part.get());
        self.peers.get_mut(from).is_some_and(|peer| peer.hear(said, echo, agreed, now))
    }

    /// What this member may use at this moment: its part, without what it lent, with what it
    /// borrowed.
    pub fn limit(&self, now: Timestamp) -> BitRate {
        let lent: u128 = self.peers.values().map(|peer| u128::from(peer.lent(now))).sum();
        let borrowed: u128 = self.peers.values().map(|peer| u128::from(peer.borrowed(now))).sum();
        let own = u128::from(self.part()).saturating_sub(lent);
        BitRate::bps(clamp(own + borrowed))
    }

    /// When [`Lease::limit`] changes if nothing is heard or told until then.
    pub fn changes_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.peers.values().filter_map(|peer| peer.changes_at(now)).min()
    }

    /// What each member is to have by what all told last: those that told nothing for the length of
    /// a lease have their own part, the others divide the rest by weight.
    pub fn targets(&self, now: Timestamp) -> BTreeMap<K, BitRate> {
        let told = |member: &K| match self.peers.get(member) {
            Some(peer) => peer.told(now),
            None => Some((self.demand, self.weight)),
        };
        let parts = self.parts.iter();
        let fresh: Vec<(&K, u64, (Demand, Weight))> =
            parts.filter_map(|(member, &part)| Some((member, part, told(member)?))).collect();
        let room = clamp(fresh.iter().map(|&(_, part, _)| u128::from(part)).sum());
        let want = |&(_, _, (demand, weight)): &(&K, u64, (Demand, Weight))| Want {
            weight,
            least: 0,
            most: clamp(demand.wanted()),
        };
        let wants: Vec<Want> = fresh.iter().map(want).collect();
        let mut targets: BTreeMap<K, BitRate> =
            self.parts.iter().map(|(member, &part)| (member.clone(), BitRate::bps(part))).collect();
        for ((member, ..), rate) in fresh.iter().zip(fill(room, &wants)) {
            targets.insert((*member).clone(), BitRate::bps(rate));
        }
        targets
    }

    /// What this member may use of itself.
    fn part(&self) -> u64 {
        self.parts.get(&self.own).copied().unwrap_or(0)
    }

    /// What is not lent to others than that one, and not this member's own by what all told. What is
    /// still lent to somebody who is to have less is lent to the next one once that one knows.
    fn room_for(&self, to: &K, targets: &BTreeMap<K, BitRate>, now: Timestamp) -> u64 {
        let own = targets.get(&self.own).map_or(0, |target| target.get());
        let others = self.peers.iter().filter(|&(member, _)| member != to);
        let lent: u128 = others.map(|(_, peer)| u128::from(peer.lent(now))).sum();
        clamp(u128::from(self.part()).saturating_sub(lent + u128::from(own)))
    }

    /// What this member is to lend that one: those with less than their part lend to those with
    /// more, each in the order of names.
    fn wish(&self, to: &K, targets: &BTreeMap<K, BitRate>) -> u64 {
        // What is lent, or borrowed, of those before: an interval of all that is lent.
        let interval = |which: &K, more: fn(u64, u64) -> u64| {
            let mut start = 0_u128;
            for (member, &part) in &self.parts {
                let target = targets.get(member).map_or(part, |target| target.get());
                let length = u128::from(more(part, target));
                if member == which {
                    return (start, start + length);
                }
                start += length;
            }
            (0, 0)
        };
        let lends = interval(&self.own, u64::saturating_sub);
        let borrows = interval(to, |part, target| target.saturating_sub(part));
        clamp(lends.1.min(borrows.1).saturating_sub(lends.0.max(borrows.0)))
    }
}

/// What each member may use of itself: a division of the link by weight.
fn parts<K: Ord + Clone>(link: BitRate, members: &BTreeMap<K, Weight>) -> BTreeMap<K, u64> {
    let want = |&weight: &Weight| Want { weight, least: 0, most: u64::MAX };
    let wants: Vec<Want> = members.values().map(want).collect();
    members.keys().cloned().zip(fill(link.get(), &wants)).collect()
}

/// For how long a lender counts as gone what it lends for `lease`: clocks that differ by less than
/// 5 % are allowed for.
fn held(lease: Duration) -> Duration {
    lease + lease / 8
}
