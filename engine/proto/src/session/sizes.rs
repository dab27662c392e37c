//! Which packet sizes are used: probes, the choice, and the way back down.

use super::{PacketPlan, Session};
use crate::congestion::Policy;
use crate::limits::{SYMBOL_SIZE, SYMBOL_SIZE_JUMBO, SYMBOL_SIZE_SMALL};
use crate::path::mtu::{FULL_PROBES, SEARCH_PROBES, SMALL_PROBES, packet_bytes};
use crate::trace::TraceEvent;
use crate::units::Timestamp;
use crate::wire::header::Kind;
use core::time::Duration;

/// What is to be asked about sizes.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    pub(super) small_probes_left: u32,
    pub(super) full_probes_left: u32,
    /// No train asks as well: without an answer the probes are sent again then.
    again_at: Option<Timestamp>,
    /// Jumbo frames were asked for, once the path was known to be quick enough for them.
    jumbo_asked: bool,
    /// Probes of larger sizes that are to leave.
    pub(super) search: Vec<u16>,
    /// The next question to a silent path is a small packet.
    pub(super) asks_small: bool,
    /// The report at hand proved that large packets do not pass any more.
    pub(super) hole: bool,
}

/// A packet larger than usual takes at most so long at the rate of the path.
const PACKET_TIME_MAX: Duration = Duration::from_millis(2);

impl Session {
    /// The sizes are not known: the usual ones are asked for at once.
    pub(super) fn plan_size_probes(&mut self) {
        self.sizes.small_probes_left = SMALL_PROBES;
        // Elsewhere trains of full-size packets ask.
        let asks = matches!(self.config.policy, Policy::Fixed) || self.is_small_start();
        self.sizes.full_probes_left = if asks { FULL_PROBES } else { 0 };
        self.sizes.search.clear();
        self.sizes.jumbo_asked = false;
    }

    pub(super) fn plan_probes(&mut self, now: Timestamp, plans: &mut Vec<PacketPlan>) {
        if self.sizes_asked_again_at().is_some_and(|at| at <= now) {
            self.plan_size_probes();
        }
        if self.sizes.full_probes_left > 0 {
            self.sizes.again_at = Some(now + self.rtt.pessimistic() * 5 / 4);
        }
        while self.sizes.small_probes_left > 0 {
            self.sizes.small_probes_left -= 1;
            self.plan_padding(Kind::Pad, SYMBOL_SIZE_SMALL, now, plans);
        }
        while self.sizes.full_probes_left > 0 {
            self.sizes.full_probes_left -= 1;
            self.plan_padding(Kind::Pad, SYMBOL_SIZE, now, plans);
        }
        if self.config.carrier.is_reliable() {
            return;
        }
        if self.is_steering() && self.sender.symbol_size().is_some() {
            self.plan_search(now);
            while let Some(sizes) = self.mtu.take_pair(now) {
                sizes.iter().for_each(|&size| self.plan_padding(Kind::Pad, size, now, plans));
            }
        }
        while let Some(size) = self.sizes.search.pop() {
            self.plan_padding(Kind::Pad, size, now, plans);
        }
    }

    /// When the sizes are asked for again, unless an answer comes before.
    pub(super) fn sizes_asked_again_at(&self) -> Option<Timestamp> {
        self.sizes.again_at.filter(|_| self.mtu.is_unanswered() && self.is_small_start())
    }

    /// Larger sizes are looked for now and then, jumbo frames once where they would be used: two of
    /// them are a long queue on a slow link.
    fn plan_search(&mut self, now: Timestamp) {
        let known = !self.controller.view().starting;
        let quick = known && self.usable(SYMBOL_SIZE_JUMBO) == SYMBOL_SIZE_JUMBO;
        let due = self.mtu.take_search(now).iter().copied();
        let first = quick && !core::mem::replace(&mut self.sizes.jumbo_asked, quick);
        let sizes: Vec<u16> = due.filter(|&size| quick || size <= SYMBOL_SIZE).collect();
        let asked = first && !sizes.contains(&SYMBOL_SIZE_JUMBO);
        for size in sizes.into_iter().chain(asked.then_some(SYMBOL_SIZE_JUMBO)) {
            self.sizes.search.extend([size; SEARCH_PROBES as usize]);
        }
    }

    /// A silent path says nothing about sizes, and nothing leaves there anyway.
    pub(super) fn choose_symbol_size(&mut self, now: Timestamp) {
        let chosen = self.sender.symbol_size();
        let grown =
            chosen.is_some_and(|chosen| self.mtu.largest().is_some_and(|size| size > chosen));
        if (self.sender.wants_symbol_size() || grown)
            && !self.silence.is_stopped(self.patience(), now)
            && let Some(size) = self.mtu.symbol_size(self.rtt.reorder_window(), now)
            && chosen != Some(self.usable(size))
        {
            let size = self.usable(size);
            self.sender.set_symbol_size(size);
            self.note_size(size, now);
        }
    }

    /// Jumbo frames only where they are quick: else loss, queue and pacing become coarse.
    fn usable(&self, size: u16) -> u16 {
        let quick = packet_bytes(size).time_at(self.controller.view().rate) <= PACKET_TIME_MAX;
        if quick { size } else { size.min(SYMBOL_SIZE) }
    }

    /// Large packets do not pass any more: what is in flight of them is lost for that reason and no
    /// other, and what they carried goes in smaller ones. spec: W-078
    pub(super) fn fall_back(&mut self, now: Timestamp) {
        let (size, since) = self.mtu.fall_back(now);
        self.outage = Some((since, now));
        let gap = now.since(since).min(super::silence::STOP_AFTER);
        self.controller.on_outage_end(gap, now);
        let mut settled = core::mem::take(&mut self.settled);
        self.ledger.write_off(&mut settled);
        self.sender.fall_back(size);
        self.sender.on_lost(&settled.lost_carried, &self.repair);
        self.settled = settled;
        self.note_size(size, now);
    }

    fn note_size(&mut self, size: u16, now: Timestamp) {
        let event = TraceEvent::MtuUpdated { symbol_size: size, packet: packet_bytes(size) };
        self.observer.note(event, now);
    }
}
