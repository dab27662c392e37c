//! A TCP sender and its receiver around a congestion control.
//!
//! ```text
//! lost       three later packets arrived; once something was overtaken, also a quarter of the
//!            least round trip later
//! delivery   packets acknowledged between two acknowledgements, over the longer of the times in
//!            which they were sent and acknowledged (draft-ietf-ccwg-bbr, 4.1)
//! time-out   max(200 ms, srtt + 4 var) without an acknowledgement: all in flight is lost
//! ```
//! Acknowledgements are cumulative: any later one says what a lost one said.

use super::{Ack, Kind, Law};
use core::time::Duration;
use farhaul_proto::units::Timestamp;
use std::collections::VecDeque;

const DUPLICATES: u64 = 3;
const TIMEOUT_MIN: f64 = 0.2;
const TIMEOUT_FIRST: f64 = 1.0;

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: f64,
    /// State of the delivery when it left: packets, when, and when the first of them had left.
    delivered: f64,
    delivered_at: f64,
    first_at: f64,
    in_flight: f64,
    lost: f64,
    done: bool,
    gone: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Tcp {
    law: Box<dyn Law>,
    origin: Timestamp,
    flight: VecDeque<Sent>,
    first: u64,
    in_flight: u64,
    /// Arrived at the receiver and not yet acknowledged here.
    log: VecDeque<u64>,
    log_start: u64,
    newest: Option<(u64, f64)>,
    overtaken: bool,
    delivered: f64,
    delivered_at: f64,
    first_at: f64,
    lost: f64,
    srtt: f64,
    variance: f64,
    rtt_min: f64,
    round_end: f64,
    recovered_from: u64,
    release: f64,
    heard_at: f64,
}

impl Tcp {
    /// A sender that begins at `now`.
    pub fn new(kind: Kind, now: Timestamp) -> Self {
        Self {
            law: kind.law(),
            origin: now,
            flight: VecDeque::new(),
            first: 0,
            in_flight: 0,
            log: VecDeque::new(),
            log_start: 0,
            newest: None,
            overtaken: false,
            delivered: 0.0,
            delivered_at: 0.0,
            first_at: 0.0,
            lost: 0.0,
            srtt: 0.0,
            variance: 0.0,
            rtt_min: f64::INFINITY,
            round_end: 0.0,
            recovered_from: 0,
            release: 0.0,
            heard_at: 0.0,
        }
    }

    /// Numbers of the packets that leave now.
    pub fn departures(&mut self, now: Timestamp, out: &mut Vec<u64>) {
        out.clear();
        let now = now.since(self.origin).as_secs_f64();
        if self.in_flight > 0 && now >= self.heard_at + self.timeout() {
            self.give_up(now);
        }
        while self.may_send() && self.release <= now {
            out.push(self.first + self.flight.len() as u64);
            self.send_one(now);
        }
    }

    /// When to look again; a time-out if nothing else is due.
    pub fn next_wake(&self) -> Timestamp {
        let timeout = self.heard_at + self.timeout();
        let due = if self.may_send() { self.release.min(timeout) } else { timeout };
        self.origin + Duration::from_secs_f64(due.max(0.0)) + Duration::from_nanos(1)
    }

    /// A packet arrived at the receiver; answers what its acknowledgement carries.
    pub fn on_arrival(&mut self, number: u64) -> u64 {
        self.log.push_back(number);
        self.log_start + self.log.len() as u64
    }

    /// An acknowledgement arrived: everything below `end` of the log.
    pub fn on_ack(&mut self, end: u64, now: Timestamp) {
        let now = now.since(self.origin).as_secs_f64();
        let (mut acked, mut newest) = (0.0, None::<u64>);
        while self.log_start < end
            && let Some(number) = self.log.pop_front()
        {
            self.log_start += 1;
            if let Some(sent) = self.take(number, now) {
                acked += 1.0;
                newest = newest.max(Some(number));
                self.heard_at = now;
                if newest == Some(number) {
                    self.note_newest(number, sent, now);
                }
            }
        }
        let (lost, congested) = self.declare_lost();
        if let Some(number) = newest {
            self.tell(number, (acked, lost, congested), now);
        }
        while self.flight.front().is_some_and(|sent| sent.done) {
            self.flight.pop_front();
            self.first += 1;
        }
    }

    fn may_send(&self) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "packets")]
        let in_flight = self.in_flight as f64;
        in_flight + 1.0 <= self.law.window().max(1.0)
    }

    fn send_one(&mut self, now: f64) {
        if self.in_flight == 0 {
            (self.delivered_at, self.first_at, self.heard_at) = (now, now, now);
        }
        #[expect(clippy::cast_precision_loss, reason = "packets")]
        let in_flight = self.in_flight as f64;
        self.flight.push_back(Sent {
            at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_at: self.first_at,
            in_flight,
            lost: self.lost,
            done: false,
            gone: false,
        });
        self.in_flight += 1;
        // A late wake-up is made up for by at most a millisecond.
        self.release = self.release.max(now - 0.001) + 1.0 / self.law.pacing().max(0.1);
    }

    fn take(&mut self, number: u64, now: f64) -> Option<Sent> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let sent = self.flight.get_mut(index)?;
        if sent.gone {
            // It was given up, and came after all.
            self.overtaken = true;
        }
        if sent.done {
            return None;
        }
        sent.done = true;
        self.in_flight -= 1;
        self.delivered += 1.0;
        self.delivered_at = now;
        Some(*sent)
    }

    fn note_newest(&mut self, number: u64, sent: Sent, now: f64) {
        if self.newest.is_none_or(|(newest, _)| number > newest) {
            self.newest = Some((number, sent.at));
        }
        let rtt = now - sent.at;
        self.rtt_min = self.rtt_min.min(rtt);
        if self.srtt == 0.0 {
            (self.srtt, self.variance) = (rtt, rtt / 2.0);
        } else {
            self.variance += ((rtt - self.srtt).abs() - self.variance) / 4.0;
            self.srtt += (rtt - self.srtt) / 8.0;
        }
        self.first_at = sent.at;
    }

    fn declare_lost(&mut self) -> (f64, bool) {
        let Some((newest, newest_at)) = self.newest else { return (0.0, false) };
        let window = if self.overtaken { self.rtt_min / 4.0 } else { 0.0 };
        let next = self.first + self.flight.len() as u64;
        let (mut lost, mut congested) = (0.0, false);
        for (index, sent) in self.flight.iter_mut().enumerate() {
            let number = self.first + index as u64;
            if number + DUPLICATES > newest || sent.at + window > newest_at {
                break;
            }
            if !sent.done {
                (sent.done, sent.gone) = (true, true);
                self.in_flight -= 1;
                lost += 1.0;
                if number >= self.recovered_from {
                    congested = true;
                    self.recovered_from = next;
                }
            }
        }
        self.lost += lost;
        (lost, congested)
    }

    fn tell(&mut self, number: u64, (acked, lost, congested): (f64, f64, bool), now: f64) {
        let Some(index) = number.checked_sub(self.first).and_then(|i| usize::try_from(i).ok())
        else {
            return;
        };
        let Some(sent) = self.flight.get(index).copied() else { return };
        let span = (sent.at - sent.first_at).max(now - sent.delivered_at);
        let round = sent.delivered >= self.round_end;
        if round {
            self.round_end = self.delivered;
        }
        #[expect(clippy::cast_precision_loss, reason = "packets")]
        let in_flight = self.in_flight as f64;
        self.law.on_ack(&Ack {
            now,
            rtt: now - sent.at,
            srtt: self.srtt,
            acked,
            lost,
            congested,
            round,
            bandwidth: (self.delivered - sent.delivered) / span.max(1e-6),
            flight_then: sent.in_flight,
            lost_since: self.lost - sent.lost,
            in_flight,
        });
    }

    fn timeout(&self) -> f64 {
        if self.srtt == 0.0 {
            TIMEOUT_FIRST
        } else {
            (self.srtt + 4.0 * self.variance).max(TIMEOUT_MIN)
        }
    }

    fn give_up(&mut self, now: f64) {
        for sent in self.flight.iter_mut().filter(|sent| !sent.done) {
            (sent.done, sent.gone) = (true, true);
            self.lost += 1.0;
        }
        self.in_flight = 0;
        self.recovered_from = self.first + self.flight.len() as u64;
        self.heard_at = now;
        self.release = now;
        self.law.on_timeout(now);
    }
}
