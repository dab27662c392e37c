//! A receiver as a controller's peer: arrival times by a noisy clock, trains, reports.
//!
//! Reports are absolute in the product: any later one carries what a lost one said. Here that is
//! a log of arrivals, of which a report is a length.

use core::time::Duration;
use farhaul_proto::units::{Bytes, Timestamp};
use std::collections::VecDeque;

/// Delay samples in one report.
pub(super) const SAMPLES_MAX: usize = 16;

/// A train is over after this much silence, or four of its own gaps.
const TRAIN_SILENCE: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) number: u64,
    pub(super) at: Timestamp,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct TrainReport {
    pub(super) first: u64,
    pub(super) bytes: Bytes,
    pub(super) gap_sum: Duration,
    pub(super) gaps: u32,
}

/// What a report on its way back carries.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) left: Timestamp,
    /// The largest number that arrived.
    pub(super) largest: u64,
    /// Everything below this index of the log is reported.
    pub(super) arrivals_end: u64,
    pub(super) trains_end: usize,
    pub(super) samples: Vec<Arrival>,
}

/// A packet as it arrives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) number: u64,
    pub(super) bytes: Bytes,
    /// First and last number of the train it belongs to.
    pub(super) train: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct OpenTrain {
    range: (u64, u64),
    last: (u64, Timestamp),
    bytes: Bytes,
    gap_sum: Duration,
    gaps: u32,
}

#[derive(Debug, Default)]
pub(super) struct Receiver {
    /// Arrivals not yet known to be processed by the sender.
    log: VecDeque<Arrival>,
    log_start: u64,
    reported: u64,
    largest: u64,
    /// The clock never goes back, however noisy it is.
    clock: Timestamp,
    pub(super) trains: Vec<TrainReport>,
    open: Option<OpenTrain>,
}

impl Receiver {
    /// A packet was read from the socket at `at` by the receiver's clock.
    pub(super) fn on_packet(&mut self, packet: Packet, at: Timestamp) {
        let at = at.max(self.clock);
        self.clock = at;
        self.largest = self.largest.max(packet.number);
        self.log.push_back(Arrival { number: packet.number, at });
        if let Some(open) = self.open
            && packet.train != Some(open.range)
            && packet.number > open.range.1
        {
            self.close();
        }
        if let Some(range) = packet.train {
            self.on_train_packet(range, packet, at);
        }
    }

    /// The next report; `None` if there is nothing new since the last.
    pub(super) fn report(&mut self, now: Timestamp) -> Option<Report> {
        let news = self.close_silent(now);
        let end = self.log_start + self.log.len() as u64;
        if end == self.reported && !news {
            return None;
        }
        let fresh = usize::try_from(self.reported.saturating_sub(self.log_start)).unwrap_or(0);
        let count = self.log.len() - fresh;
        let step = count.div_ceil(SAMPLES_MAX).max(1);
        let samples = self.log.range(fresh..).step_by(step).copied().collect();
        self.reported = end;
        let trains_end = self.trains.len();
        Some(Report { left: now, largest: self.largest, arrivals_end: end, trains_end, samples })
    }

    /// The sender processed everything below `end`: answers it in order of arrival.
    pub(super) fn take_until(&mut self, end: u64, into: &mut Vec<Arrival>) {
        into.clear();
        while self.log_start < end
            && let Some(arrival) = self.log.pop_front()
        {
            self.log_start += 1;
            into.push(arrival);
        }
    }

    fn on_train_packet(&mut self, range: (u64, u64), packet: Packet, at: Timestamp) {
        let fresh = OpenTrain {
            range,
            last: (packet.number, at),
            bytes: Bytes::ZERO,
            gap_sum: Duration::ZERO,
            gaps: 0,
        };
        let open = self.open.get_or_insert(fresh);
        if open.range == range && packet.number == open.last.0 + 1 {
            open.bytes += packet.bytes;
            open.gap_sum += at.since(open.last.1);
            open.gaps += 1;
        }
        open.last = (packet.number, at);
        if packet.number == range.1 {
            self.close();
        }
    }

    /// A train whose last packets were lost is over when it is silent for long.
    fn close_silent(&mut self, now: Timestamp) -> bool {
        let silent = self.open.is_some_and(|open| {
            let gap = open.gap_sum.checked_div(open.gaps).unwrap_or(TRAIN_SILENCE);
            now.since(open.last.1) > TRAIN_SILENCE.max(gap * 4)
        });
        if silent {
            self.close();
        }
        silent
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take()
            && open.gaps > 0
        {
            self.trains.push(TrainReport {
                first: open.range.0,
                bytes: open.bytes,
                gap_sum: open.gap_sum,
                gaps: open.gaps,
            });
        }
    }
}
