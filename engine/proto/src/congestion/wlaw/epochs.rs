//! Rate epochs: every packet is tagged with the epoch in which it left, and loss is counted by
//! epoch of *sending*. That ties a loss to the rate that caused it, one round trip later.
//!
//! ```text
//! length   clamp(r/4, 5 ms, 25 ms), at least 24 packets
//! factors  [1 - delta, 1 + delta, 1, 1] while pulsing, else 1;  delta = 0.2 kappa, at least 0.08
//! ```
//! Where packets that were called lost arrive after all, an epoch with losses waits until it is older
//! than the slowest of them: reordering is no loss.
//!
//! Short strong pulses have the statistical power of long weak ones for less queue: noise falls
//! with the root of the length, queue grows with the length. They cost nothing without loss,
//! because without loss there are none.

use crate::ids::{PacketNumber, RateEpoch};
use std::collections::VecDeque;

const LENGTH_MIN: f64 = 0.005;
const LENGTH_MAX: f64 = 0.025;
const PACKETS_MIN: u32 = 24;
/// How late packets came is remembered for so long.
const LATE_AGE: f64 = 10.0;
/// Epochs in flight: 1 s of round trip at 25 ms is 40, at 5 ms with stalls far below this.
const OPEN_MAX: usize = 512;

/// What was special about the rate of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The plain rate.
    Plain,
    /// Below it.
    Slow,
    /// Above it.
    Fast,
    /// Not comparable: draining, starting, stalled.
    Ignored,
}

const CYCLE: [Class; 4] = [Class::Slow, Class::Fast, Class::Plain, Class::Plain];

/// When pulses are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pulses {
    /// Never.
    Off,
    /// One pair in each cycle of four epochs.
    Always,
    /// A slow epoch in so many seconds.
    SlowEvery(f64),
    /// The current rate is no basis for comparison.
    Ignore,
}

/// An epoch, and what became of its packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epoch {
    pub(super) class: Class,
    pub(super) sent: u32,
    pub(super) acked: u32,
    pub(super) lost: u32,
    /// Runs of lost packets.
    pub(super) runs: u32,
    /// The plain rate at its start.
    pub(super) rate: f64,
    started: f64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Epochs {
    open: VecDeque<Epoch>,
    first: u32,
    phase: usize,
    pulsed_at: f64,
    last_lost: Option<PacketNumber>,
    /// So long the slowest packet lately took that was called lost and arrived.
    late: f64,
    late_at: f64,
}

impl Epochs {
    pub(super) fn new(now: f64) -> Self {
        let mut open = VecDeque::with_capacity(OPEN_MAX);
        open.push_back(Epoch::new(Class::Ignored, 0.0, now));
        Self { open, first: 0, phase: 0, pulsed_at: now, last_lost: None, late: 0.0, late_at: now }
    }

    /// The class of the epoch that is being sent.
    pub(super) fn current(&self) -> Class {
        self.open.back().map_or(Class::Plain, |e| e.class)
    }

    /// Tags a packet; begins the next epoch if the current one is long enough.
    pub(super) fn on_sent(&mut self, r: f64, rate: f64, pulses: Pulses, now: f64) -> RateEpoch {
        let length = (r / 4.0).clamp(LENGTH_MIN, LENGTH_MAX);
        if self.open.back().is_none_or(|e| e.is_over(length, now)) {
            self.begin(rate, pulses, now);
        }
        if let Some(current) = self.open.back_mut() {
            current.sent += 1;
        }
        self.id_of_last()
    }

    /// A packet of this epoch arrived.
    pub(super) fn on_acked(&mut self, id: RateEpoch) {
        if let Some(epoch) = self.find(id) {
            epoch.acked += 1;
        }
    }

    /// A packet of this epoch was lost; answers whether the loss begins a new run.
    pub(super) fn on_lost(&mut self, id: RateEpoch, number: PacketNumber) -> bool {
        let begins = self.last_lost.is_none_or(|last| last.next() != number);
        self.last_lost = Some(number);
        if let Some(epoch) = self.find(id) {
            epoch.lost += 1;
            epoch.runs += u32::from(begins);
        }
        begins
    }

    /// A packet that was called lost arrived, `age` after it left.
    pub(super) fn on_spurious(&mut self, id: RateEpoch, age: f64, now: f64) {
        if age >= self.late || now - self.late_at > LATE_AGE {
            (self.late, self.late_at) = (age, now);
        }
        if let Some(epoch) = self.find(id)
            && epoch.lost > 0
        {
            epoch.lost -= 1;
            epoch.acked += 1;
            epoch.runs = epoch.runs.min(epoch.lost);
        }
    }

    /// A packet of this epoch does not count: nobody will say what became of it, or it says nothing.
    /// Epochs are judged in their order, so one that waited for it would hold up all others.
    pub(super) fn forget(&mut self, id: RateEpoch) {
        if let Some(epoch) = self.find(id) {
            epoch.sent = epoch.sent.saturating_sub(1);
        }
    }

    /// The oldest epoch, once the fate of its packets is known; call until `None`.
    pub(super) fn take_resolved(&mut self, timeout: f64, now: f64) -> Option<Epoch> {
        let oldest = self.open.front()?;
        let settled = self.open.get(1).is_some_and(|next| now - next.started > self.late);
        let known = oldest.acked + oldest.lost >= oldest.sent && (oldest.lost == 0 || settled);
        if self.open.len() < 2 || !(known || now - oldest.started > timeout) {
            return None;
        }
        self.first = self.first.wrapping_add(1);
        self.open.pop_front().map(|e| if known { e } else { Epoch { class: Class::Ignored, ..e } })
    }

    /// What is in flight now tells nothing.
    pub(super) fn ignore_open(&mut self) {
        self.open.iter_mut().for_each(|e| e.class = Class::Ignored);
    }

    fn begin(&mut self, rate: f64, pulses: Pulses, now: f64) {
        if self.open.len() == OPEN_MAX {
            self.open.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        let class = self.next_class(pulses, now);
        self.open.push_back(Epoch::new(class, rate, now));
    }

    fn next_class(&mut self, pulses: Pulses, now: f64) -> Class {
        match pulses {
            Pulses::Off => Class::Plain,
            Pulses::Ignore => Class::Ignored,
            Pulses::Always => {
                self.phase = (self.phase + 1) % CYCLE.len();
                CYCLE[self.phase]
            }
            Pulses::SlowEvery(span) if now - self.pulsed_at > span => {
                self.pulsed_at = now;
                Class::Slow
            }
            Pulses::SlowEvery(_) => Class::Plain,
        }
    }

    fn find(&mut self, id: RateEpoch) -> Option<&mut Epoch> {
        let offset = id.get().wrapping_sub(self.first);
        self.open.get_mut(usize::try_from(offset).ok()?)
    }

    fn id_of_last(&self) -> RateEpoch {
        let last = u32::try_from(self.open.len().saturating_sub(1)).unwrap_or(u32::MAX);
        RateEpoch::new(self.first.wrapping_add(last))
    }
}

impl Epoch {
    fn new(class: Class, rate: f64, now: f64) -> Self {
        Self { class, sent: 0, acked: 0, lost: 0, runs: 0, rate, started: now }
    }

    fn is_over(&self, length: f64, now: f64) -> bool {
        let age = now - self.started;
        (age >= length && self.sent >= PACKETS_MIN) || age >= 4.0 * length
    }

    /// When its first packet left.
    pub(super) fn started(&self) -> f64 {
        self.started
    }

    /// Packets whose fate is known.
    pub(super) fn packets(&self) -> f64 {
        f64::from(self.acked + self.lost)
    }

    /// Share of them that was lost.
    pub(super) fn loss(&self) -> f64 {
        f64::from(self.lost) / self.packets().max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_counted_where_the_packet_was_sent() {
        let mut epochs = Epochs::new(0.0);
        let mut tags = Vec::new();
        for number in 0..200u32 {
            tags.push(epochs.on_sent(0.1, 1e6, Pulses::Always, f64::from(number) * 0.001));
        }
        let slow = tags.iter().position(|t| t.get() == 3).unwrap();
        for (number, tag) in tags.iter().enumerate() {
            let number_id = PacketNumber::new(number as u64);
            match number == slow {
                true => assert!(epochs.on_lost(*tag, number_id)),
                false => epochs.on_acked(*tag),
            }
        }
        let resolved: Vec<_> = core::iter::from_fn(|| epochs.take_resolved(9.0, 0.2)).collect();
        let lossy: Vec<_> = resolved.iter().filter(|e| e.lost > 0).collect();
        assert_eq!(lossy.len(), 1);
        assert_eq!((lossy[0].lost, lossy[0].runs), (1, 1));
        assert!(resolved.iter().any(|e| e.class == Class::Fast));
    }

    #[test]
    fn a_packet_that_does_not_count_holds_up_no_judgement() {
        let mut epochs = Epochs::new(0.0);
        let first = epochs.on_sent(0.1, 1e6, Pulses::Off, 0.0);
        let probe = epochs.on_sent(0.1, 1e6, Pulses::Off, 0.001);
        assert_eq!(first, probe);
        assert_ne!(epochs.on_sent(0.1, 1e6, Pulses::Off, 0.2), first);
        epochs.on_acked(first);
        assert!(epochs.take_resolved(9.0, 0.3).is_none());
        epochs.forget(probe);
        assert!(epochs.take_resolved(9.0, 0.3).is_some());
    }

    #[test]
    fn consecutive_losses_are_one_run() {
        let mut epochs = Epochs::new(0.0);
        let tag = epochs.on_sent(0.1, 1e6, Pulses::Off, 0.0);
        assert!(epochs.on_lost(tag, PacketNumber::new(5)));
        assert!(!epochs.on_lost(tag, PacketNumber::new(6)));
        assert!(epochs.on_lost(tag, PacketNumber::new(9)));
    }

    #[test]
    fn an_unknown_epoch_is_ignored() {
        let mut epochs = Epochs::new(0.0);
        epochs.on_acked(RateEpoch::new(77));
        epochs.on_lost(RateEpoch::new(u32::MAX), PacketNumber::new(1));
        assert!(epochs.take_resolved(1.0, 9.0).is_none());
    }
}
