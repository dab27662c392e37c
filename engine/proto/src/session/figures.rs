//! From what a measurement of the path saw to its figures.

use crate::ids::PacketNumber;
use crate::units::{BitRate, Bytes, Timestamp};
use crate::wire::control::PathFigures;
use crate::wire::feedback::DelayMark;
use core::time::Duration;
use std::collections::BTreeMap;

/// Round trips kept.
const RTTS_MAX: usize = 8192;
/// Parts of a burst that are looked at one by one.
const BIN: Duration = Duration::from_millis(20);
/// Bins kept: ten seconds.
const BINS_MAX: usize = 512;
/// A burst of fewer bins says nothing about a policer.
const BINS_FOR_HINT: usize = 8;
/// Loss that a policer's bucket keeps away at first, and the loss that shows it later.
const LOSS_BEFORE: f64 = 0.03;
const LOSS_MORE: f64 = 0.10;

/// Delay, its variation, and order.
#[derive(Debug, Default)]
pub(super) struct Delays {
    pub(super) sent: u64,
    pub(super) lost: u64,
    rtts: Vec<Duration>,
    /// Sum and number of differences between neighbours.
    varied: (Duration, u32),
    marks: u64,
    overtaken: u64,
}

impl Delays {
    pub(super) fn on_rtt(&mut self, rtt: Duration) {
        if self.rtts.len() < RTTS_MAX {
            self.rtts.push(rtt);
        }
    }

    /// Arrivals that one report tells: in one clock, so that their differences have nothing of
    /// the way back in them.
    pub(super) fn on_marks(
        &mut self,
        marks: &[DelayMark],
        sent: &BTreeMap<PacketNumber, Timestamp>,
    ) {
        let mut seen = None;
        let mut before: Option<(Timestamp, Duration)> = None;
        for mark in marks {
            let Some(&sent_at) = sent.get(&mark.number) else { continue };
            self.marks += 1;
            self.overtaken += u64::from(seen.is_some_and(|seen| mark.number < seen));
            seen = seen.max(Some(mark.number));
            let age = Duration::from(mark.age);
            if let Some((sent_before, age_before)) = before {
                let arrived = signed(age_before) - signed(age);
                let left = sent_at.signed_nanos_since(sent_before);
                let varied = Duration::from_nanos((arrived - left).unsigned_abs());
                self.varied = (self.varied.0 + varied, self.varied.1 + 1);
            }
            before = Some((sent_at, age));
        }
    }

    pub(super) fn fill(&self, figures: &mut PathFigures) {
        let mut rtts = self.rtts.clone();
        rtts.sort();
        let at = |share: f64| quantile(&rtts, share).map_or(0, micros);
        figures.delay_sent = self.sent;
        figures.delay_lost = self.lost;
        figures.rtt_min_us = at(0.0);
        figures.rtt_median_us = at(0.5);
        figures.rtt_p99_us = at(0.99);
        figures.jitter_us = self.varied.0.checked_div(self.varied.1).map_or(0, micros);
        figures.marks = self.marks;
        figures.overtaken = self.overtaken;
    }
}

fn signed(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// The value that `share` of the ascending values do not exceed.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
#[expect(clippy::cast_precision_loss, reason = "a few thousand values")]
fn quantile<T: Copy>(ascending: &[T], share: f64) -> Option<T> {
    let last = ascending.len().checked_sub(1)?;
    ascending.get((last as f64 * share).ceil() as usize).copied()
}

/// The middle of some rates.
pub(super) fn median(rates: &[BitRate]) -> Option<BitRate> {
    let mut ascending = rates.to_vec();
    ascending.sort();
    quantile(&ascending, 0.5)
}

pub(super) fn fill_trains(rates: &[BitRate], figures: &mut PathFigures) {
    let mut ascending = rates.to_vec();
    ascending.sort();
    let at = |share| quantile(&ascending, share).map(BitRate::get);
    figures.trains = u64::try_from(rates.len()).unwrap_or(u64::MAX);
    figures.train_rate_bps = at(0.5);
    figures.train_low_bps = at(0.25);
    figures.train_high_bps = at(0.75);
}

/// Packets sent at a steady rate.
#[derive(Debug, Default)]
pub(super) struct Burst {
    /// The rate that was wanted.
    pub(super) rate: BitRate,
    begun: Timestamp,
    first: Option<PacketNumber>,
    last: PacketNumber,
    packet: Bytes,
    /// Arrived and lost, by the time of sending.
    bins: Vec<(u64, u64)>,
}

impl Burst {
    pub(super) const fn begin(&mut self, now: Timestamp) {
        self.begun = now;
    }

    pub(super) fn on_sent(&mut self, number: PacketNumber, packet: Bytes) {
        self.first.get_or_insert(number);
        self.last = number;
        self.packet = packet;
    }

    pub(super) fn on_fate(&mut self, number: PacketNumber, sent_at: Timestamp, arrived: bool) {
        if self.first.is_none_or(|first| number < first) || number > self.last {
            return;
        }
        let bin = sent_at.since(self.begun).as_nanos() / BIN.as_nanos();
        let Some(bin) = usize::try_from(bin).ok().filter(|&bin| bin < BINS_MAX) else { return };
        if self.bins.len() <= bin {
            self.bins.resize(bin + 1, (0, 0));
        }
        *(if arrived { &mut self.bins[bin].0 } else { &mut self.bins[bin].1 }) += 1;
    }

    pub(super) fn fill(&self, figures: &mut PathFigures) {
        let (arrived, lost) = sum(&self.bins);
        figures.burst_sent = arrived + lost;
        figures.burst_lost = lost;
        let rate = |packets: u64, bins: usize| {
            let span = BIN * u32::try_from(bins.max(1)).unwrap_or(u32::MAX);
            self.packet.saturating_mul(packets).rate_over(span)
        };
        if arrived + lost == 0 {
            return;
        }
        figures.burst_rate_bps = Some(self.rate.get());
        figures.burst_delivered_bps = Some(rate(arrived, self.bins.len()).get());
        if self.bins.len() < BINS_FOR_HINT {
            return;
        }
        let half = self.bins.len() / 2;
        let (early, late) = (self.bins[0], sum(&self.bins[half..]));
        if share(late) > share(early) + LOSS_MORE && share(early) < LOSS_BEFORE {
            let policed = rate(late.0, self.bins.len() - half);
            figures.policed_bps = Some(policed.get());
        }
    }
}

fn sum(bins: &[(u64, u64)]) -> (u64, u64) {
    bins.iter().fold((0, 0), |sum, bin| (sum.0 + bin.0, sum.1 + bin.1))
}

#[expect(clippy::cast_precision_loss, reason = "a share of a few thousand packets")]
fn share((arrived, lost): (u64, u64)) -> f64 {
    if arrived + lost == 0 { 0.0 } else { lost as f64 / (arrived + lost) as f64 }
}
