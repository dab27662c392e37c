//! Law W behind the controller's contract: what each call of it does to the mechanisms.
//!
//! No mechanism lives here; trains are handed out, rates and windows are put together.

use super::startup::{self, Stage};
use super::{IN_FLIGHT_PACKETS, Phase, STALL, TRAIN_SHARE, TRAIN_SPACING, WLaw, spread};
use crate::congestion::{Bounds, Controller, Policy, Sample, View};
use crate::ids::{PacketNumber, RateEpoch};
use crate::units::{BitRate, Bytes, Ratio, Timestamp};
use core::time::Duration;

impl Controller for WLaw {
    fn on_sent(&mut self, _: PacketNumber, bytes: Bytes, now: Timestamp) -> RateEpoch {
        let now = self.seconds(now);
        self.sent_at = now;
        let (r, arrives) = (self.rtt(), self.advance.rate());
        self.sending.on_sent(super::bytes_f64(bytes), r, arrives, now);
        self.epochs.on_sent(self.rtt(), self.rate, self.pulses(now), now)
    }

    fn on_feedback(&mut self, sample: &Sample<'_>, now: Timestamp) {
        let now = self.seconds(now);
        let dt = self.take_in(sample, now);
        self.judge_epochs(dt, now);
        self.decide(dt, now);
    }

    fn on_timer(&mut self, _: Timestamp) {
        // Trains are fetched by `take_train`; everything else follows from feedback.
    }

    fn next_timer(&self) -> Option<Timestamp> {
        self.train_due().map(|at| self.timestamp(at))
    }

    fn pacing_rate(&self, now: Timestamp) -> BitRate {
        let now = self.seconds(now);
        let rate = self.limits.hold(self.rate * self.dither(now) * self.drain.factor(now), now);
        BitRate::from_f64(rate * 8.0).max(BitRate::kbps(1))
    }

    fn in_flight_limit(&self) -> Bytes {
        let lags = 3.0 * self.tau + self.queue.window() + STALL;
        let target = self.target_base() + self.queue.allowance();
        let queue = if self.rival.active() { self.queue_delay() } else { 2.0 * target };
        let span = self.base.get() + queue + self.back + lags;
        let bytes = 1.5 * self.rate * span + IN_FLIGHT_PACKETS * self.packet;
        let bytes = bytes.max(self.limits.in_flight(self.rtt(), self.feedback_at));
        BitRate::from_f64(bytes * 8.0).bytes_in(Duration::from_secs(1))
    }

    fn take_train(&mut self, now: Timestamp) -> Option<u32> {
        let now = self.seconds(now);
        if self.train_due().is_none_or(|at| now < at) {
            return None;
        }
        let packets = self.capacity.train_packets(self.packet);
        let (asks, packets) = if self.startup.is_over() {
            (self.space_trains(packets, now), packets)
        } else {
            let first = self.startup.stage == Stage::Train;
            self.startup.on_train_sent(self.rtt(), now);
            (true, if first { packets.max(startup::FIRST_TRAIN) } else { packets })
        };
        if asks {
            self.limits.on_train(f64::from(packets) * self.packet, now);
        }
        asks.then_some(packets)
    }

    fn on_outage_end(&mut self, gap: Duration, now: Timestamp) {
        let now = self.seconds(now);
        self.measured_from = now;
        self.feedback_at = now;
        self.advance.clear();
        self.queue.clear();
        self.epochs.ignore_open();
        self.growth.rest(now);
        self.settled_at = now + self.queue_state().loop_delay;
        self.next_train = now;
        self.startup.ask_again(now);
        if gap > Duration::from_secs(1) && self.startup.stage != Stage::Train {
            self.set_rate(self.rate / 2.0, now);
        }
    }

    fn set_policy(&mut self, policy: Policy, bounds: Bounds, now: Timestamp) {
        let now = self.seconds(now);
        self.policy = policy;
        self.limits.rebound(bounds);
        self.base.set_low(self.is_low());
        self.rival.set_enabled(self.mirror && !self.is_low());
        self.set_rate(self.rate, now);
    }

    fn view(&self) -> View {
        let capacity = self.capacity.estimate();
        let ceiling = self.ceiling.limit(self.feedback_at);
        View {
            rate: BitRate::from_f64(self.rate * 8.0),
            capacity: (capacity > 0.0).then(|| BitRate::from_f64(capacity * 8.0)),
            ceiling: ceiling.is_finite().then(|| BitRate::from_f64(ceiling * 8.0)),
            rtt_min: Duration::from_secs_f64(self.base.get()),
            queue_delay: Duration::from_secs_f64(self.queue_delay()),
            loss_random: Ratio::new(self.elasticity.random_loss()),
            loss: Ratio::new(self.advance.loss()),
            loss_run: self.elasticity.run(),
            starting: !self.startup.is_over(),
            phase: self.phase(self.feedback_at),
        }
    }
}

impl WLaw {
    /// Start-up is over and a train is due: says when the next is, and whether this one leaves.
    fn space_trains(&mut self, packets: u32, now: f64) -> bool {
        let share = f64::from(packets) * self.packet / (TRAIN_SHARE * self.rate);
        // Trains of several flows in step would stretch each other each time.
        let spacing = TRAIN_SPACING.max(2.0 * self.rtt()).max(share);
        self.next_train = now + spacing * (0.75 + 0.5 * spread(now, self.rate));
        // Under a ceiling C does not matter, and an empty bucket swallows most of a train.
        self.drain.factor(now) >= 1.0 && self.ceiling.phase(now) != Phase::Held
    }
}
