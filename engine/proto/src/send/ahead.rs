//! What is read next, and how far ahead: every flow has its part of what lies ready, so that it can be
//! sent when its turn comes, and its part of the buffers.

use super::block::{SendBlock, Stage};
use super::flows::Flow;
use super::{SendEffect, Sender};
use crate::fec::BlockShape;
use crate::limits::BLOCK_DATA;
use crate::shares::{Class, FLOWS_MAX, Mask, places};
use crate::trace::{TraceEvent, Way};
use crate::units::Bytes;
use core::time::Duration;

/// Data kept loaded ahead of the first pass, as time at the current rate.
pub(crate) const READ_AHEAD: Duration = Duration::from_millis(100);

/// Data bytes that are loaded or loading and were not sent, by the place of their flow.
type Loaded = [Bytes; FLOWS_MAX];

impl Sender {
    /// Starts reads so that at least `ahead` data bytes are loaded or loading, shared among the flows
    /// that have something to read.
    pub fn read_ahead(&mut self, ahead: Bytes) {
        let Some(symbol_size) = self.symbol_size else { return };
        let limit = self.blocks_limit();
        let wanting = self.wanting();
        if wanting == 0 {
            return;
        }
        let mut loaded = self.loaded();
        loop {
            let hungry = self.hungry(ahead, wanting, &loaded);
            let Some(place) = self.next_reader(hungry) else { return };
            if self.blocks_open() >= limit && !self.make_room(place) {
                return;
            }
            let Some(started) = self.start_next(place, symbol_size) else { continue };
            loaded[place] += started;
        }
    }

    /// Starts the next block of a flow, if it has one; answers its data bytes.
    fn start_next(&mut self, place: usize, symbol_size: u16) -> Option<Bytes> {
        let index = self.flows[place].next_start(&self.done)?;
        self.flows[place].start(index);
        let placed = self.table.find(index);
        let shape = placed.and_then(|placed| BlockShape::new(placed.len, symbol_size).ok());
        let (Some(placed), Some(shape)) = (placed, shape) else {
            self.flows[place].leave(index);
            return None;
        };
        self.blocks.insert(index, SendBlock::new(placed, place, shape));
        let (way, symbols) = (Way::Out, shape.symbols());
        self.trace.push(TraceEvent::BlockOpened { way, block: index, symbols });
        self.effects.push_back(SendEffect::Read { block: index, placed, shape });
        Some(placed.len)
    }

    /// The flows that send, or would.
    fn wanting(&self) -> Mask {
        let wants = |flow: &Flow| {
            !flow.plan.paused && (flow.has_unstarted() || !flow.first_pass.is_empty())
        };
        let wanting = places(self.taken).filter(|&place| wants(&self.flows[place]));
        wanting.fold(0, |mask, place| mask | 1 << place)
    }

    /// Those of them that have less than their part, and more to read. What a lower class has to have
    /// ready is a block: more would take the buffers of the higher, and less could not be lent at once.
    fn hungry(&self, ahead: Bytes, wanting: Mask, loaded: &Loaded) -> Mask {
        let top = places(wanting).map(|place| self.flows[place].plan.class).min();
        let together = top.map_or(0, |class| self.turns.weight_of(class, wanting)).max(1);
        let mut hungry = 0;
        for place in places(wanting) {
            let flow = &self.flows[place];
            let part = if Some(flow.plan.class) == top {
                ahead.saturating_mul(u64::from(flow.plan.weight.get())).get() / together
            } else {
                0
            };
            // What its cap lets leave by then is enough: more would keep buffers from others.
            let part = flow.plan.cap.map_or(part, |cap| part.min(cap.bytes_in(READ_AHEAD).get()));
            let least = BLOCK_DATA.min(ahead);
            if flow.has_unstarted() && loaded[place] < Bytes::new(part).max(least) {
                hungry |= 1 << place;
            }
        }
        hungry
    }

    /// Who reads next: a flow without any block, for it could send nothing; else the higher class, and
    /// in it who has the fewest blocks for its weight.
    fn next_reader(&self, hungry: Mask) -> Option<usize> {
        places(hungry).min_by_key(|&place| {
            let flow = &self.flows[place];
            let class = if flow.open == 0 { Class::Urgent } else { flow.plan.class };
            let blocks = u64::from(flow.open) << 16;
            (class, blocks / u64::from(flow.plan.weight.get()), flow.plan.class)
        })
    }

    /// All buffers are in use: a block that was read and not begun is given back by a paused flow, or by
    /// the lowest class below that of the flow at `place` that has more than one.
    fn make_room(&mut self, place: usize) -> bool {
        let class = self.flows[place].plan.class;
        let mut lower: Vec<_> = places(self.taken)
            .filter(|&other| {
                let flow = &self.flows[other];
                flow.plan.paused || (flow.plan.class > class && flow.open > 1)
            })
            .collect();
        lower.sort_by_key(|&other| {
            let flow = &self.flows[other];
            core::cmp::Reverse((flow.plan.paused, flow.plan.class, flow.open))
        });
        lower.into_iter().any(|other| self.give_back_one(other))
    }

    /// What is being read counts from the last block that was loaded on: earlier ones come late.
    fn loaded(&self) -> Loaded {
        let mut loaded = [Bytes::ZERO; FLOWS_MAX];
        let mut reading = self.taken;
        for block in self.blocks.values().rev() {
            if reading == 0 {
                break;
            }
            if block.stage != Stage::Reading {
                reading &= !(1 << block.flow);
            } else if reading & 1 << block.flow != 0 {
                loaded[block.flow] += block.placed.len;
            }
        }
        for place in places(self.taken) {
            let active = self.flows[place].first_pass.iter();
            for block in active.filter_map(|index| self.blocks.get(index)) {
                let size = u64::from(block.shape.symbol_size());
                loaded[place] += Bytes::new(u64::from(block.unsent()) * size);
            }
        }
        loaded
    }
}
