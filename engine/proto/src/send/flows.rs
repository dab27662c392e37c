//! What each flow of the sending side has to send, and whose turn it is. spec: W-143, W-144

use super::block::{SendBlock, Stage};
use super::{SendEffect, Sender};
use crate::ids::{BlockIndex, FlowId, ObjectId};
use crate::ranges::RangeSet;
use crate::shares::{
    Bucket, FLOWS_MAX, FlowClock, FlowError, FlowFigures, FlowLimit, FlowPlan, Mask, places,
};
use crate::units::{Bytes, Timestamp};
use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

/// What limits a flow is looked at so often.
const NOTE_EVERY: Duration = Duration::from_millis(5);

/// A flow, and what of it is where.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) id: FlowId,
    pub(super) plan: FlowPlan,
    bucket: Option<Bucket>,
    /// Its objects that are open.
    pub(super) objects: u32,
    /// Its blocks in memory or being read.
    pub(super) open: u32,
    /// Indices that were not started, ascending runs of `first .. end`.
    unstarted: VecDeque<(u32, u32)>,
    /// Blocks that were read and given back unsent.
    returned: BTreeSet<BlockIndex>,
    /// What the newest report asks for, as far as it was not looked at since.
    pub(super) asked_for: BTreeSet<BlockIndex>,
    /// Blocks with a repair ready to leave.
    pub(super) repairs: BTreeSet<BlockIndex>,
    /// Blocks in memory whose first pass is not done.
    pub(super) first_pass: BTreeSet<BlockIndex>,
    wire: Bytes,
    clock: FlowClock,
}

impl Flow {
    pub(super) fn new(id: FlowId, plan: FlowPlan, now: Timestamp) -> Self {
        Self {
            id,
            plan,
            bucket: plan.cap.map(|cap| Bucket::new(cap, now)),
            objects: 0,
            open: 0,
            unstarted: VecDeque::new(),
            returned: BTreeSet::new(),
            asked_for: BTreeSet::new(),
            repairs: BTreeSet::new(),
            first_pass: BTreeSet::new(),
            wire: Bytes::ZERO,
            clock: FlowClock::default(),
        }
    }

    /// The blocks `first .. end` are to be sent; they follow all that were placed before.
    pub(super) fn place(&mut self, first: BlockIndex, end: BlockIndex) {
        let (first, end) = (first.get(), end.get());
        match self.unstarted.back_mut() {
            _ if first >= end => {}
            Some((_, last)) if *last == first => *last = end,
            _ => self.unstarted.push_back((first, end)),
        }
    }

    /// The block that starts next, unless all did.
    pub(super) fn next_start(&mut self, done: &RangeSet) -> Option<BlockIndex> {
        if let Some(&block) = self.returned.first() {
            return Some(block);
        }
        while let Some((first, end)) = self.unstarted.front_mut() {
            let next = BlockIndex::clamped(done.absent_from(u64::from(*first))).get();
            if next < *end {
                *first = next;
                return Some(BlockIndex::new(next));
            }
            self.unstarted.pop_front();
        }
        None
    }

    /// A block that [`Self::next_start`] named starts.
    pub(super) fn start(&mut self, block: BlockIndex) {
        self.open += 1;
        if !self.returned.remove(&block)
            && let Some((first, _)) = self.unstarted.front_mut()
        {
            *first = block.next().get();
        }
    }

    /// A block that was read is given back, to be read again before all others.
    pub(super) fn give_back(&mut self, block: BlockIndex) {
        self.leave(block);
        self.returned.insert(block);
    }

    /// A block is in memory no more.
    pub(super) fn leave(&mut self, block: BlockIndex) {
        self.open -= 1;
        self.repairs.remove(&block);
        self.first_pass.remove(&block);
    }

    /// Of blocks `first .. end` that are given up, those that never started: a run, and some that
    /// were given back.
    pub(super) fn forget(
        &mut self,
        first: BlockIndex,
        end: BlockIndex,
    ) -> (BlockIndex, Vec<BlockIndex>) {
        let begun_below = self.unstarted.front().map_or(u32::MAX, |&(first, _)| first);
        let returned: Vec<_> = self.returned.range(first..end).copied().collect();
        returned.iter().for_each(|block| _ = self.returned.remove(block));
        (first.max(BlockIndex::new(begun_below)), returned)
    }

    /// Blocks are left to be read. Some that were given up may still count.
    pub(super) fn has_unstarted(&self) -> bool {
        !self.returned.is_empty() || self.unstarted.iter().any(|(first, end)| first < end)
    }

    pub(super) fn is_open_at(&self, now: Timestamp) -> bool {
        self.bucket.is_none_or(|bucket| bucket.is_open(now))
    }

    pub(super) fn charge(&mut self, bytes: Bytes, now: Timestamp) {
        self.wire += bytes;
        if let Some(bucket) = &mut self.bucket {
            bucket.take(bytes, now);
        }
    }

    fn set_plan(&mut self, plan: FlowPlan, now: Timestamp) {
        self.plan = plan;
        match (&mut self.bucket, plan.cap) {
            (Some(bucket), Some(cap)) => bucket.set_rate(cap, now),
            (bucket, cap) => *bucket = cap.map(|cap| Bucket::new(cap, now)),
        }
    }

    fn figures(&self) -> FlowFigures {
        FlowFigures {
            flow: self.id,
            plan: self.plan,
            wire: self.wire,
            objects: self.objects,
            blocks: self.open,
            limit: self.clock.current(),
            spent: self.clock.spent(),
        }
    }
}

impl Sender {
    /// Opens a flow, or changes it; obeyed by the next symbol. The default flow is there always.
    ///
    /// # Errors
    /// [`FlowError::TooMany`].
    pub fn set_flow(&mut self, id: FlowId, plan: FlowPlan) -> Result<(), FlowError> {
        let now = self.now;
        let place = match self.place_of(id) {
            Some(place) => {
                self.flows[place].set_plan(plan, now);
                place
            }
            None => {
                let flow = Flow::new(id, plan, now);
                let vacant = (0..self.flows.len()).find(|place| !self.is_taken(*place));
                match vacant {
                    Some(place) => self.flows[place] = flow,
                    None if self.flows.len() < FLOWS_MAX => self.flows.push(flow),
                    None => return Err(FlowError::TooMany(id)),
                }
                vacant.unwrap_or(self.flows.len() - 1)
            }
        };
        self.taken |= 1 << place;
        self.turns.set(place, plan.class, plan.weight);
        if plan.paused {
            self.give_back_all(place);
        }
        Ok(())
    }

    /// Forgets a flow that has nothing under way.
    ///
    /// # Errors
    /// [`FlowError::Unknown`], [`FlowError::InUse`].
    pub fn end_flow(&mut self, id: FlowId) -> Result<(), FlowError> {
        let place = self.place_of(id).ok_or(FlowError::Unknown(id))?;
        let flow = &self.flows[place];
        if place == 0 || flow.objects > 0 || flow.open > 0 {
            return Err(FlowError::InUse(id));
        }
        self.taken &= !(1 << place);
        self.turns.leave(place);
        Ok(())
    }

    /// The flow of an object that is open.
    pub fn flow_of(&self, object: ObjectId) -> Option<FlowId> {
        self.objects.get(&object).map(|state| self.flows[state.flow].id)
    }

    /// What each flow came to, in no order.
    pub fn flows(&self) -> impl Iterator<Item = FlowFigures> + '_ {
        places(self.taken).map(|place| self.flows[place].figures())
    }

    /// It is now: what caps are held against until the next call.
    pub const fn turn(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// When a flow may send that could but for its cap, if one is held back.
    pub fn opens_at(&self) -> Option<Timestamp> {
        let held_up = self.is_held_up();
        let held = |place: &usize| {
            let flow = &self.flows[*place];
            let rests = flow.plan.paused && !held_up;
            !rests && !flow.is_open_at(self.now) && self.has_symbol_of(*place)
        };
        let held = places(self.taken).filter(held);
        held.filter_map(|place| self.flows[place].bucket?.opens_at()).min()
    }

    /// True while objects are open and all of their flows are paused.
    pub fn is_resting(&self) -> bool {
        let paused = |place: usize| self.flows[place].plan.paused || self.flows[place].objects == 0;
        !self.is_idle() && places(self.taken).all(paused)
    }

    /// Blocks in memory, or being read, of flows that are paused.
    pub fn blocks_paused(&self) -> u32 {
        self.blocks_open() - self.running().map(|flow| flow.open).sum::<u32>()
    }

    pub(super) fn place_of(&self, id: FlowId) -> Option<usize> {
        places(self.taken).find(|&place| self.flows[place].id == id)
    }

    fn is_taken(&self, place: usize) -> bool {
        self.taken & 1 << place != 0
    }

    /// The flows that are not paused.
    pub(super) fn running(&self) -> impl Iterator<Item = &Flow> + '_ {
        let flows = places(self.taken).map(|place| &self.flows[place]);
        flows.filter(|flow| !flow.plan.paused)
    }

    /// True while a flow that is not paused has blocks to be read.
    pub(super) fn has_unstarted(&self) -> bool {
        self.running().any(Flow::has_unstarted)
    }

    /// The only flow there is, if it may send now.
    pub(super) fn alone(&self) -> Option<Mask> {
        let flow = self.flows.first().filter(|_| self.taken == 1)?;
        (!flow.plan.paused && flow.is_open_at(self.now)).then_some(self.taken)
    }

    /// The flows of which a symbol could leave now.
    pub(super) fn ready(&self) -> Mask {
        let mut ready = 0;
        for place in places(self.taken) {
            let flow = &self.flows[place];
            if !flow.plan.paused && flow.is_open_at(self.now) && self.has_symbol_of(place) {
                ready |= 1 << place;
            }
        }
        if ready == 0 && self.is_held_up() { self.rested() } else { ready }
    }

    /// The flow has something to send, if it is let.
    fn has_symbol_of(&self, place: usize) -> bool {
        !self.flows[place].repairs.is_empty() || self.next_first_pass(place).is_some()
    }

    /// Paused flows have most of the blocks that may be open, so that others cannot begin: what of them
    /// is with the peer has to be finished, for only then it lets the memory go. spec: W-146
    pub(super) fn is_held_up(&self) -> bool {
        let limit = self.blocks_limit();
        let resting = self.blocks_paused();
        let wanted = || {
            let waits = |flow: &Flow| flow.has_unstarted() || !flow.first_pass.is_empty();
            self.running().any(waits)
        };
        resting > limit / 2 && self.blocks_open() >= limit && wanted()
    }

    /// Paused flows that have begun blocks which they could go on with.
    fn rested(&self) -> Mask {
        let mut ready = 0;
        for place in places(self.taken) {
            let flow = &self.flows[place];
            let stays = |index: &BlockIndex| self.blocks.get(index).is_some_and(|b| self.stays(b));
            let may = !flow.repairs.is_empty() || flow.first_pass.iter().any(stays);
            if flow.plan.paused && flow.is_open_at(self.now) && may {
                ready |= 1 << place;
            }
        }
        ready
    }

    /// A block that is not given back, whatever else wants its place: one that was begun, or one of an
    /// object that was read to its end. spec: W-146
    pub(super) fn stays(&self, block: &SendBlock) -> bool {
        let is_read = || self.objects.get(&block.placed.object).is_none_or(|it| it.unread == 0);
        block.is_begun() || is_read()
    }

    /// Gives back what of a flow was read and not begun. An object that was read to its end keeps what it
    /// has: whether its source changed was asked then, and is not asked again.
    fn give_back_all(&mut self, place: usize) {
        while self.give_back_one(place) {}
    }

    /// Gives back the block of a flow that would be sent last; false when it has none to give.
    pub(super) fn give_back_one(&mut self, place: usize) -> bool {
        let spare =
            |index: &&BlockIndex| self.blocks.get(*index).is_some_and(|block| !self.stays(block));
        let Some(&index) = self.flows[place].first_pass.iter().rev().find(spare) else {
            return false;
        };
        let Some(block) = self.blocks.remove(&index) else { return false };
        debug_assert_eq!(block.stage, Stage::Active, "what is being read is in no first pass");
        self.flows[place].give_back(index);
        if block.shape.packed_symbols().is_some() {
            self.counters.packed -= block.placed.len;
            self.counters.packed_to -= block.to_send();
        }
        self.unsent -= block.to_send();
        self.unsent += block.placed.len;
        if let Some(object) = self.objects.get_mut(&block.placed.object) {
            object.unread += 1;
        }
        self.effects.push_back(SendEffect::Release { block: index });
        true
    }

    /// Looks at what limits each flow from now on; every 5 ms at most.
    pub fn note_flows(&mut self, now: Timestamp) {
        if now < self.noted + NOTE_EVERY {
            return;
        }
        self.noted = now;
        let several = self.taken > 1 && self.ready().count_ones() > 1;
        for place in places(self.taken) {
            let flow = &self.flows[place];
            let limit = if flow.objects == 0 {
                None
            } else if flow.plan.paused {
                Some(FlowLimit::Pause)
            } else if !self.has_symbol_of(place) {
                Some(FlowLimit::Session)
            } else if !flow.is_open_at(self.now) {
                Some(FlowLimit::Cap)
            } else if several {
                Some(FlowLimit::Share)
            } else {
                Some(FlowLimit::Session)
            };
            self.flows[place].clock.set(limit, now);
        }
    }
}
