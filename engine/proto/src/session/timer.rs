//! What a session waits for, and until when.

use super::Session;
use super::silence::Permission;
use crate::congestion::pacer::Pacer;
use crate::units::{BitRate, Bytes, Timestamp};
use core::time::Duration;

/// How often silence is looked for while packets are out.
const SILENCE_CHECK: Duration = Duration::from_millis(100);
/// Shortest time between two calls of the controller that change nothing.
const STEERING_MIN: Duration = Duration::from_micros(100);

/// Shortest time between two calls for a measurement.
const MEASURE_MIN: Duration = Duration::from_micros(10);

/// Why a session wants to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// A report is due.
    Report,
    /// The rate controller has something to do.
    Steering,
    /// The pacer lets the next packets go.
    Send,
    /// The cap of a flow lets its next packet go.
    Flow,
    /// Packets are out: has the path fallen silent?
    SilenceCheck,
    /// The path is silent: time to ask again.
    Probe,
    /// Waiting for the answer about the packet size ends.
    SymbolSize,
    /// The peer may be at another address: time to ask there again.
    Challenge,
    /// A measurement of the path goes on.
    Measurement,
}

impl Session {
    /// When the body must call again, and nothing else happens before.
    pub fn poll_timeout(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.next_timer(now).map(|(at, _)| at)
    }

    /// The timer that fires first.
    pub fn next_timer(&mut self, now: Timestamp) -> Option<(Timestamp, Timer)> {
        self.sender.turn(now);
        let nominal = self.pacing_rate(now);
        let permission = self.silence.permission(nominal, self.patience(), now);
        let named = |timer: Timer| move |at: Timestamp| (at, timer);
        let timers = [
            self.reports.due().map(named(Timer::Report)),
            self.next_steering(permission, nominal, now).map(named(Timer::Steering)),
            self.next_send(permission, now),
            self.next_measurement(permission, now).map(named(Timer::Measurement)),
            self.next_size_decision(now).map(named(Timer::SymbolSize)),
            self.next_size_pair(permission, now).map(named(Timer::SymbolSize)),
            self.next_address_packet(now).map(named(Timer::Challenge)),
        ];
        timers.into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    /// When the controller wants to be called. Its timer may have passed without being served
    /// (a train has to wait for a pause of the law): to ask again at once would spin.
    fn next_steering(
        &self,
        permission: Permission,
        nominal: BitRate,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let Permission::Rate(rate) = permission else { return None };
        let wanted = self.wants_train() && self.may_train(rate, nominal);
        let due = self.controller.next_timer().filter(|_| wanted)?;
        Some(due.max(now + STEERING_MIN))
    }

    fn next_send(&mut self, permission: Permission, now: Timestamp) -> Option<(Timestamp, Timer)> {
        match permission {
            Permission::Rate(rate) if self.sender.has_symbol() && self.window_open() => {
                // Half a quantum: a timer that fires late by the other half loses nothing.
                let burst = Bytes::new(Pacer::quantum(rate).get() / 2);
                let at = self.pacer.next_release(now, rate, burst);
                Some((self.allowance.not_before(at), Timer::Send))
            }
            // Silence is measured against the clock: look again.
            Permission::Rate(_) => {
                let check =
                    self.awaits_answer().then(|| (now + SILENCE_CHECK, Timer::SilenceCheck));
                let opens = self.sender.opens_at().filter(|_| self.window_open());
                check.into_iter().chain(opens.map(|at| (at, Timer::Flow))).min_by_key(|&(at, _)| at)
            }
            Permission::Probe => self.is_steering().then_some((now, Timer::Probe)),
            Permission::WaitUntil(at) => Some((at, Timer::Probe)),
        }
    }

    /// A trial of sizes goes on while the path is not silent.
    fn next_size_pair(&self, permission: Permission, now: Timestamp) -> Option<Timestamp> {
        let Permission::Rate(_) = permission else { return None };
        let pair = self.mtu.next_pair().filter(|_| self.is_steering());
        let at = pair.into_iter().chain(self.sizes_asked_again_at()).min()?;
        Some(at.max(now + STEERING_MIN))
    }

    fn next_address_packet(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.place.answers.is_empty() {
            return Some(now);
        }
        self.place.address.next_challenge()
    }

    fn next_measurement(&self, permission: Permission, now: Timestamp) -> Option<Timestamp> {
        let due = self.next_probe()?;
        // A path that has fallen silent is waited for; that a measurement is over comes anyway.
        let may = matches!(permission, Permission::Rate(_));
        Some(if may { due.max(now + MEASURE_MIN) } else { now + SILENCE_CHECK })
    }

    fn next_size_decision(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.sender.wants_symbol_size() || self.silence.is_stopped(self.patience(), now) {
            return None;
        }
        let at = self.mtu.decision_at(self.rtt.reorder_window())?;
        Some(at.max(now + STEERING_MIN))
    }
}
